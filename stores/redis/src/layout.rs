//! Which Redis key a row is stored under, and whose row a Redis key is.
//!
//! ```text
//! row:   prefix ++ "{" ++ entity key ++ "}" ++ place        place = generation u32 BE ++ project hash u32 BE
//! mark:  prefix ++ "~identity:" ++ "{" ++ tag ++ "}" ++ project
//! ```
//!
//! The entity key stands between braces, so that Redis Cluster puts all views of one entity into one slot. The place has
//! a fixed length and stands at the end, so that a row's view generation is read off exactly, whatever bytes an entity key
//! holds. A prefix holds no braces, and rows and marks differ in the byte behind it.

use larder_base::{Generation, ProjectName, ViewLayout};

use crate::cluster::slots::slot_of;

/// Bytes of a place.
pub(crate) const PLACE: usize = 8;

/// Where the rows of one view generation live; generations are random, but only within a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place(pub(crate) [u8; PLACE]);

impl Place {
    /// The place of a generation of a project.
    pub(crate) fn new(project: &ProjectName, generation: Generation) -> Self {
        let project = xxhash_rust::xxh3::xxh3_64(project.as_str().as_bytes()) >> 32;
        Self(((u64::from(generation.0) << 32) | project).to_be_bytes())
    }

    /// The place of a layout.
    pub(crate) fn of(layout: &ViewLayout) -> Self {
        Self::new(layout.project(), layout.generation())
    }
}

/// Writes the keys of a store.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    prefix: Vec<u8>,
}

impl Layout {
    /// Keys that begin with a prefix, which holds no braces.
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.as_bytes().to_vec(),
        }
    }

    /// Writes a row's key into a buffer, in place of what is there.
    #[inline]
    pub(crate) fn row(&self, buffer: &mut Vec<u8>, place: Place, entity: &[u8]) {
        buffer.clear();
        buffer.extend_from_slice(&self.prefix);
        buffer.push(b'{');
        buffer.extend_from_slice(entity);
        buffer.push(b'}');
        buffer.extend_from_slice(&place.0);
    }

    /// Bytes of a row's key beside the entity key.
    pub(crate) fn overhead(&self) -> usize {
        self.prefix.len() + 2 + PLACE
    }

    /// The place that a Redis key's row belongs to; `None` for what is no row of this prefix.
    pub(crate) fn place_of(&self, key: &[u8]) -> Option<Place> {
        let rest = key.strip_prefix(self.prefix.as_slice())?.strip_prefix(b"{")?;
        let (entity, place) = rest.split_last_chunk::<PLACE>()?;
        entity.ends_with(b"}").then_some(Place(*place))
    }

    /// The key of one of a project's identity marks.
    pub(crate) fn mark(&self, project: &ProjectName, tag: &str) -> Vec<u8> {
        [
            self.prefix.as_slice(),
            b"~identity:{",
            tag.as_bytes(),
            b"}",
            project.as_str().as_bytes(),
        ]
        .concat()
    }

    /// A key for trying what the server lets us do.
    pub(crate) fn probe(&self, name: &str) -> Vec<u8> {
        [self.prefix.as_slice(), b"~probe:", name.as_bytes()].concat()
    }

    /// The glob pattern for `SCAN` that finds the rows of these places, and perhaps others of this prefix.
    pub(crate) fn pattern(&self, places: &[Place]) -> Vec<u8> {
        let mut pattern = Vec::new();
        escape(&mut pattern, &self.prefix);
        pattern.extend_from_slice(b"{*}");
        match places {
            [one] => escape(&mut pattern, &one.0),
            _ => pattern.push(b'*'),
        }
        pattern
    }
}

/// The hash slot of an entity's rows in a cluster: that of the bytes between the braces.
#[inline]
pub(crate) fn slot_of_entity(entity: &[u8]) -> u16 {
    // Redis looks for the first closing brace, which may stand inside the entity key. An entity key begins with its
    // version byte, so what stands before the brace is never empty.
    let end = entity
        .iter()
        .position(|byte| *byte == b'}')
        .unwrap_or(entity.len());
    slot_of(&entity[..end])
}

fn escape(pattern: &mut Vec<u8>, literal: &[u8]) {
    for byte in literal {
        if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\' | b'^' | b'-') {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cluster::slots::slot_of_key;

    fn project(name: &str) -> ProjectName {
        ProjectName::new(name).expect("a name")
    }

    #[test]
    fn places_differ_by_project_and_generation() {
        let place = |name: &str, generation| Place::new(&project(name), Generation(generation));
        assert_eq!(place("shop", 7), place("shop", 7));
        assert_ne!(place("shop", 7), place("shop", 8));
        assert_ne!(place("shop", 7), place("shop-2", 7));
    }

    #[test]
    fn the_format_is_fixed() {
        let layout = Layout::new("larder:");
        let mut key = Vec::new();
        layout.row(&mut key, Place(*b"GGGGPPPP"), b"\x01\x00x");
        assert_eq!(key, b"larder:{\x01\x00x}GGGGPPPP");
        assert_eq!(layout.place_of(&key), Some(Place(*b"GGGGPPPP")));
        assert_eq!(layout.mark(&project("shop"), "3"), b"larder:~identity:{3}shop");
        assert_eq!(layout.place_of(b"larder:~identity:{3}shopshop"), None);
        assert_eq!(layout.place_of(b"other:{x}GGGGPPPP"), None);
        assert_eq!(layout.place_of(b"larder:{x-GGGGPPPP"), None);
        assert_eq!(
            layout.pattern(&[Place(*b"G*?[]\\^-")]),
            b"larder:{*}G\\*\\?\\[\\]\\\\\\^\\-"
        );
        assert_eq!(layout.pattern(&[Place(*b"GGGGPPPP"); 2]), b"larder:{*}*");
    }

    proptest! {
        #[test]
        fn a_place_is_read_back_from_any_key(entity: Vec<u8>, place: [u8; PLACE], prefix in "[a-z:~*]{0,9}") {
            let layout = Layout::new(&prefix);
            let mut key = Vec::new();
            layout.row(&mut key, Place(place), &entity);
            prop_assert_eq!(layout.place_of(&key), Some(Place(place)));
            prop_assert_eq!(key.len(), entity.len() + layout.overhead());
        }

        #[test]
        fn the_slot_is_that_of_the_whole_key(entity: Vec<u8>, place: [u8; PLACE], prefix in "[a-z:~*]{0,9}") {
            let entity = [&[1, 0][..], &entity].concat();
            let mut key = Vec::new();
            Layout::new(&prefix).row(&mut key, Place(place), &entity);
            prop_assert_eq!(slot_of_entity(&entity), slot_of_key(&key));
        }
    }
}
