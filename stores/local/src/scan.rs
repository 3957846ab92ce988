//! How the rows of a view are walked in the order of their entity keys.
//!
//! Long keys are stored in the order of their first 486 bytes and then of their digests, so keys that share such a
//! head are collected and put into order before they are handed out.

use std::ops::Bound;

use larder_base::error::Result;
use larder_base::online::ScannedRow;

use crate::key::{self, HEAD, Place};
use crate::transaction::Snapshot;

/// Up to `limit` rows of a place with keys greater than `after`, tombstones included.
pub(crate) fn page(
    snapshot: &Snapshot<'_>,
    place: Place,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<ScannedRow>> {
    let mut start = place.0.to_vec();
    start.extend_from_slice(head(after.unwrap_or_default()));
    let (mut found, mut shared): (Vec<ScannedRow>, Vec<ScannedRow>) = (Vec::new(), Vec::new());
    for entry in snapshot.range(Bound::Included(&start))? {
        let (stored, value) = entry.map_err(|error| snapshot.error(error))?;
        if !stored.starts_with(&place.0) {
            break;
        }
        let (key, row) = key::split(stored, value)?;
        if shared.first().is_some_and(|first| head(&first.key) != head(key)) {
            flush(&mut shared, &mut found);
            if found.len() >= limit {
                break;
            }
        }
        if after.is_none_or(|after| key > after) {
            shared.push(ScannedRow {
                key: key.to_vec(),
                row: row.to_vec(),
            });
        }
    }
    flush(&mut shared, &mut found);
    found.truncate(limit);
    Ok(found)
}

fn flush(shared: &mut Vec<ScannedRow>, found: &mut Vec<ScannedRow>) {
    shared.sort_by(|a, b| a.key.cmp(&b.key));
    found.append(shared);
}

fn head(key: &[u8]) -> &[u8] {
    &key[..key.len().min(HEAD)]
}
