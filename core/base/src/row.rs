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

/// Bytes of the header.
pub const HEADER: usize = 24;
/// Where event and created time stand: 16 bytes that compare like the pair of times.
pub const VERSION_RANGE: std::ops::Range<usize> = 8..24;

const FORMAT: u8 = 1;
const TOMBSTONE: u8 = 1;

/// One value on its way into or out of a packed row, borrowed.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Cell<'a> {
    /// No value.
    Null,
    /// `bool`
    Bool(bool),
    /// `int32`
    Int32(i32),
    /// `int64`
    Int64(i64),
    /// `float32`
    Float32(f32),
    /// `float64`
    Float64(f64),
    /// `string`
    Str(&'a str),
    /// `bytes`
    Bytes(&'a [u8]),
    /// `timestamp`
    Timestamp(Micros),
    /// `date`
    Date(i32),
    /// `decimal(p,s)`: the unscaled integer
    Decimal(i128),
    /// `list<T>`
    List(ListCell<'a>),
    /// `vector(float32,N)`: little-endian floats
    Vector(&'a [u8]),
}

/// The items of a list, encoded: count, presence bitmap, then widths or ends and bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ListCell<'a> {
    item: ScalarType,
    body: &'a [u8],
}

/// Appends the encoding of a list to `out`; wrap the bytes with [`ListCell::new`].
pub fn encode_list<'a>(
    items: impl ExactSizeIterator<Item = Cell<'a>> + Clone,
    item: ScalarType,
    out: &mut Vec<u8>,
) {
    let count = items.len();
    out.extend_from_slice(&(count as u32).to_le_bytes());
    let bitmap = out.len();
    out.resize(bitmap + count.div_ceil(8), 0);
    for (i, cell) in items.clone().enumerate() {
        if cell != Cell::Null {
            out[bitmap + i / 8] |= 1 << (i % 8);
        }
    }
    match item.fixed_width() {
        Some(width) => {
            for cell in items {
                let start = out.len();
                out.resize(start + width, 0);
                put_fixed(cell, &mut out[start..]);
            }
        }
        None => {
            let mut end = 0_u32;
            for cell in items.clone() {
                end += text_of(cell).len() as u32;
                out.extend_from_slice(&end.to_le_bytes());
            }
            for cell in items {
                out.extend_from_slice(text_of(cell));
            }
        }
    }
}

impl<'a> ListCell<'a> {
    /// Wraps bytes written by [`encode_list`]; reading checks them.
    pub fn new(item: ScalarType, body: &'a [u8]) -> Self {
        Self { item, body }
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.body
            .first_chunk()
            .map_or(0, |word| u32::from_le_bytes(*word) as usize)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The items in order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = Cell<'a>> + Clone {
        (0..self.len()).map(move |i| self.get(i).unwrap_or(Cell::Null))
    }

    fn get(self, i: usize) -> Option<Cell<'a>> {
        let count = self.len();
        let values = 4 + count.div_ceil(8);
        if self.body.get(4 + i / 8)? & (1 << (i % 8)) == 0 {
            return Some(Cell::Null);
        }
        if let Some(width) = self.item.fixed_width() {
            let start = values + i * width;
            return get_fixed(self.item, self.body.get(start..start + width)?);
        }
        let end_at = |i: usize| -> Option<usize> {
            let word = self.body.get(values + i * 4..)?.first_chunk()?;
            Some(u32::from_le_bytes(*word) as usize)
        };
        let data = self.body.get(values + count * 4..)?;
        let start = if i == 0 { 0 } else { end_at(i - 1)? };
        text_cell(self.item, data.get(start..end_at(i)?)?)
    }

    fn check(self) -> Option<()> {
        let count = self.len();
        // Every item needs a bit, so a count beyond the bytes is refused before any loop over it.
        if count.div_ceil(8) + 4 > self.body.len() {
            return None;
        }
        (0..count).try_for_each(|i| self.get(i).map(drop))
    }
}

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
        self.bytes.len()
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
        let start = self.bytes.len();
        header(
            &mut self.bytes,
            0,
            layout.slots().len() as u16,
            layout.generation(),
            event,
            created,
        );
        let body = layout.slots().len().div_ceil(8) + layout.fixed_width();
        self.bytes.resize(start + HEADER + body, 0);
        RowWriter {
            rows: self,
            layout,
            start,
        }
    }

    /// Appends a tombstone `(at, now)`: it reads as not found and refuses older rows.
    pub fn push_tombstone(&mut self, layout: &ViewLayout, at: Micros, now: Micros) {
        header(&mut self.bytes, TOMBSTONE, 0, layout.generation(), at, Some(now));
        self.ends.push(self.bytes.len());
    }

    /// Appends a row from values by slot; shorter slices leave the rest null.
    ///
    /// # Errors
    /// `Input` when a value does not fit its slot.
    pub fn push_values(
        &mut self,
        layout: &ViewLayout,
        event: Micros,
        created: Option<Micros>,
        values: &[Value],
    ) -> Result<()> {
        let slots = layout.slots();
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
        for (number, (slot, value)) in (0_u16..).zip(slots.iter().zip(values)) {
            writer.put(number, cell_of(value, slot.value_type, &mut scratch));
        }
        writer.finish();
        Ok(())
    }
}

