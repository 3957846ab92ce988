//! How far is long work?

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How far long work is: shared counters, read by whoever shows them.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<ProgressCells>);

#[derive(Debug, Default)]
struct ProgressCells {
    total: AtomicU64,
    done: AtomicU64,
}

impl Progress {
    /// Adds to the rows that will have to be looked at.
    pub fn expect(&self, rows: u64) {
        self.0.total.fetch_add(rows, Ordering::Relaxed);
    }

    /// Adds to the rows that were looked at.
    pub fn advance(&self, rows: u64) {
        self.0.done.fetch_add(rows, Ordering::Relaxed);
    }

    /// Rows looked at, and rows expected in all so far.
    pub fn get(&self) -> (u64, u64) {
        let load = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        (load(&self.0.done), load(&self.0.total))
    }
}
