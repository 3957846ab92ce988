//! Into which part does a row of a training set go? By its time, or by a hash of its entity.

use std::sync::Arc;

use larder_base::{ColumnName, EntityKeys, Error, JoinKey, Micros, Result, Span, ValueType};
use larder_core::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use larder_core::arrow::compute::filter::filter_record_batch;
use larder_core::arrow::datatypes::{DataType, Schema, TimestampMicrosecondType};
use larder_core::convert::{Zone, coerce, encode_keys, infer_type};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::parameters::Parameters;

/// How the rows of a training set are parted. Every row goes into at most one part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Split {
    /// By the time of the row.
    Time {
        /// The parts, in the order in which they were given.
        parts: Vec<TimePart>,
        /// How long after the end of the part before it a part leaves rows out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        embargo: Option<Span>,
    },
    /// By a hash of columns, so that all rows of one entity are in one part.
    Hash {
        /// The columns.
        columns: Vec<String>,
        /// The parts and their shares.
        parts: Vec<HashPart>,
        /// Another seed is another split.
        seed: u64,
    },
}

/// A part by time, both ends inclusive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TimePart {
    /// Name, part of the file's name.
    pub name: String,
    /// First time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Micros>,
    /// Last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Micros>,
}

/// A part by hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HashPart {
    /// Name, part of the file's name.
    pub name: String,
    /// Its share of the sum of all weights.
    pub weight: u32,
}

const FORMS: &str = "write time:train<2026-03-01,test>=2026-03-01 or hash:user_id:80,10,10";

impl Split {
    /// Reads `time:train<2026-03-01,test>=2026-03-01` or `hash:user_id:train=80,test=20`.
    ///
    /// Several columns are joined by `+`: `hash:user_id+shop_id:80,20`. Parts without names are
    /// train and test, or train, validation and test, or part1, part2, …
    ///
    /// # Errors
    /// `Input` for text that is neither, for parts that share times, an embargo with a hash, a
    /// seed with times.
    pub fn parse(text: &str, embargo: Option<Span>, seed: Option<u64>, now: Micros) -> Result<Self> {
        let split = match text.split_once(':') {
            Some(("time", _)) if seed.is_some() => {
                return Err(Error::input("a split by time has no seed").help("leave out --seed"));
            }
            Some(("time", parts)) => {
                let parts = parts.split(',').map(|part| TimePart::parse(part, now));
                Self::Time {
                    parts: parts.collect::<Result<_>>()?,
                    embargo,
                }
            }
            Some(("hash", _)) if embargo.is_some() => {
                return Err(Error::input("a split by hash has no embargo").help("leave out --embargo"));
            }
            Some(("hash", rest)) => {
                let (columns, weights) = rest
                    .rsplit_once(':')
                    .ok_or_else(|| Error::input(format!("`{text}` names no weights")).help(FORMS))?;
                Self::Hash {
                    columns: columns.split('+').map(|name| name.trim().to_owned()).collect(),
                    parts: hash_parts(weights)?,
                    seed: seed.unwrap_or(0),
                }
            }
            _ => return Err(Error::input(format!("`{text}` is no split")).help(FORMS)),
        };
        split.check()?;
        Ok(split)
    }

    /// The names of the parts, in their order.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::Time { parts, .. } => parts.iter().map(|part| part.name.as_str()).collect(),
            Self::Hash { parts, .. } => parts.iter().map(|part| part.name.as_str()).collect(),
        }
    }

    /// Refuses what is ambiguous; a split that was read from a manifest is checked again.
    pub(super) fn check(&self) -> Result<()> {
        let names = self.names();
        for (index, name) in names.iter().enumerate() {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if name.is_empty() || !name.chars().all(plain) {
                return Err(Error::input(format!("`{name}` cannot name a part"))
                    .help("use letters, digits, `_` and `-`: it becomes part of a file's name"));
            }
            if names[..index]
                .iter()
                .any(|other| other.eq_ignore_ascii_case(name))
            {
                return Err(Error::input(format!("two parts are named `{name}`")));
            }
        }
        match self {
            Self::Time { parts, .. } => check_times(parts),
            Self::Hash { parts, columns, .. } => {
                let total: u64 = parts.iter().map(|part| u64::from(part.weight)).sum();
                if total == 0 || columns.iter().any(String::is_empty) {
                    return Err(Error::input("a split by hash needs columns and weights").help(FORMS));
                }
                Ok(())
            }
        }
    }
}

