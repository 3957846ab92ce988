//! What a read found: per value a status and, where there is one, the value.

use larder_base::{Cell, Micros, RowStatus, SlotCell, Span, Value, Version};
use serde::Serialize;

use super::bound::BoundOutput;
use super::handle::{FeatureHandle, FeatureType};
use super::session::Session;
use super::tensor::Tensor;

/// One value of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading<T> {
    /// A value, fresh enough.
    Present(T),
    /// The row is there, the value is null.
    Null,
    /// There is no row, or the row is older than the feature.
    NotFound,
    /// The row is older than the view's ttl.
    Expired {
        /// How old it is.
        age: Span,
        /// The value all the same, where the plan keeps expired values.
        value: Option<T>,
    },
    /// The service's default stands in.
    Defaulted(T),
    /// Its store could not be read in time.
    Unavailable,
}

impl<T> Reading<T> {
    /// The value: read, defaulted, or expired and kept.
    pub fn value(self) -> Option<T> {
        match self {
            Self::Present(value) | Self::Defaulted(value) => Some(value),
            Self::Expired { value, .. } => value,
            _ => None,
        }
    }

    /// The name of the status in machine-readable output.
    pub fn status(&self) -> &'static str {
        match self {
            Self::Present(_) => "present",
            Self::Null => "null",
            Self::NotFound => "not_found",
            Self::Expired { .. } => "expired",
            Self::Defaulted(_) => "defaulted",
            Self::Unavailable => "unavailable",
        }
    }
}

/// What a read touched and found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ReadInfo {
    /// Version of the snapshot that was used.
    pub version: Version,
    /// Rows asked for.
    pub rows: usize,
    /// Calls to online stores.
    pub store_calls: usize,
    /// Bytes of packed rows received.
    pub bytes: usize,
    /// (view, row) pairs that are present.
    pub present: usize,
    /// (view, row) pairs that were not found.
    pub not_found: usize,
    /// (view, row) pairs that are expired.
    pub expired: usize,
    /// (view, row) pairs that could not be read.
    pub unavailable: usize,
    /// Age of the oldest row that is present.
    pub oldest_age: Option<Span>,
}

/// The answer of a read, borrowed from its session.
#[derive(Debug, Clone, Copy)]
pub struct Outcome<'s> {
    session: &'s Session,
    keep_expired: bool,
}

