//! Which source row was known, and newest, at the time of each entity row?
//!
//! This is the point-in-time kernel: a pure library over Arrow arrays, without I/O and without async.
//! The entity rows (the *spine*) are small and indexed once; the source is big, unsorted and streamed past once.
//!
//! 1. [`SpineIndex::build`] groups the spine by key and sorts every group by time. One index, shared behind an
//!    `Arc`, serves every view with the same keys and any number of threads.
//! 2. [`ViewJoin::probe`] takes source batches of key and time columns in any order. Each row costs one hash
//!    probe and one lower bound: the first spine position that may know the row is its *bucket*, and a bucket
//!    keeps only its best row. Both are asked of two bytes per time, and of the times where those are equal.
//!    Nothing is sorted and no feature is copied. Accumulators over different parts of the source are merged at the
//!    end.
//! 3. [`ViewJoin::resolve_all`] runs a maximum through each group's buckets, which answers every spine row, and
//!    applies the ttl to the winner.
//! 4. [`Winners::together`] gives the sorted source positions to fetch, and for each spine row its place in them.
//!
//! All times and durations are signed microseconds, times since the Unix epoch in UTC. Arithmetic never wraps and
//! never saturates to a wrong answer: a sum beyond `i64::MAX` means "never known", a ttl that reaches below
//! `i64::MIN` means "no bound".

mod answer;
mod block;
mod bucket;
mod build;
mod cells;
mod coarse;
mod error;
mod keys;
mod parallel;
mod partition;
mod probe;
mod resolve;
mod rule;
mod scheme;
mod spine;
mod table;

#[cfg(test)]
mod edges;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

pub use answer::{Answer, Distinct};
pub use error::PitError;
pub use partition::partition;
pub use probe::{Positions, SourceBatch, Times, ViewJoin};
pub use resolve::{Outcome, PitCounts, Winners};
pub use rule::{EventBounds, Knowledge, ViewRule};
pub use spine::SpineIndex;
