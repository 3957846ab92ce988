//! Pass 1: which row of a source answers each entity row? Reads the key, time and tie-break columns only.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use larder_core::arrow::row::RowConverter;
use larder_core::convert::SourceColumns;
use larder_core::pit::{self, SpineIndex, ViewRule, Winners};
use larder_core::{Progress, Result, ViewScan};

use crate::ahead;
use crate::fault;
use crate::object::Chunks;
use crate::plan::{Context, Piece, Plan};
use crate::prune::Filter;
use crate::tie::TieBreak;
use crate::work;

/// Rows per batch: few enough for its columns to stay in the cache between decoding and probing.
const BATCH_ROWS: usize = 16_384;

/// Memory for the accumulators of all threads together, unless one alone needs more.
const FORK_LIMIT: usize = 2 << 30;

/// Scans once for several rules over one index; returns the winners of each, and how many rows were looked at.
pub(crate) fn winners(
    plan: &Plan,
    scan: &ViewScan,
    filter: &Filter,
    index: &Arc<SpineIndex>,
    rules: &[ViewRule],
    context: &Context,
    progress: Option<&Progress>,
) -> Result<(Vec<Winners>, u64)> {
    let first = rules
        .iter()
        .map(|rule| pit::ViewJoin::new(index.clone(), *rule).map_err(fault::kernel))
        .collect::<Result<Vec<_>>>()?;
    let pieces = match filter.is_nothing() || index.positions() == 0 {
        true => Vec::new(),
        false => plan.pieces(filter, context)?,
    };
    if let Some(progress) = progress {
        progress.expect(pieces.iter().map(|piece| plan.rows_of(piece)).sum());
    }
    let bytes: usize = first.iter().map(pit::ViewJoin::memory_bytes).sum();
    let affordable = (FORK_LIMIT / bytes.max(1)).max(1);
    let threads = context.threads.min(pieces.len()).min(affordable).max(1);
    let tie = TieBreak::new(&scan.source, plan)?;

    let mut workers = Vec::with_capacity(threads);
    for _ in 1..threads {
        workers.push(Worker::new(
            first.iter().map(pit::ViewJoin::fork).collect(),
            &tie,
        )?);
    }
    workers.push(Worker::new(first, &tie)?);
    let seen = AtomicU64::new(0);
    let pass = Pass {
        plan,
        scan,
        tie: &tie,
        context,
        progress,
        seen: &seen,
    };
    let columns = SourceColumns::new(scan)?;
    let upcoming = ahead::pieces(plan, &pieces, columns.probe_names(), &context.count);
    let workers = work::each(workers, pieces.len(), &context.cancel, |worker, at| {
        upcoming.begun(at);
        pass.piece(worker, &pieces[at], plan.rows_of(&pieces[at]))
    })?;

    let mut joins: Vec<Vec<pit::ViewJoin>> = rules.iter().map(|_| Vec::new()).collect();
    for worker in workers {
        for (all, join) in joins.iter_mut().zip(worker.joins) {
            all.push(join);
        }
    }
    let resolve = |joins| {
        context.cancel.check()?;
        pit::ViewJoin::resolve_all(joins, context.threads).map_err(fault::kernel)
    };
    let winners = joins.into_iter().map(resolve).collect::<Result<_>>()?;
    Ok((winners, seen.into_inner()))
}

/// The state of one thread.
struct Worker {
    joins: Vec<pit::ViewJoin>,
    converter: Option<RowConverter>,
    open: Option<(usize, Chunks)>,
}

impl Worker {
    fn new(joins: Vec<pit::ViewJoin>, tie: &TieBreak) -> Result<Self> {
        Ok(Self {
            joins,
            converter: tie.converter()?,
            open: None,
        })
    }
}

struct Pass<'a> {
    plan: &'a Plan,
    scan: &'a ViewScan,
    tie: &'a TieBreak,
    context: &'a Context,
    progress: Option<&'a Progress>,
    seen: &'a AtomicU64,
}

