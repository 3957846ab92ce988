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
use super::{Job, PushedView, RefusedRow};
use crate::ingest::Shaper;
use crate::store::FeatureStore;
use crate::writes::{Outlet, Pipe, WriteLimits};

/// Rows that are packed at once.
const AT_ONCE: usize = 16_384;

/// The views that are served online.
#[derive(Default)]
pub(super) struct Feeds(Vec<Feed>);

/// An online store that takes rows up to a length.
pub(super) struct Room {
    /// Index among the views of the job.
    pub(super) view: usize,
    layout: Arc<ViewLayout>,
    most: usize,
}

impl Room {
    /// Good rows that are too long, by their places.
    pub(super) fn too_long(&self, scan: &ViewScan, good: &RecordBatch) -> Result<Vec<RefusedRow>> {
        let batch = SourceColumns::new(scan)?.batch(good, PLACE)?;
        let mut first = 0;
        let mut long = Vec::new();
        for part in parts(&batch) {
            let rows = packed(&self.layout, scan, &part)?;
            let lengths = rows.iter().map(<[u8]>::len).enumerate();
            long.extend(lengths.filter(|(_, length)| *length > self.most).map(|(row, length)| RefusedRow {
                row: first + row,
                reason: format!(
                    "a row of {length} bytes is too long for the online store of feature view `{}`, which takes {}",
                    self.layout.view(),
                    self.most
                ),
            }));
            first += part.num_rows();
        }
        Ok(long)
    }
}

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

    /// The stores that do not take rows of any length.
    pub(super) fn rooms(&self) -> Vec<Room> {
        let rooms = self.0.iter().filter_map(|feed| {
            Some(Room {
                view: feed.view,
                layout: feed.layout.clone(),
                most: feed.outlet.max_row_bytes()?,
            })
        });
        rooms.collect()
    }

    /// Packs rows as if they were written, and forgets them.
    pub(super) fn check(&self, job: &Job, good: &RecordBatch) -> Result<()> {
        for feed in &self.0 {
            let scan = &job.scans[feed.view];
            let batch = SourceColumns::new(scan)?.batch(good, PLACE)?;
            for part in parts(&batch) {
                packed(&feed.layout, scan, &part)
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
}

/// The rows as a view stores them.
fn packed(layout: &ViewLayout, scan: &ViewScan, batch: &RecordBatch) -> Result<PackedRows> {
    let keys = scan.keys.len();
    let time = |at: usize| batch.column(at).as_primitive::<TimestampMicrosecondType>();
    let features = scan.features.iter().zip(&batch.columns()[keys + 2..]);
    let columns: Vec<(u16, ArrayRef)> = features
        .filter_map(|(feature, column)| Some((layout.slot_of(feature.name.as_str())?, column.clone())))
        .collect();
    let mut rows = PackedRows::new();
    pack_rows(layout, time(keys), time(keys + 1), &columns, &mut rows)?;
    Ok(rows)
}

fn parts(batch: &RecordBatch) -> impl Iterator<Item = RecordBatch> + use<> {
    let batch = batch.clone();
    let rows = batch.num_rows();
    (0..rows)
        .step_by(AT_ONCE)
        .map(move |start| batch.slice(start, AT_ONCE.min(rows - start)))
}
