//! How a list is encoded within a packed row: count, presence bitmap, then values, or ends and texts.

use super::cell::{Cell, get_fixed, put_fixed, text_cell, text_of};
use crate::types::ScalarType;

/// The items of a list, encoded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ListCell<'a> {
    item: ScalarType,
    body: &'a [u8],
}

/// Appends the encoding of a list to `out`; wrap the bytes with [`ListCell::new`].
///
/// An item of another type than `item` leaves `out` as it was, and what is not there is no list:
/// a row that is given it is refused.
pub fn encode_list<'a>(
    items: impl ExactSizeIterator<Item = Cell<'a>> + Clone,
    item: ScalarType,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    if !append(items, item, out) {
        out.truncate(start);
    }
}

fn append<'a>(
    items: impl ExactSizeIterator<Item = Cell<'a>> + Clone,
    item: ScalarType,
    out: &mut Vec<u8>,
) -> bool {
    let count = items.len();
    // Numbers beyond 32 bits saturate here; the row that holds so long a list is refused for its size.
    let short = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    out.extend_from_slice(&short(count));
    let bitmap = out.len();
    out.resize(bitmap + count.div_ceil(8), 0);
    for (i, cell) in items.clone().enumerate() {
        if !matches!(cell, Cell::Null) {
            out[bitmap + i / 8] |= 1 << (i % 8);
        }
    }
    match item.fixed_width() {
        Some(width) => {
            for cell in items {
                let start = out.len();
                out.resize(start + width, 0);
                if !matches!(cell, Cell::Null) && !put_fixed(cell, item, &mut out[start..]) {
                    return false;
                }
            }
        }
        None => {
            let mut end = 0;
            for cell in items.clone() {
                match text_of(cell, item) {
                    Some(text) => end += text.len(),
                    None if matches!(cell, Cell::Null) => {}
                    None => return false,
                }
                out.extend_from_slice(&short(end));
            }
            for text in items.filter_map(|cell| text_of(cell, item)) {
                out.extend_from_slice(text);
            }
        }
    }
    true
}

impl<'a> ListCell<'a> {
    /// Wraps bytes written by [`encode_list`]; anything else reads as an empty list.
    pub fn new(item: ScalarType, body: &'a [u8]) -> Self {
        Self { item, body }
    }

    /// Type of the items.
    pub fn item(&self) -> ScalarType {
        self.item
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.shape().map_or(0, |shape| shape.count)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The items in order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = Cell<'a>> + Clone {
        let shape = self.shape().unwrap_or_default();
        (0..shape.count).map(move |i| self.at(shape, i).unwrap_or(Cell::Null))
    }

    pub(super) fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Whether the count is one that these bytes can hold; found without looking at the items.
    pub(super) fn is_whole(&self) -> bool {
        self.shape().is_some()
    }

    /// Whether every item can be read. The work is bounded by the bytes: each is looked at once at most.
    pub(super) fn check(self) -> Option<()> {
        let shape = self.shape()?;
        match self.item {
            // Any bytes are a number.
            ScalarType::Int32
            | ScalarType::Int64
            | ScalarType::Float32
            | ScalarType::Float64
            | ScalarType::Timestamp
            | ScalarType::Date
            | ScalarType::Decimal { .. } => Some(()),
            ScalarType::Bool => (0..shape.count).try_for_each(|i| self.at(shape, i).map(drop)),
            ScalarType::String | ScalarType::Bytes => {
                // Ends that never fall keep the texts apart, so that together they are no longer than the bytes.
                let mut start = 0;
                (0..shape.count).try_for_each(|i| {
                    let end = self.end(shape, i)?;
                    let sound = start <= end && end <= self.body.len() - shape.data;
                    start = end;
                    sound.then(|| self.at(shape, i).map(drop)).flatten()
                })
            }
        }
    }

    /// Where things stand, when the body is exactly as long as its count and last end demand.
    fn shape(&self) -> Option<Shape> {
        let count = u32::from_le_bytes(*self.body.first_chunk()?) as usize;
        let values = 4 + count.div_ceil(8);
        let width = self.item.fixed_width().unwrap_or(4);
        let data = count.checked_mul(width)?.checked_add(values)?;
        let shape = Shape { count, values, data };
        let mut length = data;
        if self.item.fixed_width().is_none() && count > 0 {
            length = length.checked_add(self.end(shape, count - 1)?)?;
        }
        (self.body.len() == length).then_some(shape)
    }

    fn end(&self, shape: Shape, i: usize) -> Option<usize> {
        let word = self.body.get(shape.values + i * 4..)?.first_chunk()?;
        Some(u32::from_le_bytes(*word) as usize)
    }

    fn at(&self, shape: Shape, i: usize) -> Option<Cell<'a>> {
        if self.body.get(4 + i / 8)? & (1 << (i % 8)) == 0 {
            return Some(Cell::Null);
        }
        if let Some(width) = self.item.fixed_width() {
            let start = shape.values + i * width;
            return get_fixed(self.item, self.body.get(start..start + width)?);
        }
        let start = if i == 0 { 0 } else { self.end(shape, i - 1)? };
        let data = self.body.get(shape.data..)?;
        text_cell(self.item, data.get(start..self.end(shape, i)?)?)
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Shape {
    /// Items.
    count: usize,
    /// Where the fixed values or the ends begin.
    values: usize,
    /// Where they end, which is where texts begin.
    data: usize,
}
