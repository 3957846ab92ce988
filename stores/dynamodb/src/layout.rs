//! What does an item of the table look like, and how large may it be?
//!
//! One item per (view, entity). Its key is one byte that tells what it is, the view's generation (four bytes, big-endian)
//! and the entity key: every row of every view has a partition key of its own, so that no view and no entity is a hot
//! partition, and the items of a generation are those whose key begins with five certain bytes.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use larder_base::row::VERSION_RANGE;
use larder_base::{Generation, Micros, ProjectName, StoreIdentity};

/// The partition key. Names of attributes count as bytes of every item.
pub(crate) const KEY: &str = "k";
/// The 16 bytes of event and created time, which compare like the pair of times.
pub(crate) const ORDER: &str = "o";
/// The packed row, or what a mark says.
pub(crate) const ROW: &str = "v";
/// When the item may go, in seconds since 1970: the attribute of the table's time to live.
pub(crate) const EXPIRES: &str = "x";

/// Longest packed row. An item has 400 KB at most, names and key included; the longest entity key is 1,024 bytes.
pub(crate) const MAX_ROW_BYTES: usize = 409_600 - 1_100;

/// An item of the store itself.
const MARK: u8 = 0;
/// A row.
const ROWS: u8 = 1;
/// The form of the table that this crate writes.
const FORMAT: u8 = 1;

/// An item as the client takes it.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// What in the name of a table stands for the project.
pub(crate) const PROJECT: &str = "{project}";

/// The table of a project.
pub(crate) fn table(template: &str, project: &ProjectName) -> String {
    template.replace(PROJECT, project.as_str())
}

/// The first bytes of the keys of a generation's rows.
pub(crate) fn prefix(generation: Generation) -> [u8; 5] {
    let [a, b, c, d] = generation.0.to_be_bytes();
    [ROWS, a, b, c, d]
}

/// The key of a row.
pub(crate) fn row_key(generation: Generation, key: &[u8]) -> Vec<u8> {
    [&prefix(generation)[..], key].concat()
}

/// The key of a mark of the store.
pub(crate) fn mark_key(name: &str) -> Vec<u8> {
    [&[MARK], name.as_bytes()].concat()
}

/// A binary attribute.
pub(crate) fn binary(bytes: impl Into<Vec<u8>>) -> AttributeValue {
    AttributeValue::B(Blob::new(bytes))
}

/// The key of an item as the client takes it.
pub(crate) fn key_of(bytes: impl Into<Vec<u8>>) -> Item {
    HashMap::from([(KEY.to_owned(), binary(bytes))])
}

/// A row as an item; `expires` in seconds since 1970.
pub(crate) fn item(generation: Generation, key: &[u8], row: &[u8], expires: Option<i64>) -> Item {
    let mut item = key_of(row_key(generation, key));
    item.insert(ORDER.to_owned(), binary(order(row)));
    item.insert(ROW.to_owned(), binary(row));
    if let Some(seconds) = expires {
        item.insert(EXPIRES.to_owned(), AttributeValue::N(seconds.to_string()));
    }
    item
}

/// What decides whether a row wins.
pub(crate) fn order(row: &[u8]) -> &[u8] {
    row.get(VERSION_RANGE).unwrap_or_default()
}

/// The instant from which DynamoDB may free an item: never early, and never so long ago that DynamoDB takes it for a
/// mistake and keeps the item (five years).
pub(crate) fn expires(at: Micros, now: Micros) -> i64 {
    const SECOND: i64 = 1_000_000;
    const YEAR: i64 = 365 * 86_400;
    let at = at.0.div_euclid(SECOND) + 1;
    at.max(now.0.div_euclid(SECOND) - YEAR)
}

/// What the mark of a table's identity holds.
pub(crate) fn identity_mark(identity: StoreIdentity) -> Vec<u8> {
    [&[FORMAT][..], &identity.0.to_be_bytes()].concat()
}

/// What a mark of identity says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Identity(StoreIdentity),
    /// Of a newer larder.
    Newer(u8),
    Damaged,
}

/// Reads the mark of a table's identity.
pub(crate) fn read_mark(bytes: &[u8]) -> Mark {
    match bytes {
        [FORMAT, identity @ ..] => match <[u8; 16]>::try_from(identity) {
            Ok(identity) => Mark::Identity(StoreIdentity(u128::from_be_bytes(identity))),
            Err(_) => Mark::Damaged,
        },
        [format, ..] if *format > FORMAT => Mark::Newer(*format),
        _ => Mark::Damaged,
    }
}

/// The bytes of a binary attribute, taken out of an item.
pub(crate) fn take(item: &mut Item, name: &str) -> Option<Vec<u8>> {
    match item.remove(name) {
        Some(AttributeValue::B(blob)) => Some(blob.into_inner()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use larder_base::row::version_bytes;

    use super::*;

    #[test]
    fn keys_of_rows_and_marks_never_meet() {
        let row = row_key(Generation(0), b"identity");
        assert_eq!(row, b"\x01\0\0\0\0identity");
        assert_ne!(row[0], mark_key("identity")[0]);
        assert!(row_key(Generation(7), b"").starts_with(&prefix(Generation(7))));
        assert!(!row_key(Generation(8), b"").starts_with(&prefix(Generation(7))));
    }

    #[test]
    fn the_longest_row_fits_with_the_longest_key() {
        let key = vec![0; larder_base::keys::MAX_KEY_BYTES];
        let mut row = vec![0; MAX_ROW_BYTES];
        row[VERSION_RANGE].copy_from_slice(&version_bytes(Micros(1), None));
        let item = item(Generation(1), &key, &row, Some(i64::MIN));
        let size = |value: &AttributeValue| match value {
            AttributeValue::B(blob) => blob.as_ref().len(),
            AttributeValue::N(digits) => digits.len(),
            _ => usize::MAX / 8,
        };
        let bytes: usize = item.iter().map(|(name, value)| name.len() + size(value)).sum();
        assert!(bytes <= 400 * 1024, "{bytes}");
        assert_eq!(item[ORDER], binary(version_bytes(Micros(1), None)));
    }

    #[test]
    fn expiry_is_late_rather_than_early() {
        let now = Micros(2_000_000_000_000_000);
        assert_eq!(expires(Micros(now.0 + 1), now), 2_000_000_001);
        assert_eq!(expires(now, now), 2_000_000_001);
        assert_eq!(expires(Micros::MIN, now), 2_000_000_000 - 365 * 86_400);
        assert!(expires(Micros::MAX, now) > 9_000_000_000_000);
    }

    #[test]
    fn marks_are_read_back() {
        let identity = StoreIdentity(7 << 100 | 3);
        let mark = identity_mark(identity);
        assert_eq!(read_mark(&mark), Mark::Identity(identity));
        assert_eq!(read_mark(&mark[..16]), Mark::Damaged);
        assert_eq!(read_mark(&[2, 0]), Mark::Newer(2));
        assert_eq!(read_mark(&[]), Mark::Damaged);
    }

    #[test]
    fn a_template_names_tables() {
        let project = ProjectName::new("my-shop").expect("a name");
        assert_eq!(table("larder_{project}", &project), "larder_my-shop");
    }
}
