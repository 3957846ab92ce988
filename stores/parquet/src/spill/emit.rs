//! How spilled answers become batches in the order of the entity rows.

use futures::channel::mpsc;
use larder_core::arrow::array::{ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use larder_core::arrow::compute::take::take_record_batch;
use larder_core::arrow::datatypes::{TimestampMicrosecondType, UInt64Type};
use larder_core::{JoinedBatch, JoinedView, Result, ValueType};

use super::files::Part;
use crate::budget::Budget;
use crate::fault;
use crate::fetch::Column;
use crate::plan::Context;
use crate::stream;

/// Features that were read together, for the winners of one rule.
pub(crate) struct Unit {
    /// By entity row: each has as many rows of the request as the others.
    pub(crate) parts: Vec<Part>,
    /// Types of the features.
    pub(crate) features: Vec<ValueType>,
}

/// Where the answer of a view is found.
pub(crate) struct ViewPlaces {
    /// The unit that tells the times.
    pub(crate) times: usize,
    /// For each feature its unit and its number there.
    pub(crate) features: Vec<(usize, usize)>,
}

/// The answers of a join, spilled.
pub(crate) struct Spilled {
    pub(crate) rows: u64,
    /// Rows of a part.
    pub(crate) answered: u64,
    pub(crate) units: Vec<Unit>,
    /// In the order of the request.
    pub(crate) views: Vec<ViewPlaces>,
}

impl Spilled {
    /// Sends all batches; what was sent is removed from the disk.
    pub(crate) fn emit(
        mut self,
        step: usize,
        budget: &Budget,
        context: &Context,
        send: &mut mpsc::Sender<Result<JoinedBatch>>,
    ) -> Result<()> {
        let parts = self.rows.div_ceil(self.answered.max(1));
        for at in 0..parts {
            let (first, end) = (at * self.answered, self.rows.min((at + 1) * self.answered));
            let bytes: u64 = self.units.iter().map(|unit| unit.parts[at as usize].bytes).sum();
            // A part that turned out larger than was estimated is put together in several goes.
            let goes = bytes.div_ceil(budget.answered_bytes()).clamp(1, end - first);
            let share = (end - first).div_ceil(goes);
            for first in (first..end).step_by(share as usize) {
                let last = end.min(first + share);
                self.some(at as usize, first, last, step, context, send)?;
            }
            for unit in &mut self.units {
                unit.parts[at as usize] = Part::default();
            }
        }
        Ok(())
    }

    fn some(
        &self,
        part: usize,
        first: u64,
        end: u64,
        step: usize,
        context: &Context,
        send: &mut mpsc::Sender<Result<JoinedBatch>>,
    ) -> Result<()> {
        let mut loaded = Vec::with_capacity(self.units.len());
        for unit in &self.units {
            context.cancel.check()?;
            loaded.push(Answers::load(unit, part, first, end)?);
        }
        let make = |start, rows| self.batch(&loaded, start, rows);
        stream::send((end - first) as usize, step, context, send, make)
    }

    fn batch(&self, loaded: &[Answers], start: usize, rows: usize) -> Result<JoinedBatch> {
        let pick = |unit: usize, column: usize| {
            let answers: &Answers = &loaded[unit];
            answers.columns[column].pick(&answers.places.slice(start, rows))
        };
        let time = |unit: usize, column: usize| -> Result<TimestampMicrosecondArray> {
            // In the zone that the kernel names, as without spilling.
            let times = pick(unit, column)?
                .as_primitive::<TimestampMicrosecondType>()
                .clone();
            Ok(times.with_timezone_utc())
        };
        let view = |places: &ViewPlaces| {
            let features = places.features.iter();
            Ok(JoinedView {
                features: features
                    .map(|(unit, at)| pick(*unit, TIMES + at))
                    .collect::<Result<Vec<ArrayRef>>>()?,
                event: time(places.times, 0)?,
                created: time(places.times, 1)?,
            })
        };
        let views = self.views.iter().map(view).collect::<Result<_>>()?;
        Ok(JoinedBatch { rows, views })
    }
}

/// Columns of answers before the features: event and created time.
const TIMES: usize = 2;

/// The answers to some consecutive entity rows.
struct Answers {
    columns: Vec<Column>,
    /// For each entity row its place in the columns.
    places: UInt32Array,
}

impl Answers {
    /// Reads the answers to the entity rows `first..end` of a part.
    fn load(unit: &Unit, part: usize, first: u64, end: u64) -> Result<Self> {
        let mut places: Vec<Option<u32>> = vec![None; (end - first) as usize];
        let mut pieces: Vec<Vec<ArrayRef>> = vec![Vec::new(); TIMES + unit.features.len()];
        let mut at = 0;
        for batch in unit.parts[part].read()? {
            let batch = inside(batch?, first, end)?;
            for row in batch.column(0).as_primitive::<UInt64Type>().values() {
                places[(row - first) as usize] = Some(at);
                at += 1;
            }
            for (pieces, column) in pieces.iter_mut().zip(&batch.columns()[1..]) {
                pieces.push(column.clone());
            }
        }
        let types = [ValueType::TIMESTAMP; TIMES]
            .into_iter()
            .chain(unit.features.iter().copied());
        let columns = types.zip(pieces).map(|(of, pieces)| Column::new(of, pieces));
        Ok(Self {
            columns: columns.collect::<Result<_>>()?,
            places: places.into(),
        })
    }
}

/// The rows of a batch whose numbers lie in a range.
fn inside(batch: RecordBatch, first: u64, end: u64) -> Result<RecordBatch> {
    let rows = batch.column(0).as_primitive::<UInt64Type>().values();
    let inside = |row: &u64| (first..end).contains(row);
    if rows.iter().all(inside) {
        return Ok(batch);
    }
    let wanted = rows.iter().zip(0_u32..).filter(|(row, _)| inside(row));
    let wanted: UInt32Array = wanted.map(|(_, place)| place).collect::<Vec<_>>().into();
    take_record_batch(&batch, &wanted).map_err(fault::arrow)
}
