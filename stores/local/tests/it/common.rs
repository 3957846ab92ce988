//! What the tests of this crate share: one view, small batches, and an allocator that counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use larder_base::{
    ColumnName, EntityKeys, FeatureBlock, FeatureName, Generation, JoinKey, KeyGroup, Micros, OnlineRead,
    OnlineStore, OnlineWrite, PackedRows, ProjectName, ReadOptions, Result, RowStatus, Slot, SlotCell, Value,
    ValueType, ViewLayout, ViewName, ViewRead, WriteOptions, WriteReport,
};
use larder_local::LocalStore;

pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(future)
}

pub(crate) fn open(path: &Path) -> LocalStore {
    LocalStore::open(path).expect("the folder opens")
}

/// A view with one string key and two features: a number and a text.
pub(crate) fn layout(project: &str, generation: u32) -> Arc<ViewLayout> {
    Arc::new(plain_layout(project, generation))
}

pub(crate) fn plain_layout(project: &str, generation: u32) -> ViewLayout {
    let slot = |name: &str, value_type| Slot::new(FeatureName::new(name).expect("a name"), value_type);
    ViewLayout::new(
        ProjectName::new(project).expect("a name"),
        ViewName::new("v").expect("a name"),
        Generation(generation),
        vec![JoinKey {
            name: ColumnName::new("k").expect("a name"),
            value_type: ValueType::STRING,
        }],
        vec![slot("number", ValueType::INT64), slot("text", ValueType::STRING)],
    )
}

/// One row of a test batch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) key: String,
    pub(crate) event: i64,
    pub(crate) created: Option<i64>,
    pub(crate) number: i64,
    pub(crate) text: String,
}

impl Row {
    pub(crate) fn new(key: impl Into<String>, event: i64, number: i64) -> Self {
        Self {
            key: key.into(),
            event,
            created: None,
            number,
            text: format!("text of {number}"),
        }
    }
}

pub(crate) fn keys(layout: &ViewLayout, keys: &[&str]) -> Arc<EntityKeys> {
    let mut out = EntityKeys::new();
    for key in keys {
        out.push_values(layout.join_keys(), &[Value::str(key)])
            .expect("a key");
    }
    Arc::new(out)
}

pub(crate) fn batch(layout: &Arc<ViewLayout>, rows: &[Row]) -> OnlineWrite {
    let mut packed = PackedRows::new();
    for row in rows {
        let values = [Value::Int64(row.number), Value::str(&row.text)];
        packed
            .push_values(layout, Micros(row.event), row.created.map(Micros), &values)
            .expect("a row");
    }
    let names: Vec<&str> = rows.iter().map(|row| row.key.as_str()).collect();
    OnlineWrite::new(layout.clone(), keys(layout, &names), Arc::new(packed))
}

pub(crate) fn write(store: &LocalStore, layout: &Arc<ViewLayout>, rows: &[Row]) -> Result<WriteReport> {
    wait(store.write(&batch(layout, rows), &WriteOptions::default()))
}

/// What a read says of one key: event time, number, text.
pub(crate) type Found = Option<(i64, i64, String)>;

pub(crate) fn read(store: &LocalStore, layout: &Arc<ViewLayout>, names: &[&str]) -> Result<Vec<Found>> {
    let mut block = FeatureBlock::new();
    read_into(store, layout, keys(layout, names), &mut block)?;
    let row = |row| {
        if block.status(0, row) != RowStatus::Present {
            return None;
        }
        let SlotCell::Cell(number) = block.cell(0, 0, row) else {
            return None;
        };
        let SlotCell::Cell(text) = block.cell(0, 1, row) else {
            return None;
        };
        let Value::Int64(number) = number.to_value(ValueType::INT64) else {
            return None;
        };
        let Value::String(text) = text.to_value(ValueType::STRING) else {
            return None;
        };
        Some((block.event_time(0, row)?.0, number, text.to_string()))
    };
    Ok((0..names.len()).map(row).collect())
}

pub(crate) fn read_into(
    store: &LocalStore,
    layout: &Arc<ViewLayout>,
    keys: Arc<EntityKeys>,
    block: &mut FeatureBlock,
) -> Result<()> {
    let group = KeyGroup {
        keys,
        views: vec![ViewRead::all(0, layout.clone())],
    };
    wait(store.read(
        &OnlineRead { groups: vec![group] },
        &ReadOptions::default(),
        block,
    ))
}

/// Pseudo-random numbers, the same on every run (splitmix64).
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Allocations of this thread so far.
pub(crate) fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

struct Counting;

// SAFETY: hands everything to the system's allocator; only counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
