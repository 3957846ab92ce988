//! Which source rows could have won? A plain search among all rows of an entity row's key, for some entity rows.

use std::collections::HashMap;

use larder::arrow::array::cast::AsArray;
use larder::arrow::array::types::TimestampMicrosecondType;
use larder::arrow::array::{Array, ArrayRef, BooleanArray};
use larder::arrow::compute::filter::filter;
use larder::arrow::datatypes::DataType;
use larder::arrow::row::{RowConverter, SortField};
use xxhash_rust::xxh3::xxh3_128;

use crate::Result;
use crate::answers::{Hasher, Wanted, column, exact};
use crate::files;
use crate::shapes::{View, Workload};

/// A source row of a key that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    event: i64,
    created: Option<i64>,
    position: u64,
    hash: u64,
}

/// What is right for an entity row, and what an engine without the rule might say.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) enum Class {
    /// What the rule says.
    Right,
    /// A row with the same event time as the winner, but not the one created last.
    Tie,
    /// Nothing, where a row matches.
    Nothing,
    /// A row of the same key that is older, expired, or of the future.
    OtherRow,
    /// None of these.
    Other,
}

/// Candidates of some entity rows for one view.
pub(crate) struct Oracle {
    /// Key and time per entity row asked about.
    asked: HashMap<usize, (u128, i64)>,
    candidates: HashMap<u128, Vec<Candidate>>,
    ttl: Option<i64>,
    nothing: u64,
}

impl Oracle {
    pub(crate) fn new(workload: &Workload, view: &View, wanted: &Wanted, rows: &[usize]) -> Result<Self> {
        let mut oracle = Self {
            asked: HashMap::new(),
            candidates: HashMap::new(),
            ttl: view.ttl_us,
            nothing: 0,
        };
        let mut keys = Keys::new(&view.key_type)?;
        oracle.ask(workload, view, &mut keys, rows)?;
        oracle.scan(workload, view, wanted, &mut keys)?;
        for candidates in oracle.candidates.values_mut() {
            candidates.sort_unstable();
        }
        Ok(oracle)
    }

    fn ask(&mut self, workload: &Workload, view: &View, keys: &mut Keys, rows: &[usize]) -> Result<()> {
        let wanted: std::collections::HashSet<usize> = rows.iter().copied().collect();
        let columns = [view.key.clone(), "event_timestamp".to_owned()];
        let mut first = 0;
        for batch in files::read(&workload.spine(), Some(&columns))? {
            let batch = batch?;
            let hashes = keys.hash(&column(&batch, &view.key)?)?;
            let times = instants(&column(&batch, "event_timestamp")?)?;
            let times = times.as_primitive::<TimestampMicrosecondType>();
            for (row, key) in hashes.into_iter().enumerate() {
                if wanted.contains(&(first + row)) {
                    self.asked.insert(first + row, (key, times.value(row)));
                    self.candidates.entry(key).or_default();
                }
            }
            first += batch.num_rows();
        }
        Ok(())
    }

    fn scan(&mut self, workload: &Workload, view: &View, wanted: &Wanted, keys: &mut Keys) -> Result<()> {
        let mut hasher = Hasher::new(&wanted.types)?;
        self.nothing = hasher.nothing;
        let prefix = format!("{}__", view.name);
        let features: Vec<&str> = wanted
            .names
            .iter()
            .map(|n| n.trim_start_matches(&prefix))
            .collect();
        let mut position = 0;
        for file in workload.files(view)? {
            for batch in files::read(&file, None)? {
                let batch = batch?;
                let all = keys.hash(&column(&batch, &view.key)?)?;
                let hit: BooleanArray = all
                    .iter()
                    .map(|key| Some(self.candidates.contains_key(key)))
                    .collect();
                let keep = |name: &str| -> Result<ArrayRef> { Ok(filter(&column(&batch, name)?, &hit)?) };
                let columns = features
                    .iter()
                    .map(|name| keep(name))
                    .collect::<Result<Vec<_>>>()?;
                let hashes = hasher.hash(&columns)?;
                let events = instants(&keep(&view.time)?)?;
                let events = events.as_primitive::<TimestampMicrosecondType>();
                let created = match &view.created {
                    Some(name) => Some(instants(&keep(name)?)?),
                    None => None,
                };
                let rows = all.iter().enumerate().filter(|(row, _)| hit.value(*row));
                for (at, (row, key)) in rows.enumerate() {
                    let created = created
                        .as_ref()
                        .map(|of| of.as_primitive::<TimestampMicrosecondType>())
                        .filter(|of| of.is_valid(at))
                        .map(|of| of.value(at));
                    let candidate = Candidate {
                        event: events.value(at),
                        created,
                        position: position + row as u64,
                        hash: hashes[at],
                    };
                    if events.is_valid(at) {
                        self.candidates.entry(*key).or_default().push(candidate);
                    }
                }
                position += batch.num_rows() as u64;
            }
        }
        Ok(())
    }

