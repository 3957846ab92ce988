//! Which LMDB key a row is stored under: short entity keys as they are, long ones by digest.
//!
//! LMDB keys are at most 511 bytes, canonical entity keys at most 1,024. The first eight bytes are the view's
//! [`Place`]: `generation u32 BE ++ xxh3-64 of the project's name, upper half`.
//!
//! - short: `place ++ entity key`, at most 510 bytes;
//! - long: `place ++ the entity key's first 486 bytes ++ xxh3-128 ++ probe`, exactly 511 bytes, with the whole
//!   entity key (u16 BE length ++ bytes) in front of the value.
//!
//! The length alone tells the two apart, so no content of a short key can collide with a long one.
//! Keys shorter than eight bytes belong to the folder itself (format, identity).

use larder_base::error::{Error, Result};
use larder_base::layout::{Generation, ViewLayout};
use larder_base::names::ProjectName;

/// LMDB's limit.
pub(crate) const MAX_STORED: usize = 511;
const PLACE: usize = 8;
const DIGEST: usize = 16;
/// How much of a long entity key stands in the stored key.
pub(crate) const HEAD: usize = MAX_STORED - PLACE - DIGEST - 1;
/// Longest entity key that is stored as it is.
pub(crate) const MAX_SHORT: usize = MAX_STORED - 1 - PLACE;
/// How many entity keys with one digest can live side by side.
pub(crate) const PROBES: u8 = 8;

/// Where the rows of one view generation live; generations are random, but only within a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place(pub(crate) [u8; PLACE]);

impl Place {
    /// The place of a generation of a project.
    #[inline]
    pub(crate) fn new(project: &ProjectName, generation: Generation) -> Self {
        let project = xxhash_rust::xxh3::xxh3_64(project.as_str().as_bytes());
        Self(((u64::from(generation.0) << 32) | (project >> 32)).to_be_bytes())
    }

    /// The place of a layout.
    #[inline]
    pub(crate) fn of(layout: &ViewLayout) -> Self {
        Self::new(layout.project(), layout.generation())
    }

    /// The place that a stored key belongs to; `None` for the folder's own entries.
    pub(crate) fn stored(stored: &[u8]) -> Option<Self> {
        stored.first_chunk().copied().map(Self)
    }
}

/// Computes the digest of a long key; a parameter so that tests can force collisions.
pub(crate) type Digest = fn(&[u8]) -> u128;

/// The digest in the file format.
pub(crate) fn xxh3(key: &[u8]) -> u128 {
    xxhash_rust::xxh3::xxh3_128(key)
}

/// A reusable buffer for one stored key; lives on the stack.
pub(crate) struct StoredKey {
    bytes: [u8; MAX_STORED],
    len: usize,
}

impl StoredKey {
    /// A buffer for keys of one place.
    pub(crate) fn new(place: Place) -> Self {
        let mut stored = Self {
            bytes: [0; MAX_STORED],
            len: PLACE,
        };
        stored.bytes[..PLACE].copy_from_slice(&place.0);
        stored
    }

    /// Sets a short entity key, or the first probe of a long one.
    #[inline]
    pub(crate) fn set(&mut self, key: &[u8], digest: Digest) {
        if is_long(key) {
            self.bytes[PLACE..PLACE + HEAD].copy_from_slice(&key[..HEAD]);
            self.bytes[PLACE + HEAD..MAX_STORED - 1].copy_from_slice(&digest(key).to_be_bytes());
            self.bytes[MAX_STORED - 1] = 0;
            self.len = MAX_STORED;
        } else {
            self.len = PLACE + key.len();
            self.bytes[PLACE..self.len].copy_from_slice(key);
        }
    }

    /// Chooses the probe of a long key.
    pub(crate) fn probe(&mut self, probe: u8) {
        debug_assert_eq!(self.len, MAX_STORED, "only long keys are probed");
        self.bytes[MAX_STORED - 1] = probe;
    }