/// How a value stands before it is typed.
enum Raw<'a> {
    Cell(Cell<'a>),
    Null,
    NotFound,
    Expired(Span),
    /// Expired, and given out all the same.
    Kept(Cell<'a>, Span),
    Default,
    Unavailable,
}

impl<'s> Outcome<'s> {
    pub(super) fn new(session: &'s Session, keep_expired: bool) -> Self {
        Self {
            session,
            keep_expired,
        }
    }

    /// Rows of the answer.
    pub fn rows(&self) -> usize {
        self.session.rows
    }

    /// Version of the snapshot that was used.
    pub fn version(&self) -> Version {
        self.session.bound.version
    }

    /// Keys that the first store was asked for.
    #[cfg(test)]
    pub(super) fn session_keys(&self) -> usize {
        self.session.stores[0].block.rows(0)
    }

    /// One value, typed.
    ///
    /// # Panics
    /// When the row lies outside of the answer or the handle is of another plan.
    #[inline]
    pub fn get<T: FeatureType + ?Sized>(&self, row: usize, feature: FeatureHandle<T>) -> Reading<T::Out<'s>> {
        self.typed::<T>(row, &self.session.bound.outputs[feature.index])
    }

    /// One value by the output's place, for callers that learn types at run time.
    ///
    /// # Panics
    /// When row or output lie outside of the answer.
    pub fn value(&self, row: usize, output: usize) -> Reading<Value> {
        self.typed::<Value>(row, &self.session.bound.outputs[output])
    }

    /// The event time behind an output's value; `None` where there is no row.
    ///
    /// # Panics
    /// When row or output lie outside of the answer.
    pub fn event_time(&self, row: usize, output: usize) -> Option<Micros> {
        let output = &self.session.bound.outputs[output];
        let block = &self.session.stores[output.store].block;
        block.event_time(
            output.slot,
            self.session.block_row(output.store, output.group, row),
        )
    }

    #[inline]
    fn typed<T: FeatureType + ?Sized>(&self, row: usize, output: &'s BoundOutput) -> Reading<T::Out<'s>> {
        match self.raw(row, output) {
            Raw::Cell(cell) => Reading::Present(
                T::from_cell(cell, output.value_type).unwrap_or_else(|| of_another_plan(output, T::NAME)),
            ),
            Raw::Null => Reading::Null,
            Raw::NotFound => Reading::NotFound,
            Raw::Expired(age) => Reading::Expired { age, value: None },
            Raw::Kept(cell, age) => Reading::Expired {
                age,
                value: T::from_cell(cell, output.value_type),
            },
            Raw::Default => output
                .default
                .as_ref()
                .and_then(T::from_value)
                .map_or(Reading::NotFound, Reading::Defaulted),
            Raw::Unavailable => Reading::Unavailable,
        }
    }

    #[inline]
    fn raw(&self, row: usize, output: &BoundOutput) -> Raw<'s> {
        let block = &self.session.stores[output.store].block;
        let row = self.session.block_row(output.store, output.group, row);
        let status = block.status(output.slot, row);
        let absent = |raw| {
            if output.default.is_some() {
                Raw::Default
            } else {
                raw
            }
        };
        match status {
            RowStatus::Present => {}
            RowStatus::Expired => {
                let age = block
                    .event_time(output.slot, row)
                    .map_or(Span::ZERO, |event| self.session.now.since(event));
                return match block.cell(output.slot, output.feature, row) {
                    SlotCell::Cell(cell) if self.keep_expired && cell != Cell::Null => Raw::Kept(cell, age),
                    _ if self.keep_expired => Raw::Expired(age),
                    _ => absent(Raw::Expired(age)),
                };
            }
            RowStatus::Unavailable => return Raw::Unavailable,
            _ => return absent(Raw::NotFound),
        }
        match block.cell(output.slot, output.feature, row) {
            SlotCell::Missing => absent(Raw::NotFound),
            SlotCell::Cell(Cell::Null) if output.default_null => absent(Raw::Null),
            SlotCell::Cell(Cell::Null) => Raw::Null,
            SlotCell::Cell(cell) => Raw::Cell(cell),
        }
    }

    /// Fills a matrix, row by row, and a mask that says where a value (or default) stands.
    ///
    /// Both are resized to rows × [`Tensor::width`]; other places hold the tensor's `missing`.
    pub fn fill_f32(&self, tensor: &Tensor, matrix: &mut Vec<f32>, mask: &mut Vec<bool>) {
        let (rows, width) = (self.rows(), tensor.width());
        matrix.clear();
        matrix.resize(rows * width, tensor.missing);
        mask.clear();
        mask.resize(rows * width, false);
        for (column, (index, default)) in tensor.outputs.iter().zip(&tensor.defaults).enumerate() {
            let output = &self.session.bound.outputs[*index];
            if default.is_none() && !self.keep_expired && self.session.is_distinct(output.store, output.group)
            {
                let block = &self.session.stores[output.store].block;
                block.each_f32(output.slot, output.feature, |row, number| {
                    matrix[row * width + column] = number;
                    mask[row * width + column] = true;
                });
                continue;
            }
            for row in 0..rows {
                let number = match self.raw(row, output) {
                    Raw::Cell(cell) | Raw::Kept(cell, _) => cell.to_f32(output.value_type),
                    Raw::Default => *default,
                    _ => None,
                };
                if let Some(number) = number {
                    matrix[row * width + column] = number;
                    mask[row * width + column] = true;
                }
            }
        }
    }

    /// The outputs as a batch of canonical Arrow columns.
    ///
    /// # Errors
    /// `Internal` when a default does not fit its type, which preparing the plan excludes.
    #[cfg(feature = "offline")]
    pub fn to_batch(&self) -> larder_base::Result<larder_core::arrow::array::RecordBatch> {
        use std::sync::Arc;

        use larder_core::arrow::array::{RecordBatch, RecordBatchOptions};
        use larder_core::arrow::datatypes::{Field, Schema};
        use larder_core::convert::{ColumnFill, arrow_type, block_column};

        let outputs = &self.session.bound.outputs;
        let column = |output: &BoundOutput| {
            let block = &self.session.stores[output.store].block;
            let rows = (0..self.rows()).map(|row| self.session.block_row(output.store, output.group, row));
            let fill = ColumnFill {
                default: output.default.clone(),
                default_null: output.default_null,
                keep_expired: self.keep_expired,
            };
            block_column(block, output.slot, output.feature, rows, &fill)
        };
        let columns = outputs.iter().map(column).collect::<larder_base::Result<_>>()?;
        let field = |output: &BoundOutput| Field::new(&output.name, arrow_type(output.value_type), true);
        let schema = Arc::new(Schema::new(outputs.iter().map(field).collect::<Vec<_>>()));
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows()));
        RecordBatch::try_new_with_options(schema, columns, &options).map_err(|error| {
            larder_base::Error::internal("an answer could not be made a batch").source(error)
        })
    }

    /// What the read touched and found.
    pub fn info(&self) -> ReadInfo {
        let mut info = ReadInfo {
            version: self.version(),
            rows: self.rows(),
            store_calls: self.session.stores.len(),
            oldest_age: self.session.oldest,
            ..ReadInfo::default()
        };
        for (index, store) in self.session.bound.stores.iter().enumerate() {
            let answer = &self.session.stores[index];
            info.bytes += answer.block.byte_len();
            for (slot, group) in store.slots.iter().enumerate() {
                for row in 0..self.rows() {
                    let row = self.session.block_row(index, *group, row);
                    match answer.block.status(slot as u16, row) {
                        RowStatus::Present => info.present += 1,
                        RowStatus::Expired => info.expired += 1,
                        RowStatus::Unavailable => info.unavailable += 1,
                        _ => info.not_found += 1,
                    }
                }
            }
        }
        info
    }
}

#[cold]
fn of_another_plan(output: &BoundOutput, wanted: &str) -> ! {
    panic!(
        "a feature handle of another plan: `{}` is {}, not {wanted}",
        output.name, output.value_type
    )
}