impl TimePart {
    /// A name, and one or two conditions: `test>=2026-03-01<2026-04-01`.
    fn parse(text: &str, now: Micros) -> Result<Self> {
        let text = text.trim();
        let at = text.find(['<', '>']).ok_or_else(|| {
            Error::input(format!("part `{text}` has no condition")).help("write name<TIME or name>=TIME")
        })?;
        let (name, mut rest) = text.split_at(at);
        let mut part = Self {
            name: name.trim().to_owned(),
            from: None,
            until: None,
        };
        while !rest.is_empty() {
            let (operator, tail) = ["<=", ">=", "<", ">"]
                .into_iter()
                .find_map(|operator| Some((operator, rest.strip_prefix(operator)?)))
                .ok_or_else(|| Error::input(format!("part `{text}` cannot be understood")).help(FORMS))?;
            let end = tail.find(['<', '>']).unwrap_or(tail.len());
            let time = Micros::parse(tail[..end].trim(), now)?;
            let bound = match operator {
                "<=" | ">=" => Some(time.0),
                "<" => time.0.checked_sub(1),
                _ => time.0.checked_add(1),
            };
            let bound = bound.ok_or_else(|| Error::input(format!("part `{text}` can have no rows")))?;
            let side = match operator {
                "<=" | "<" => &mut part.until,
                _ => &mut part.from,
            };
            if side.replace(Micros(bound)).is_some() {
                return Err(Error::input(format!(
                    "part `{}` is bounded twice on one side",
                    part.name
                )));
            }
            rest = &tail[end..];
        }
        Ok(part)
    }

    fn first(&self) -> i64 {
        self.from.map_or(i64::MIN, |from| from.0)
    }

    fn last(&self) -> i64 {
        self.until.map_or(i64::MAX, |until| until.0)
    }
}

fn check_times(parts: &[TimePart]) -> Result<()> {
    if let Some(empty) = parts.iter().find(|part| part.first() > part.last()) {
        return Err(Error::input(format!("part `{}` can have no rows", empty.name)).help("swap its bounds"));
    }
    let sorted = by_time(parts);
    let shared = sorted.windows(2).find(|pair| pair[0].last() >= pair[1].first());
    match shared {
        None => Ok(()),
        Some(pair) => Err(Error::input(format!(
            "parts `{}` and `{}` share times",
            pair[0].name, pair[1].name
        ))
        .help("each time may belong to one part: bound one with < and the other with >=")),
    }
}

fn by_time(parts: &[TimePart]) -> Vec<&TimePart> {
    let mut sorted: Vec<&TimePart> = parts.iter().collect();
    sorted.sort_by_key(|part| part.first());
    sorted
}

fn hash_parts(text: &str) -> Result<Vec<HashPart>> {
    let items: Vec<&str> = text.split(',').map(str::trim).collect();
    let defaults: &[&str] = match items.len() {
        2 => &["train", "test"],
        3 => &["train", "validation", "test"],
        _ => &[],
    };
    let part = |(index, item): (usize, &&str)| {
        let (name, weight) = match item.split_once('=') {
            Some((name, weight)) => (name.trim().to_owned(), weight.trim()),
            None => {
                let name = defaults.get(index).map(|name| (*name).to_owned());
                (name.unwrap_or_else(|| format!("part{}", index + 1)), *item)
            }
        };
        let weight = weight.parse::<u32>().ok().filter(|weight| *weight > 0);
        let weight = weight.ok_or_else(|| {
            Error::input(format!(
                "part `{name}` has no weight that is a whole number from 1"
            ))
            .help(FORMS)
        })?;
        Ok(HashPart { name, weight })
    };
    items.iter().enumerate().map(part).collect()
}

/// Cuts batches of one training set into parts.
#[derive(Debug)]
pub(super) struct Splitter {
    rule: Rule,
    parts: usize,
    /// Rows in no part, because no condition holds.
    pub(super) outside: u64,
    /// Rows in no part, because of the embargo.
    pub(super) embargoed: u64,
}

#[derive(Debug)]
enum Rule {
    Time {
        column: usize,
        zone: Option<Zone>,
        /// Sorted; the place of each in the split, and its first time with and without embargo.
        spans: Vec<TimeSpan>,
    },
    Hash {
        columns: Vec<HashColumn>,
        /// Sums of the weights up to and with each part.
        ends: Vec<u64>,
        seed: u64,
    },
}

#[derive(Debug)]
struct TimeSpan {
    part: usize,
    first: i64,
    open: i64,
    last: i64,
}

#[derive(Debug)]
struct HashColumn {
    index: usize,
    key: JoinKey,
}

/// Where a row goes.
enum Goes {
    To(usize),
    Outside,
    Embargoed,
}

