//! How fresh views are, and whether everything that is configured works.

use larder_base::model::FeatureView;
use larder_base::{
    Generation, Micros, Result, RunRecord, RunState, Snapshot, Span, StoreIdentity, StoreName, ViewLayout,
    ViewName,
};
use serde::Serialize;

use crate::coverage::{self, Claim};
use crate::guard::Deed;
use crate::store::FeatureStore;

/// A run that wrote nothing to its record for so long is dead.
const DEAD_AFTER: Span = Span::minutes(2);

/// How a view stands.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ViewStatus {
    /// The view.
    pub view: ViewName,
    /// Its online store; none where it is not served.
    pub store: Option<StoreName>,
    /// Its generation.
    pub generation: Option<Generation>,
    /// Up to when it is covered.
    pub watermark: Option<Micros>,
    /// Seconds since the watermark.
    pub lag_seconds: Option<f64>,
    /// How old the watermark may be.
    pub freshness: Option<Span>,
    /// Whether it is not older; absent without an objective.
    pub fresh: Option<bool>,
    /// Newest event time that was written.
    pub newest_event: Option<Micros>,
    /// The last run.
    pub last_run: Option<RunStatus>,
    /// Why values must be written again.
    pub needs_backfill: Option<String>,
}

/// How the last run of a view stands.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct RunStatus {
    /// `running`, `done`, `failed`, or `dead` for one that was killed.
    pub state: &'static str,
    /// Who.
    pub owner: String,
    /// When it began.
    pub started: Micros,
    /// Rows read.
    pub rows_read: u64,
    /// Rows written.
    pub rows_written: u64,
    /// Rows refused because newer ones were there.
    pub rows_stale: u64,
    /// Why it failed.
    pub error: Option<String>,
}

impl ViewStatus {
    /// Whether there is something to do: not fresh, to be backfilled, or the last run did not end well.
    pub fn needs_attention(&self) -> bool {
        self.fresh == Some(false)
            || self.needs_backfill.is_some()
            || self
                .last_run
                .as_ref()
                .is_some_and(|run| matches!(run.state, "failed" | "dead"))
    }
}

impl FeatureStore {
    /// The status of every feature view.
    ///
    /// # Errors
    /// What registry and stores say.
    pub async fn status(&self) -> Result<Vec<ViewStatus>> {
        self.statuses(|_| true).await
    }

    /// The status of some feature views. Only their runs and stores are asked for; views that are not there are left out.
    ///
    /// # Errors
    /// As [`FeatureStore::status`].
    pub async fn status_of(&self, views: &[ViewName]) -> Result<Vec<ViewStatus>> {
        self.statuses(|view| views.contains(view)).await
    }

    async fn statuses(&self, wanted: impl Fn(&ViewName) -> bool) -> Result<Vec<ViewStatus>> {
        self.allow(Deed::Describe, vec!["status".to_owned()]).await?;
        let snapshot = self.snapshot().await?;
        let mut statuses = Vec::new();
        for view in snapshot.catalog().feature_views.values() {
            if wanted(&view.name) {
                statuses.push(self.view_status(&snapshot, view).await?);
            }
        }
        Ok(statuses)
    }

    async fn view_status(&self, snapshot: &Snapshot, view: &FeatureView) -> Result<ViewStatus> {
        let now = self.clock().now();
        let mut status = ViewStatus {
            view: view.name.clone(),
            store: view.online.store(),
            generation: None,
            watermark: None,
            lag_seconds: None,
            freshness: view.freshness,
            fresh: None,
            newest_event: None,
            last_run: None,
            needs_backfill: None,
        };
        let (Some(store), Some(layout)) = (&status.store, snapshot.layout(view.name.as_str())) else {
            return Ok(status);
        };
        let online = self.online_store(store).await?;
        let identity = online.identity(self.project()).await?;
        let ledger = self.registry().await?.ledger();
        let runs = ledger
            .runs(self.project(), &view.name, layout.generation())
            .await?;
        let source = snapshot.catalog().source(view.source.as_str())?;
        let claim = Claim {
            store: identity.unwrap_or(StoreIdentity(0)),
            fingerprint: crate::fingerprint::of(source, view),
            slots: layout.active_slots().collect(),
        };
        status.generation = Some(layout.generation());
        status.watermark = coverage::watermark(now, view.ttl, &runs, &claim);
        status.lag_seconds = status.watermark.map(|at| now.since(at).0 as f64 / 1e6);
        status.fresh = view
            .freshness
            .map(|limit| status.watermark.is_some_and(|at| now.since(at) <= limit));
        status.newest_event = runs.iter().filter_map(|run| run.newest_event).max();
        status.last_run = runs.last().map(|run| run_status(run, now));
        if status.watermark.is_none() {
            status.needs_backfill = Some(why(&runs, identity, &claim, layout));
        }
        Ok(status)
    }
}

fn run_status(run: &RunRecord, now: Micros) -> RunStatus {
    let state = match run.state {
        RunState::Done => "done",
        RunState::Failed => "failed",
        _ if now.since(run.heartbeat) > DEAD_AFTER => "dead",
        _ => "running",
    };
    RunStatus {
        state,
        owner: run.owner.clone(),
        started: run.started,
        rows_read: run.rows_read,
        rows_written: run.rows_written,
        rows_stale: run.rows_stale,
        error: run.error.clone(),
    }
}

/// Why nothing is covered although, perhaps, there were runs.
fn why(runs: &[RunRecord], identity: Option<StoreIdentity>, claim: &Claim, layout: &ViewLayout) -> String {
    let done: Vec<&RunRecord> = runs.iter().filter(|run| !run.done.is_empty()).collect();
    let reason = if done.is_empty() {
        "it was never materialized"
    } else if identity.is_none() || done.iter().all(|run| run.store != claim.store) {
        "the online store was flushed or replaced, or is not the one that was filled"
    } else if done.iter().all(|run| run.fingerprint != claim.fingerprint) {
        "its source changed"
    } else if done
        .iter()
        .any(|run| claim.slots.iter().any(|slot| !run.slots.contains(slot)))
    {
        "it has new features"
    } else if runs.last().is_some_and(|run| run.state != RunState::Done) {
        "its last run did not finish"
    } else {
        "its coverage grew"
    };
    format!("{reason}; run `larder materialize --views {}`", layout.view())
}