    /// What an answer to an entity row is; the row must have been asked about.
    pub(crate) fn class(&self, row: usize, answer: u64) -> Class {
        let Some((key, time)) = self.asked.get(&row) else {
            return Class::Other;
        };
        let candidates = self.candidates.get(key).map_or(&[][..], Vec::as_slice);
        class(candidates, *time, self.ttl, self.nothing, answer)
    }
}

/// Candidates are sorted: by event, created, position.
fn class(candidates: &[Candidate], time: i64, ttl: Option<i64>, nothing: u64, answer: u64) -> Class {
    let end = candidates.partition_point(|candidate| candidate.event <= time);
    let winner = candidates[..end]
        .last()
        .filter(|winner| ttl.is_none_or(|ttl| winner.event >= time - ttl));
    let right = winner.map_or(nothing, |winner| winner.hash);
    if answer == right {
        return Class::Right;
    }
    if let Some(winner) = winner {
        let mut tied = candidates[..end]
            .iter()
            .rev()
            .take_while(|other| other.event == winner.event);
        if tied.any(|other| other.hash == answer) {
            return Class::Tie;
        }
    }
    if answer == nothing {
        return Class::Nothing;
    }
    if candidates.iter().any(|candidate| candidate.hash == answer) {
        return Class::OtherRow;
    }
    Class::Other
}

/// Hashes of keys, equal for equal values.
struct Keys {
    of: DataType,
    rows: RowConverter,
}

impl Keys {
    fn new(of: &str) -> Result<Self> {
        let of = match of {
            "int64" => DataType::Int64,
            "string" => DataType::Utf8,
            other => return Err(format!("keys of type {other} are not compared yet").into()),
        };
        let rows = RowConverter::new(vec![SortField::new(of.clone())])?;
        Ok(Self { of, rows })
    }

    fn hash(&mut self, column: &ArrayRef) -> Result<Vec<u128>> {
        let rows = self.rows.convert_columns(&[exact(column, &self.of)?])?;
        Ok(rows.iter().map(|row| xxh3_128(row.as_ref())).collect())
    }
}

fn instants(column: &ArrayRef) -> Result<ArrayRef> {
    exact(column, larder_time())
}

fn larder_time() -> &'static DataType {
    static TIME: std::sync::LazyLock<DataType> = std::sync::LazyLock::new(|| {
        DataType::Timestamp(
            larder::arrow::datatypes::TimeUnit::Microsecond,
            Some("UTC".into()),
        )
    });
    &TIME
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: u64 = 99;

    fn row(event: i64, created: i64, hash: u64) -> Candidate {
        Candidate {
            event,
            created: Some(created),
            position: hash,
            hash,
        }
    }

    #[test]
    fn each_kind_of_answer_is_told_from_the_others() {
        let rows = [
            row(10, 5, 1),
            row(20, 5, 2),
            row(20, 7, 3),
            row(20, 9, 4),
            row(50, 1, 5),
        ];
        let of = |time, ttl, answer| class(&rows, time, ttl, NOTHING, answer);
        assert_eq!(of(30, None, 4), Class::Right);
        assert_eq!(of(30, None, 2), Class::Tie);
        assert_eq!(of(30, None, 1), Class::OtherRow);
        assert_eq!(of(30, None, 5), Class::OtherRow, "the future");
        assert_eq!(of(30, None, NOTHING), Class::Nothing);
        assert_eq!(of(30, None, 77), Class::Other);
        assert_eq!(of(30, Some(10), 4), Class::Right, "the ttl is inclusive");
        assert_eq!(of(30, Some(9), NOTHING), Class::Right, "expired");
        assert_eq!(of(30, Some(9), 4), Class::OtherRow, "expired, but handed out");
        assert_eq!(of(5, None, NOTHING), Class::Right);
        assert_eq!(of(50, None, 5), Class::Right, "its own instant");
    }
}
