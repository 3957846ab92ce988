//! How the values of one (view, entity) are packed into one value of a key-value store.
//!
//! The format is published in `docs/spec/packed-row.md` with golden vectors. In short: a header
//! of 24 bytes, a presence bitmap, a fixed-width region in which any slot is found without
//! reading another, and a variable region that slots point into by absolute offset. A reader
//! with an older or newer layout of the same generation takes the slots it knows.

use crate::error::{Error, Result};
use crate::layout::{Generation, ViewLayout};
use crate::time::Micros;
use crate::types::{ScalarType, ValueType};
use crate::value::Value;

mod cell;
mod list;
mod read;

pub use cell::{Cell, cell_of, floats};
pub use list::{ListCell, encode_list};
pub(crate) use read::needs_look;
pub use read::{RowRef, SlotCell};

/// Bytes of the header.
pub const HEADER: usize = 24;
/// Where event and created time stand: 16 bytes that compare like the pair of times.
pub const VERSION_RANGE: std::ops::Range<usize> = 8..24;
/// Most slots of a row, holes included: the header counts them in 16 bits.
pub const MAX_SLOTS: usize = u16::MAX as usize;

const FORMAT: u8 = 1;
const TOMBSTONE: u8 = 1;

/// Packed rows of a batch: one flat buffer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackedRows {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl PackedRows {
    /// No rows yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all rows together.
    pub fn byte_len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The packed bytes of a row.
    pub fn get(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.bytes[start..self.ends[row]]
    }

    /// All rows in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|row| self.get(row))
    }

    /// Removes all rows, keeping the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Appends bytes that were packed before.
    pub fn push(&mut self, row: &[u8]) {
        self.start();
        self.bytes.extend_from_slice(row);
        self.ends.push(self.bytes.len());
    }

    /// Starts a row of a layout; slots that are not put stay null.
    pub fn begin<'a>(
        &'a mut self,
        layout: &'a ViewLayout,
        event: Micros,
        created: Option<Micros>,
    ) -> RowWriter<'a> {
        let start = self.start();
        let slots = layout.slots().len();
        // More slots saturate the count; `finish` refuses the row.
        let count = u16::try_from(slots).unwrap_or(u16::MAX);
        header(&mut self.bytes, 0, count, layout.generation(), event, created);
        let values = HEADER + slots.div_ceil(8);
        self.bytes.resize(start + values + layout.width_of(slots), 0);
        RowWriter {
            rows: self,
            layout,
            start,
            values,
            wrong: None,
        }
    }

    /// Appends a tombstone `(at, now)`: it reads as not found and refuses older rows.
    pub fn push_tombstone(&mut self, layout: &ViewLayout, at: Micros, now: Micros) {
        self.start();
        header(&mut self.bytes, TOMBSTONE, 0, layout.generation(), at, Some(now));
        self.ends.push(self.bytes.len());
    }

    /// Appends a row from values by slot; shorter slices leave the rest null.
    ///
    /// # Errors
    /// `Input` when a value does not fit its slot, or there are more values than slots.
    pub fn push_values(
        &mut self,
        layout: &ViewLayout,
        event: Micros,
        created: Option<Micros>,
        values: &[Value],
    ) -> Result<()> {
        let slots = layout.slots();
        if values.len() > slots.len() {
            return Err(Error::input(format!(
                "{} values for a view with {} slots",
                values.len(),
                slots.len()
            )));
        }
        if let Some((slot, _)) = slots
            .iter()
            .zip(values)
            .find(|(slot, value)| !value.fits(slot.value_type))
        {
            return Err(Error::input(format!(
                "the value for `{}` is not a {}",
                slot.name, slot.value_type
            )));
        }
        let mut scratch = Vec::new();
        let mut writer = self.begin(layout, event, created);
        for (number, (slot, value)) in (0_u16..=u16::MAX).zip(slots.iter().zip(values)) {
            writer.put(number, cell_of(value, slot.value_type, &mut scratch));
        }
        writer.finish()
    }

    /// Where the next row starts. A writer that was dropped before its end leaves nothing behind.
    #[inline]
    fn start(&mut self) -> usize {
        let start = self.byte_len();
        self.bytes.truncate(start);
        start
    }
}

fn header(
    out: &mut Vec<u8>,
    flags: u8,
    slots: u16,
    generation: Generation,
    event: Micros,
    created: Option<Micros>,
) {
    let mut bytes = [0; HEADER];
    bytes[0] = FORMAT;
    bytes[1] = flags;
    bytes[2..4].copy_from_slice(&slots.to_be_bytes());
    bytes[4..8].copy_from_slice(&generation.0.to_be_bytes());
    bytes[VERSION_RANGE].copy_from_slice(&version_bytes(event, created));
    out.extend_from_slice(&bytes);
}

/// The 16 bytes that order rows: event and created time, sign-flipped big-endian; absent is smallest.
///
/// The earliest instant of all, [`Micros::MIN`], stands for an absent created time and reads as one.
pub fn version_bytes(event: Micros, created: Option<Micros>) -> [u8; 16] {
    let flip = |t: i64| ((t as u64) ^ (1 << 63)).to_be_bytes();
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&flip(event.0));
    bytes[8..].copy_from_slice(&flip(created.map_or(i64::MIN, |c| c.0)));
    bytes
}

