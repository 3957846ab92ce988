//! How do these tests make layouts, and values of every type?

use std::sync::Arc;

use larder_base::row::{PackedRows, cell_of};
use larder_base::{
    ColumnName, EntityKeys, FeatureName, Generation, JoinKey, KeyGroup, Micros, OnlineRead, ProjectName,
    RowRef, ScalarType, Slot, SlotCell, Value, ValueType, ViewLayout, ViewName, ViewRead,
};
use proptest::prelude::*;

pub(crate) fn layout_of(generation: u32, types: &[ValueType]) -> ViewLayout {
    let slot = |(i, of): (usize, &ValueType)| Slot::new(FeatureName::new(format!("f{i}")).unwrap(), *of);
    layout_with(generation, types.iter().enumerate().map(slot).collect())
}

pub(crate) fn layout_with(generation: u32, slots: Vec<Slot>) -> ViewLayout {
    ViewLayout::new(
        ProjectName::new("shop").unwrap(),
        ViewName::new("stats").unwrap(),
        Generation(generation),
        vec![JoinKey {
            name: ColumnName::new("id").unwrap(),
            value_type: ValueType::INT64,
        }],
        slots,
    )
}

pub(crate) fn all_slots(layout: &ViewLayout) -> Vec<u16> {
    (0..u16::try_from(layout.slots().len()).unwrap()).collect()
}

/// A request of one view, for so many keys.
pub(crate) fn request(layout: &Arc<ViewLayout>, rows: usize) -> OnlineRead {
    let mut keys = EntityKeys::new();
    for id in 0..rows {
        keys.push_values(layout.join_keys(), &[Value::Int64(id as i64)])
            .unwrap();
    }
    OnlineRead {
        groups: vec![KeyGroup {
            keys: Arc::new(keys),
            views: vec![ViewRead::all(0, layout.clone())],
        }],
    }
}

pub(crate) fn pack(layout: &ViewLayout, values: &[Value]) -> Vec<u8> {
    let mut rows = PackedRows::new();
    rows.push_values(layout, Micros(1), Some(Micros(2)), values)
        .unwrap();
    rows.get(0).to_vec()
}

/// The values of a checked row by slot; `None` where the row is older than the slot.
pub(crate) fn unpack(layout: &ViewLayout, row: RowRef<'_>) -> Vec<Option<Value>> {
    let value = |(number, slot): (u16, &Slot)| match row.slot(layout, number) {
        SlotCell::Missing => None,
        SlotCell::Cell(cell) => Some(cell.to_value(slot.value_type)),
    };
    (0_u16..=u16::MAX).zip(layout.slots()).map(value).collect()
}

/// Whether two values are the same to the bit, which NaN is not by `==`.
pub(crate) fn same(of: ValueType, a: &Value, b: &Value) -> bool {
    let layout = layout_of(1, &[of]);
    let packed = |value: &Value| {
        let (mut rows, mut scratch) = (PackedRows::new(), Vec::new());
        let mut writer = rows.begin(&layout, Micros(0), None);
        writer.put(0, cell_of(value, of, &mut scratch));
        writer.finish().unwrap();
        rows.get(0).to_vec()
    };
    a.is_null() == b.is_null() && packed(a) == packed(b)
}

pub(crate) fn scalar_type() -> impl Strategy<Value = ScalarType> {
    prop_oneof![
        Just(ScalarType::Bool),
        Just(ScalarType::Int32),
        Just(ScalarType::Int64),
        Just(ScalarType::Float32),
        Just(ScalarType::Float64),
        Just(ScalarType::String),
        Just(ScalarType::Bytes),
        Just(ScalarType::Timestamp),
        Just(ScalarType::Date),
        (1_u8..=38).prop_flat_map(|precision| {
            (0..=precision).prop_map(move |scale| ScalarType::Decimal { precision, scale })
        }),
    ]
}

pub(crate) fn value_type() -> impl Strategy<Value = ValueType> {
    prop_oneof![
        3 => scalar_type().prop_map(ValueType::Scalar),
        2 => scalar_type().prop_map(ValueType::List),
        1 => (1_u32..6).prop_map(ValueType::Vector),
    ]
}

fn int64() -> impl Strategy<Value = i64> {
    prop_oneof![1 => Just(i64::MIN), 1 => Just(i64::MAX), 4 => any::<i64>(), 2 => -2_i64..3]
}

fn int32() -> impl Strategy<Value = i32> {
    prop_oneof![1 => Just(i32::MIN), 1 => Just(i32::MAX), 6 => any::<i32>()]
}

fn scalar(of: ScalarType) -> BoxedStrategy<Value> {
    match of {
        ScalarType::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        ScalarType::Int32 => int32().prop_map(Value::Int32).boxed(),
        ScalarType::Int64 => int64().prop_map(Value::Int64).boxed(),
        ScalarType::Float32 => any::<u32>()
            .prop_map(|bits| Value::Float32(f32::from_bits(bits)))
            .boxed(),
        ScalarType::Float64 => any::<u64>()
            .prop_map(|bits| Value::Float64(f64::from_bits(bits)))
            .boxed(),
        ScalarType::String => any::<String>().prop_map(|text| Value::str(&text)).boxed(),
        ScalarType::Bytes => any::<Vec<u8>>()
            .prop_map(|bytes| Value::Bytes(bytes.into()))
            .boxed(),
        ScalarType::Timestamp => int64().prop_map(|time| Value::Timestamp(Micros(time))).boxed(),
        ScalarType::Date => int32().prop_map(Value::Date).boxed(),
        ScalarType::Decimal { precision, scale } => {
            let most = 10_i128.pow(u32::from(precision)) - 1;
            prop_oneof![Just(most), Just(-most), -most..=most]
                .prop_map(move |number| Value::Decimal(number, scale))
                .boxed()
        }
        other => panic!("the strategies know no {other}"),
    }
}

fn or_null(value: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    prop_oneof![1 => Just(Value::Null), 4 => value].boxed()
}

pub(crate) fn value(of: ValueType) -> BoxedStrategy<Value> {
    or_null(match of {
        ValueType::Scalar(of) => scalar(of),
        ValueType::List(item) => prop::collection::vec(or_null(scalar(item)), 0..20)
            .prop_map(Value::List)
            .boxed(),
        ValueType::Vector(n) => prop::collection::vec(any::<u32>().prop_map(f32::from_bits), n as usize)
            .prop_map(|floats| Value::Vector(floats.into()))
            .boxed(),
        other => panic!("the strategies know no {other}"),
    })
}

/// The slots of a view and a value for each.
pub(crate) fn row(slots: std::ops::Range<usize>) -> impl Strategy<Value = (Vec<ValueType>, Vec<Value>)> {
    prop::collection::vec(value_type(), slots).prop_flat_map(|types| {
        let values: Vec<_> = types.iter().map(|of| value(*of)).collect();
        (Just(types), values)
    })
}
