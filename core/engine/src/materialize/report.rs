//! What a materialization did, and how far one is.

use larder_base::{Micros, ViewName};
use serde::Serialize;

/// What [`super::Materialize::run`] did.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct MaterializeReport {
    /// One entry per view.
    pub views: Vec<ViewRun>,
    /// Seconds in all.
    pub seconds: f64,
}

/// What was done for one view.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ViewRun {
    /// The view.
    pub view: ViewName,
    /// Rows read from the offline store.
    pub read: u64,
    /// Rows written online: the newest per key.
    pub written: u64,
    /// Rows refused because the online store has newer ones.
    pub stale: u64,
    /// Slices of work; none when everything was done already.
    pub slices: usize,
    /// Up to when the view is covered now.
    pub until: Option<Micros>,
    /// Newest event time among the rows read.
    pub newest_event: Option<Micros>,
    /// Seconds.
    pub seconds: f64,
    /// Rows read per second.
    pub rows_per_second: f64,
}

impl ViewRun {
    pub(super) fn new(view: &ViewName, slices: usize) -> Self {
        Self {
            view: view.clone(),
            read: 0,
            written: 0,
            stale: 0,
            slices,
            until: None,
            newest_event: None,
            seconds: 0.0,
            rows_per_second: 0.0,
        }
    }
}

/// How far a run is.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct MaterializeEvent {
    /// The view.
    pub view: ViewName,
    /// The slice being done, from 0.
    pub slice: usize,
    /// Slices of the view.
    pub slices: usize,
    /// Rows read so far.
    pub read: u64,
    /// Rows written so far.
    pub written: u64,
    /// Rows refused so far because the online store has newer ones.
    pub stale: u64,
    /// Seconds since the view was begun.
    pub seconds: f64,
    /// How much of the view is done, from 0 to 1, by rows looked at.
    pub share: f64,
    /// Rows read per second so far.
    pub rows_per_second: f64,
    /// Seconds that are left if the rest is as fast; absent while it is too early to say.
    pub eta_seconds: Option<f64>,
}