/// A value as a cell; lists and vectors are encoded into `scratch`.
pub fn cell_of<'a>(value: &'a Value, of: ValueType, scratch: &'a mut Vec<u8>) -> Cell<'a> {
    match value {
        Value::Null => Cell::Null,
        Value::Bool(v) => Cell::Bool(*v),
        Value::Int32(v) => Cell::Int32(*v),
        Value::Int64(v) => Cell::Int64(*v),
        Value::Float32(v) => Cell::Float32(*v),
        Value::Float64(v) => Cell::Float64(*v),
        Value::String(v) => Cell::Str(v),
        Value::Bytes(v) => Cell::Bytes(v),
        Value::Timestamp(v) => Cell::Timestamp(*v),
        Value::Date(v) => Cell::Date(*v),
        Value::Decimal(v, _) => Cell::Decimal(*v),
        Value::List(items) => {
            let ValueType::List(item) = of else {
                return Cell::Null;
            };
            scratch.clear();
            // Items are scalars, so none of them needs scratch space of its own.
            let scalar = |value: &'a Value| match value {
                Value::String(text) => Cell::Str(text),
                Value::Bytes(bytes) => Cell::Bytes(bytes),
                other => scalar_cell(other),
            };
            encode_list(items.iter().map(scalar), item, scratch);
            Cell::List(ListCell::new(item, scratch))
        }
        Value::Vector(floats) => {
            scratch.clear();
            scratch.extend(floats.iter().flat_map(|x| x.to_le_bytes()));
            Cell::Vector(scratch)
        }
    }
}

fn scalar_cell(value: &Value) -> Cell<'static> {
    match value {
        Value::Bool(v) => Cell::Bool(*v),
        Value::Int32(v) => Cell::Int32(*v),
        Value::Int64(v) => Cell::Int64(*v),
        Value::Float32(v) => Cell::Float32(*v),
        Value::Float64(v) => Cell::Float64(*v),
        Value::Timestamp(v) => Cell::Timestamp(*v),
        Value::Date(v) => Cell::Date(*v),
        Value::Decimal(v, _) => Cell::Decimal(*v),
        _ => Cell::Null,
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
    out.push(FORMAT);
    out.push(flags);
    out.extend_from_slice(&slots.to_be_bytes());
    out.extend_from_slice(&generation.0.to_be_bytes());
    out.extend_from_slice(&version_bytes(event, created));
}

/// The 16 bytes that order rows: event and created time, sign-flipped big-endian; absent is smallest.
pub fn version_bytes(event: Micros, created: Option<Micros>) -> [u8; 16] {
    let flip = |t: i64| ((t as u64) ^ (1 << 63)).to_be_bytes();
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&flip(event.0));
    bytes[8..].copy_from_slice(&flip(created.map_or(i64::MIN, |c| c.0)));
    bytes
}

/// Writes one packed row.
#[derive(Debug)]
pub struct RowWriter<'a> {
    rows: &'a mut PackedRows,
    layout: &'a ViewLayout,
    start: usize,
}

impl RowWriter<'_> {
    /// Puts the value of a slot. The cell must be of the slot's type.
    #[inline]
    pub fn put(&mut self, slot: u16, cell: Cell<'_>) {
        if cell == Cell::Null {
            return;
        }
        let count = self.layout.slots().len();
        self.rows.bytes[self.start + HEADER + slot as usize / 8] |= 1 << (slot % 8);
        let at = self.start + HEADER + count.div_ceil(8) + self.layout.offset(slot);
        match cell {
            Cell::Str(_) | Cell::Bytes(_) | Cell::List(_) | Cell::Vector(_) => {
                let bytes = text_of(cell);
                let pointer = (self.rows.bytes.len() - self.start) as u32;
                self.rows.bytes.extend_from_slice(bytes);
                self.rows.bytes[at..at + 4].copy_from_slice(&pointer.to_le_bytes());
                self.rows.bytes[at + 4..at + 8].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
            }
            fixed => {
                let width = self.layout.slots()[slot as usize].value_type.slot_width();
                put_fixed(fixed, &mut self.rows.bytes[at..at + width]);
            }
        }
    }

    /// Ends the row.
    pub fn finish(self) {
        self.rows.ends.push(self.rows.bytes.len());
    }
}

