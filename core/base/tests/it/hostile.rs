//! What happens to bytes that nobody should have written, and to writers that are misused?

use larder_base::keys::{MAX_KEY_BYTES, decode_key};
use larder_base::row::{Cell, HEADER, ListCell, MAX_SLOTS, PackedRows, encode_list};
use larder_base::{
    EntityKeys, ErrorKind, Micros, RowRef, ScalarType, SlotCell, Value, ValueType, ViewLayout,
};
use proptest::prelude::*;

use crate::bodies;
use crate::support::{all_slots, layout_of, pack, row, same, unpack};

fn checked<'a>(layout: &ViewLayout, bytes: &'a [u8]) -> Result<RowRef<'a>, ErrorKind> {
    RowRef::parse(bytes)
        .and_then(|row| row.check(layout, &all_slots(layout)).map(|()| row))
        .map_err(|error| error.kind())
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_read(shape: u8, bytes: Vec<u8>) {
        bodies::key_decode(&[&[shape], bytes.as_slice()].concat());
        bodies::row_decode(&[&[shape], bytes.as_slice()].concat());
        // The same behind a header that is right, so that the body is reached.
        let mut row = vec![shape, 1, 0, 0, 12];
        row.extend_from_slice(&bodies::GENERATION.to_be_bytes());
        row.extend_from_slice(&[0; 16]);
        row.extend_from_slice(&bytes);
        bodies::row_decode(&row);
    }

    #[test]
    fn a_flipped_bit_is_refused_or_read((types, values) in row(1..12), flips in prop::collection::vec(any::<prop::sample::Index>(), 1..4)) {
        let layout = layout_of(9, &types);
        let mut bytes = pack(&layout, &values);
        for flip in flips {
            let bit = flip.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        if let Ok(row) = checked(&layout, &bytes) {
            for (number, got) in (0_u16..).zip(unpack(&layout, row)) {
                let missing = row.is_tombstone() || number >= row.slot_count();
                prop_assert_eq!(got.is_none(), missing);
            }
        }
    }

    #[test]
    fn a_row_cut_short_is_refused((types, values) in row(0..12)) {
        let layout = layout_of(9, &types);
        let bytes = pack(&layout, &values);
        for cut in 0..bytes.len() {
            prop_assert_eq!(checked(&layout, &bytes[..cut]).err(), Some(ErrorKind::Corrupt), "cut at {}", cut);
        }
    }

    #[test]
    fn bytes_after_the_row_do_not_matter((types, values) in row(0..12), more: Vec<u8>) {
        let layout = layout_of(9, &types);
        let bytes = [pack(&layout, &values), more].concat();
        let row = checked(&layout, &bytes).unwrap();
        for ((of, put), got) in types.iter().zip(&values).zip(unpack(&layout, row)) {
            prop_assert!(same(*of, put, &got.unwrap()));
        }
    }

    #[test]
    fn a_cell_of_another_type_never_enters_a_row(of in crate::support::value_type(), (other, value) in crate::support::value_type().prop_flat_map(|of| (Just(of), crate::support::value(of)))) {
        let layout = layout_of(9, &[ValueType::INT64, of, ValueType::INT64]);
        let mut scratch = Vec::new();
        let mut rows = PackedRows::new();
        let mut writer = rows.begin(&layout, Micros(0), None);
        writer.put(0, Cell::Int64(-1));
        writer.put(1, larder_base::row::cell_of(&value, other, &mut scratch));
        writer.put(2, Cell::Int64(-2));
        match writer.finish() {
            Err(error) => {
                prop_assert_eq!(error.kind(), ErrorKind::Internal);
                prop_assert!(!value.is_null() && of != other);
                prop_assert!(rows.is_empty());
            }
            Ok(()) => {
                let row = checked(&layout, rows.get(0)).unwrap();
                prop_assert_eq!(row.slot(&layout, 0), SlotCell::Cell(Cell::Int64(-1)));
                prop_assert_eq!(row.slot(&layout, 2), SlotCell::Cell(Cell::Int64(-2)));
            }
        }
    }
}

#[test]
fn a_slot_count_beyond_the_layout_is_a_newer_row_and_beyond_the_bytes_corrupt() {
    let layout = layout_of(9, &[ValueType::INT64]);
    let bytes = pack(&layout, &[Value::Int64(1)]);
    for count in 2..=u16::MAX {
        let mut bytes = bytes.clone();
        bytes[2..4].copy_from_slice(&count.to_be_bytes());
        // Up to eight slots the bitmap stays one byte, and the reader cannot know how wide its other slots are.
        let refused = HEADER + usize::from(count).div_ceil(8) + 8 > bytes.len();
        assert_eq!(checked(&layout, &bytes).is_err(), refused, "{count}");
    }
}

