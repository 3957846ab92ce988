//! How one row is found, and replaced only by a newer one.

use std::ops::Bound;

use heed::RoTxn;
use larder_base::error::{Error, Result};
use larder_base::row::{HEADER, VERSION_RANGE};

use crate::env::Db;
use crate::fault::Fault;
use crate::key::{self, PROBES, Place, StoredKey};
use crate::transaction::{Snapshot, Transaction};

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    /// It stands in the store.
    Written,
    /// The stored one is newer and stays.
    Stale,
}

impl Snapshot<'_> {
    /// The packed row of an entity, straight from the mapped page.
    #[inline]
    pub(crate) fn row(&self, stored: &mut StoredKey, key: &[u8]) -> Result<Option<&[u8]>> {
        stored.set(key, self.digest);
        if !key::is_long(key) {
            return self.get(stored.as_bytes());
        }
        for probe in 0..PROBES {
            stored.probe(probe);
            let Some(value) = self.get(stored.as_bytes())? else {
                return Ok(None);
            };
            let (whole, row) = key::split_long(value)?;
            if whole == key {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }
}

impl Transaction<'_> {
    /// Stores a row unless a newer one stands there; an equal one is replaced. `always` skips the comparison.
    pub(crate) fn put(&mut self, place: Place, key: &[u8], row: &[u8], always: bool) -> Result<Put, Fault> {
        if row.len() < HEADER {
            return Err(Error::internal("a row without a header was given to the online store").into());
        }
        let mut stored = StoredKey::new(place);
        stored.set(key, self.digest);
        if !key::is_long(key) {
            return self.put_stored(&stored, row, row, always);
        }
        for probe in 0..PROBES {
            stored.probe(probe);
            if let Some(value) = self.db.get(&self.txn, stored.as_bytes())?
                && key::split_long(value)?.0 != key
            {
                continue;
            }
            let mut value = std::mem::take(&mut self.scratch);
            key::long_value(key, row, &mut value)?;
            let put = self.put_stored(&stored, &value, row, always);
            self.scratch = value;
            return put;
        }
        Err(Error::input("too many long entity keys share one digest")
            .help("shorten the join keys of the view, for example by a hash of your own")
            .into())
    }

    /// One descent for a new key or a stale row, two for a replacement.
    fn put_stored(
        &mut self,
        stored: &StoredKey,
        value: &[u8],
        row: &[u8],
        always: bool,
    ) -> Result<Put, Fault> {
        if always {
            self.db.put(&mut self.txn, stored.as_bytes(), value)?;
            return Ok(Put::Written);
        }
        let Some(old) = self.db.get_or_put(&mut self.txn, stored.as_bytes(), value)? else {
            return Ok(Put::Written);
        };
        // A stored value too short to have a version is damage, which any row may replace.
        let version = key::split(stored.as_bytes(), old)
            .ok()
            .and_then(|(_, old)| old.get(VERSION_RANGE));
        if version.is_some_and(|version| row[VERSION_RANGE] < *version) {
            return Ok(Put::Stale);
        }
        self.db.put(&mut self.txn, stored.as_bytes(), value)?;
        Ok(Put::Written)
    }

    /// Removes at most `limit` rows of a place; fewer removed means that none is left.
    pub(crate) fn remove(&mut self, place: Place, limit: usize) -> Result<usize, Fault> {
        let prefix = place.0;
        let mut last = None;
        for entry in self.db.range(&self.txn, &from(&prefix))?.take(limit) {
            let (stored, _) = entry?;
            if !stored.starts_with(&prefix) {
                break;
            }
            last = Some(stored);
        }
        let Some(last) = last.map(<[u8]>::to_vec) else {
            return Ok(0);
        };
        let range = (Bound::Included(&prefix[..]), Bound::Included(&last[..]));
        Ok(self.db.delete_range(&mut self.txn, &range)?)
    }

    /// Looks at up to `limit` rows after `cursor` and frees those that `doomed` names; the cursor moves on and
    /// becomes `None` at the end. Returns (looked at, freed).
    pub(crate) fn sweep(
        &mut self,
        cursor: &mut Option<Vec<u8>>,
        limit: usize,
        doomed: impl Fn(Place, &[u8]) -> bool,
    ) -> Result<(usize, usize), Fault> {
        let start = cursor.take();
        let bounds = (
            start.as_deref().map_or(Bound::Unbounded, Bound::Excluded),
            Bound::Unbounded,
        );
        let (mut seen, mut freed) = (0, Vec::new());
        let mut at: &[u8] = &[];
        for entry in self.db.range(&self.txn, &bounds)?.take(limit) {
            let (stored, value) = entry?;
            (seen, at) = (seen + 1, stored);
            let Some(place) = Place::stored(stored) else {
                continue;
            };
            // Damaged rows are left for the reader to report.
            if let Ok((_, row)) = key::split(stored, value)
                && doomed(place, row)
                && ends_chain(self.db, &self.txn, stored)?
            {
                freed.push(stored.to_vec());
            }
        }
        if seen == limit {
            *cursor = Some(at.to_vec());
        }
        for stored in &freed {
            self.db.delete(&mut self.txn, stored)?;
        }
        Ok((seen, freed.len()))
    }
}

