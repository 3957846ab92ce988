//! How is work cut up and shared by some threads?

use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, scope};

/// Does every task, on up to `threads` threads that take the next one when they are free; returns the results in
/// the order of the tasks. Each thread makes a state that its tasks share.
///
/// Where a thread cannot be started, the others do its share.
pub(super) fn each_with<T: Send, S, R: Send>(
    tasks: Vec<T>,
    threads: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, T) -> R + Sync,
) -> Vec<R> {
    if threads <= 1 || tasks.len() <= 1 {
        let mut state = state();
        return tasks.into_iter().map(|task| work(&mut state, task)).collect();
    }
    let count = tasks.len();
    let tasks: Vec<Mutex<Option<T>>> = tasks.into_iter().map(|task| Mutex::new(Some(task))).collect();
    let next = AtomicUsize::new(0);
    let run = || {
        let mut state = state();
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(cell) = tasks.get(at) else { break done };
            // Nothing runs under the lock, so it cannot be poisoned, and every task is taken once.
            let task = cell.lock().ok().and_then(|mut cell| cell.take());
            done.extend(task.map(|task| (at, work(&mut state, task))));
        }
    };
    let mut done = scope(|scope| {
        let others: Vec<_> = (1..threads.min(count))
            .filter_map(|_| Builder::new().spawn_scoped(scope, run).ok())
            .collect();
        let mut done = run();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// [`each_with`] without a state.
pub(super) fn each<T: Send, R: Send>(tasks: Vec<T>, threads: usize, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    each_with(tasks, threads, || (), |(), task| work(task))
}

/// Cuts `0..len` into at most `parts` ranges of nearly the same length, each a multiple of `unit` except the last.
pub(super) fn ranges(len: usize, parts: usize, unit: usize) -> Vec<Range<usize>> {
    let share = len.div_ceil(parts.max(1)).next_multiple_of(unit.max(1)).max(1);
    (0..len)
        .step_by(share)
        .map(|start| start..len.min(start + share))
        .collect()
}

/// Cuts a slice after every one of some lengths; what remains is left out.
pub(super) fn split<T>(mut slice: &mut [T], lengths: impl IntoIterator<Item = usize>) -> Vec<&mut [T]> {
    lengths
        .into_iter()
        .map(|length| {
            let (part, rest) = std::mem::take(&mut slice).split_at_mut(length);
            slice = rest;
            part
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_tasks() {
        for threads in [1, 2, 5, 200] {
            let results = each_with(
                (0..100).collect(),
                threads,
                || 0,
                |seen, task: usize| {
                    *seen += 1;
                    (task * 2, *seen)
                },
            );
            assert!(
                results
                    .iter()
                    .enumerate()
                    .all(|(at, (twice, seen))| *twice == at * 2 && *seen > 0)
            );
            assert_eq!(results.len(), 100);
        }
    }

    #[test]
    fn ranges_cover_everything_once() {
        for (len, parts, unit) in [(0, 3, 1), (1, 3, 64), (130, 2, 64), (1000, 7, 1), (5, 9, 1)] {
            let ranges = ranges(len, parts, unit);
            assert!(ranges.len() <= parts.max(1));
            assert!(ranges.iter().all(|range| range.start.is_multiple_of(unit)));
            let all: Vec<usize> = ranges.into_iter().flatten().collect();
            assert_eq!(all, (0..len).collect::<Vec<_>>());
        }
        assert_eq!(split(&mut [1, 2, 3, 4], [1, 0, 2]), [&[1][..], &[], &[2, 3]]);
    }

    #[test]
    #[should_panic(expected = "task 7")]
    fn a_panic_reaches_the_caller() {
        each((0..50).collect(), 3, |task| assert!(task != 7, "task {task}"));
    }
}
