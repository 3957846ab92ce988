//! What must hold for any bytes at all? The bodies of the fuzz targets, which a test runs as well.
//!
//! The first byte chooses the types, the rest is the key or row. Each body says whether it was accepted.

use std::sync::{Arc, LazyLock};

use larder_base::keys::decode_key;
use larder_base::row::PackedRows;
use larder_base::{
    ColumnName, EntityKeys, ErrorKind, FeatureBlock, FeatureName, Generation, JoinKey, KeyGroup, Micros,
    OnlineRead, ProjectName, RowRef, RowStatus, Slot, SlotCell, Span, ValueType, ViewLayout, ViewName,
    ViewRead,
};

/// Generation of every layout here.
pub(crate) const GENERATION: u32 = 9;

const KEY_TYPES: [&str; 8] = [
    "bool",
    "int32",
    "int64",
    "string",
    "bytes",
    "timestamp",
    "date",
    "decimal(9,2)",
];

const ROW_TYPES: [&str; 24] = [
    "int64",
    "string",
    "bool",
    "float64",
    "list<string>",
    "float32",
    "list<int64>",
    "vector(float32,3)",
    "int32",
    "bytes",
    "list<bool>",
    "timestamp",
    "date",
    "list<bytes>",
    "decimal(38,4)",
    "list<decimal(9,2)>",
    "vector(float32,1)",
    "list<float64>",
    "list<date>",
    "bool",
    "string",
    "list<timestamp>",
    "list<int32>",
    "list<float32>",
];

/// The join keys that a first byte chooses: none to three.
pub(crate) fn join_keys(shape: u8) -> Vec<JoinKey> {
    let key = |i: usize| JoinKey {
        name: ColumnName::new(format!("k{i}")).expect("a name"),
        value_type: KEY_TYPES[(usize::from(shape / 4) + i * 3) % KEY_TYPES.len()]
            .parse()
            .expect("a type"),
    };
    (0..usize::from(shape % 4)).map(key).collect()
}

/// The layout that a first byte chooses.
pub(crate) fn layout(shape: u8) -> &'static Arc<ViewLayout> {
    static LAYOUTS: LazyLock<Vec<Arc<ViewLayout>>> = LazyLock::new(|| {
        let slot = |i: usize| {
            let of = ROW_TYPES[i % ROW_TYPES.len()].parse().expect("a type");
            Slot::new(FeatureName::new(format!("f{i}")).expect("a name"), of)
        };
        let layout = |shape: u8| {
            let first = usize::from(shape % 32);
            let count = 1 + usize::from(shape / 32) * 3;
            Arc::new(view((first..first + count).map(slot).collect()))
        };
        (0..=u8::MAX).map(layout).collect()
    });
    &LAYOUTS[usize::from(shape)]
}

fn view(slots: Vec<Slot>) -> ViewLayout {
    ViewLayout::new(
        ProjectName::new("fuzz").expect("a name"),
        ViewName::new("view").expect("a name"),
        Generation(GENERATION),
        Vec::new(),
        slots,
    )
    .with_ttl(Some(Span::seconds(60)))
}

/// A key that is accepted is the one that its values encode to; all else is `Corrupt`.
pub(crate) fn key_decode(data: &[u8]) -> bool {
    let Some((shape, key)) = data.split_first() else {
        return false;
    };
    let join_keys = join_keys(*shape);
    match decode_key(&join_keys, key) {
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            false
        }
        Ok(values) => {
            let mut keys = EntityKeys::new();
            keys.push_values(&join_keys, &values)
                .expect("values of a key are a key");
            assert_eq!(keys.get(0), Some(key), "one entity has one key");
            true
        }
    }
}

/// A row that is accepted reads in every slot, also through a block; all else is `Corrupt`.
pub(crate) fn row_decode(data: &[u8]) -> bool {
    let Some((shape, bytes)) = data.split_first() else {
        return false;
    };
    let layout = layout(*shape);
    let slots = layout.slots().len() as u16;
    // Two slots more than there are: asking for them is no reason to fail.
    let asked: Arc<[u16]> = (0..slots + 2).collect();

    let mut keys = EntityKeys::new();
    keys.push_values(&[], &[]).expect("the key of no entity");
    let mut read = ViewRead::all(0, layout.clone());
    read.features = asked.clone();
    let mut block = FeatureBlock::new();
    block.reset(&OnlineRead {
        groups: vec![KeyGroup {
            keys: Arc::new(keys),
            views: vec![read],
        }],
    });
    let put = block.put_row(0, 0, bytes).map_err(|error| error.kind());

    let row = match RowRef::parse(bytes) {
        Ok(row) => row,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert_eq!(put, Err(ErrorKind::Corrupt));
            return false;
        }
    };
    if let Err(error) = row.check(layout, &asked) {
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert_eq!(put, Err(ErrorKind::Corrupt));
        // What is damaged reads as anything but never out of bounds.
        for slot in 0..slots + 2 {
            if let SlotCell::Cell(cell) = row.slot(layout, slot) {
                let _ = cell.to_value(ValueType::BOOL);
            }
        }
        return false;
    }
    assert_eq!(put, Ok(()));
    assert_eq!(block.status(0, 0) == RowStatus::NotFound, row.is_tombstone());
    read_all(layout, row, &block);
    block.settle(row.event());
    assert_ne!(
        block.status(0, 0),
        RowStatus::Expired,
        "an event is not older than itself"
    );
    true
}

fn read_all(layout: &ViewLayout, row: RowRef<'_>, block: &FeatureBlock) {
    let known = if row.is_tombstone() {
        0
    } else {
        row.slot_count().min(layout.slots().len() as u16)
    };
    let prefix = view(layout.slots()[..usize::from(known)].to_vec());
    let mut again = PackedRows::new();
    let mut writer = again.begin(&prefix, row.event(), row.created());
    for (number, slot) in (0_u16..).zip(layout.slots()) {
        let SlotCell::Cell(cell) = row.slot(layout, number) else {
            assert!(number >= known, "a slot of the row is missing");
            continue;
        };
        assert!(number < known, "a slot that the row has not");
        // Each byte is read once at most, so no value is larger than the row that holds it.
        let _ = cell.to_value(slot.value_type);
        let mut floats = 0;
        block.each_f32(0, number, |_, _| floats += 1);
        let is_null = matches!(cell, larder_base::Cell::Null);
        assert_eq!(floats == 1, slot.value_type.is_numeric() && !is_null);
        writer.put(number, cell);
    }
    writer.finish().expect("cells of a row make a row");
    let copy = RowRef::parse(again.get(0)).expect("a row just written");
    let slots: Vec<u16> = (0..known).collect();
    copy.check(&prefix, &slots).expect("a row just written");
    for number in slots {
        let same = |cell: SlotCell<'_>| format!("{cell:?}");
        assert_eq!(same(copy.slot(&prefix, number)), same(row.slot(layout, number)));
    }
    assert_eq!(copy.version(), row.version());
    assert_eq!(copy.event(), Micros(row.event().0));
}