impl Pass<'_> {
    fn piece(&self, worker: &mut Worker, piece: &Piece, rows: u64) -> Result<()> {
        let group = &self.plan.groups[piece.group];
        let file = &self.plan.files[group.file];
        let place = file.file.shown.as_str();
        let chunks = match &worker.open {
            Some((open, chunks)) if *open == group.file => chunks.clone(),
            _ => file.file.open(&self.context.count)?,
        };
        worker.open = Some((group.file, chunks.clone()));

        let columns = SourceColumns::new(self.scan)?;
        let names = columns.probe_names();
        let mut places = Places::new(piece, group.rows);
        for batch in file.read(
            &chunks,
            group.row_group,
            piece.ranges.as_deref(),
            &names,
            BATCH_ROWS,
        )? {
            self.context.cancel.check()?;
            let batch = batch?;
            let keys = columns.probe_keys(&batch, place)?;
            let event = columns.event(&batch, place)?;
            let created = columns.created(&batch, place)?;
            let tie = match &worker.converter {
                None => None,
                Some(converter) => {
                    let ties = columns.tie_break(&batch, place)?;
                    Some(self.tie.rows(converter, &ties, place)?)
                }
            };
            let positions = places.next(batch.num_rows(), group.base);
            let batch = pit::SourceBatch::new(&keys, pit::Times::from(&event), positions)
                .with_created(created.as_ref().map(pit::Times::from))
                .with_tie_break(tie.as_ref());
            for join in &mut worker.joins {
                join.probe(&batch).map_err(fault::kernel)?;
            }
            self.seen.fetch_add(event.len() as u64, Ordering::Relaxed);
            if let Some(progress) = self.progress {
                progress.advance(event.len() as u64);
            }
        }
        file.file.verify(&chunks)?;
        places.finish(rows, place)
    }
}

/// Where the rows of a piece lie, while its batches come.
pub(crate) struct Places<'a> {
    ranges: Option<&'a [std::ops::Range<usize>]>,
    whole: std::ops::Range<usize>,
    range: usize,
    offset: usize,
    seen: u64,
    each: Vec<u64>,
}

impl<'a> Places<'a> {
    pub(crate) fn new(piece: &'a Piece, rows: u64) -> Self {
        Self {
            ranges: piece.ranges.as_deref(),
            whole: 0..rows as usize,
            range: 0,
            offset: 0,
            seen: 0,
            each: Vec::new(),
        }
    }

    pub(crate) fn next(&mut self, rows: usize, base: u64) -> pit::Positions<'_> {
        self.seen += rows as u64;
        let ranges = self.ranges.unwrap_or(std::slice::from_ref(&self.whole));
        let start = |range: &std::ops::Range<usize>, offset: usize| base + (range.start + offset) as u64;
        if let Some(range) = ranges.get(self.range)
            && self.offset + rows <= range.len()
        {
            let first = start(range, self.offset);
            self.offset += rows;
            return pit::Positions::From(first);
        }
        self.each.clear();
        while self.each.len() < rows {
            let Some(range) = ranges.get(self.range) else {
                // More rows than there should be; `finish` says so.
                self.each.resize(rows, base);
                break;
            };
            let n = (rows - self.each.len()).min(range.len() - self.offset);
            let first = start(range, self.offset);
            self.each.extend(first..first + n as u64);
            self.offset += n;
            if self.offset == range.len() {
                self.range += 1;
                self.offset = 0;
            }
        }
        pit::Positions::Each(&self.each)
    }

    /// Refuses a short answer.
    pub(crate) fn finish(&self, rows: u64, place: &str) -> Result<()> {
        if self.seen == rows {
            return Ok(());
        }
        Err(
            larder_core::Error::corrupt("a row group has another number of rows than its footer says")
                .with("file", place),
        )
    }
}
