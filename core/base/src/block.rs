//! Where a read puts its answer: packed rows copied once, decoded only when a value is asked for.
//!
//! A store copies each packed row it found into the block's arena ([`FeatureBlock::put_row`]).
//! Any slot of a packed row is found in O(1), so typed access, tensors and Arrow arrays decode
//! straight from there; a read of 50 features costs one copy per view, not 50 stores.

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::ViewLayout;
use crate::online::{OnlineRead, ViewRead};
use crate::row::{Cell, RowRef, SlotCell, needs_look};
use crate::time::{Micros, Span};
use crate::types::{ScalarType, ValueType};

/// What a read says about one (view, row).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum RowStatus {
    /// There is a row, and it is fresh enough.
    Present,
    /// There is none, or it was deleted, or it lies in the future.
    NotFound,
    /// There is one, older than the view's ttl.
    Expired,
    /// Its store or shard failed and the caller allowed partial answers.
    Unavailable,
}

impl RowStatus {
    /// The name in machine-readable output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::NotFound => "not_found",
            Self::Expired => "expired",
            Self::Unavailable => "unavailable",
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    start: usize,
    len: u32,
    status: RowStatus,
    event: Micros,
}

const ABSENT: Entry = Entry {
    start: 0,
    len: 0,
    status: RowStatus::NotFound,
    event: Micros::MIN,
};

#[derive(Debug)]
struct BlockView {
    layout: Arc<ViewLayout>,
    features: Arc<[u16]>,
    /// Those features of which some bytes are no value: each row of them is looked at once.
    look: Vec<u16>,
    rows: Vec<Entry>,
}

impl BlockView {
    /// Takes the view of a request; what is derived from it is kept from read to read.
    fn take(&mut self, view: &ViewRead) {
        if !Arc::ptr_eq(&self.layout, &view.layout) {
            self.layout = view.layout.clone();
        } else if Arc::ptr_eq(&self.features, &view.features) {
            return;
        }
        if !Arc::ptr_eq(&self.features, &view.features) {
            self.features = view.features.clone();
        }
        self.derive();
    }

    fn derive(&mut self) {
        let slots = self.layout.slots();
        let looked_at = |feature: &u16| {
            slots
                .get(usize::from(*feature))
                .is_some_and(|slot| needs_look(slot.value_type))
        };
        self.look.clear();
        self.look.extend(self.features.iter().copied().filter(looked_at));
    }
}

/// The answer of one online read: per view and row a status and the packed values.
///
/// Owned by the caller, reused from read to read without allocation.
#[derive(Debug, Default)]
pub struct FeatureBlock {
    arena: Vec<u8>,
    views: Vec<BlockView>,
}

impl FeatureBlock {
    /// An empty block.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the last answer and takes the shape of a request: every row is `NotFound`.
    ///
    /// A store calls this first in `read`.
    pub fn reset(&mut self, request: &OnlineRead) {
        self.arena.clear();
        let count = request
            .groups
            .iter()
            .map(|group| group.views.len())
            .sum::<usize>();
        for group in &request.groups {
            for view in &group.views {
                let slot = usize::from(view.slot);
                while self.views.len() <= slot {
                    // Placeholders for slots that a later view of the request fills.
                    let mut placeholder = BlockView {
                        layout: view.layout.clone(),
                        features: view.features.clone(),
                        look: Vec::new(),
                        rows: Vec::new(),
                    };
                    placeholder.derive();
                    self.views.push(placeholder);
                }
                let target = &mut self.views[slot];
                target.take(view);
                target.rows.clear();
                target.rows.resize(group.keys.len(), ABSENT);
            }
        }
        self.views.truncate(count);
    }

    /// Copies a packed row that was found.
    ///
    /// # Errors
    /// `Corrupt` when the bytes are not a row of the view, checked for the requested features.
    #[inline]
    pub fn put_row(&mut self, slot: u16, row: usize, bytes: &[u8]) -> Result<()> {
        let view = &mut self.views[usize::from(slot)];
        let packed = RowRef::parse(bytes)?;
        packed.check(&view.layout, &view.look)?;
        if packed.is_tombstone() {
            view.rows[row] = ABSENT;
            return Ok(());
        }
        view.rows[row] = Entry {
            start: self.arena.len(),
            len: u32::try_from(bytes.len()).map_err(|_| Error::corrupt("a packed row of 4 GiB"))?,
            status: RowStatus::Present,
            event: packed.event(),
        };
        self.arena.extend_from_slice(bytes);
        Ok(())
    }

    /// Marks what could not be read, for partial answers.
    pub fn fail(&mut self, slot: u16, row: usize, _why: ErrorKind) {
        self.views[usize::from(slot)].rows[row] = Entry {
            status: RowStatus::Unavailable,
            ..ABSENT
        };
    }

    /// Marks every row of a view that was not found as unavailable: its store failed.
    pub fn fail_view(&mut self, slot: u16) {
        for entry in &mut self.views[usize::from(slot)].rows {
            if entry.status == RowStatus::NotFound {
                *entry = Entry {
                    status: RowStatus::Unavailable,
                    ..ABSENT
                };
            }
        }
    }