    /// What LMDB sees.
    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Whether an entity key must be stored by digest.
#[inline]
pub(crate) fn is_long(key: &[u8]) -> bool {
    key.len() > MAX_SHORT
}

/// The stored key that follows in the probe chain of a long one.
pub(crate) fn next_probe(stored: &[u8]) -> Option<Vec<u8>> {
    if stored.len() != MAX_STORED || stored[MAX_STORED - 1] >= PROBES - 1 {
        return None;
    }
    let mut next = stored.to_vec();
    next[MAX_STORED - 1] += 1;
    Some(next)
}

/// The entity key and the row behind a stored key and value.
pub(crate) fn split<'a>(stored: &'a [u8], value: &'a [u8]) -> Result<(&'a [u8], &'a [u8])> {
    if stored.len() == MAX_STORED {
        split_long(value)
    } else {
        Ok((&stored[PLACE.min(stored.len())..], value))
    }
}

/// The value of a long key: the whole entity key, then the row.
pub(crate) fn long_value(key: &[u8], row: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let len =
        u16::try_from(key.len()).map_err(|_| Error::input("an entity key is longer than 65,535 bytes"))?;
    out.clear();
    out.reserve(2 + key.len() + row.len());
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(row);
    Ok(())
}

/// Splits the value of a long key into the whole entity key and the row.
pub(crate) fn split_long(value: &[u8]) -> Result<(&[u8], &[u8])> {
    let (len, rest) = value.split_first_chunk::<2>().ok_or_else(damaged)?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
        .ok_or_else(damaged)
}

fn damaged() -> Error {
    Error::corrupt("a stored row with a long key is damaged")
        .help("materialize the view again with --rebuild")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(key: &[u8]) -> StoredKey {
        let mut stored = StoredKey::new(Place([7; 8]));
        stored.set(key, xxh3);
        stored
    }

    #[test]
    fn short_and_long_never_share_a_key() {
        for len in [0, 1, 486, 501, 502] {
            let key = vec![0xff; len];
            let stored = stored(&key);
            assert_eq!(stored.as_bytes().len(), 8 + len, "a short key is stored as it is");
            assert!(stored.as_bytes().len() < MAX_STORED);
            assert!(matches!(split(stored.as_bytes(), b"row"), Ok((found, b"row")) if found == key));
        }
        for len in [503, 504, 1024] {
            assert_eq!(stored(&vec![0xff; len]).as_bytes().len(), MAX_STORED);
        }
    }

    #[test]
    fn long_keys_differ_by_their_tail() {
        let (mut a, mut b) = (vec![1; 1024], vec![1; 1024]);
        a[1023] = 2;
        b[1023] = 3;
        let (a, b) = (stored(&a), stored(&b));
        assert_ne!(a.as_bytes(), b.as_bytes());
        assert_eq!(Place::stored(a.as_bytes()), Some(Place([7; 8])));
        assert_eq!(Place::stored(b"f"), None);
    }

    #[test]
    fn projects_with_one_generation_do_not_share_a_place() -> Result<()> {
        let (a, b) = (ProjectName::new("a")?, ProjectName::new("b")?);
        assert_ne!(Place::new(&a, Generation(7)), Place::new(&b, Generation(7)));
        assert_ne!(Place::new(&a, Generation(7)), Place::new(&a, Generation(8)));
        assert_eq!(Place::new(&a, Generation(7)).0[..4], [0, 0, 0, 7]);
        Ok(())
    }

    #[test]
    fn values_split_where_they_were_joined_and_garbage_is_corrupt() {
        let mut value = Vec::new();
        assert!(long_value(&[9; 600], b"row", &mut value).is_ok());
        assert!(matches!(split_long(&value), Ok((key, b"row")) if key == [9; 600]));
        assert!(split_long(&value[..300]).is_err());
        assert!(split_long(&[0]).is_err());
    }

    #[test]
    fn probe_chains_end() {
        let mut stored = stored(&[1; 600]);
        stored.probe(PROBES - 1);
        assert_eq!(next_probe(stored.as_bytes()), None);
        stored.probe(0);
        assert_eq!(
            next_probe(stored.as_bytes()).as_deref().and_then(<[u8]>::last),
            Some(&1)
        );
        assert_eq!(next_probe(b"short"), None);
    }
}
