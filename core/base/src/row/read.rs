//! How are the values of a packed row found again, whoever wrote it, and whatever the bytes are?

use super::cell::{Cell, get_fixed, text_cell};
use super::list::ListCell;
use super::{FORMAT, HEADER, TOMBSTONE, VERSION_RANGE};
use crate::error::{Error, Result};
use crate::layout::{Generation, ViewLayout};
use crate::time::Micros;
use crate::types::{ScalarType, ValueType};

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
            _ => Err(not_a_row(bytes)),
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

    #[inline]
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
    /// `Corrupt` when the row is of another generation, is shorter than its slots, or a slot
    /// points outside of the variable region or holds no value of its type.
    #[inline]
    pub fn check(&self, layout: &ViewLayout, slots: &[u16]) -> Result<()> {
        self.check_shape(layout)?;
        let sound = |slot: &u16| match layout.slots().get(usize::from(*slot)) {
            Some(known) if needs_look(known.value_type) => self.try_slot(layout, *slot).is_some(),
            _ => true,
        };
        if slots.iter().all(sound) {
            return Ok(());
        }
        Err(damaged(layout, self.bytes.len()))
    }

    /// Checks what all slots have in common; enough for slots that do not [`need a look`](needs_look).
    #[inline]
    fn check_shape(&self, layout: &ViewLayout) -> Result<()> {
        if self.generation() != layout.generation() {
            return Err(other_generation(self.generation(), layout));
        }
        if !self.is_tombstone() && self.bytes.len() < self.variable(layout) {
            return Err(damaged(layout, self.bytes.len()));
        }
        Ok(())
    }

    /// Where the variable region begins, or as much of the fixed one ends as the reader knows.
    #[inline]
    fn variable(&self, layout: &ViewLayout) -> usize {
        self.fixed_start() + layout.width_of(usize::from(self.slot_count()))
    }

    /// Where the fixed region begins.
    #[inline]
    fn fixed_start(&self) -> usize {
        HEADER + usize::from(self.slot_count()).div_ceil(8)
    }

    /// What stands in a slot; a damaged slot reads as missing, which [`RowRef::check`] excludes.
    #[inline]
    pub fn slot(&self, layout: &ViewLayout, slot: u16) -> SlotCell<'a> {
        self.try_slot(layout, slot).unwrap_or(SlotCell::Missing)
    }

    /// The bytes of a fixed-width slot with a value; `None` where it is null, missing or damaged.
    #[inline]
    pub(crate) fn fixed<const N: usize>(&self, slot: u16, offset: usize) -> Option<[u8; N]> {
        if slot >= self.slot_count() || !self.is_present(slot)? {
            return None;
        }
        self.bytes
            .get(self.fixed_start() + offset..)?
            .first_chunk()
            .copied()
    }

    #[inline]
    fn is_present(&self, slot: u16) -> Option<bool> {
        let byte = self.bytes.get(HEADER + usize::from(slot / 8))?;
        Some(byte & (1 << (slot % 8)) != 0)
    }

    #[inline]
    fn try_slot(&self, layout: &ViewLayout, slot: u16) -> Option<SlotCell<'a>> {
        // A slot that the reader's own layout has not is as unknown as one that the row has not.
        let Some(value_type) = layout.slots().get(usize::from(slot)).map(|slot| slot.value_type) else {
            return Some(SlotCell::Missing);
        };
        if slot >= self.slot_count() || self.is_tombstone() {
            return Some(SlotCell::Missing);
        }
        if !self.is_present(slot)? {
            return Some(SlotCell::Cell(Cell::Null));
        }
        let bytes = self.bytes.get(self.fixed_start() + layout.offset(slot)..)?;
        let cell = match value_type {
            ValueType::Scalar(scalar) if scalar.fixed_width().is_some() => get_fixed(scalar, bytes)?,
            _ => self.pointed(layout, bytes, value_type)?,
        };
        Some(SlotCell::Cell(cell))
    }

    /// The value in the variable region that a slot points to.
    fn pointed(&self, layout: &ViewLayout, pointer: &[u8], of: ValueType) -> Option<Cell<'a>> {
        let pointer: [u8; 8] = *pointer.first_chunk()?;
        let word = |i: usize| {
            u32::from_le_bytes([pointer[i], pointer[i + 1], pointer[i + 2], pointer[i + 3]]) as usize
        };
        if word(0) < self.variable(layout) {
            return None;
        }
        let bytes = self.bytes.get(word(0)..)?.get(..word(4))?;
        match of {
            ValueType::Scalar(scalar) => text_cell(scalar, bytes),
            ValueType::List(item) => {
                let list = ListCell::new(item, bytes);
                list.check().map(|()| Cell::List(list))
            }
            ValueType::Vector(n) => (bytes.len() == n as usize * 4).then_some(Cell::Vector(bytes)),
        }
    }
}

/// Whether some bytes are no value of the type, so that a slot must be looked at to be trusted.
#[inline]
pub(crate) fn needs_look(of: ValueType) -> bool {
    match of {
        ValueType::Scalar(scalar) => scalar == ScalarType::Bool || scalar.fixed_width().is_none(),
        ValueType::List(_) | ValueType::Vector(_) => true,
    }
}

#[cold]
fn not_a_row(bytes: &[u8]) -> Error {
    match bytes {
        [FORMAT, flags, ..] if bytes.len() >= HEADER => {
            Error::corrupt("the packed row uses a feature this version does not know")
                .with("flags", flags)
                .help("upgrade larder, or rebuild the view with `larder materialize --rebuild`")
        }
        [format, ..] if *format > FORMAT => Error::corrupt("the packed row is of a newer format")
            .with("format", format)
            .help("upgrade larder, or rebuild the view with `larder materialize --rebuild`"),
        _ => Error::corrupt("the stored bytes are not a packed row").with("bytes", bytes.len()),
    }
}

#[cold]
fn other_generation(found: Generation, layout: &ViewLayout) -> Error {
    Error::corrupt("the packed row belongs to another generation of the view")
        .with("view", layout.view())
        .with("found", found)
        .with("expected", layout.generation())
}

#[cold]
fn damaged(layout: &ViewLayout, bytes: usize) -> Error {
    Error::corrupt("the packed row is damaged")
        .with("view", layout.view())
        .with("bytes", bytes)
        .help("rebuild the view with `larder materialize --rebuild`")
}