/// Writes one packed row. Dropped without [`RowWriter::finish`], it appends nothing.
#[derive(Debug)]
pub struct RowWriter<'a> {
    rows: &'a mut PackedRows,
    layout: &'a ViewLayout,
    start: usize,
    /// Where the fixed region begins in the row.
    values: usize,
    /// The first slot that was given a cell of another type.
    wrong: Option<u16>,
}

impl RowWriter<'_> {
    /// Puts the value of a slot, once. A cell of another type than the slot's fails [`RowWriter::finish`].
    // The caller knows which cell it is. Without inlining, each is built in memory and taken apart again.
    #[inline(always)]
    pub fn put(&mut self, slot: u16, cell: Cell<'_>) {
        let fits = match cell {
            Cell::Null => true,
            Cell::Bool(v) => self.fixed(slot, ValueType::BOOL, [u8::from(v)]),
            Cell::Int32(v) => self.fixed(slot, ValueType::INT32, v.to_le_bytes()),
            Cell::Int64(v) => self.fixed(slot, ValueType::INT64, v.to_le_bytes()),
            Cell::Float32(v) => self.fixed(slot, ValueType::FLOAT32, v.to_le_bytes()),
            Cell::Float64(v) => self.fixed(slot, ValueType::FLOAT64, v.to_le_bytes()),
            Cell::Timestamp(v) => self.fixed(slot, ValueType::TIMESTAMP, v.0.to_le_bytes()),
            Cell::Date(v) => self.fixed(slot, ValueType::DATE, v.to_le_bytes()),
            Cell::Decimal(v) => match self.type_of(slot) {
                Some(of @ ValueType::Scalar(ScalarType::Decimal { .. })) => {
                    self.fixed(slot, of, v.to_le_bytes())
                }
                _ => false,
            },
            Cell::Str(v) => self.variable(slot, Some(ValueType::STRING), v.as_bytes()),
            Cell::Bytes(v) => self.variable(slot, Some(ValueType::BYTES), v),
            Cell::List(v) => {
                let of = v.is_whole().then(|| ValueType::List(v.item()));
                self.variable(slot, of, v.body())
            }
            Cell::Vector(v) => {
                let of = u32::try_from(v.len() / 4)
                    .ok()
                    .filter(|n| v.len() == *n as usize * 4);
                self.variable(slot, of.map(ValueType::Vector), v)
            }
        };
        if !fits {
            self.wrong = self.wrong.or(Some(slot));
        }
    }

    #[inline]
    fn type_of(&self, slot: u16) -> Option<ValueType> {
        let slot = self.layout.slots().get(usize::from(slot))?;
        Some(slot.value_type)
    }

    #[inline(always)]
    fn fixed<const N: usize>(&mut self, slot: u16, of: ValueType, bytes: [u8; N]) -> bool {
        let fits = self.type_of(slot) == Some(of);
        if fits {
            self.place(slot, bytes);
        }
        fits
    }

    /// Appends a value of a type, or of none where it is damaged.
    fn variable(&mut self, slot: u16, of: Option<ValueType>, value: &[u8]) -> bool {
        if of.is_none() || self.type_of(slot) != of {
            return false;
        }
        // Numbers beyond 32 bits saturate; `finish` refuses the row for its size.
        let short = |n: usize| u64::from(u32::try_from(n).unwrap_or(u32::MAX));
        let pointer = short(self.rows.bytes.len() - self.start) | short(value.len()) << 32;
        self.rows.bytes.extend_from_slice(value);
        self.place(slot, pointer.to_le_bytes());
        true
    }

    /// Writes what stands in a slot's place, of which the slot's type decides the width.
    #[inline(always)]
    fn place<const N: usize>(&mut self, slot: u16, bytes: [u8; N]) {
        let row = &mut self.rows.bytes[self.start..];
        row[HEADER + usize::from(slot / 8)] |= 1 << (slot % 8);
        let at = self.values + self.layout.offset(slot);
        row[at..at + N].copy_from_slice(&bytes);
    }

    /// Ends the row.
    ///
    /// # Errors
    /// `Internal` when a cell was not of its slot's type; `Input` when the row reaches 4 GiB;
    /// `Definition` when the layout has more than [`MAX_SLOTS`]. The row is then not appended.
    #[inline]
    pub fn finish(self) -> Result<()> {
        let length = self.rows.bytes.len() - self.start;
        if self.wrong.is_some() || length >= u32::MAX as usize || self.layout.slots().len() > MAX_SLOTS {
            return Err(self.refuse(length));
        }
        self.rows.ends.push(self.rows.bytes.len());
        Ok(())
    }

    #[cold]
    fn refuse(self, length: usize) -> Error {
        self.rows.bytes.truncate(self.start);
        let slots = self.layout.slots();
        let error = if let Some(slot) = self.wrong {
            let of = slots
                .get(usize::from(slot))
                .map(|slot| slot.value_type.to_string());
            Error::internal("a cell of another type was put into a slot")
                .with("slot", slot)
                .with("type", of.as_deref().unwrap_or("none"))
        } else if slots.len() > MAX_SLOTS {
            Error::definition(format!("a view has at most {MAX_SLOTS} slots, holes included"))
                .with("slots", slots.len())
        } else {
            Error::input("a packed row must be shorter than 4 GiB").with("bytes", length)
        };
        error
            .with("view", self.layout.view())
            .with("row", self.rows.len())
    }
}