#[test]
fn a_slot_that_the_layout_has_not_is_missing() {
    let writer = layout_of(9, &[ValueType::INT64; 12]);
    let bytes = pack(&writer, &vec![Value::Int64(1); 12]);
    let reader = layout_of(9, &[ValueType::INT64]);
    let row = RowRef::parse(&bytes).unwrap();
    row.check(&reader, &[0, 1, 11, 12, u16::MAX]).unwrap();
    for slot in [1, 11, 12, u16::MAX] {
        assert_eq!(row.slot(&reader, slot), SlotCell::Missing, "{slot}");
    }
}

#[test]
fn another_generation_is_corrupt() {
    let bytes = pack(&layout_of(9, &[ValueType::INT64]), &[Value::Int64(1)]);
    let other = layout_of(10, &[ValueType::INT64]);
    assert_eq!(checked(&other, &bytes).err(), Some(ErrorKind::Corrupt));
    assert_eq!(
        checked(&layout_of(10, &[]), &bytes).err(),
        Some(ErrorKind::Corrupt)
    );
}

#[test]
fn a_list_with_a_count_beyond_its_bytes_is_empty_and_costs_nothing() {
    let items = [
        ScalarType::Bool,
        ScalarType::Int32,
        ScalarType::Int64,
        ScalarType::String,
        ScalarType::Decimal {
            precision: 38,
            scale: 0,
        },
    ];
    for item in items {
        for count in [1_u32, 8, 9, 1 << 16, i32::MAX as u32, u32::MAX] {
            for length in [0_usize, 3, 4, 5, 64] {
                let body = [&count.to_le_bytes()[..], &[0; 60]].concat();
                let list = ListCell::new(item, &body[..length]);
                let sound = list.len();
                assert!(
                    sound == 0 || sound == count as usize && sound * 4 <= length,
                    "{item} {count}"
                );
                assert_eq!(list.iter().count(), sound);
            }
        }
    }
}

#[test]
fn texts_of_a_list_that_overlap_are_refused() {
    // Items that each claim all bytes, with nulls between to reset the end: 1 KiB would read as 64 KiB.
    const TEXT: usize = 512;
    let count = 256_usize;
    let mut body = (count as u32).to_le_bytes().to_vec();
    body.extend(std::iter::repeat_n(0b1010_1010_u8, count / 8));
    for i in 0..count {
        let end = if i % 2 == 0 { 0 } else { TEXT as u32 };
        body.extend_from_slice(&end.to_le_bytes());
    }
    body.extend(std::iter::repeat_n(b'x', TEXT));
    let list = ListCell::new(ScalarType::String, &body);
    let layout = layout_of(9, &[ValueType::List(ScalarType::String)]);
    let mut rows = PackedRows::new();
    let mut writer = rows.begin(&layout, Micros(0), None);
    writer.put(0, Cell::List(list));
    writer.finish().unwrap();
    assert_eq!(checked(&layout, rows.get(0)).err(), Some(ErrorKind::Corrupt));
}

#[test]
fn a_list_of_another_type_is_never_written() {
    let mut out = b"before".to_vec();
    for item in [ScalarType::Int64, ScalarType::String] {
        encode_list([Cell::Null, Cell::Int32(1)].into_iter(), item, &mut out);
        assert_eq!(out, b"before");
    }
    let layout = layout_of(9, &[ValueType::List(ScalarType::Int64)]);
    let mut rows = PackedRows::new();
    let (mut ints, mut cut) = (Vec::new(), Vec::new());
    encode_list([Cell::Int32(1)].into_iter(), ScalarType::Int32, &mut ints);
    encode_list([Cell::Int64(1)].into_iter(), ScalarType::Int64, &mut cut);
    cut.pop();
    let wrong = [
        ListCell::new(ScalarType::Int32, &ints),
        ListCell::new(ScalarType::Int64, &ints),
        ListCell::new(ScalarType::Int64, &cut),
        ListCell::new(ScalarType::Int64, &[]),
    ];
    for list in wrong {
        let mut writer = rows.begin(&layout, Micros(0), None);
        writer.put(0, Cell::List(list));
        assert_eq!(writer.finish().unwrap_err().kind(), ErrorKind::Internal);
    }
    assert!(rows.is_empty() && rows.byte_len() == 0);
}