/// Whether removing a stored key leaves no later probe unreachable.
fn ends_chain(db: Db, txn: &RoTxn<'_>, stored: &[u8]) -> Result<bool, Fault> {
    match key::next_probe(stored) {
        None => Ok(true),
        Some(next) => Ok(db.get(txn, &next)?.is_none()),
    }
}

fn from(prefix: &[u8]) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (Bound::Included(prefix), Bound::Unbounded)
}

#[cfg(test)]
mod tests {
    use larder_base::row::version_bytes;
    use larder_base::time::Micros;

    use super::*;
    use crate::env::Env;

    const A: Place = Place([1; 8]);
    const B: Place = Place([2; 8]);

    fn env(folder: &tempfile::TempDir) -> Env {
        Env::open(folder.path().to_path_buf(), 64 << 20).expect("a new folder opens")
    }

    fn row(event: i64, created: Option<i64>, body: &[u8]) -> Vec<u8> {
        let mut row = vec![1, 0, 0, 0, 0, 0, 0, 0];
        row.extend_from_slice(&version_bytes(Micros(event), created.map(Micros)));
        row.extend_from_slice(body);
        row
    }

    fn put(env: &Env, place: Place, key: &[u8], row: &[u8]) -> Put {
        env.write(false, |t| t.put(place, key, row, false))
            .expect("a row is written")
    }

    fn get(env: &Env, place: Place, key: &[u8]) -> Option<Vec<u8>> {
        env.read(|s| Ok(s.row(&mut StoredKey::new(place), key)?.map(<[u8]>::to_vec)))
            .expect("a row is read")
    }

    #[test]
    fn the_newest_wins_and_equals_overwrite() {
        let folder = tempfile::tempdir().expect("a folder");
        let env = env(&folder);
        for key in [&b"k"[..], &[3; 800]] {
            let (old, new) = (row(1, None, b"old"), row(2, Some(5), b"new"));
            assert_eq!(put(&env, A, key, &new), Put::Written);
            assert_eq!(put(&env, A, key, &old), Put::Stale);
            assert_eq!(
                put(&env, A, key, &row(2, None, b"absent created is smallest")),
                Put::Stale
            );
            assert_eq!(get(&env, A, key), Some(new));
            let equal = row(2, Some(5), b"equal, and longer than what it replaces");
            assert_eq!(put(&env, A, key, &equal), Put::Written);
            assert_eq!(get(&env, A, key), Some(equal.clone()));
            assert_eq!(get(&env, B, key), None);
            env.write(false, |t| t.put(A, key, &old, true))
                .expect("an overwrite");
            assert_eq!(get(&env, A, key), Some(old));
        }
    }