impl Splitter {
    pub(super) fn new(split: &Split, schema: &Schema, parameters: &Parameters) -> Result<Self> {
        split.check()?;
        let zone = parameters.timezone.as_deref().map(Zone::new).transpose()?;
        let rule = match split {
            Split::Time { parts, embargo } => Rule::Time {
                column: find(schema, &parameters.time_column)?,
                zone,
                spans: spans(parts, *embargo),
            },
            Split::Hash { columns, parts, seed } => Rule::Hash {
                columns: columns
                    .iter()
                    .map(|name| HashColumn::new(schema, name))
                    .collect::<Result<_>>()?,
                ends: parts
                    .iter()
                    .scan(0_u64, |sum, part| {
                        *sum += u64::from(part.weight);
                        Some(*sum)
                    })
                    .collect(),
                seed: *seed,
            },
        };
        Ok(Self {
            rule,
            parts: split.names().len(),
            outside: 0,
            embargoed: 0,
        })
    }

    /// The rows of a batch by part, in their order.
    pub(super) fn cut(&mut self, batch: &RecordBatch) -> Result<Vec<RecordBatch>> {
        let mut masks = vec![vec![false; batch.num_rows()]; self.parts];
        for (row, goes) in self.rule.assign(batch)?.into_iter().enumerate() {
            match goes {
                Goes::To(part) => masks[part][row] = true,
                Goes::Outside => self.outside += 1,
                Goes::Embargoed => self.embargoed += 1,
            }
        }
        let filter = |mask| {
            filter_record_batch(batch, &BooleanArray::from(mask))
                .map_err(|error| Error::internal("rows could not be parted").source(error))
        };
        masks.into_iter().map(filter).collect()
    }
}

fn find(schema: &Schema, name: &str) -> Result<usize> {
    schema.index_of(name).map_err(|_| {
        let known = schema.fields().iter().map(|field| field.name().as_str());
        Error::input(format!("the training set has no column `{name}` to split by"))
            .help(larder_base::error::suggest(name, known))
    })
}

fn spans(parts: &[TimePart], embargo: Option<Span>) -> Vec<TimeSpan> {
    let mut spans: Vec<TimeSpan> = Vec::with_capacity(parts.len());
    for part in by_time(parts) {
        let open = match (spans.last(), embargo) {
            (Some(before), Some(embargo)) => {
                let end = before.last.saturating_add(1).saturating_add(embargo.0);
                end.max(part.first())
            }
            _ => part.first(),
        };
        let place = parts.iter().position(|other| other.name == part.name);
        spans.push(TimeSpan {
            part: place.unwrap_or(0),
            first: part.first(),
            open,
            last: part.last(),
        });
    }
    spans
}

impl Rule {
    fn assign(&self, batch: &RecordBatch) -> Result<Vec<Goes>> {
        match self {
            Self::Time { column, zone, spans } => {
                let times = coerce(batch.column(*column), ValueType::TIMESTAMP, zone.as_ref())?;
                let times = times.as_primitive::<TimestampMicrosecondType>();
                Ok(times
                    .iter()
                    .map(|time| time.map_or(Goes::Outside, |time| at(spans, time)))
                    .collect())
            }
            Self::Hash { columns, ends, seed } => {
                let arrays: Vec<ArrayRef> = columns
                    .iter()
                    .map(|column| column.array(batch))
                    .collect::<Result<_>>()?;
                let join_keys: Vec<JoinKey> = columns.iter().map(|column| column.key.clone()).collect();
                let mut keys = EntityKeys::new();
                encode_keys(&join_keys, &arrays, batch.num_rows(), &mut keys)?;
                // Rows without an entity stay together, too.
                Ok(keys
                    .iter()
                    .map(|key| Goes::To(part_of(key.unwrap_or_default(), ends, *seed)))
                    .collect())
            }
        }
    }
}

fn at(spans: &[TimeSpan], time: i64) -> Goes {
    match spans.iter().find(|span| span.first <= time && time <= span.last) {
        None => Goes::Outside,
        Some(span) if time < span.open => Goes::Embargoed,
        Some(span) => Goes::To(span.part),
    }
}

/// The hash as a fraction of 2^64, laid over the weights. See docs/spec/manifest.md.
fn part_of(key: &[u8], ends: &[u64], seed: u64) -> usize {
    let total = ends.last().copied().unwrap_or(1);
    let hash = u128::from(xxh3_64_with_seed(key, seed));
    let place = ((hash * u128::from(total)) >> 64) as u64;
    ends.partition_point(|end| *end <= place)
}

impl HashColumn {
    /// All integers count as int64, so that the width in a file does not matter.
    fn new(schema: &Schema, name: &str) -> Result<Self> {
        let index = find(schema, name)?;
        let found = schema.field(index).data_type();
        let refused = || {
            Error::input(format!("column `{name}` of type {found} cannot split rows"))
                .help("split by a key: integers, text, bytes, dates, timestamps or decimals")
        };
        let value_type = match infer_type(found).ok_or_else(refused)? {
            ValueType::INT32 => ValueType::INT64,
            ValueType::FLOAT32 | ValueType::FLOAT64 => return Err(refused()),
            scalar @ ValueType::Scalar(_) => scalar,
            _ => return Err(refused()),
        };
        let name = ColumnName::new("key").map_err(|error| Error::internal(error.to_string()))?;
        Ok(Self {
            index,
            key: JoinKey { name, value_type },
        })
    }

