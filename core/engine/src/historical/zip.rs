//! Brings the answers of several offline stores together, row by row.

use futures::StreamExt;
use futures::stream::BoxStream;
use larder_base::{Error, Result};
use larder_core::{JoinedBatch, JoinedStream, JoinedView, SharedReport};

/// Streams of joined views, zipped by row.
pub(super) struct Zip {
    rows: usize,
    views: usize,
    parts: Vec<Part>,
    done: usize,
}

struct Part {
    /// Which views of the selection this store answers, in its order.
    views: Vec<usize>,
    batches: BoxStream<'static, Result<JoinedBatch>>,
    report: SharedReport,
    /// What was received and not handed on yet.
    pending: Option<JoinedBatch>,
}

/// Consecutive rows of all views, in the order of the selection.
pub(super) struct Zipped {
    pub(super) start: usize,
    pub(super) rows: usize,
    pub(super) views: Vec<JoinedView>,
}

impl Zip {
    pub(super) fn new(rows: usize, views: usize) -> Self {
        Self {
            rows,
            views,
            parts: Vec::new(),
            done: 0,
        }
    }

    pub(super) fn add(&mut self, views: Vec<usize>, stream: JoinedStream) {
        self.parts.push(Part {
            views,
            batches: stream.batches,
            report: stream.report,
            pending: None,
        });
    }

    /// The views and reports of each part.
    pub(super) fn reports(&self) -> Vec<(Vec<usize>, SharedReport)> {
        self.parts
            .iter()
            .map(|part| (part.views.clone(), part.report.clone()))
            .collect()
    }

    /// How many rows were handed out.
    pub(super) fn done(&self) -> usize {
        self.done
    }

    /// The next rows, at least one and at most `most`; `None` when all were handed out.
    pub(super) async fn next(&mut self, most: usize) -> Result<Option<Zipped>> {
        for part in &mut self.parts {
            while part.pending.as_ref().is_none_or(|batch| batch.rows == 0) {
                match part.batches.next().await {
                    Some(batch) => part.pending = Some(batch?),
                    None if self.done == self.rows => break,
                    None => return Err(short(self.done, self.rows)),
                }
            }
        }
        let pending: Vec<usize> = self
            .parts
            .iter()
            .filter_map(|part| part.pending.as_ref())
            .map(|batch| batch.rows)
            .collect();
        if self.done + pending.iter().max().copied().unwrap_or(0) > self.rows {
            return Err(Error::internal(
                "an offline store answered more rows than it was asked for",
            ));
        }
        // Without any view there is nothing to wait for: all rows at once.
        let rows = pending.into_iter().min().unwrap_or(self.rows - self.done);
        let rows = rows.min(most);
        // Every stream was polled to its end by now, so every report is complete.
        if rows == 0 {
            return Ok(None);
        }
        let mut views: Vec<Option<JoinedView>> = vec![None; self.views];
        for part in &mut self.parts {
            let Some(batch) = part.pending.take() else {
                continue;
            };
            for (index, view) in part.views.iter().zip(&batch.views) {
                views[*index] = Some(cut(view, 0, rows));
            }
            let left = batch.rows - rows;
            let rest = batch.views.iter().map(|view| cut(view, rows, left)).collect();
            part.pending = Some(JoinedBatch {
                rows: left,
                views: rest,
            });
        }
        let views: Option<Vec<JoinedView>> = views.into_iter().collect();
        let views = views.ok_or_else(|| Error::internal("an offline store left a view out"))?;
        let start = self.done;
        self.done += rows;
        Ok(Some(Zipped { start, rows, views }))
    }
}

fn cut(view: &JoinedView, start: usize, rows: usize) -> JoinedView {
    JoinedView {
        features: view
            .features
            .iter()
            .map(|feature| feature.slice(start, rows))
            .collect(),
        event: view.event.slice(start, rows),
        created: view.created.slice(start, rows),
    }
}

fn short(got: usize, wanted: usize) -> Error {
    Error::internal(format!("an offline store answered {got} rows of {wanted}"))
}