    #[test]
    fn extreme_times_are_ordered() {
        let folder = tempfile::tempdir().expect("a folder");
        let env = env(&folder);
        let times = [
            (i64::MIN, None),
            (i64::MIN, Some(i64::MIN + 1)),
            (-1, Some(i64::MAX)),
            (0, None),
            (i64::MAX, Some(0)),
        ];
        for (event, created) in times {
            assert_eq!(put(&env, A, b"k", &row(event, created, b"")), Put::Written);
        }
        for (event, created) in &times[..4] {
            assert_eq!(put(&env, A, b"k", &row(*event, *created, b"")), Put::Stale);
        }
    }

    #[test]
    fn colliding_digests_live_side_by_side() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut env = env(&folder);
        env.set_digest(|_| 42);
        let key = |n: u8| [&[5; 700][..], &[n]].concat();
        for n in 0..PROBES {
            assert_eq!(put(&env, A, &key(n), &row(1, None, &[n])), Put::Written);
        }
        let refused = env.write(false, |t| t.put(A, &key(PROBES), &row(1, None, b""), false));
        assert!(matches!(refused, Err(Fault::Own(error)) if error.to_string().contains("digest")));
        for n in 0..PROBES {
            assert_eq!(
                get(&env, A, &key(n)),
                Some(row(1, None, &[n])),
                "nobody was overwritten"
            );
        }
        assert_eq!(get(&env, A, &key(PROBES)), None);
        // The first of a chain is not freed while others follow it.
        let swept = |doomed: u8| {
            env.write(false, |t| {
                t.sweep(&mut None, 100, |_, row| row.last() == Some(&doomed))
            })
            .expect("a sweep")
            .1
        };
        assert_eq!((swept(0), swept(PROBES - 1)), (0, 1));
        assert_eq!(get(&env, A, &key(0)), Some(row(1, None, &[0])));
        assert_eq!(get(&env, A, &key(PROBES - 1)), None);
        assert_eq!(get(&env, A, &key(PROBES - 2)), Some(row(1, None, &[PROBES - 2])));
    }

    #[test]
    fn removing_one_place_leaves_the_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let env = env(&folder);
        let (before, after) = (Place([0xff, 0xff, 0xff, 0xfe, 1, 1, 1, 1]), Place([0xff; 8]));
        for n in 0..500_u32 {
            for place in [A, before, after] {
                put(&env, place, &n.to_be_bytes(), &row(1, None, b"x"));
            }
            put(
                &env,
                before,
                &[&[n as u8; 600][..], &n.to_be_bytes()].concat(),
                &row(1, None, b"long"),
            );
        }
        let remove = |limit| env.write(false, |t| t.remove(before, limit)).expect("a removal");
        assert_eq!(
            (remove(300), remove(300), remove(600), remove(300)),
            (300, 300, 400, 0)
        );
        for n in 0..500_u32 {
            assert!(get(&env, A, &n.to_be_bytes()).is_some() && get(&env, after, &n.to_be_bytes()).is_some());
            assert!(get(&env, before, &n.to_be_bytes()).is_none());
        }
    }

    #[test]
    fn a_damaged_stored_row_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let env = env(&folder);
        let mut stored = StoredKey::new(A);
        stored.set(b"k", crate::key::xxh3);
        env.write(false, |t| {
            Ok(t.db.put(&mut t.txn, stored.as_bytes(), b"short")?)
        })
        .expect("damage");
        assert_eq!(put(&env, A, b"k", &row(i64::MIN, None, b"")), Put::Written);
        let refused = env.write(false, |t| t.put(A, b"k", b"no header", false));
        assert!(
            matches!(refused, Err(Fault::Own(_))),
            "a row without a header is refused"
        );
    }
}
