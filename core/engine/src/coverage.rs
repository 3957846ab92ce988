//! What must be done, what is done, and what is left: pure functions over the ledger's intervals.

use larder_base::ledger::void_before;
use larder_base::{Interval, Micros, RunRecord, Span, StoreIdentity};

/// What an interval must match to count for a view as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The online store.
    pub(crate) store: StoreIdentity,
    /// What decides which rows the source gives.
    pub(crate) fingerprint: String,
    /// Slots in use.
    pub(crate) slots: Vec<u16>,
}

/// The first event time a view must cover at `until`.
pub(crate) fn floor(until: Micros, ttl: Option<Span>) -> Micros {
    ttl.map_or(Micros::MIN, |ttl| until.minus(ttl))
}

/// Intervals that were done for this claim and looked at least as far back as `floor`.
pub(crate) fn done(runs: &[RunRecord], claim: &Claim, floor: Micros) -> Vec<Interval> {
    let since = void_before(runs, claim.store);
    let counts = |run: &&RunRecord| {
        run.store == claim.store
            && run.fingerprint == claim.fingerprint
            && claim.slots.iter().all(|slot| run.slots.contains(slot))
            && since.is_none_or(|since| run.started >= since)
    };
    let mut intervals: Vec<Interval> = runs
        .iter()
        .filter(counts)
        .flat_map(|run| run.done.iter().copied())
        .filter(|i| i.floor <= floor)
        .collect();
    intervals.sort_unstable();
    intervals
}

/// What is left of `(after, until]` when `done` is taken away; in order.
pub(crate) fn gaps(after: Micros, until: Micros, floor: Micros, done: &[Interval]) -> Vec<Interval> {
    let mut gaps = Vec::new();
    let mut at = after;
    for interval in done {
        if interval.after > at && at < until {
            gaps.push(Interval {
                after: at,
                until: interval.after.min(until),
                floor,
            });
        }
        at = at.max(interval.until);
    }
    if at < until {
        gaps.push(Interval {
            after: at,
            until,
            floor,
        });
    }
    gaps
}

/// Cuts an interval into slices of at most `width`, oldest first.
///
/// Without a width, an interval of more than a week becomes four: a killed run repeats a quarter.
/// One without a lower bound stays whole, because nothing says where its rows lie.
#[cfg(feature = "offline")]
pub(crate) fn slices(gap: Interval, width: Option<Span>) -> Vec<Interval> {
    let length = gap.until.since(gap.after);
    let width = match width {
        Some(width) if width > Span::ZERO => width,
        _ if length > Span::days(7) => Span(length.0 / 4 + 1),
        _ => return vec![gap],
    };
    if gap.after == Micros::MIN {
        return vec![gap];
    }
    let mut slices = Vec::new();
    let mut after = gap.after;
    while after < gap.until {
        let until = after.plus(width).min(gap.until);
        slices.push(Interval {
            after,
            until,
            floor: gap.floor,
        });
        after = until;
    }
    slices
}

/// Up to when everything is covered; `None` where the first rows are missing.
pub(crate) fn watermark(now: Micros, ttl: Option<Span>, runs: &[RunRecord], claim: &Claim) -> Option<Micros> {
    // Looked at from the newest run: an interval done at `u` reached back to `u − ttl`, and that
    // is all a reader at `u` may see. So the newest `u` whose coverage has no gap is the answer.
    // Only an interval that counts can end there; how far back it looked is asked below.
    let mut ends: Vec<Micros> = done(runs, claim, Micros::MAX)
        .iter()
        .map(|i| i.until.min(now))
        .collect();
    ends.sort_unstable();
    ends.dedup();
    ends.into_iter().rev().find(|until| {
        let floor = floor(*until, ttl);
        gaps(start(floor), *until, floor, &done(runs, claim, floor)).is_empty()
    })
}

