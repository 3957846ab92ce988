//! Who wins, part by part: each part of the entity rows is indexed in memory, and its part of the source passes by.

use std::sync::Arc;

use larder_core::arrow::array::{
    ArrayRef, AsArray, BinaryArray, RecordBatch, TimestampMicrosecondArray, UInt64Array,
};
use larder_core::arrow::compute::concat::concat_batches;
use larder_core::arrow::datatypes::{
    DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType, UInt64Type,
};
use larder_core::arrow::row::RowConverter;
use larder_core::pit::{self, EventBounds, PitCounts, SpineIndex, ViewRule, Winners};
use larder_core::{Error, Result, ViewScan};
use parking_lot::Mutex;

use super::files::{Folder, Part, Writers};
use crate::fault;
use crate::plan::Context;
use crate::tie::TieBreak;
use crate::work;

/// Winners per batch.
const BATCH_ROWS: usize = 65_536;

/// The parts of a join over one source.
pub(crate) struct Parts<'a> {
    pub(crate) scan: &'a ViewScan,
    pub(crate) rules: &'a [ViewRule],
    /// What the bounds of each rule are for all entity rows together.
    pub(crate) windows: &'a [Option<EventBounds>],
    pub(crate) tie: &'a TieBreak,
    /// Entity rows solved at a time.
    pub(crate) rows: usize,
    /// Parts of the winners, by position.
    pub(crate) buckets: usize,
    /// Rows of the source.
    pub(crate) positions: u64,
    pub(crate) context: &'a Context,
}

/// The winners of one rule.
pub(crate) struct Found {
    /// In parts by position: position, number of the entity row, event time, created time.
    pub(crate) winners: Vec<Part>,
    pub(crate) counts: PitCounts,
}

