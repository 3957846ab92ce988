//! Does the kernel answer as the definition does, on tables made to be difficult?

use super::reference::{Answer, Entity, Expected, Fact, Terms, join};
use super::*;
use arrow_array::{
    ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, Float64Array,
    Int32Array, Int64Array, LargeBinaryArray, LargeStringArray, StringArray, StringViewArray,
    TimestampMicrosecondArray,
};
use arrow_buffer::NullBuffer;
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
    fn index(&self) -> Arc<SpineIndex> {
        let keys: Vec<_> = self.spine.iter().map(|entity| entity.key.as_slice()).collect();
        let times: Vec<_> = self.spine.iter().map(|entity| entity.time).collect();
        Arc::new(SpineIndex::build(&key_arrays(&self.columns, &keys, self.layouts.0), &times).unwrap())
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
    let answers = winners
        .outcomes()
        .iter()
        .enumerate()
        .map(|(row, outcome)| match outcome {
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
    let index = case.index();

    let mut single = ViewJoin::new(Arc::clone(&index), case.rule()).unwrap();
    let batches = case.cut();
    for batch in &batches {
        case.probe(&mut single, batch);
    }
    let mut parts: Vec<_> = (0..3).map(|_| single.fork()).collect();
    for (turn, batch) in batches.iter().enumerate().rev() {
        let shuffled: Vec<_> = batch.iter().rev().copied().collect();
        case.probe(&mut parts[turn % 3], &shuffled);
    }

    let winners = single.resolve();
    assert_eq!(observed(&winners), expected);
    check_consistency(case, &winners);

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

fn ints(values: impl IntoIterator<Item = i64>) -> Vec<ArrayRef> {
    vec![Arc::new(Int64Array::from_iter_values(values))]
}

fn index(keys: &[ArrayRef], times: &[i64]) -> Arc<SpineIndex> {
    Arc::new(SpineIndex::build(keys, times).unwrap())
}

#[test]
fn many_keys_grow_every_table() {
    let rows = 20_000_i64;
    let spread = |row: i64| row.wrapping_mul(0x5851_f42d_4c95_7f2d);
    let strings = |name: &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(
            (0..rows).map(|row| format!("{name}{}", spread(row))),
        ))
    };
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values((0..rows).map(spread)));
    let dense: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
    let tables = [
        vec![Arc::clone(&numbers)],
        vec![dense],
        vec![strings("")],
        vec![strings("a rather long name ")],
        vec![numbers, strings("b")],
    ];
    for keys in tables {
        let times: Vec<i64> = (0..rows).collect();
        let index = index(&keys, &times);
        assert_eq!(index.groups(), rows as usize);
        assert_eq!(index.positions(), rows as usize);
        let mut join = ViewJoin::new(index, ViewRule::new()).unwrap();
        join.probe(&SourceBatch::new(
            &keys,
            Times::new(&times),
            Positions::From(7 << 40),
        ))
        .unwrap();
        let winners = join.resolve();
        assert!((0..rows as usize).all(|row| winners.position(row) == Some((7 << 40) + row as u64)));
    }
}

#[test]
fn a_slice_is_read_as_a_slice() {
    let all: ArrayRef = Arc::new(StringArray::from(vec![
        Some("x"),
        None,
        Some("a"),
        Some("b"),
        Some("a"),
    ]));
    let keys = [all.slice(2, 3)];
    let join = ViewJoin::new(index(&keys, &[1, 2, 3]), ViewRule::new());
    let mut join = join.unwrap();
    let source = [all.slice(1, 3)];
    let valid = NullBuffer::from(vec![true, true, false]);
    let event = Times {
        values: &[0, 0, 0],
        nulls: Some(&valid),
    };
    join.probe(&SourceBatch::new(&source, event, Positions::From(10)))
        .unwrap();
    let winners = join.resolve();
    assert_eq!(
        [0, 1, 2].map(|row| winners.position(row)),
        [Some(11), None, Some(11)]
    );
    assert_eq!(winners.counts().source_nulls, 2);
}

#[test]
fn an_empty_spine_and_an_empty_source_are_fine() {
    let mut join = ViewJoin::new(index(&ints([]), &[]), ViewRule::new()).unwrap();
    assert_eq!(join.bounds(), None);
    join.probe(&SourceBatch::new(
        &ints([1]),
        Times::new(&[1]),
        Positions::From(0),
    ))
    .unwrap();
    let winners = join.resolve();
    assert!(winners.is_empty() && winners.distinct().positions.is_empty());

    let mut join = ViewJoin::new(index(&ints([1]), &[5]), ViewRule::new().with_ttl(Some(2))).unwrap();
    assert_eq!(join.bounds(), Some(EventBounds { min: 3, max: 5 }));
    join.probe(&SourceBatch::new(&ints([]), Times::new(&[]), Positions::From(0)))
        .unwrap();
    assert_eq!(join.resolve().counts().unmatched, 1);
}

#[test]
fn misuse_is_an_error() {
    let floats: Vec<ArrayRef> = vec![Arc::new(Float64Array::from(vec![1.0]))];
    assert!(matches!(
        SpineIndex::build(&floats, &[1]),
        Err(PitError::KeyType { column: 0, .. })
    ));
    assert!(matches!(
        SpineIndex::build(&ints([1, 2]), &[1]),
        Err(PitError::Length {
            expected: 1,
            found: 2,
            ..
        })
    ));
    let spine = index(&ints([1]), &[1]);
    let negative = ViewJoin::new(Arc::clone(&spine), ViewRule::new().with_ttl(Some(-1)));
    assert_eq!(negative.err(), Some(PitError::Negative("ttl")));

    let mut join = ViewJoin::new(Arc::clone(&spine), ViewRule::new()).unwrap();
    let (event, first) = (Times::new(&[1]), Positions::From(0));
    let strings: Vec<ArrayRef> = vec![Arc::new(StringArray::from(vec!["1"]))];
    let mut refuse = |batch: SourceBatch<'_>| join.probe(&batch).unwrap_err();
    let error = refuse(SourceBatch::new(&strings, event, first));
    assert_eq!(
        error,
        PitError::KeyMismatch {
            column: 0,
            found: DataType::Utf8
        }
    );
    assert_eq!(
        refuse(SourceBatch::new(&[], event, first)),
        PitError::KeyCount {
            expected: 1,
            found: 0
        }
    );
    assert_eq!(
        refuse(SourceBatch::new(&ints([1]), event, Positions::From(u64::MAX))),
        PitError::Position
    );
    assert_eq!(
        refuse(SourceBatch::new(&ints([1]), event, Positions::Each(&[u64::MAX]))),
        PitError::Position
    );
    let length = refuse(SourceBatch::new(&ints([1]), event, first).with_created(Some(Times::new(&[]))));
    assert!(matches!(
        length,
        PitError::Length {
            expected: 1,
            found: 0,
            ..
        }
    ));

    let mut tied = ViewJoin::new(Arc::clone(&spine), ViewRule::new().with_tie_break(true)).unwrap();
    let error = tied
        .probe(&SourceBatch::new(&ints([1]), event, first))
        .unwrap_err();
    assert_eq!(error, PitError::TieBreak { expected: true });
    assert_eq!(tied.merge(join), Err(PitError::Merge));
}

#[test]
fn parts_are_shared_and_sent_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<SpineIndex>();
    shared::<ViewJoin>();
    shared::<Winners>();
}
