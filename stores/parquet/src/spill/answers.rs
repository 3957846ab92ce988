//! What do the winners hold? Read in the order of the source, written aside in the order of the entity rows.

use std::sync::Arc;

use larder_core::arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array};
use larder_core::arrow::compute::concat::concat_batches;
use larder_core::arrow::compute::take::take_record_batch;
use larder_core::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, UInt64Type};
use larder_core::convert::{SourceColumns, arrow_type};
use larder_core::{Error, Result, ViewScan};

use super::files::{Folder, Part, Writers};
use super::solve::winners_schema;
use crate::fault;
use crate::fetch;
use crate::plan::{Context, Group, Plan};
use crate::work;

/// Reads some features of the winners of one rule.
pub(crate) struct Reading<'a> {
    pub(crate) plan: &'a Plan,
    /// With these features only.
    pub(crate) scan: &'a ViewScan,
    /// Winners sorted at a time.
    pub(crate) sorted: usize,
    /// Rows decoded at a time.
    pub(crate) batch_rows: usize,
    /// Consecutive entity rows of one part of the answers.
    pub(crate) answered: u64,
    pub(crate) parts: usize,
    pub(crate) context: &'a Context,
}

impl Reading<'_> {
    /// The answers in parts by entity row: number of the row, event time, created time, features.
    pub(crate) fn run(&self, winners: &[Part], name: &str, folder: &Arc<Folder>) -> Result<Vec<Part>> {
        let schema = answers_schema(self.scan);
        let writers = Writers::new(folder, name, schema.clone(), self.parts);
        let threads = self.context.threads.min(winners.len()).max(1);
        work::each(
            vec![(); threads],
            winners.len(),
            &self.context.cancel,
            |(), at| {
                let mut held: Vec<RecordBatch> = Vec::new();
                let mut n = 0;
                for batch in winners[at].read()? {
                    let batch = batch?;
                    n += batch.num_rows();
                    held.push(batch);
                    if n >= self.sorted {
                        self.some(&std::mem::take(&mut held), &schema, &writers)?;
                        n = 0;
                    }
                }
                match held.is_empty() {
                    true => Ok(()),
                    false => self.some(&held, &schema, &writers),
                }
            },
        )?;
        writers.finish()
    }

    fn some(&self, winners: &[RecordBatch], schema: &SchemaRef, writers: &Writers) -> Result<()> {
        let winners = concat_batches(&winners_schema(), winners).map_err(fault::arrow)?;
        let positions = winners.column(0).as_primitive::<UInt64Type>();
        let mut order: Vec<(u64, u32)> = positions.values().iter().copied().zip(0..).collect();
        order.sort_unstable();
        let places: UInt32Array = order.iter().map(|(_, row)| *row).collect::<Vec<_>>().into();
        drop(order);
        let winners = take_record_batch(&winners, &places).map_err(fault::arrow)?;
        let positions = winners.column(0).as_primitive::<UInt64Type>().values();
        let mut from = 0;
        for group in &self.plan.groups {
            let n = positions[from..].partition_point(|position| *position < group.base + group.rows);
            if n > 0 {
                self.group(group, &winners.slice(from, n), schema, writers)?;
            }
            from += n;
        }
        match from == winners.num_rows() {
            true => Ok(()),
            false => Err(Error::internal("a winner lies outside of its source")),
        }
    }

    /// The answers of one row group, whose winners come sorted by position.
    fn group(
        &self,
        group: &Group,
        winners: &RecordBatch,
        schema: &SchemaRef,
        writers: &Writers,
    ) -> Result<()> {
        if self.scan.features.is_empty() {
            return self.send(winners, Vec::new(), schema, writers);
        }
        let columns = SourceColumns::new(self.scan)?;
        let file = &self.plan.files[group.file];
        let place = file.file.shown.as_str();
        let positions = winners.column(0).as_primitive::<UInt64Type>().values();
        let all: Vec<u32> = positions
            .iter()
            .map(|position| (position - group.base) as u32)
            .collect();
        let mut distinct = all.clone();
        distinct.dedup();
        let runs = fetch::runs(&distinct);
        let rows = fetch::renumber(&all, &runs);
        let chunks = file.file.open(&self.context.count)?;
        let (mut start, mut done) = (0, 0);
        let names = columns.feature_names();
        for batch in file.read(&chunks, group.row_group, Some(&runs), &names, self.batch_rows)? {
            self.context.cancel.check()?;
            let batch = batch?;
            let end = start + batch.num_rows();
            let n = rows[done..].partition_point(|row| (*row as usize) < end);
            // One row may be wanted very often; its copies are made a batch at a time.
            for first in (done..done + n).step_by(self.batch_rows) {
                let last = (done + n).min(first + self.batch_rows);
                let local: UInt32Array = rows[first..last]
                    .iter()
                    .map(|row| row - start as u32)
                    .collect::<Vec<_>>()
                    .into();
                let found = take_record_batch(&batch, &local).map_err(fault::arrow)?;
                let features = columns.features(&found, place)?;
                self.send(&winners.slice(first, last - first), features, schema, writers)?;
            }
            done += n;
            start = end;
        }
        file.file.verify(&chunks)?;
        if done != rows.len() {
            return Err(
                Error::corrupt("a row group has another number of rows than its footer says")
                    .with("file", place),
            );
        }
        Ok(())
    }

    fn send(
        &self,
        winners: &RecordBatch,
        features: Vec<ArrayRef>,
        schema: &SchemaRef,
        writers: &Writers,
    ) -> Result<()> {
        let numbers = winners.column(1).as_primitive::<UInt64Type>().values();
        let parts: Vec<u32> = numbers.iter().map(|row| (row / self.answered) as u32).collect();
        let mut columns = winners.columns()[1..].to_vec();
        columns.extend(features);
        let batch = RecordBatch::try_new(schema.clone(), columns).map_err(fault::arrow)?;
        writers.scatter(&batch, &parts)
    }
}

fn answers_schema(scan: &ViewScan) -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let mut fields = vec![
        Field::new("row", DataType::UInt64, false),
        Field::new("event", time.clone(), true),
        Field::new("created", time, true),
    ];
    let features = scan.features.iter().enumerate();
    fields.extend(
        features
            .map(|(at, feature)| Field::new(format!("feature{at}"), arrow_type(feature.value_type), true)),
    );
    Arc::new(Schema::new(fields))
}