#[test]
fn the_header_counts_as_many_slots_as_there_may_be_and_no_more() {
    let types = vec![ValueType::BOOL; MAX_SLOTS + 1];
    let most = layout_of(9, &types[..MAX_SLOTS]);
    assert_eq!(most.active_slots().count(), MAX_SLOTS);
    let mut values = vec![Value::Null; MAX_SLOTS];
    values[MAX_SLOTS - 1] = Value::Bool(true);
    let bytes = pack(&most, &values);
    let row = checked(&most, &bytes).unwrap();
    assert_eq!(row.slot(&most, u16::MAX - 1), SlotCell::Cell(Cell::Bool(true)));
    assert_eq!(row.slot(&most, u16::MAX), SlotCell::Missing);

    let over = layout_of(9, &types);
    let mut rows = PackedRows::new();
    let error = rows.push_values(&over, Micros(0), None, &values).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Definition);
    assert!(rows.is_empty());
}

#[test]
fn a_key_is_refused_where_it_would_be_cut_and_leaves_nothing_behind() {
    let mut keys = EntityKeys::new();
    let layout = layout_of(9, &[]);
    let attempt = |keys: &mut EntityKeys, length: usize| {
        let mut writer = keys.begin();
        writer.string(&"x".repeat(length));
        writer.finish().map_err(|error| error.kind())
    };
    for length in [MAX_KEY_BYTES - 4, 65_535, 65_536, 65_536 + 100] {
        assert_eq!(attempt(&mut keys, length), Err(ErrorKind::Input), "{length}");
    }
    assert!(keys.is_empty());
    attempt(&mut keys, MAX_KEY_BYTES - 5).unwrap();
    assert_eq!(keys.get(0).unwrap().len(), MAX_KEY_BYTES);

    let mut dropped = keys.begin();
    dropped.int64(1);
    keys.push_null();
    keys.begin().string("dropped too");
    keys.push_values(layout.join_keys(), &[Value::Int64(7)]).unwrap();
    assert_eq!((keys.len(), keys.get(1)), (3, None));
    assert_eq!(
        decode_key(layout.join_keys(), keys.get(2).unwrap()).unwrap(),
        [Value::Int64(7)]
    );

    let wrong = keys.push_values(layout.join_keys(), &[]).unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Input);
    let wrong = keys.push_values(layout.join_keys(), &[Value::Int64(1), Value::Int64(2)]);
    assert_eq!(wrong.unwrap_err().kind(), ErrorKind::Input);
    assert_eq!(keys.len(), 3);
}

#[test]
fn a_decimal_of_too_many_digits_is_no_key() {
    let mut layout = layout_of(9, &[]).join_keys().to_vec();
    layout[0].value_type = "decimal(3,1)".parse().unwrap();
    let mut keys = EntityKeys::new();
    keys.push_values(&layout, &[Value::Decimal(-999, 1)]).unwrap();
    let error = keys.push_values(&layout, &[Value::Decimal(1000, 1)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input);
    assert_eq!(keys.len(), 1);
}

#[test]
fn a_key_joined_from_keys_is_the_key_of_all_values() {
    let one = |value: Value, of: ValueType| {
        let mut join_keys = layout_of(9, &[]).join_keys().to_vec();
        join_keys[0].value_type = of;
        let mut keys = EntityKeys::new();
        keys.push_values(&join_keys, &[value]).unwrap();
        keys.get(0).unwrap().to_vec()
    };
    let id = one(Value::Int64(7), ValueType::INT64);
    let name = one(Value::str("x"), ValueType::STRING);
    let mut expected = EntityKeys::new();
    let mut writer = expected.begin();
    writer.int64(7);
    writer.string("x");
    writer.finish().unwrap();

    let mut keys = EntityKeys::new();
    let parts = [Some(&id[..]), Some(&name[..])];
    keys.push_joined(parts.into_iter()).unwrap();
    assert_eq!(keys, expected);
    keys.push_joined([Some(&id[..]), None].into_iter()).unwrap();
    assert_eq!((keys.len(), keys.get(1)), (2, None));
    let wrong = keys.push_joined([Some(&id[..]), Some(b"?")].into_iter());
    assert_eq!(wrong.unwrap_err().kind(), ErrorKind::Internal);
    // What was given up leaves nothing behind, and popping brings back what was before.
    keys.pop();
    keys.pop();
    assert!(keys.is_empty());
    keys.pop();
    keys.push_joined(parts.into_iter()).unwrap();
    assert_eq!(keys, expected);
}
