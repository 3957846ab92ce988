//! What a push did, and how far one is.

use std::time::Duration;

use larder_base::ViewName;
use larder_core::arrow::array::RecordBatch;
use serde::Serialize;

/// What a push did.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct PushReport {
    /// Rows given.
    pub rows: u64,
    /// Rows of these that were refused, where a dead letter was asked for.
    pub bad: u64,
    /// Rows appended to the history.
    pub appended: u64,
    /// What was written online, per view.
    pub views: Vec<PushedView>,
    /// The refused rows; only the first of them where they were told on the way.
    pub refused: Vec<RefusedRow>,
    /// The refused rows with a column `reason`; none where they were told on the way.
    #[serde(skip)]
    pub dead: Option<RecordBatch>,
    /// The history's side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offline: Option<PushedSide>,
    /// The online side, all views together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub online: Option<PushedSide>,
    /// Seconds until every row had been looked at.
    pub check_seconds: f64,
    /// Seconds in all.
    pub seconds: f64,
    /// What is to be told of the rows besides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What a push wrote online for one view.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct PushedView {
    /// The view.
    pub view: ViewName,
    /// Rows written: the newest per key.
    pub written: u64,
    /// Rows refused because a newer one is stored or came with them.
    pub stale: u64,
}

/// One side of a push.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PushedSide {
    /// Rows that it was given.
    pub rows: u64,
    /// Writes or appends that they came in.
    pub batches: u64,
    /// Seconds.
    pub seconds: f64,
    /// Rows per second.
    pub rows_per_second: f64,
}

impl PushedSide {
    pub(super) fn new(rows: u64, batches: u64, took: Duration) -> Self {
        let seconds = took.as_secs_f64();
        Self {
            rows,
            batches,
            seconds,
            rows_per_second: if seconds > 0.0 { rows as f64 / seconds } else { 0.0 },
        }
    }
}

/// A row that cannot be pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RefusedRow {
    /// The row, from 0.
    pub row: usize,
    /// Why.
    pub reason: String,
}

/// Rows that were looked at, batch after batch.
#[derive(Debug)]
#[non_exhaustive]
pub struct Judged<'a> {
    /// The first row of the batch, from 0.
    pub first_row: u64,
    /// Rows of the batch.
    pub rows: u64,
    /// The bad ones among them.
    pub refused: &'a [RefusedRow],
    /// These rows as they came, with a column `reason`.
    pub dead: Option<&'a RecordBatch>,
}

/// What a push is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PushPhase {
    /// Looking at all rows; nothing is written yet.
    Check,
    /// Appending to the history; it has none of the rows until it has all.
    Append,
    /// Writing online values.
    Online,
}

/// How far a push is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PushEvent {
    /// What it is doing.
    pub phase: PushPhase,
    /// Rows done in this phase.
    pub rows: u64,
    /// Rows of this phase in all, once it is known.
    pub total: Option<u64>,
    /// Seconds since the phase was begun.
    pub seconds: f64,
}

impl PushEvent {
    pub(super) fn new(phase: PushPhase, rows: u64, total: Option<u64>, took: Duration) -> Self {
        Self {
            phase,
            rows,
            total,
            seconds: took.as_secs_f64(),
        }
    }
}