    /// Decides, from the rows' own event times, what is expired and what lies in the future.
    ///
    /// Returns the oldest age among the rows that are present.
    pub fn settle(&mut self, now: Micros) -> Option<Span> {
        let mut oldest = None;
        for view in &mut self.views {
            let ttl = view.layout.ttl();
            for entry in &mut view.rows {
                if entry.status != RowStatus::Present {
                    continue;
                }
                let age = now.since(entry.event);
                if entry.event > now {
                    *entry = ABSENT;
                } else if ttl.is_some_and(|ttl| age > ttl) {
                    entry.status = RowStatus::Expired;
                } else {
                    oldest = oldest.max(Some(age));
                }
            }
        }
        oldest
    }

    /// Number of view slots.
    pub fn view_count(&self) -> usize {
        self.views.len()
    }

    /// Rows of a view slot.
    pub fn rows(&self, slot: u16) -> usize {
        self.views[usize::from(slot)].rows.len()
    }

    /// The layout of a view slot.
    pub fn layout(&self, slot: u16) -> &Arc<ViewLayout> {
        &self.views[usize::from(slot)].layout
    }

    /// Bytes of packed rows held.
    pub fn byte_len(&self) -> usize {
        self.arena.len()
    }

    /// The status of a row.
    #[inline]
    pub fn status(&self, slot: u16, row: usize) -> RowStatus {
        self.views[usize::from(slot)].rows[row].status
    }

    /// The event time of a row that is present or expired.
    #[inline]
    pub fn event_time(&self, slot: u16, row: usize) -> Option<Micros> {
        let entry = &self.views[usize::from(slot)].rows[row];
        (entry.len > 0).then_some(entry.event)
    }

    /// The packed bytes of a row that is present or expired.
    pub fn packed(&self, slot: u16, row: usize) -> Option<&[u8]> {
        let entry = &self.views[usize::from(slot)].rows[row];
        (entry.len > 0).then(|| &self.arena[entry.start..entry.start + entry.len as usize])
    }

    /// What a row holds in a slot of its layout, whether present or expired.
    ///
    /// `slot` is the view's slot in the request, `feature` the feature's slot in the layout.
    #[inline]
    pub fn cell(&self, slot: u16, feature: u16, row: usize) -> SlotCell<'_> {
        let view = &self.views[usize::from(slot)];
        let entry = &view.rows[row];
        if entry.len == 0 {
            return SlotCell::Missing;
        }
        let bytes = &self.arena[entry.start..entry.start + entry.len as usize];
        RowRef::parsed(bytes).slot(&view.layout, feature)
    }

    /// One feature of all rows that are `Present` as `f32`: `put(row, value)` for each number.
    ///
    /// Rows that are not present, and nulls, are not visited.
    pub fn each_f32(&self, slot: u16, feature: u16, mut put: impl FnMut(usize, f32)) {
        let view = &self.views[usize::from(slot)];
        let Some(of) = view.layout.slots().get(usize::from(feature)) else {
            return;
        };
        // The type is asked once, so that the loops over rows are short.
        match of.value_type {
            ValueType::FLOAT64 => self.each_fixed(view, feature, |b| f64::from_le_bytes(b) as f32, put),
            ValueType::FLOAT32 => self.each_fixed(view, feature, f32::from_le_bytes, put),
            ValueType::INT64 => self.each_fixed(view, feature, |b| i64::from_le_bytes(b) as f32, put),
            ValueType::INT32 => self.each_fixed(view, feature, |b| i32::from_le_bytes(b) as f32, put),
            other => {
                for (row, packed) in self.present(view) {
                    if let SlotCell::Cell(cell) = packed.slot(&view.layout, feature)
                        && let Some(number) = cell.to_f32(other)
                    {
                        put(row, number);
                    }
                }
            }
        }
    }

    #[inline]
    fn each_fixed<const N: usize>(
        &self,
        view: &BlockView,
        feature: u16,
        number: impl Fn([u8; N]) -> f32,
        mut put: impl FnMut(usize, f32),
    ) {
        let offset = view.layout.offset(feature);
        for (row, packed) in self.present(view) {
            if let Some(bytes) = packed.fixed(feature, offset) {
                put(row, number(bytes));
            }
        }
    }

    fn present<'a>(&'a self, view: &'a BlockView) -> impl Iterator<Item = (usize, RowRef<'a>)> {
        let row = |(row, entry): (usize, &Entry)| {
            let bytes = &self.arena[entry.start..entry.start + entry.len as usize];
            (entry.status == RowStatus::Present).then(|| (row, RowRef::parsed(bytes)))
        };
        view.rows.iter().enumerate().filter_map(row)
    }
}

impl Cell<'_> {
    /// A numeric cell as the nearest `f32`.
    #[inline]
    pub fn to_f32(self, of: ValueType) -> Option<f32> {
        Some(match self {
            Cell::Bool(v) => f32::from(u8::from(v)),
            Cell::Int32(v) => v as f32,
            Cell::Int64(v) => v as f32,
            Cell::Float32(v) => v,
            Cell::Float64(v) => v as f32,
            Cell::Decimal(v) => match of {
                ValueType::Scalar(ScalarType::Decimal { scale, .. }) => {
                    (v as f64 / 10_f64.powi(i32::from(scale))) as f32
                }
                _ => v as f32,
            },
            _ => return None,
        })
    }
}