fn put_fixed(cell: Cell<'_>, out: &mut [u8]) {
    match cell {
        Cell::Bool(v) => out[0] = u8::from(v),
        Cell::Int32(v) | Cell::Date(v) => out.copy_from_slice(&v.to_le_bytes()),
        Cell::Float32(v) => out.copy_from_slice(&v.to_le_bytes()),
        Cell::Int64(v) => out.copy_from_slice(&v.to_le_bytes()),
        Cell::Float64(v) => out.copy_from_slice(&v.to_le_bytes()),
        Cell::Timestamp(v) => out.copy_from_slice(&v.0.to_le_bytes()),
        Cell::Decimal(v) => out.copy_from_slice(&v.to_le_bytes()),
        Cell::Null | Cell::Str(_) | Cell::Bytes(_) | Cell::List(_) | Cell::Vector(_) => {}
    }
}

fn text_of(cell: Cell<'_>) -> &[u8] {
    match cell {
        Cell::Str(text) => text.as_bytes(),
        Cell::Bytes(bytes) | Cell::Vector(bytes) => bytes,
        Cell::List(list) => list.body,
        _ => &[],
    }
}

#[inline]
fn get_fixed(scalar: ScalarType, bytes: &[u8]) -> Option<Cell<'static>> {
    Some(match scalar {
        ScalarType::Bool => match bytes.first()? {
            0 => Cell::Bool(false),
            1 => Cell::Bool(true),
            _ => return None,
        },
        ScalarType::Int32 => Cell::Int32(i32::from_le_bytes(*bytes.first_chunk()?)),
        ScalarType::Date => Cell::Date(i32::from_le_bytes(*bytes.first_chunk()?)),
        ScalarType::Float32 => Cell::Float32(f32::from_le_bytes(*bytes.first_chunk()?)),
        ScalarType::Int64 => Cell::Int64(i64::from_le_bytes(*bytes.first_chunk()?)),
        ScalarType::Timestamp => Cell::Timestamp(Micros(i64::from_le_bytes(*bytes.first_chunk()?))),
        ScalarType::Float64 => Cell::Float64(f64::from_le_bytes(*bytes.first_chunk()?)),
        ScalarType::Decimal { .. } => Cell::Decimal(i128::from_le_bytes(*bytes.first_chunk()?)),
        ScalarType::String | ScalarType::Bytes => return None,
    })
}

fn text_cell(scalar: ScalarType, bytes: &[u8]) -> Option<Cell<'_>> {
    match scalar {
        ScalarType::String => std::str::from_utf8(bytes).ok().map(Cell::Str),
        _ => Some(Cell::Bytes(bytes)),
    }
}

/// A packed row, borrowed. Only the header is checked by [`RowRef::parse`].
#[derive(Debug, Clone, Copy)]
pub struct RowRef<'a> {
    bytes: &'a [u8],
}

/// What stands in a slot of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SlotCell<'a> {
    /// The row is older than the slot: nothing is known.
    Missing,
    /// A null or a value.
    Cell(Cell<'a>),
}

