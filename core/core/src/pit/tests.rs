//! Does the kernel answer as the definition does, on tables made to be difficult?

use super::reference::{Answer, Entity, Expected, Fact, Terms, join};
use super::*;
use arrow_array::{
    ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, Int32Array,
    Int64Array, LargeBinaryArray, LargeStringArray, StringArray, StringViewArray, TimestampMicrosecondArray,
    UInt32Array,
};
use arrow_row::{RowConverter, SortField};
use arrow_schema::DataType;
use proptest::prelude::*;
use std::sync::Arc;

/// The type of a key column, and how each side lays it out.
#[derive(Clone, Copy, Debug)]
enum Column {
    Bool,
    Int32,
    Int64,
    /// Few values next to one another.
    Int64Dense,
    Date,
    Timestamp,
    Decimal,
    Utf8,
    Binary,
}

const COLUMNS: [Column; 9] = [
    Column::Bool,
    Column::Int32,
    Column::Int64,
    Column::Int64Dense,
    Column::Date,
    Column::Timestamp,
    Column::Decimal,
    Column::Utf8,
    Column::Binary,
];

/// Distinct for distinct numbers, on both sides of the length that fits into a table entry, with equal heads.
const STRINGS: [&str; 7] = [
    "",
    "a",
    "ab",
    "abcdefgh",
    "abcdefghijklmnop",
    "abcdefghijklmnopq",
    "abcdefghijklmnopqrstuvwxyz",
];
const INTS: [i64; 7] = [0, i64::MIN, i64::MAX, -1, 1, 1 << 40, -(1 << 50)];
const SMALL: [i32; 7] = [0, i32::MIN, i32::MAX, -1, 1, 77, -1000];

impl Column {
    fn array(self, cells: &[Option<u8>], layout: u8) -> ArrayRef {
        fn map<T, C: FromIterator<Option<T>>>(cells: &[Option<u8>], value: impl Fn(usize) -> T) -> C {
            cells
                .iter()
                .map(|cell| cell.map(|cell| value(usize::from(cell))))
                .collect()
        }
        match self {
            Self::Bool => Arc::new(map::<_, BooleanArray>(cells, |v| v % 2 == 1)),
            Self::Int32 => Arc::new(map::<_, Int32Array>(cells, |v| SMALL[v])),
            Self::Int64 => Arc::new(map::<_, Int64Array>(cells, |v| INTS[v])),
            Self::Int64Dense => Arc::new(map::<_, Int64Array>(cells, |v| v as i64 - 3)),
            Self::Date => Arc::new(map::<_, Date32Array>(cells, |v| SMALL[v])),
            Self::Timestamp if layout == 0 => {
                Arc::new(map::<_, TimestampMicrosecondArray>(cells, |v| INTS[v]))
            }
            Self::Timestamp => {
                Arc::new(map::<_, TimestampMicrosecondArray>(cells, |v| INTS[v]).with_timezone_utc())
            }
            Self::Decimal => {
                let array = map::<_, Decimal128Array>(cells, |v| i128::from(INTS[v]) << (v % 3));
                Arc::new(array.with_data_type(DataType::Decimal128(38, 2)))
            }
            Self::Utf8 => match layout {
                0 => Arc::new(map::<_, StringArray>(cells, |v| STRINGS[v])),
                1 => Arc::new(map::<_, LargeStringArray>(cells, |v| STRINGS[v])),
                _ => Arc::new(map::<_, StringViewArray>(cells, |v| STRINGS[v])),
            },
            Self::Binary => match layout {
                0 => Arc::new(map::<_, BinaryArray>(cells, |v| STRINGS[v].as_bytes())),
                1 => Arc::new(map::<_, LargeBinaryArray>(cells, |v| STRINGS[v].as_bytes())),
                _ => Arc::new(map::<_, BinaryViewArray>(cells, |v| STRINGS[v].as_bytes())),
            },
        }
    }

    /// How many distinct values it has.
    fn values(self) -> u8 {
        if matches!(self, Self::Bool) { 2 } else { 7 }
    }
}

fn key_arrays(columns: &[Column], keys: &[&[Option<u8>]], layout: u8) -> Vec<ArrayRef> {
    let cells = |column| keys.iter().map(|key| key[column]).collect::<Vec<_>>();
    columns
        .iter()
        .enumerate()
        .map(|(at, column)| column.array(&cells(at), layout))
        .collect()
}

