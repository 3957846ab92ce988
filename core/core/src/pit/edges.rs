//! Does the kernel stand odd shapes and misuse?

use super::*;
use arrow_array::{ArrayRef, Float64Array, Int64Array, StringArray};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use std::sync::Arc;

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
    let others = vec![tied.fork(), ViewJoin::new(spine, ViewRule::new()).unwrap()];
    assert_eq!(tied.merge(join), Err(PitError::Merge));
    assert_eq!(ViewJoin::resolve_all(others, 2).err(), Some(PitError::Merge));
    assert_eq!(ViewJoin::resolve_all(Vec::new(), 2).err(), Some(PitError::Merge));
}

#[test]
fn parts_are_shared_and_sent_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<SpineIndex>();
    shared::<ViewJoin>();
    shared::<Winners>();
}