impl<'a> RowRef<'a> {
    /// Looks at bytes as a packed row.
    ///
    /// # Errors
    /// `Corrupt` when the header is not one of a format that this build reads.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        match bytes {
            [FORMAT, flags, ..] if bytes.len() >= HEADER && flags & !TOMBSTONE == 0 => Ok(Self { bytes }),
            [FORMAT, flags, ..] if bytes.len() >= HEADER => Err(Error::corrupt(
                "the packed row uses a feature this version does not know",
            )
            .with("flags", flags)),
            [format, ..] if *format > FORMAT => Err(Error::corrupt("the packed row is of a newer format")
                .with("format", format)
                .help("upgrade larder, or rebuild the view with `larder materialize --rebuild`")),
            _ => Err(Error::corrupt("the stored bytes are not a packed row").with("bytes", bytes.len())),
        }
    }

    /// Rebuilds the reference for bytes that [`RowRef::parse`] accepted before.
    #[inline]
    pub(crate) fn parsed(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether the entity was deleted.
    #[inline]
    pub fn is_tombstone(&self) -> bool {
        self.bytes[1] & TOMBSTONE != 0
    }

    /// Number of slots the writer knew.
    #[inline]
    pub fn slot_count(&self) -> u16 {
        u16::from_be_bytes([self.bytes[2], self.bytes[3]])
    }

    /// Generation of the view that wrote it.
    #[inline]
    pub fn generation(&self) -> Generation {
        Generation(u32::from_be_bytes([
            self.bytes[4],
            self.bytes[5],
            self.bytes[6],
            self.bytes[7],
        ]))
    }

    fn time(&self, at: usize) -> i64 {
        let word = self.bytes[at..]
            .first_chunk()
            .map_or(0, |word| u64::from_be_bytes(*word));
        (word ^ (1 << 63)) as i64
    }

    /// Event time.
    #[inline]
    pub fn event(&self) -> Micros {
        Micros(self.time(8))
    }

    /// Created time, when the writer knew it.
    pub fn created(&self) -> Option<Micros> {
        let time = self.time(16);
        (time != i64::MIN).then_some(Micros(time))
    }

    /// The 16 bytes by which rows are ordered: larger is newer.
    #[inline]
    pub fn version(&self) -> &'a [u8] {
        &self.bytes[VERSION_RANGE]
    }

    /// Checks the slots that will be read, so that [`RowRef::slot`] cannot fail on them.
    ///
    /// # Errors
    /// `Corrupt` when a slot points outside of the row or holds no value of its type.
    pub fn check(&self, layout: &ViewLayout, slots: &[u16]) -> Result<()> {
        if self.generation() != layout.generation() {
            return Err(
                Error::corrupt("the packed row belongs to another generation of the view")
                    .with("found", self.generation())
                    .with("expected", layout.generation()),
            );
        }
        let sound = self.is_tombstone()
            || self.bytes.len() >= HEADER + usize::from(self.slot_count()).div_ceil(8)
                && slots.iter().all(|slot| self.try_slot(layout, *slot).is_some());
        if sound {
            return Ok(());
        }
        Err(Error::corrupt("the packed row is damaged")
            .with("view", layout.view())
            .with("bytes", self.bytes.len())
            .help("rebuild the view with `larder materialize --rebuild`"))
    }

    /// What stands in a slot; a damaged slot reads as missing, which [`RowRef::check`] excludes.
    #[inline]
    pub fn slot(&self, layout: &ViewLayout, slot: u16) -> SlotCell<'a> {
        self.try_slot(layout, slot).unwrap_or(SlotCell::Missing)
    }

    #[inline]
    fn try_slot(&self, layout: &ViewLayout, slot: u16) -> Option<SlotCell<'a>> {
        let count = self.slot_count();
        if slot >= count || self.is_tombstone() {
            return Some(SlotCell::Missing);
        }
        if self.bytes.get(HEADER + slot as usize / 8)? & (1 << (slot % 8)) == 0 {
            return Some(SlotCell::Cell(Cell::Null));
        }
        let at = HEADER + usize::from(count).div_ceil(8) + layout.offset(slot);
        let value_type = layout.slots()[slot as usize].value_type;
        if let ValueType::Scalar(scalar) = value_type
            && let Some(width) = scalar.fixed_width()
        {
            return get_fixed(scalar, self.bytes.get(at..at + width)?).map(SlotCell::Cell);
        }
        let pointer: &[u8; 8] = self.bytes.get(at..)?.first_chunk()?;
        let word = |i: usize| {
            u32::from_le_bytes([pointer[i], pointer[i + 1], pointer[i + 2], pointer[i + 3]]) as usize
        };
        let bytes = self.bytes.get(word(0)..)?.get(..word(4))?;
        let cell = match value_type {
            ValueType::Scalar(scalar) => text_cell(scalar, bytes)?,
            ValueType::List(item) => {
                let list = ListCell::new(item, bytes);
                list.check()?;
                Cell::List(list)
            }
            ValueType::Vector(n) if bytes.len() == n as usize * 4 => Cell::Vector(bytes),
            ValueType::Vector(_) => return None,
        };
        Some(SlotCell::Cell(cell))
    }
}

impl Cell<'_> {
    /// The cell as an owned value of a type.
    pub fn to_value(self, of: ValueType) -> Value {
        match self {
            Cell::Null => Value::Null,
            Cell::Bool(v) => Value::Bool(v),
            Cell::Int32(v) => Value::Int32(v),
            Cell::Int64(v) => Value::Int64(v),
            Cell::Float32(v) => Value::Float32(v),
            Cell::Float64(v) => Value::Float64(v),
            Cell::Str(v) => Value::str(v),
            Cell::Bytes(v) => Value::Bytes(v.into()),
            Cell::Timestamp(v) => Value::Timestamp(v),
            Cell::Date(v) => Value::Date(v),
            Cell::Decimal(v) => match of {
                ValueType::Scalar(ScalarType::Decimal { scale, .. }) => Value::Decimal(v, scale),
                _ => Value::Decimal(v, 0),
            },
            Cell::List(list) => Value::List(
                list.iter()
                    .map(|c| c.to_value(ValueType::Scalar(list.item)))
                    .collect(),
            ),
            Cell::Vector(bytes) => Value::Vector(floats(bytes).collect()),
        }
    }
}

/// The floats of a vector cell.
pub fn floats(bytes: &[u8]) -> impl ExactSizeIterator<Item = f32> + '_ {
    bytes
        .chunks_exact(4)
        .map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]]))
}
