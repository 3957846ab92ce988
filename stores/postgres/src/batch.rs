//! In which order and in which pieces rows travel: each key once, in key order, so that writers never wait in a circle.

use larder_base::row::VERSION_RANGE;

/// Rows of one statement.
const ROWS: usize = 2_000;
/// Bytes of keys and rows in one statement, unless a single row is longer.
const BYTES: usize = 4 << 20;

/// Rows on their way, as columns.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Columns<'a> {
    pub(crate) keys: Vec<&'a [u8]>,
    pub(crate) rows: Vec<&'a [u8]>,
    pub(crate) expires: Vec<Option<i64>>,
}

/// One row to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Item<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) row: &'a [u8],
    /// When it may go, in µs UTC.
    pub(crate) expires: Option<i64>,
}

/// Sorts rows by key and keeps one of each: the newest, or the last one where the last one wins.
///
/// Of equally new rows the later one stays. Answers how many were left out.
pub(crate) fn settle(items: &mut Vec<Item<'_>>, newest_wins: bool) -> u64 {
    let before = items.len();
    // Stable: rows of one key stay in the order of their arrival.
    items.sort_by(|a, b| a.key.cmp(b.key));
    items.dedup_by(|later, kept| {
        if later.key != kept.key {
            return false;
        }
        if !newest_wins || version(later.row) >= version(kept.row) {
            *kept = *later;
        }
        true
    });
    (before - items.len()) as u64
}

fn version(row: &[u8]) -> &[u8] {
    row.get(VERSION_RANGE).unwrap_or_default()
}

/// Cuts rows into pieces that one statement takes.
pub(crate) fn pieces<'a>(items: &[Item<'a>]) -> Vec<Columns<'a>> {
    let mut pieces: Vec<Columns<'a>> = Vec::new();
    let mut bytes = 0;
    for item in items {
        let length = item.key.len() + item.row.len();
        let full = |piece: &Columns<'_>| piece.keys.len() >= ROWS || bytes + length > BYTES;
        if pieces.last().is_none_or(full) {
            pieces.push(Columns::default());
            bytes = 0;
        }
        bytes += length;
        if let Some(piece) = pieces.last_mut() {
            piece.keys.push(item.key);
            piece.rows.push(item.row);
            piece.expires.push(item.expires);
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use larder_base::Micros;
    use larder_base::row::version_bytes;
    use proptest::prelude::*;

    use super::*;

    fn row(event: i64, created: Option<i64>, tail: u8) -> Vec<u8> {
        let mut row = vec![0; 8];
        row.extend_from_slice(&version_bytes(Micros(event), created.map(Micros)));
        row.push(tail);
        row
    }

    fn time() -> impl Strategy<Value = i64> {
        prop_oneof![
            Just(i64::MIN),
            Just(i64::MAX),
            Just(-1),
            Just(0),
            Just(1),
            any::<i64>()
        ]
    }

    proptest! {
        /// The same as writing row by row into a map.
        #[test]
        fn one_row_of_each_key_stays(
            rows in prop::collection::vec((0_u8..6, time(), prop::option::of(time()), any::<u8>()), 0..40),
            newest_wins in any::<bool>(),
        ) {
            let rows: Vec<(Vec<u8>, Vec<u8>)> = rows
                .into_iter()
                .map(|(key, event, created, tail)| (vec![key], row(event, created, tail)))
                .collect();
            let mut expected: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
            for (key, row) in &rows {
                let kept = expected.entry(key).or_insert(row);
                if !newest_wins || row[8..24] >= kept[8..24] {
                    *kept = row;
                }
            }
            let mut items: Vec<Item<'_>> = rows
                .iter()
                .map(|(key, row)| Item { key, row, expires: None })
                .collect();
            let lost = settle(&mut items, newest_wins);
            prop_assert_eq!(lost as usize, rows.len() - expected.len());
            let found: Vec<(&[u8], &[u8])> = items.iter().map(|item| (item.key, item.row)).collect();
            prop_assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn pieces_are_bounded_and_lose_nothing() {
        let keys: Vec<[u8; 4]> = (0..5_000_u32).map(u32::to_be_bytes).collect();
        let items: Vec<Item<'_>> = keys
            .iter()
            .map(|key| Item {
                key,
                row: b"r",
                expires: Some(1),
            })
            .collect();
        let sizes: Vec<usize> = pieces(&items).iter().map(|piece| piece.keys.len()).collect();
        assert_eq!(sizes, [2_000, 2_000, 1_000]);
        let heavy = vec![0; 3 << 20];
        let items: Vec<Item<'_>> = keys[..3]
            .iter()
            .map(|key| Item {
                key,
                row: &heavy,
                expires: None,
            })
            .collect();
        assert_eq!(pieces(&items).len(), 3);
        assert!(pieces(&[]).is_empty());
    }
}
