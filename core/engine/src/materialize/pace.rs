//! How fast is a run over one view, and when will it be done?

use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use larder_base::{Micros, ViewName};
use larder_core::Progress;
use tokio::time::Instant;

use super::OnEvent;
use super::report::MaterializeEvent;
use crate::writes::Outlet;

/// A share below which nothing can be foretold.
const TOO_EARLY: f64 = 0.005;

/// What all slices of a run over one view count together.
pub(super) struct Pace {
    view: ViewName,
    slices: usize,
    started: Instant,
    begun: AtomicUsize,
    ended: AtomicUsize,
    read: AtomicU64,
    newest: AtomicI64,
    progress: Progress,
    /// What the counters said when this view began.
    before: (u64, u64),
    on_event: Option<OnEvent>,
}

impl Pace {
    pub(super) fn new(view: &ViewName, slices: usize, progress: Progress, on_event: Option<OnEvent>) -> Self {
        Self {
            view: view.clone(),
            slices,
            started: Instant::now(),
            begun: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            read: AtomicU64::new(0),
            newest: AtomicI64::new(i64::MIN),
            before: progress.get(),
            progress,
            on_event,
        }
    }

    /// Counts source rows that the store looks at.
    pub(super) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    pub(super) fn begin_slice(&self) {
        self.begun.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn end_slice(&self) {
        self.ended.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn take(&self, rows: u64, newest: Option<Micros>) {
        self.read.fetch_add(rows, Ordering::AcqRel);
        if let Some(newest) = newest {
            self.newest.fetch_max(newest.0, Ordering::AcqRel);
        }
    }

    pub(super) fn read(&self) -> u64 {
        self.read.load(Ordering::Acquire)
    }

    pub(super) fn newest(&self) -> Option<Micros> {
        let newest = self.newest.load(Ordering::Acquire);
        (newest != i64::MIN).then_some(Micros(newest))
    }

    /// Tells whoever asked to be told.
    pub(super) fn tell(&self, slice: usize, outlet: &Outlet) {
        if let Some(tell) = &self.on_event {
            tell(&self.event(slice, outlet));
        }
    }

    pub(super) fn event(&self, slice: usize, outlet: &Outlet) -> MaterializeEvent {
        let (looked, expected) = self.progress.get();
        let seconds = self.started.elapsed().as_secs_f64();
        let written = outlet.report();
        let share = share(
            (
                looked.saturating_sub(self.before.0),
                expected.saturating_sub(self.before.1),
            ),
            self.begun.load(Ordering::Acquire),
            self.ended.load(Ordering::Acquire),
            self.slices,
        );
        let read = self.read();
        MaterializeEvent {
            view: self.view.clone(),
            slice,
            slices: self.slices,
            read,
            written: written.written,
            stale: written.stale,
            seconds,
            share,
            rows_per_second: rate(read, seconds),
            eta_seconds: eta(share, seconds),
        }
    }
}

/// Rows per second; 0 where no time has passed.
pub(super) fn rate(rows: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { rows as f64 / seconds } else { 0.0 }
}

/// How much of the work is done, from 0 to 1. How many rows a slice has is known when it begins; those that have not
/// begun are taken to be like those that have.
fn share((looked, expected): (u64, u64), begun: usize, ended: usize, slices: usize) -> f64 {
    let slices = slices.max(1) as f64;
    let by_slices = ended as f64 / slices;
    if expected == 0 {
        return by_slices;
    }
    let of_begun = (looked as f64 / expected as f64).min(1.0);
    (of_begun * begun as f64 / slices).max(by_slices).min(1.0)
}

/// Seconds that are left if the rest is as fast; `None` where it is too early to say.
fn eta(share: f64, seconds: f64) -> Option<f64> {
    (share >= TOO_EARLY).then(|| seconds * (1.0 - share) / share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_work() {
        assert_eq!(share((0, 0), 1, 0, 4), 0.0);
        assert_eq!(share((0, 0), 3, 2, 4), 0.5);
        // Half of the first of four slices.
        assert_eq!(share((50, 100), 1, 0, 4), 0.125);
        // The second slice has half as many rows as the first, and is read by a half.
        assert_eq!(share((125, 150), 2, 1, 4), 125.0 / 150.0 / 2.0);
        // A slice without rows was done all the same; more rows than expected are not more than all.
        assert_eq!(share((0, 100), 2, 1, 2), 0.5);
        assert_eq!(share((300, 100), 1, 1, 1), 1.0);
    }

    #[test]
    fn what_is_left() {
        assert_eq!(eta(0.0, 10.0), None);
        assert_eq!(eta(0.25, 10.0), Some(30.0));
        assert_eq!(eta(1.0, 10.0), Some(0.0));
        assert_eq!(rate(100, 2.0), 50.0);
        assert_eq!(rate(100, 0.0), 0.0);
    }
}
