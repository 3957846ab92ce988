//! Does every reader get back what any writer put into a row?

use larder_base::row::{Cell, PackedRows, VERSION_RANGE, version_bytes};
use larder_base::{Micros, RowRef};
use proptest::prelude::*;

use crate::support::{all_slots, layout_of, pack, row, same, unpack};

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![
        Just(i64::MIN),
        Just(i64::MIN + 1),
        Just(-1),
        Just(0),
        Just(1),
        Just(i64::MAX),
        any::<i64>()
    ]
}

proptest! {
    #[test]
    fn unpacks_what_it_packs((types, values) in row(0..40), event in time(), created: Option<i64>) {
        let layout = layout_of(9, &types);
        let mut rows = PackedRows::new();
        rows.push_values(&layout, Micros(event), created.map(Micros), &values).unwrap();
        let row = RowRef::parse(rows.get(0)).unwrap();
        row.check(&layout, &all_slots(&layout)).unwrap();
        prop_assert!(!row.is_tombstone());
        prop_assert_eq!(row.event(), Micros(event));
        prop_assert_eq!(row.created(), created.filter(|c| *c != i64::MIN).map(Micros));
        prop_assert_eq!(usize::from(row.slot_count()), types.len());
        for ((of, put), got) in types.iter().zip(&values).zip(unpack(&layout, row)) {
            prop_assert!(same(*of, put, &got.expect("a slot of the row")), "{of}: {put:?}");
        }
    }

    #[test]
    fn rows_of_a_batch_are_kept_apart(batch in prop::collection::vec(row(0..6), 1..6)) {
        let mut rows = PackedRows::new();
        let mut expected = Vec::new();
        for (types, values) in &batch {
            let layout = layout_of(9, types);
            // A row given up in the middle must leave no trace in the next one.
            let mut dropped = rows.begin(&layout, Micros(5), None);
            if !types.is_empty() {
                dropped.put(0, Cell::Str("given up"));
            }
            rows.push_values(&layout, Micros(1), Some(Micros(2)), values).unwrap();
            expected.push(pack(&layout, values));
        }
        prop_assert_eq!(rows.byte_len(), expected.iter().map(Vec::len).sum::<usize>());
        prop_assert_eq!(rows.iter().map(<[u8]>::to_vec).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn an_older_reader_takes_the_prefix_it_knows((types, values) in row(0..24), known in 0_usize..24) {
        let known = known.min(types.len());
        let bytes = pack(&layout_of(9, &types), &values);
        let older = layout_of(9, &types[..known]);
        let row = RowRef::parse(&bytes).unwrap();
        row.check(&older, &all_slots(&older)).unwrap();
        let got = unpack(&older, row);
        prop_assert_eq!(got.len(), known);
        for ((of, put), got) in types.iter().zip(&values).zip(got) {
            prop_assert!(same(*of, put, &got.expect("a slot of the row")), "{of}: {put:?}");
        }
    }

    #[test]
    fn a_newer_reader_misses_the_slots_the_row_has_not((types, values) in row(0..24), written in 0_usize..24) {
        let written = written.min(types.len());
        let bytes = pack(&layout_of(9, &types[..written]), &values[..written]);
        let newer = layout_of(9, &types);
        let row = RowRef::parse(&bytes).unwrap();
        row.check(&newer, &all_slots(&newer)).unwrap();
        for (i, got) in unpack(&newer, row).into_iter().enumerate() {
            match got {
                Some(got) => prop_assert!(i < written && same(types[i], &values[i], &got)),
                None => prop_assert!(i >= written),
            }
        }
    }

    #[test]
    fn versions_order_like_event_then_created(a in (time(), prop::option::of(time())), b in (time(), prop::option::of(time()))) {
        let bytes = |(event, created): (i64, Option<i64>)| version_bytes(Micros(event), created.map(Micros));
        // The earliest instant stands for an absent created time, so the two are equal.
        let order = |(event, created): (i64, Option<i64>)| (event, created.unwrap_or(i64::MIN));
        prop_assert_eq!(bytes(a).cmp(&bytes(b)), order(a).cmp(&order(b)));
        let layout = layout_of(9, &[]);
        let mut rows = PackedRows::new();
        rows.push_values(&layout, Micros(a.0), a.1.map(Micros), &[]).unwrap();
        let row = RowRef::parse(rows.get(0)).unwrap();
        prop_assert_eq!(row.version(), bytes(a));
        prop_assert_eq!(&row.bytes()[VERSION_RANGE], bytes(a));
    }
}

#[test]
fn shorter_values_leave_the_rest_null_and_longer_ones_are_refused() {
    use larder_base::{Value, ValueType};
    let layout = layout_of(9, &[ValueType::INT64, ValueType::STRING]);
    let bytes = pack(&layout, &[Value::Int64(1)]);
    let row = RowRef::parse(&bytes).unwrap();
    assert_eq!(unpack(&layout, row), [Some(Value::Int64(1)), Some(Value::Null)]);
    let mut rows = PackedRows::new();
    let three = [Value::Null, Value::Null, Value::Null];
    let error = rows.push_values(&layout, Micros(0), None, &three).unwrap_err();
    assert_eq!(error.kind(), larder_base::ErrorKind::Input);
    assert!(rows.is_empty());
}