/// The exclusive lower bound of visibility for rows from `floor` on: no row is visible before it happens.
pub(crate) fn start(floor: Micros) -> Micros {
    Micros(floor.0.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use larder_base::{Generation, RunState};

    use super::*;

    fn interval(after: i64, until: i64, floor: i64) -> Interval {
        Interval {
            after: Micros(after),
            until: Micros(until),
            floor: Micros(floor),
        }
    }

    fn run(done: &[Interval]) -> RunRecord {
        RunRecord {
            run: "r".to_owned(),
            view: "v".parse().unwrap(),
            generation: Generation(1),
            store: StoreIdentity(1),
            fingerprint: "f".to_owned(),
            slots: vec![0, 1],
            owner: String::new(),
            started: Micros(0),
            heartbeat: Micros(0),
            afresh: false,
            state: RunState::Running,
            done: done.to_vec(),
            rows_read: 0,
            rows_written: 0,
            rows_stale: 0,
            newest_event: None,
            error: None,
        }
    }

    fn claim() -> Claim {
        Claim {
            store: StoreIdentity(1),
            fingerprint: "f".to_owned(),
            slots: vec![0],
        }
    }

    #[test]
    fn gaps_between_intervals() {
        let done = [interval(10, 20, 0), interval(15, 30, 0), interval(50, 60, 0)];
        assert_eq!(
            gaps(Micros(0), Micros(70), Micros(0), &done),
            [interval(0, 10, 0), interval(30, 50, 0), interval(60, 70, 0)]
        );
        assert_eq!(gaps(Micros(10), Micros(30), Micros(0), &done), []);
        assert_eq!(gaps(Micros(0), Micros(5), Micros(0), &done), [interval(0, 5, 0)]);
    }

    #[test]
    fn what_counts() {
        let records = [run(&[interval(0, 10, 0)])];
        assert_eq!(done(&records, &claim(), Micros(5)).len(), 1);
        // Looked less far back than needed: a raised ttl.
        assert_eq!(done(&records, &claim(), Micros(-5)).len(), 0);
        assert_eq!(
            done(
                &records,
                &Claim {
                    store: StoreIdentity(2),
                    ..claim()
                },
                Micros(5)
            )
            .len(),
            0
        );
        assert_eq!(
            done(
                &records,
                &Claim {
                    fingerprint: "g".to_owned(),
                    ..claim()
                },
                Micros(5)
            )
            .len(),
            0
        );
        assert_eq!(
            done(
                &records,
                &Claim {
                    slots: vec![0, 2],
                    ..claim()
                },
                Micros(5)
            )
            .len(),
            0
        );
    }

    #[test]
    fn a_run_from_the_beginning_voids_what_was_done_before() {
        let whole = [interval(0, 10, 0)];
        let mut records = [run(&whole), run(&[interval(0, 4, 0)]), run(&whole)];
        records[1].started = Micros(5);
        records[1].afresh = true;
        records[2].started = Micros(3);
        // The third began before the second, and so did all that it wrote.
        assert_eq!(done(&records, &claim(), Micros(5)), [interval(0, 4, 0)]);
        assert_eq!(watermark(Micros(10), Some(Span(9)), &records, &claim()), None);
        records[2].started = Micros(6);
        assert_eq!(
            watermark(Micros(10), Some(Span(9)), &records, &claim()),
            Some(Micros(10))
        );
        records[1].store = StoreIdentity(2);
        assert_eq!(
            done(&records, &claim(), Micros(5)).len(),
            2,
            "another store's run voids nothing"
        );
    }

    #[cfg(feature = "offline")]
    #[test]
    fn slices_cover_the_gap() {
        let gap = interval(0, Span::days(30).0, 0);
        let cut = slices(gap, None);
        assert_eq!(cut.len(), 4);
        assert_eq!((cut[0].after, cut[3].until), (gap.after, gap.until));
        assert!(cut.windows(2).all(|pair| pair[0].until == pair[1].after));
        assert_eq!(slices(interval(i64::MIN, 5, i64::MIN), Some(Span(1))).len(), 1);
        assert_eq!(slices(interval(0, 5, 0), Some(Span(2))).len(), 3);
        assert_eq!(slices(interval(0, 5, 0), None).len(), 1);
    }

    #[test]
    fn watermarks() {
        let ttl = Some(Span(10));
        assert_eq!(watermark(Micros(100), ttl, &[], &claim()), None);
        let records = [run(&[interval(79, 90, 80)]), run(&[interval(90, 95, 85)])];
        assert_eq!(watermark(Micros(100), ttl, &records, &claim()), Some(Micros(95)));
        let records = [run(&[interval(79, 90, 80)]), run(&[interval(92, 95, 85)])];
        assert_eq!(watermark(Micros(100), ttl, &records, &claim()), Some(Micros(90)));
        let whole = [run(&[interval(i64::MIN, 90, i64::MIN)])];
        assert_eq!(watermark(Micros(100), None, &whole, &claim()), Some(Micros(90)));
    }
}