impl Parts<'_> {
    /// Solves every part; those of the source are used up.
    pub(crate) fn solve(
        &self,
        rows: &[Part],
        source: Vec<Part>,
        name: &str,
        folder: &Arc<Folder>,
    ) -> Result<Vec<Found>> {
        let writers: Vec<Writers> = (0..self.rules.len())
            .map(|rule| {
                Writers::new(
                    folder,
                    &format!("{name}-{rule}-winners"),
                    winners_schema(),
                    self.buckets,
                )
            })
            .collect();
        let threads = self.context.threads.min(source.len()).max(1);
        let mut states = Vec::with_capacity(threads);
        for _ in 0..threads {
            states.push((
                self.tie.converter()?,
                vec![PitCounts::default(); self.rules.len()],
            ));
        }
        let source: Vec<Mutex<Option<Part>>> =
            source.into_iter().map(|part| Mutex::new(Some(part))).collect();
        let states = work::each(
            states,
            source.len(),
            &self.context.cancel,
            |(converter, counts), at| {
                let missing = || Error::internal("a part of a join is missing");
                let facts = source[at].lock().take().ok_or_else(missing)?;
                let rows = rows.get(at).ok_or_else(missing)?;
                self.part(rows, &facts, converter.as_ref(), counts, &writers)
            },
        )?;
        let mut all = vec![PitCounts::default(); self.rules.len()];
        for (_, counts) in states {
            for (all, counts) in all.iter_mut().zip(counts) {
                all.add(&counts);
            }
        }
        writers
            .into_iter()
            .zip(all)
            .map(|(writers, counts)| {
                Ok(Found {
                    winners: writers.finish()?,
                    counts,
                })
            })
            .collect()
    }

    /// Takes so many entity rows at a time as fit, so that one key may own any share of them.
    fn part(
        &self,
        rows: &Part,
        facts: &Part,
        converter: Option<&RowConverter>,
        counts: &mut [PitCounts],
        writers: &[Writers],
    ) -> Result<()> {
        let mut held: Vec<RecordBatch> = Vec::new();
        let mut n = 0;
        let mut batches = rows.read()?;
        loop {
            let batch = batches.next().transpose()?;
            let last = batch.is_none();
            let mut rest = batch;
            loop {
                if let Some(batch) = rest.take() {
                    let room = self.rows - n;
                    if batch.num_rows() > room {
                        rest = Some(batch.slice(room, batch.num_rows() - room));
                        held.push(batch.slice(0, room));
                        n = self.rows;
                    } else {
                        n += batch.num_rows();
                        held.push(batch);
                    }
                }
                if n == self.rows || (last && n > 0) {
                    self.some(&std::mem::take(&mut held), facts, converter, counts, writers)?;
                    n = 0;
                }
                if rest.is_none() {
                    break;
                }
            }
            if last {
                return Ok(());
            }
        }
    }

    fn some(
        &self,
        rows: &[RecordBatch],
        facts: &Part,
        converter: Option<&RowConverter>,
        counts: &mut [PitCounts],
        writers: &[Writers],
    ) -> Result<()> {
        let rows = concat_batches(&rows[0].schema(), rows).map_err(fault::arrow)?;
        let keys = self.scan.keys.len();
        let times = rows.column(keys).as_primitive::<TimestampMicrosecondType>();
        let index = SpineIndex::build(&rows.columns()[..keys], times.values()).map_err(fault::kernel)?;
        let index = Arc::new(index);
        let mut joins = Vec::with_capacity(self.rules.len());
        for (rule, window) in self.rules.iter().zip(self.windows) {
            let join = pit::ViewJoin::new(index.clone(), *rule).map_err(fault::kernel)?;
            joins.push(join.within(*window));
        }
        for facts in facts.read()? {
            self.context.cancel.check()?;
            self.probe(&facts?, converter, &mut joins)?;
        }
        let numbers = rows.column(keys + 1).as_primitive::<UInt64Type>();
        for ((join, counts), writers) in joins.into_iter().zip(counts).zip(writers) {
            let winners = join.resolve();
            counts.add(winners.counts());
            self.keep(&winners, numbers, writers)?;
        }
        Ok(())
    }

    fn probe(
        &self,
        facts: &RecordBatch,
        converter: Option<&RowConverter>,
        joins: &mut [pit::ViewJoin],
    ) -> Result<()> {
        let missing = || Error::internal("a part of a source lacks a column");
        let keys = &facts.columns()[..self.scan.keys.len()];
        let time = |name: &str| {
            facts
                .column_by_name(name)
                .map(|column| column.as_primitive::<TimestampMicrosecondType>())
        };
        let event = time("event").ok_or_else(missing)?;
        let positions = facts.column_by_name("position").ok_or_else(missing)?;
        let positions = positions.as_primitive::<UInt64Type>().values();
        let tie = match converter.zip(facts.column_by_name("tie")) {
            None => None,
            Some((converter, bytes)) => {
                let bytes: &BinaryArray = bytes.as_binary();
                Some(converter.from_binary(bytes.clone()))
            }
        };
        let batch = pit::SourceBatch::new(keys, pit::Times::from(event), pit::Positions::Each(positions))
            .with_created(time("created").map(pit::Times::from))
            .with_tie_break(tie.as_ref());
        for join in joins {
            join.probe(&batch).map_err(fault::kernel)?;
        }
        Ok(())
    }

    /// Writes the winners aside, by their place in the source.
    fn keep(&self, winners: &Winners, numbers: &UInt64Array, writers: &Writers) -> Result<()> {
        let share = self.positions.div_ceil(self.buckets as u64).max(1);
        for first in (0..winners.len()).step_by(BATCH_ROWS) {
            let end = winners.len().min(first + BATCH_ROWS);
            let (mut positions, mut rows) = (Vec::new(), Vec::new());
            let (mut events, mut created) = (Vec::new(), Vec::new());
            for row in first..end {
                if let Some(position) = winners.position(row) {
                    positions.push(position);
                    rows.push(numbers.value(row));
                    events.push(winners.event(row));
                    created.push(winners.created(row));
                }
            }
            let buckets: Vec<u32> = positions
                .iter()
                .map(|position| (position / share) as u32)
                .collect();
            let time = |times: Vec<Option<i64>>| {
                Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")) as ArrayRef
            };
            let columns: Vec<ArrayRef> = vec![
                Arc::new(UInt64Array::from(positions)),
                Arc::new(UInt64Array::from(rows)),
                time(events),
                time(created),
            ];
            let batch = RecordBatch::try_new(winners_schema(), columns).map_err(fault::arrow)?;
            writers.scatter(&batch, &buckets)?;
        }
        Ok(())
    }
}

pub(crate) fn winners_schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("position", DataType::UInt64, false),
        Field::new("row", DataType::UInt64, false),
        Field::new("event", time.clone(), true),
        Field::new("created", time, true),
    ]))
}