/// A generated join: tables, rule, and how the source is cut up for the scan.
#[derive(Clone, Debug)]
struct Case {
    columns: Vec<Column>,
    layouts: (u8, u8),
    spine: Vec<Entity>,
    source: Vec<Fact>,
    terms: Terms,
    batches: Vec<usize>,
}

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![
        12 => -6..6_i64,
        // Some of which have the same coarse number.
        2 => -200_000..200_000_i64,
        2 => (-3..3_i64, -3..3_i64).prop_map(|(far, near)| far * 100_000_000 + near),
        1 => (0..4_i64).prop_map(|d| i64::MIN + d),
        1 => (0..4_i64).prop_map(|d| i64::MAX - d),
    ]
}

fn duration() -> impl Strategy<Value = i64> {
    prop_oneof![4 => Just(0_i64), 8 => 1..5_i64, 1 => Just(i64::MAX), 1 => Just(i64::MAX - 4)]
}

fn key(columns: Vec<Column>) -> impl Strategy<Value = Vec<Option<u8>>> {
    columns
        .into_iter()
        .map(|column| prop::option::weighted(0.93, 0..column.values().min(4)))
        .collect::<Vec<_>>()
}

fn wide_key(columns: Vec<Column>) -> impl Strategy<Value = Vec<Option<u8>>> {
    columns
        .into_iter()
        .map(|column| prop::option::weighted(0.98, 0..column.values()))
        .collect::<Vec<_>>()
}

fn terms() -> impl Strategy<Value = Terms> {
    let ttl = prop::option::of(duration());
    let trusted_from = prop::option::weighted(0.4, time());
    let until = prop::option::weighted(0.3, time());
    (duration(), ttl, any::<bool>(), trusted_from, any::<bool>(), until).prop_map(
        |(available_after, ttl, as_of, trusted_from, tie_break, known_until)| Terms {
            available_after,
            ttl,
            as_of,
            trusted_from,
            tie_break,
            known_until,
        },
    )
}

fn case(spine: usize, source: usize) -> impl Strategy<Value = Case> {
    let columns = prop_oneof![
        1 => Just(Vec::new()),
        6 => prop::sample::select(COLUMNS.as_slice()).prop_map(|column| vec![column]),
        4 => prop::collection::vec(prop::sample::select(COLUMNS.as_slice()), 2..4),
    ];
    columns.prop_flat_map(move |columns| {
        let key = || prop_oneof![4 => key(columns.clone()).boxed(), 1 => wide_key(columns.clone()).boxed()];
        let entity = (key(), time()).prop_map(|(key, time)| Entity { key, time });
        let fact = (
            key(),
            prop::option::weighted(0.95, time()),
            prop::option::weighted(0.7, time()),
            prop::option::weighted(0.8, 0..3_u8),
        )
            .prop_map(|(key, event, created, tie)| Fact {
                key,
                event,
                created,
                tie,
            });
        (
            Just(columns.clone()),
            (0..2_u8, 0..3_u8),
            prop::collection::vec(entity, 0..spine),
            prop::collection::vec(fact, 0..source),
            terms(),
            prop::collection::vec(1..source, 1..6),
        )
            .prop_map(|(columns, layouts, spine, source, terms, batches)| Case {
                columns,
                layouts,
                spine,
                source,
                terms,
                batches,
            })
    })
}

impl Case {
    fn index(&self, threads: usize) -> Arc<SpineIndex> {
        let keys: Vec<_> = self.spine.iter().map(|entity| entity.key.as_slice()).collect();
        let times: Vec<_> = self.spine.iter().map(|entity| entity.time).collect();
        let keys = key_arrays(&self.columns, &keys, self.layouts.0);
        let index = SpineIndex::build_with(&keys, &times, threads).unwrap();
        self.check_groups(&index);
        Arc::new(index)
    }

    /// Every row with a key lies in one group with the other rows of that key, by time and then by row.
    fn check_groups(&self, index: &SpineIndex) {
        let mut seen = vec![false; self.spine.len()];
        let mut keys = std::collections::HashSet::new();
        for group in 0..index.groups() {
            let rows = index
                .group(group)
                .map(|at| (index.times()[at], index.order()[at]));
            let rows: Vec<(i64, u32)> = rows.collect();
            assert!(rows.is_sorted_by(|one, two| one < two) && !rows.is_empty());
            let key = &self.spine[rows[0].1 as usize].key;
            assert!(keys.insert(key), "two groups have one key");
            for (time, row) in rows {
                assert_eq!(
                    (&self.spine[row as usize].key, self.spine[row as usize].time),
                    (key, time)
                );
                seen[row as usize] = true;
            }
        }
        for (entity, seen) in self.spine.iter().zip(seen) {
            assert_eq!(seen, !entity.key.contains(&None));
        }
        let times = index.times().iter();
        assert_eq!(
            index.time_bounds(),
            times.clone().min().copied().zip(times.max().copied())
        );
    }

