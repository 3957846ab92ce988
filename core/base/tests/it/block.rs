//! Does a block answer exactly with the rows that were put, decided at the time of the read?

use std::sync::Arc;

use larder_base::{
    Cell, ErrorKind, FeatureBlock, Generation, KeyGroup, Micros, OnlineRead, PackedRows, RowStatus, SlotCell,
    Span, Value, ValueType, ViewLayout, ViewRead,
};
use proptest::prelude::*;

use crate::support::{layout_of, pack, request, row};

fn at(layout: &ViewLayout, event: i64, values: &[Value]) -> Vec<u8> {
    let mut rows = PackedRows::new();
    rows.push_values(layout, Micros(event), None, values).unwrap();
    rows.get(0).to_vec()
}

#[test]
fn what_is_no_row_of_the_view_is_an_error_and_changes_nothing() {
    let types = [ValueType::INT64, ValueType::BOOL, ValueType::STRING];
    let layout = Arc::new(layout_of(9, &types));
    let values = [Value::Int64(1), Value::Bool(true), Value::str("abc")];
    let good = pack(&layout, &values);
    let mut block = FeatureBlock::new();
    block.reset(&request(&layout, 2));
    block.put_row(0, 0, &good).unwrap();

    let mut flags = good.clone();
    flags[1] = 2;
    let mut no_bool = good.clone();
    no_bool[24 + 1 + 8] = 2;
    let mut no_utf8 = good.clone();
    *no_utf8.last_mut().unwrap() = 0xff;
    let garbage: [&[u8]; 7] = [
        &[],
        b"garbage",
        &[1; 200],
        &good[..good.len() - 1],
        &flags,
        &no_bool,
        &no_utf8,
    ];
    for bytes in garbage {
        for row in [0, 1] {
            assert_eq!(
                block.put_row(0, row, bytes).unwrap_err().kind(),
                ErrorKind::Corrupt
            );
        }
    }
    let other = pack(&layout_of(10, &types), &values);
    assert_eq!(
        block.put_row(0, 1, &other).unwrap_err().kind(),
        ErrorKind::Corrupt
    );
    assert_eq!(block.status(0, 0), RowStatus::Present);
    assert_eq!(block.packed(0, 0), Some(&good[..]));
    assert_eq!(block.status(0, 1), RowStatus::NotFound);
    assert_eq!((block.packed(0, 1), block.event_time(0, 1)), (None, None));
    assert_eq!(block.byte_len(), good.len());
}

#[test]
fn damage_in_a_feature_that_is_not_asked_for_does_not_fail_the_read() {
    let layout = Arc::new(layout_of(9, &[ValueType::INT64, ValueType::STRING]));
    let mut bytes = pack(&layout, &[Value::Int64(1), Value::str("abc")]);
    *bytes.last_mut().unwrap() = 0xff;
    let mut read = request(&layout, 1);
    read.groups[0].views[0].features = Arc::from([0_u16]);
    let mut block = FeatureBlock::new();
    block.reset(&read);
    block.put_row(0, 0, &bytes).unwrap();
    assert_eq!(block.cell(0, 0, 0), SlotCell::Cell(Cell::Int64(1)));
    assert_eq!(block.cell(0, 1, 0), SlotCell::Missing);

    // The same block asked for the other feature looks at it.
    read.groups[0].views[0].features = Arc::from([0_u16, 1]);
    block.reset(&read);
    assert_eq!(
        block.put_row(0, 0, &bytes).unwrap_err().kind(),
        ErrorKind::Corrupt
    );
    // And asked with another layout, by that layout's types.
    let bytes_layout = Arc::new(layout_of(9, &[ValueType::INT64, ValueType::BYTES]));
    block.reset(&request(&bytes_layout, 1));
    block.put_row(0, 0, &bytes).unwrap();
    assert_eq!(block.cell(0, 1, 0), SlotCell::Cell(Cell::Bytes(b"ab\xff")));
}

#[test]
fn a_reset_forgets_the_last_answer_whatever_its_shape() {
    let wide = Arc::new(layout_of(9, &[ValueType::STRING; 3]));
    let narrow = Arc::new(layout_of(10, &[ValueType::INT64]));
    let mut block = FeatureBlock::new();
    let mut both = request(&wide, 3);
    let mut second = request(&narrow, 2).groups.remove(0);
    second.views[0].slot = 1;
    both.groups.push(second);
    block.reset(&both);
    assert_eq!((block.view_count(), block.rows(0), block.rows(1)), (2, 3, 2));
    for row in 0..3 {
        block.put_row(0, row, &pack(&wide, &[Value::str("a")])).unwrap();
    }
    block.fail_view(1);
    assert_eq!(block.status(1, 1), RowStatus::Unavailable);

    block.reset(&request(&narrow, 5));
    assert_eq!((block.view_count(), block.rows(0), block.byte_len()), (1, 5, 0));
    assert_eq!(block.layout(0).generation(), Generation(10));
    for row in 0..5 {
        assert_eq!(block.status(0, row), RowStatus::NotFound);
        assert_eq!(block.cell(0, 0, row), SlotCell::Missing);
    }
    block.put_row(0, 4, &pack(&narrow, &[Value::Int64(4)])).unwrap();
    assert_eq!(block.cell(0, 0, 4), SlotCell::Cell(Cell::Int64(4)));

    block.reset(&both);
    assert_eq!((block.view_count(), block.status(1, 1)), (2, RowStatus::NotFound));
}

