//! Whether readers and writers with an older or newer layout understand each other.

use std::sync::Arc;

use larder_core::{Micros, PackedRows, ScalarType, Slot, SlotCell, Value, ViewLayout, ViewRead};

use super::support::{Cx, expect_row, int_keys, layout, prepare, read, request, write};
use crate::case::{Case, Verdict, cases};
use crate::check::{ensure, same};

pub(crate) fn cases<'f>() -> Vec<Case<Cx<'f>>> {
    cases![
        "online.evolution.old-reader": "a reader that knows fewer slots reads those it knows" => old_reader,
        "online.evolution.new-reader": "a slot beyond the row's own is missing, not null" => new_reader,
        "online.evolution.mixed": "rows of old and new writers are read together" => mixed,
        "online.evolution.holes": "a removed feature leaves a hole, its successor has another slot" => holes,
        "online.evolution.prepare-keeps": "preparing a grown layout keeps the rows" => prepare_keeps,
        "online.evolution.old-writer": "a row of an old writer replaces one of a new writer whole" => old_writer,
    ]
}

const OLD: [(&str, &str); 2] = [("a", "int64"), ("s", "string")];
const NEW: [(&str, &str); 4] = [
    ("a", "int64"),
    ("s", "string"),
    ("b", "float64"),
    ("t", "list<string>"),
];

fn layouts() -> Verdict<(Arc<ViewLayout>, Arc<ViewLayout>)> {
    let key = [("user", "int64")];
    Ok((
        layout("conf", "grown", 91, &key, &OLD)?,
        layout("conf", "grown", 91, &key, &NEW)?,
    ))
}

fn old_row(n: i64) -> Vec<Value> {
    vec![Value::Int64(n), Value::str(&format!("text {n}"))]
}

fn new_row(n: i64) -> Vec<Value> {
    let mut row = old_row(n);
    row.push(Value::Float64(n as f64 / 2.0));
    row.push(Value::List(vec![Value::str("x"), Value::Null]));
    row
}

fn packed(layout: &ViewLayout, event: i64, rows: &[Vec<Value>]) -> Verdict<PackedRows> {
    let mut packed = PackedRows::new();
    for row in rows {
        packed.push_values(layout, Micros(event), None, row)?;
    }
    Ok(packed)
}

async fn old_reader(cx: &Cx<'_>) -> Verdict {
    let (old, new) = layouts()?;
    let store = cx.ready(&[&new]).await?;
    let keys = int_keys(&new, &[1, 2])?;
    write(
        &store,
        &new,
        keys.clone(),
        packed(&new, 1, &[new_row(1), new_row(2)])?,
    )
    .await?;
    let block = read(&store, &request(&old, keys)).await?;
    expect_row(&block, 0, 0, Some(&old_row(1)))?;
    expect_row(&block, 0, 1, Some(&old_row(2)))
}

async fn new_reader(cx: &Cx<'_>) -> Verdict {
    let (old, new) = layouts()?;
    let store = cx.ready(&[&old]).await?;
    let keys = int_keys(&old, &[1])?;
    write(&store, &old, keys.clone(), packed(&old, 1, &[old_row(1)])?).await?;
    let block = read(&store, &request(&new, keys)).await?;
    for (slot, known) in [(0, true), (1, true), (2, false), (3, false)] {
        let missing = matches!(block.cell(0, slot, 0), SlotCell::Missing);
        ensure!(
            missing != known,
            "slot {slot} of an old row is {}",
            if missing { "missing" } else { "there" }
        );
    }
    let mut want = old_row(1);
    want.extend([Value::Null, Value::Null]);
    expect_row(&block, 0, 0, Some(&want))
}

