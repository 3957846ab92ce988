//! How do pushed rows get online: every view shapes the same batch, and has one table on its way while it fills the next?

use std::sync::Arc;

use futures::StreamExt;
use larder_base::model::FeatureView;
use larder_base::{Error, PackedRows, Result, Snapshot, StoreName, ViewLayout};
use larder_core::arrow::array::{ArrayRef, AsArray, RecordBatch};
use larder_core::arrow::datatypes::TimestampMicrosecondType;
use larder_core::convert::{SourceColumns, pack_rows};
use larder_core::{BatchStream, ViewScan};

use super::check::PLACE;
use super::history::changed;
use super::{Job, PushedView};
use crate::ingest::Shaper;
use crate::store::FeatureStore;
use crate::writes::{Outlet, Pipe, WriteLimits};

/// Rows that are packed at once.
const AT_ONCE: usize = 16_384;

/// The views that are served online.
#[derive(Default)]
pub(super) struct Feeds(Vec<Feed>);

struct Feed {
    /// Index among the views of the job.
    view: usize,
    layout: Arc<ViewLayout>,
    outlet: Arc<Outlet>,
    pipe: Pipe,
}

impl Feeds {
    pub(super) async fn new(store: &FeatureStore, snapshot: &Snapshot, job: &Job) -> Result<Self> {
        let mut feeds = Vec::new();
        for (at, view) in job.views.iter().enumerate() {
            let Some(name) = view.online.store() else { continue };
            feeds.push(Feed::new(store, snapshot, at, view, &name).await?);
        }
        Ok(Self(feeds))
    }

    /// Packs rows as if they were written, and forgets them.
    pub(super) fn check(&self, job: &Job, good: &RecordBatch) -> Result<()> {
        for feed in &self.0 {
            let scan = &job.scans[feed.view];
            let batch = SourceColumns::new(scan)?.batch(good, PLACE)?;
            for part in parts(&batch) {
                feed.check(scan, &part)
                    .map_err(|error| error.with("view", &job.views[feed.view].name))?;
            }
        }
        Ok(())
    }

    /// Writes the good rows. A source without created times has none to stamp: a row stamped online only would beat the
    /// same row of the history for ever, and a backfill of a new feature could not replace it.
    pub(super) async fn pour(&mut self, job: &Job, mut rows: BatchStream) -> Result<()> {
        let mut shapers = Vec::new();
        for feed in &self.0 {
            shapers.push(Shaper::new(&feed.layout, &job.scans[feed.view])?);
        }
        let here = |feed: &Feed, error: Error| error.with("view", &job.views[feed.view].name);
        while let Some(batch) = rows.next().await {
            let good = job.good(&batch?)?;
            for (feed, shaper) in self.0.iter_mut().zip(&mut shapers) {
                let batch = SourceColumns::new(&job.scans[feed.view])?.batch(&good, PLACE)?;
                for part in parts(&batch) {
                    if let Some(table) = shaper.take(&part)? {
                        feed.pipe.send(table).await.map_err(|error| here(feed, error))?;
                    }
                }
            }
            job.advance(good.num_rows());
        }
        for (feed, shaper) in self.0.iter_mut().zip(shapers) {
            if let Some(table) = shaper.finish() {
                feed.pipe.send(table).await.map_err(|error| here(feed, error))?;
            }
        }
        for feed in &mut self.0 {
            feed.pipe.finish().await.map_err(|error| here(feed, error))?;
        }
        if job.is_complete() { Ok(()) } else { Err(changed()) }
    }

    /// Begins no more writes, and waits for the answers to those that are under way.
    pub(super) async fn abandon(self) {
        for feed in self.0 {
            feed.pipe.abandon().await;
        }
    }

    /// What became of so many rows.
    pub(super) fn report(&self, job: &Job, rows: u64) -> Vec<PushedView> {
        let told = |feed: &Feed| {
            let report = feed.outlet.report();
            // Rows that a newer one among them replaced are stale, too.
            let unique = report.written + report.stale;
            PushedView {
                view: job.views[feed.view].name.clone(),
                written: report.written,
                stale: report.stale + rows.saturating_sub(unique),
            }
        };
        self.0.iter().map(told).collect()
    }

    /// Writes that were made.
    pub(super) fn writes(&self) -> u64 {
        self.0.iter().map(|feed| feed.outlet.writes()).sum()
    }
}

impl Feed {
    async fn new(
        store: &FeatureStore,
        snapshot: &Snapshot,
        at: usize,
        view: &FeatureView,
        name: &StoreName,
    ) -> Result<Self> {
        let layout = snapshot.layout(view.name.as_str()).ok_or_else(|| {
            Error::internal(format!(
                "feature view `{}` is online and has no layout",
                view.name
            ))
        })?;
        let online = store.online_store(name).await?.clone();
        let outlet = Outlet::new(online, WriteLimits::default());
        Ok(Self {
            view: at,
            layout: layout.clone(),
            pipe: Pipe::new(outlet.clone()),
            outlet,
        })
    }

    fn check(&self, scan: &ViewScan, batch: &RecordBatch) -> Result<()> {
        let keys = scan.keys.len();
        let time = |at: usize| batch.column(at).as_primitive::<TimestampMicrosecondType>();
        let features = scan.features.iter().zip(&batch.columns()[keys + 2..]);
        let columns: Vec<(u16, ArrayRef)> = features
            .filter_map(|(feature, column)| {
                Some((self.layout.slot_of(feature.name.as_str())?, column.clone()))
            })
            .collect();
        pack_rows(
            &self.layout,
            time(keys),
            time(keys + 1),
            &columns,
            &mut PackedRows::new(),
        )
    }
}

fn parts(batch: &RecordBatch) -> impl Iterator<Item = RecordBatch> + use<> {
    let batch = batch.clone();
    let rows = batch.num_rows();
    (0..rows)
        .step_by(AT_ONCE)
        .map(move |start| batch.slice(start, AT_ONCE.min(rows - start)))
}