    fn array(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        let column = batch.column(self.index);
        if matches!(column.data_type(), DataType::Null) {
            return Ok(Arc::new(column.clone()));
        }
        // Naive times have no part in an entity's identity but their digits.
        let zone = Zone::new("UTC")?;
        coerce(column, self.key.value_type, Some(&zone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Split> {
        Split::parse(text, None, None, Micros(0))
    }

    fn micros(text: &str) -> Micros {
        text.parse().unwrap()
    }

    #[test]
    fn times_with_one_or_two_bounds() {
        let split =
            parse("time:train<2026-03-01, validation>=2026-03-01<2026-04-01,test>2026-04-01").unwrap();
        assert_eq!(split.names(), ["train", "validation", "test"]);
        let Split::Time { parts, .. } = &split else {
            panic!("{split:?}")
        };
        assert_eq!(parts[0].until, Some(Micros(micros("2026-03-01").0 - 1)));
        assert_eq!(parts[1].from, Some(micros("2026-03-01")));
        assert_eq!(parts[1].until, Some(Micros(micros("2026-04-01").0 - 1)));
        assert_eq!(parts[2].from, Some(Micros(micros("2026-04-01").0 + 1)));
        let json = serde_json::to_string(&split).unwrap();
        assert_eq!(serde_json::from_str::<Split>(&json).unwrap(), split);
    }

    #[test]
    fn what_is_ambiguous_or_empty_is_refused() {
        for (text, says) in [
            ("time:a<=2026-03-01,b>=2026-03-01", "share times"),
            ("time:a<2026-03-01,a>=2026-03-01", "two parts are named"),
            ("time:a<2026-03-01,b>=2026-04-01<2026-03-15", "no rows"),
            ("time:a", "no condition"),
            ("time:a<2026-03-01<2026-04-01", "twice"),
            ("time:a<yesterday", "not an instant"),
            ("time:../a<2026-03-01", "cannot name a part"),
            ("hash:user_id:80,x", "no weight"),
            ("hash:user_id:80,0", "no weight"),
            ("hash:user_id", "names no weights"),
            ("hash::80,20", "needs columns"),
            ("random:80,20", "is no split"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        assert!(Split::parse("hash:a:1,1", Some(Span(1)), None, Micros(0)).is_err());
        assert!(Split::parse("time:a<2026-03-01", None, Some(1), Micros(0)).is_err());
    }

    #[test]
    fn hash_parts_get_names() {
        assert_eq!(parse("hash:u:80,20").unwrap().names(), ["train", "test"]);
        assert_eq!(
            parse("hash:u:8,1,1").unwrap().names(),
            ["train", "validation", "test"]
        );
        assert_eq!(
            parse("hash:u+v:1,1,1,1").unwrap().names(),
            ["part1", "part2", "part3", "part4"]
        );
        assert_eq!(
            parse("hash:u:fit=9,holdout=1").unwrap().names(),
            ["fit", "holdout"]
        );
    }

    #[test]
    fn the_embargo_counts_from_the_end_of_the_part_before() {
        let part = |name: &str, from, until| TimePart {
            name: name.to_owned(),
            from,
            until,
        };
        let parts = [
            part("test", Some(Micros(100)), None),
            part("train", None, Some(Micros(89))),
        ];
        let spans = spans(&parts, Some(Span(15)));
        let shown = |time| match at(&spans, time) {
            Goes::To(part) => parts[part].name.as_str(),
            Goes::Outside => "outside",
            Goes::Embargoed => "embargoed",
        };
        assert_eq!(
            [i64::MIN, 89, 90, 99, 100, 104, 105, i64::MAX].map(shown),
            [
                "train",
                "train",
                "outside",
                "outside",
                "embargoed",
                "embargoed",
                "test",
                "test"
            ]
        );
    }

    /// Other machines and later versions must put every row where this one does.
    #[test]
    fn the_hash_is_pinned() {
        let keys: [&[u8]; 4] = [b"", b"a", b"user 7", &[0, 1, 2, 3]];
        let ends = [80, 90, 100];
        let parts: Vec<usize> = keys.iter().map(|key| part_of(key, &ends, 7)).collect();
        let hashes: Vec<u64> = keys.iter().map(|key| xxh3_64_with_seed(key, 7)).collect();
        let expected: Vec<usize> = hashes
            .iter()
            .map(|hash| {
                let share = *hash as f64 / 2_f64.powi(64) * 100.0;
                ends.iter().filter(|end| share >= **end as f64).count()
            })
            .collect();
        assert_eq!(parts, expected);
        assert_eq!(xxh3_64_with_seed(b"", 0), 0x2d06_8005_38d3_94c2);
    }
}
