//! Which of the rows that are to be written are sent?

use larder_base::row::VERSION_RANGE;

/// One row to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent<'a> {
    /// The encoded entity key.
    pub key: &'a [u8],
    /// The packed row.
    pub row: &'a [u8],
    /// From when on it may go, in the unit and since the time that the backend counts by.
    pub expires: Option<i64>,
}

/// Sorts rows by key and keeps one of each: the newest, or the last one where the last one wins.
///
/// Of equally new rows the later one stays. Answers how many were left out.
pub fn settle(rows: &mut Vec<Sent<'_>>, newest_wins: bool) -> u64 {
    let before = rows.len();
    // Stable: rows of one key stay in the order of their arrival.
    rows.sort_by(|a, b| a.key.cmp(b.key));
    rows.dedup_by(|later, kept| {
        if later.key != kept.key {
            return false;
        }
        if !newest_wins || version(later.row) >= version(kept.row) {
            *kept = *later;
        }
        true
    });
    (before - rows.len()) as u64
}

fn version(row: &[u8]) -> &[u8] {
    row.get(VERSION_RANGE).unwrap_or_default()
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
            let mut items: Vec<Sent<'_>> = rows
                .iter()
                .map(|(key, row)| Sent { key, row, expires: None })
                .collect();
            let lost = settle(&mut items, newest_wins);
            prop_assert_eq!(lost as usize, rows.len() - expected.len());
            let found: Vec<(&[u8], &[u8])> = items.iter().map(|item| (item.key, item.row)).collect();
            prop_assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
        }
    }
}