    fn rule(&self) -> ViewRule {
        ViewRule::new()
            .with_available_after(self.terms.available_after)
            .with_ttl(self.terms.ttl)
            .with_knowledge(if self.terms.as_of {
                Knowledge::AsOf
            } else {
                Knowledge::TieBreak
            })
            .with_trusted_from(self.terms.trusted_from)
            .with_tie_break(self.terms.tie_break)
            .with_known_until(self.terms.known_until)
    }

    /// Probes the facts at the given places as one batch.
    fn probe(&self, join: &mut ViewJoin, places: &[usize]) {
        let facts: Vec<&Fact> = places.iter().map(|at| &self.source[*at]).collect();
        let keys: Vec<_> = facts.iter().map(|fact| fact.key.as_slice()).collect();
        let keys = key_arrays(&self.columns, &keys, self.layouts.1);
        let event: TimestampMicrosecondArray = facts.iter().map(|fact| fact.event).collect();
        let created: TimestampMicrosecondArray = facts.iter().map(|fact| fact.created).collect();
        let ties: StringArray = facts
            .iter()
            .map(|fact| fact.tie.map(|tie| "x".repeat(tie.into())))
            .collect();
        let converter = RowConverter::new(vec![SortField::new(DataType::Utf8)]).unwrap();
        let ties = converter.convert_columns(&[Arc::new(ties)]).unwrap();
        let positions: Vec<u64> = places.iter().map(|at| *at as u64).collect();
        let contiguous = places.windows(2).all(|pair| pair[0] + 1 == pair[1]);
        let positions = match positions.first() {
            Some(first) if contiguous => Positions::From(*first),
            _ => Positions::Each(&positions),
        };
        // A source without any created time may as well have no such column.
        let created = facts
            .iter()
            .any(|fact| fact.created.is_some())
            .then(|| Times::from(&created));
        let batch = SourceBatch::new(&keys, Times::from(&event), positions)
            .with_created(created)
            .with_tie_break(self.terms.tie_break.then_some(&ties));
        join.probe(&batch).unwrap();
    }

    /// The source cut into batches, in its order.
    fn cut(&self) -> Vec<Vec<usize>> {
        let mut places = 0..self.source.len();
        let mut sizes = self.batches.iter().cycle();
        let mut batches = Vec::new();
        while !places.is_empty() {
            let size = sizes.next().copied().unwrap_or(1);
            batches.push(places.by_ref().take(size).collect());
        }
        batches
    }

    fn expected(&self) -> Expected {
        join(&self.spine, &self.source, self.terms)
    }
}

fn observed(winners: &Winners) -> Expected {
    let answers = (0..winners.len()).map(|row| match winners.outcome(row) {
        Outcome::Matched => Answer::Winner(winners.position(row).unwrap() as usize),
        Outcome::Expired => Answer::Expired,
        Outcome::Unmatched => Answer::Unmatched,
        Outcome::NullKey => Answer::NullKey,
    });
    let counts = winners.counts();
    Expected {
        answers: answers.collect(),
        known_later: counts.known_later,
        full_ties: counts.full_ties,
        tied_rows: counts.tied_rows,
    }
}

