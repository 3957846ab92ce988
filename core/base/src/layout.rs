//! Where each feature of a view stands in a packed row: append-only slots of one generation.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::keys::JoinKey;
use crate::names::{FeatureName, ProjectName, ViewName};
use crate::time::Span;
use crate::types::ValueType;

/// The random number in a view's physical names; a new one is a new, empty place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u32);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One slot of a view's packed row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// The feature that has, or had, this slot.
    pub name: FeatureName,
    /// Its type, for ever.
    #[serde(rename = "type")]
    pub value_type: ValueType,
    /// Whether the feature was removed; the slot stays as a hole.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
}

impl Slot {
    /// A slot in use.
    pub fn new(name: FeatureName, value_type: ValueType) -> Self {
        Self {
            name,
            value_type,
            removed: false,
        }
    }
}

/// What a store knows of a view: no tags, no owner, only what bytes need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Document", into = "Document")]
pub struct ViewLayout {
    project: ProjectName,
    view: ViewName,
    generation: Generation,
    join_keys: Vec<JoinKey>,
    slots: Vec<Slot>,
    ttl: Option<Span>,
    retention: Option<Span>,
    /// Offset of each slot in the fixed region, and the region's whole width at the end.
    offsets: Vec<u32>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    project: ProjectName,
    view: ViewName,
    generation: Generation,
    join_keys: Vec<JoinKey>,
    slots: Vec<Slot>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ttl: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retention: Option<Span>,
}

impl From<Document> for ViewLayout {
    fn from(document: Document) -> Self {
        Self::new(
            document.project,
            document.view,
            document.generation,
            document.join_keys,
            document.slots,
        )
        .with_ttl(document.ttl)
        .with_retention(document.retention)
    }
}

impl From<ViewLayout> for Document {
    fn from(layout: ViewLayout) -> Self {
        let ViewLayout {
            project,
            view,
            generation,
            join_keys,
            slots,
            ttl,
            retention,
            offsets: _,
        } = layout;
        Self {
            project,
            view,
            generation,
            join_keys,
            slots,
            ttl,
            retention,
        }
    }
}

impl ViewLayout {
    /// A layout; join keys are put into canonical order, which is by name.
    pub fn new(
        project: ProjectName,
        view: ViewName,
        generation: Generation,
        mut join_keys: Vec<JoinKey>,
        slots: Vec<Slot>,
    ) -> Self {
        join_keys.sort_by(|a, b| a.name.cmp(&b.name));
        let mut offsets = Vec::with_capacity(slots.len() + 1);
        let mut offset = 0_u32;
        for slot in &slots {
            offsets.push(offset);
            offset += slot.value_type.slot_width() as u32;
        }
        offsets.push(offset);
        Self {
            project,
            view,
            generation,
            join_keys,
            slots,
            ttl: None,
            retention: None,
            offsets,
        }
    }

    /// Sets the time to live.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Option<Span>) -> Self {
        self.ttl = ttl;
        self
    }

    /// Sets after how long the backend may free a row.
    #[must_use]
    pub fn with_retention(mut self, retention: Option<Span>) -> Self {
        self.retention = retention;
        self
    }

    /// The project.
    pub fn project(&self) -> &ProjectName {
        &self.project
    }

    /// The view.
    pub fn view(&self) -> &ViewName {
        &self.view
    }

    /// The generation.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The join keys in canonical order (by name).
    pub fn join_keys(&self) -> &[JoinKey] {
        &self.join_keys
    }

    /// All slots, holes included.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Time to live.
    pub fn ttl(&self) -> Option<Span> {
        self.ttl
    }

    /// After how long the backend may free a row.
    pub fn retention(&self) -> Option<Span> {
        self.retention
    }

    /// The slot of a feature in use.
    pub fn slot_of(&self, feature: &str) -> Option<u16> {
        let found = self
            .slots
            .iter()
            .position(|slot| !slot.removed && slot.name == *feature)?;
        u16::try_from(found).ok()
    }

    /// Numbers of the slots in use.
    pub fn active_slots(&self) -> impl Iterator<Item = u16> + '_ {
        (0_u16..=u16::MAX)
            .zip(&self.slots)
            .filter(|(_, slot)| !slot.removed)
            .map(|(number, _)| number)
    }

    /// Offset of a slot in the fixed region of a packed row.
    #[inline]
    pub(crate) fn offset(&self, slot: u16) -> usize {
        self.offsets[slot as usize] as usize
    }

    /// Width of the fixed region up to a number of slots, or up to the last one known.
    #[inline]
    pub(crate) fn width_of(&self, slots: usize) -> usize {
        self.offsets[slots.min(self.slots.len())] as usize
    }
}