#[test]
fn views_of_several_groups_may_come_in_any_order() {
    let layouts: Vec<_> = (0..3)
        .map(|i| Arc::new(layout_of(i, &[ValueType::INT64])))
        .collect();
    let mut read = OnlineRead::default();
    for slot in [2_usize, 0, 1] {
        let keys = request(&layouts[slot], slot + 1).groups.remove(0).keys;
        let views = vec![ViewRead::all(slot as u16, layouts[slot].clone())];
        read.groups.push(KeyGroup { keys, views });
    }
    let mut block = FeatureBlock::new();
    for _ in 0..2 {
        block.reset(&read);
        for (slot, layout) in (0_u16..).zip(&layouts) {
            assert_eq!(block.rows(slot), usize::from(slot) + 1);
            block
                .put_row(
                    slot,
                    usize::from(slot),
                    &pack(layout, &[Value::Int64(i64::from(slot))]),
                )
                .unwrap();
            assert_eq!(block.status(slot, usize::from(slot)), RowStatus::Present);
        }
    }
}

#[test]
fn the_age_decides_at_the_time_of_the_read() {
    let now = 1_000_000_000;
    let ttl = 1_000;
    let layout = Arc::new(layout_of(9, &[ValueType::INT64]).with_ttl(Some(Span(ttl))));
    let cases = [
        (now, RowStatus::Present),
        (now - ttl + 1, RowStatus::Present),
        (now - ttl, RowStatus::Present),
        (now - ttl - 1, RowStatus::Expired),
        (i64::MIN, RowStatus::Expired),
        (now + 1, RowStatus::NotFound),
        (i64::MAX, RowStatus::NotFound),
    ];
    let mut block = FeatureBlock::new();
    block.reset(&request(&layout, cases.len() + 2));
    for (row, (event, _)) in cases.iter().enumerate() {
        block
            .put_row(0, row, &at(&layout, *event, &[Value::Int64(7)]))
            .unwrap();
    }
    block.fail(0, cases.len(), ErrorKind::Timeout);
    assert_eq!(block.settle(Micros(now)), Some(Span(ttl)));
    for (row, (event, status)) in cases.into_iter().enumerate() {
        assert_eq!(block.status(0, row), status, "{}", event - now);
        // Expired values can still be asked for; those of the future cannot.
        let read = status != RowStatus::NotFound;
        assert_eq!(block.cell(0, 0, row) == SlotCell::Cell(Cell::Int64(7)), read);
        assert_eq!(block.event_time(0, row), read.then_some(Micros(event)));
    }
    assert_eq!(block.status(0, 7), RowStatus::Unavailable);
    assert_eq!(block.status(0, 8), RowStatus::NotFound);
    let mut seen = Vec::new();
    block.each_f32(0, 0, |row, number| seen.push((row, number)));
    assert_eq!(seen, [(0, 7.0), (1, 7.0), (2, 7.0)]);
}

#[test]
fn without_a_ttl_nothing_expires() {
    let layout = Arc::new(layout_of(9, &[]));
    let mut block = FeatureBlock::new();
    block.reset(&request(&layout, 2));
    block.put_row(0, 0, &at(&layout, i64::MIN, &[])).unwrap();
    assert_eq!(block.settle(Micros::MAX), Some(Span(i64::MAX)));
    assert_eq!(block.status(0, 0), RowStatus::Present);
    block.reset(&request(&layout, 2));
    assert_eq!(block.settle(Micros(0)), None);
}

#[test]
fn a_tombstone_is_not_found_also_in_the_place_of_a_row() {
    let layout = Arc::new(layout_of(9, &[ValueType::INT64]));
    let mut rows = PackedRows::new();
    rows.push_tombstone(&layout, Micros(5), Micros(6));
    let mut block = FeatureBlock::new();
    block.reset(&request(&layout, 1));
    block.put_row(0, 0, &pack(&layout, &[Value::Int64(1)])).unwrap();
    block.put_row(0, 0, rows.get(0)).unwrap();
    assert_eq!(block.settle(Micros(10)), None);
    assert_eq!(
        (block.status(0, 0), block.packed(0, 0)),
        (RowStatus::NotFound, None)
    );
}

proptest! {
    #[test]
    fn a_column_of_floats_is_what_its_cells_are((types, values) in row(1..8), written in 0_usize..8) {
        let layout = Arc::new(layout_of(9, &types));
        let written = written.min(types.len());
        let older = layout_of(9, &types[..written]);
        let mut block = FeatureBlock::new();
        block.reset(&request(&layout, 3));
        block.put_row(0, 0, &pack(&layout, &values)).unwrap();
        block.put_row(0, 2, &pack(&older, &values[..written])).unwrap();
        for (feature, of) in (0_u16..).zip(&types) {
            let mut seen = Vec::new();
            block.each_f32(0, feature, |row, number| seen.push((row, number.to_bits())));
            let mut expected = Vec::new();
            for row in 0..3 {
                if let SlotCell::Cell(cell) = block.cell(0, feature, row)
                    && let Some(number) = cell.to_f32(*of)
                {
                    expected.push((row, number.to_bits()));
                }
            }
            prop_assert!(of.is_numeric() || expected.is_empty());
            prop_assert_eq!(seen, expected);
        }
        block.each_f32(0, types.len() as u16, |_, _| panic!("no such feature"));
    }
}