fn check(case: &Case) {
    let expected = case.expected();
    let index = case.index(1);

    let mut single = ViewJoin::new(Arc::clone(&index), case.rule()).unwrap();
    let batches = case.cut();
    for batch in &batches {
        case.probe(&mut single, batch);
    }
    let shared = |parts: &mut [ViewJoin]| {
        for (turn, batch) in batches.iter().enumerate().rev() {
            let shuffled: Vec<_> = batch.iter().rev().copied().collect();
            case.probe(&mut parts[turn % 3], &shuffled);
        }
    };
    let forks = |join: &ViewJoin| (0..3).map(|_| join.fork()).collect::<Vec<_>>();
    let mut parts = forks(&single);
    shared(&mut parts);

    let winners = single.resolve();
    assert_eq!(observed(&winners), expected);
    check_consistency(case, &winners);

    for threads in [1, 2, 5] {
        let index = case.index(threads);
        let mut parts = forks(&ViewJoin::new(index, case.rule()).unwrap());
        shared(&mut parts);
        let together = ViewJoin::resolve_all(parts, threads).unwrap();
        assert_eq!(observed(&together), expected);
        assert_eq!(together.counts(), winners.counts());
        check_answers(case, together, threads);
    }

    let mut merged = parts.pop().unwrap();
    for part in parts {
        merged.merge(part).unwrap();
    }
    let merged = merged.resolve();
    assert_eq!(observed(&merged), expected);
    assert_eq!(merged.counts(), winners.counts());

    let mut bounded = ViewJoin::new(index, case.rule().with_within_bounds(true)).unwrap();
    let bounds = bounded.bounds();
    for batch in &batches {
        // A caller may leave out what lies outside the bounds, or not.
        let inside = |at: &usize| {
            case.source[*at]
                .event
                .zip(bounds)
                .is_none_or(|(e, b)| e >= b.min && e <= b.max)
                || at.is_multiple_of(2)
        };
        case.probe(
            &mut bounded,
            &batch.iter().copied().filter(inside).collect::<Vec<_>>(),
        );
    }
    let bounded = observed(&bounded.resolve());
    let unexpired = |answer: &Answer| {
        if *answer == Answer::Expired {
            Answer::Unmatched
        } else {
            *answer
        }
    };
    assert_eq!(
        bounded.answers.iter().map(unexpired).collect::<Vec<_>>(),
        expected.answers.iter().map(unexpired).collect::<Vec<_>>()
    );
    assert_eq!(bounded.known_later, expected.known_later);
    assert_eq!(
        (bounded.full_ties, bounded.tied_rows),
        (expected.full_ties, expected.tied_rows)
    );
}

/// What several joins say together, whether the winners are sorted or marked, and on how many threads.
fn check_answers(case: &Case, one: Winners, threads: usize) {
    // A join with other winners, so that the positions are those of both.
    let other = ViewRule::new()
        .with_ttl(Some(1))
        .with_tie_break(case.terms.tie_break);
    let mut other = ViewJoin::new(case.index(threads), other).unwrap();
    for batch in case.cut() {
        case.probe(&mut other, &batch);
    }
    let all = [one, other.resolve()];
    let mut wanted: Vec<u64> = all
        .iter()
        .flat_map(|winners| winners.distinct().positions)
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    for source_rows in [case.source.len() as u64, u64::MAX] {
        let (positions, answers) = Winners::together(&all, source_rows, threads);
        assert_eq!(positions, wanted);
        for (winners, answer) in all.iter().zip(answers) {
            let place = |row| {
                winners
                    .position(row)
                    .map(|position| wanted.binary_search(&position).unwrap() as u32)
            };
            assert_eq!(
                answer.index,
                (0..winners.len()).map(place).collect::<UInt32Array>()
            );
            assert_eq!(answer.event, winners.event_array());
            assert_eq!(answer.created, winners.created_array());
        }
    }
}

/// What the winners say besides their positions.
fn check_consistency(case: &Case, winners: &Winners) {
    let counts = winners.counts();
    assert_eq!(counts.rows, case.spine.len() as u64);
    assert_eq!(
        counts.rows,
        counts.matched + counts.expired + counts.unmatched + counts.null_key
    );
    assert_eq!(counts.source_rows, case.source.len() as u64);
    let nulls = case
        .source
        .iter()
        .filter(|fact| fact.event.is_none() || fact.key.contains(&None))
        .count();
    assert_eq!(counts.source_nulls, nulls as u64);

    let distinct = winners.distinct();
    assert!(distinct.positions.is_sorted_by(|one, two| one < two));
    let (events, created) = (winners.event_array(), winners.created_array());
    let mut used = vec![false; distinct.positions.len()];
    for (row, place) in distinct.index.iter().enumerate() {
        let position = place.map(|place| distinct.positions[place as usize]);
        assert_eq!(position, winners.position(row));
        if let Some(place) = place {
            used[place as usize] = true;
        }
        let fact = position.map(|position| &case.source[position as usize]);
        assert_eq!(winners.event(row), fact.and_then(|fact| fact.event));
        assert_eq!(winners.created(row), fact.and_then(|fact| fact.created));
        assert_eq!(events.iter().nth(row).flatten(), winners.event(row));
        assert_eq!(created.iter().nth(row).flatten(), winners.created(row));
    }
    assert!(used.iter().all(|used| *used));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn equals_the_definition(case in case(40, 80)) {
        check(&case);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn equals_the_definition_across_blocks(case in case(300, 1500)) {
        check(&case);
    }
}