async fn mixed(cx: &Cx<'_>) -> Verdict {
    let (old, new) = layouts()?;
    let store = cx.ready(&[&old, &new]).await?;
    write(
        &store,
        &old,
        int_keys(&old, &[1, 3])?,
        packed(&old, 1, &[old_row(1), old_row(3)])?,
    )
    .await?;
    write(
        &store,
        &new,
        int_keys(&new, &[2, 4])?,
        packed(&new, 1, &[new_row(2), new_row(4)])?,
    )
    .await?;
    let keys = int_keys(&new, &[4, 3, 2, 1])?;
    let both = larder_core::OnlineRead {
        groups: vec![larder_core::KeyGroup {
            keys,
            views: vec![ViewRead::all(0, old), ViewRead::all(1, new)],
        }],
    };
    let block = read(&store, &both).await?;
    for (row, n) in [4, 3, 2, 1].into_iter().enumerate() {
        expect_row(&block, 0, row, Some(&old_row(n)))?;
        let mut want = if n % 2 == 0 { new_row(n) } else { old_row(n) };
        want.resize(4, Value::Null);
        expect_row(&block, 1, row, Some(&want))?;
    }
    Ok(())
}

async fn holes(cx: &Cx<'_>) -> Verdict {
    let (old, _) = layouts()?;
    // `s` changes its type: its slot becomes a hole, and the new one comes at the end.
    let mut slots = old.slots().to_vec();
    slots[1].removed = true;
    slots.push(Slot::new(
        slots[1].name.clone(),
        larder_core::ValueType::Scalar(ScalarType::Int32),
    ));
    let next = Arc::new(ViewLayout::new(
        old.project().clone(),
        old.view().clone(),
        old.generation(),
        old.join_keys().to_vec(),
        slots,
    ));
    let store = cx.ready(&[&old]).await?;
    write(
        &store,
        &old,
        int_keys(&old, &[1])?,
        packed(&old, 1, &[old_row(1)])?,
    )
    .await?;
    prepare(&store, &[&next]).await?;
    let row = [Value::Int64(2), Value::Null, Value::Int32(22)];
    write(
        &store,
        &next,
        int_keys(&next, &[2])?,
        packed(&next, 1, &[row.to_vec()])?,
    )
    .await?;
    let view = ViewRead::all(0, next.clone());
    same(
        &*view.features,
        &[0, 2][..],
        "slots in use of a layout with a hole",
    )?;
    let read_all = larder_core::OnlineRead {
        groups: vec![larder_core::KeyGroup {
            keys: int_keys(&next, &[1, 2])?,
            views: vec![view],
        }],
    };
    let block = read(&store, &read_all).await?;
    ensure!(
        matches!(block.cell(0, 2, 0), SlotCell::Missing),
        "the new slot of an old row is not missing"
    );
    expect_row(&block, 0, 1, Some(&row))?;
    let block = read(&store, &request(&old, int_keys(&old, &[1, 2])?)).await?;
    expect_row(&block, 0, 0, Some(&old_row(1)))?;
    expect_row(&block, 0, 1, Some(&[Value::Int64(2), Value::Null]))
}

async fn prepare_keeps(cx: &Cx<'_>) -> Verdict {
    let (old, new) = layouts()?;
    let store = cx.ready(&[&old]).await?;
    let before = store.identity(old.project()).await?;
    let keys = int_keys(&old, &[1])?;
    write(&store, &old, keys.clone(), packed(&old, 1, &[old_row(1)])?).await?;
    prepare(&store, &[&new, &old, &new]).await?;
    same(
        store.identity(old.project()).await?,
        before,
        "the identity after preparing a grown layout",
    )?;
    let block = read(&store, &request(&old, keys)).await?;
    expect_row(&block, 0, 0, Some(&old_row(1)))
}

async fn old_writer(cx: &Cx<'_>) -> Verdict {
    let (old, new) = layouts()?;
    let store = cx.ready(&[&old, &new]).await?;
    let keys = int_keys(&new, &[1])?;
    write(&store, &new, keys.clone(), packed(&new, 1, &[new_row(1)])?).await?;
    write(&store, &old, keys.clone(), packed(&old, 2, &[old_row(7)])?).await?;
    let block = read(&store, &request(&new, keys)).await?;
    let mut want = old_row(7);
    want.resize(4, Value::Null);
    expect_row(&block, 0, 0, Some(&want))?;
    ensure!(
        matches!(block.cell(0, 2, 0), SlotCell::Missing),
        "a value of the row before shines through"
    );
    Ok(())
}
