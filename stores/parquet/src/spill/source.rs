//! The rows of a source that may win, in parts by key: one pass over the keys and times, as in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use larder_core::arrow::array::{Array, ArrayRef, BinaryArray, BooleanArray, RecordBatch, UInt64Array};
use larder_core::arrow::compute::filter::filter_record_batch;
use larder_core::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use larder_core::arrow::row::RowConverter;
use larder_core::convert::{SourceColumns, arrow_type};
use larder_core::{Progress, Result, ViewScan, pit};

use super::files::{Folder, Part, Writers};
use crate::ahead;
use crate::fault;
use crate::plan::{Context, Piece, Plan};
use crate::scan::Places;
use crate::tie::TieBreak;
use crate::work;

/// What is read of a source, and where it goes.
pub(crate) struct Pass<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) scan: &'a ViewScan,
    pub(crate) tie: &'a TieBreak,
    pub(crate) pieces: &'a [Piece],
    /// Event times of rows that may win, both ends inclusive.
    pub(crate) window: Option<(i64, i64)>,
    pub(crate) parts: usize,
    pub(crate) batch_rows: usize,
    pub(crate) context: &'a Context,
    pub(crate) progress: Option<&'a Progress>,
}

impl Pass<'_> {
    /// Sends every row that may win to the part of its key; also says how many rows were looked at.
    pub(crate) fn run(&self, name: &str, folder: &Arc<Folder>) -> Result<(Vec<Part>, u64)> {
        let writers = Writers::new(folder, name, schema(self.scan), self.parts);
        let seen = AtomicU64::new(0);
        let threads = self.context.threads.min(self.pieces.len()).max(1);
        let mut converters = Vec::with_capacity(threads);
        for _ in 0..threads {
            converters.push(self.tie.converter()?);
        }
        let columns = SourceColumns::new(self.scan)?;
        let upcoming = ahead::pieces(self.plan, self.pieces, columns.probe_names(), &self.context.count);
        work::each(
            converters,
            self.pieces.len(),
            &self.context.cancel,
            |converter, at| {
                upcoming.begun(at);
                self.piece(&self.pieces[at], converter.as_ref(), &writers, &seen)
            },
        )?;
        Ok((writers.finish()?, seen.into_inner()))
    }

    fn piece(
        &self,
        piece: &Piece,
        converter: Option<&RowConverter>,
        writers: &Writers,
        seen: &AtomicU64,
    ) -> Result<()> {
        let group = &self.plan.groups[piece.group];
        let file = &self.plan.files[group.file];
        let place = file.file.shown.as_str();
        let chunks = file.file.open(&self.context.count)?;
        let columns = SourceColumns::new(self.scan)?;
        let names = columns.probe_names();
        let mut places = Places::new(piece, group.rows);
        for batch in file.read(
            &chunks,
            group.row_group,
            piece.ranges.as_deref(),
            &names,
            self.batch_rows,
        )? {
            self.context.cancel.check()?;
            let batch = batch?;
            let rows = batch.num_rows();
            let keys = columns.keys(&batch, place)?;
            let event = columns.event(&batch, place)?;
            let positions: UInt64Array = match places.next(rows, group.base) {
                pit::Positions::From(first) => (first..first + rows as u64).collect::<Vec<_>>().into(),
                pit::Positions::Each(positions) => positions.to_vec().into(),
            };
            let may_win: BooleanArray = (0..rows)
                .map(|row| {
                    let time = event.value(row);
                    let inside = self
                        .window
                        .is_some_and(|(first, last)| first <= time && time <= last);
                    Some(inside && event.is_valid(row) && keys.iter().all(|key| key.is_valid(row)))
                })
                .collect();
            let mut all = keys;
            all.push(Arc::new(event.with_timezone("UTC")));
            if let Some(created) = columns.created(&batch, place)? {
                all.push(Arc::new(created.with_timezone("UTC")));
            }
            if let Some(converter) = converter {
                let ties = self
                    .tie
                    .rows(converter, &columns.tie_break(&batch, place)?, place)?;
                let bytes: BinaryArray = ties.iter().map(|row| Some(row.data().to_vec())).collect();
                all.push(Arc::new(bytes));
            }
            all.push(Arc::new(positions));
            self.send(all, &may_win, writers)?;
            seen.fetch_add(rows as u64, Ordering::Relaxed);
            if let Some(progress) = self.progress {
                progress.advance(rows as u64);
            }
        }
        file.file.verify(&chunks)?;
        places.finish(self.plan.rows_of(piece), place)
    }

    fn send(&self, columns: Vec<ArrayRef>, may_win: &BooleanArray, writers: &Writers) -> Result<()> {
        let batch = RecordBatch::try_new(schema(self.scan), columns).map_err(fault::arrow)?;
        let batch = match may_win.true_count() == batch.num_rows() {
            true => batch,
            false => filter_record_batch(&batch, may_win).map_err(fault::arrow)?,
        };
        let keys = &batch.columns()[..self.scan.keys.len()];
        let files = pit::partition(keys, batch.num_rows(), self.parts as u32).map_err(fault::kernel)?;
        writers.scatter(&batch, &files)
    }
}

/// Keys, event time, created time and tie-break where the source has them, position.
fn schema(scan: &ViewScan) -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let mut fields: Vec<Field> = scan
        .keys
        .iter()
        .enumerate()
        .map(|(at, key)| Field::new(format!("key{at}"), arrow_type(key.key.value_type), true))
        .collect();
    fields.push(Field::new("event", time.clone(), true));
    if scan.source.created_time.is_some() {
        fields.push(Field::new("created", time, true));
    }
    if !scan.source.tie_break.is_empty() {
        fields.push(Field::new("tie", DataType::Binary, true));
    }
    fields.push(Field::new("position", DataType::UInt64, false));
    Arc::new(Schema::new(fields))
}
