//! Whether batches larger than a backend likes are written and read whole.

use std::sync::Arc;

use larder_core::{
    EntityKeys, Micros, OnlineDelete, OnlineWrite, PackedRows, Value, WriteOptions, WriteReport,
};

use super::support::{Cx, Ints, expect_row, int_keys, layout, read, request, rule, write};
use crate::case::{Case, Verdict, cases};
use crate::check::same;

pub(crate) fn cases<'f>() -> Vec<Case<Cx<'f>>> {
    cases![
        "online.batching.many-rows": "10,001 rows are written in one call and read in one call" => many_rows,
        "online.batching.heavy-rows": "48 rows of 256 KiB are written and read at once" => heavy_rows,
        "online.batching.empty": "an empty write and an empty deletion do nothing" => empty,
    ]
}

async fn many_rows(cx: &Cx<'_>) -> Verdict {
    const ROWS: i64 = 10_001;
    let ints = Ints::new("conf", "many", 51)?;
    let store = cx.ready(&[&ints.layout]).await?;
    let rows: Vec<_> = (0..ROWS).map(|n| (n * 7, 1, None, n)).collect();
    // The engine splits by `max_write_rows`, and so does this.
    let most = store
        .capabilities()
        .max_write_rows
        .map_or(rows.len(), |most| (most as usize).max(1));
    for part in rows.chunks(most) {
        ints.put(&store, part, part.len() as u64, 0).await?;
    }
    let keys: Vec<i64> = (0..ROWS).rev().flat_map(|n| [n * 7, n * 7 + 1]).collect();
    let want: Vec<_> = (0..ROWS).rev().flat_map(|n| [Some(n), None]).collect();
    ints.expect(&store, &keys, &want, "20,002 keys, every second of them absent")
        .await?;
    let all: Vec<i64> = (0..ROWS).map(|n| n * 7).collect();
    for part in all.chunks(most) {
        ints.delete(&store, part, 2, 2).await?;
    }
    let want = vec![None; all.len()];
    ints.expect(&store, &all, &want, "after deleting 10,001 keys")
        .await
}

async fn heavy_rows(cx: &Cx<'_>) -> Verdict {
    let layout = layout("conf", "heavy", 52, &[("user", "int64")], &[("s", "string")])?;
    let store = cx.ready(&[&layout]).await?;
    let size = store
        .capabilities()
        .max_row_bytes
        .map_or(1 << 18, |most| (most as usize).saturating_sub(64).min(1 << 18));
    let keys: Vec<i64> = (0..48).collect();
    let text = |n: i64| Value::str(&format!("{n:03}").repeat(size / 3));
    let mut packed = PackedRows::new();
    for n in &keys {
        packed.push_values(&layout, Micros(1), None, &[text(*n)])?;
    }
    let keys = int_keys(&layout, &keys)?;
    write(&store, &layout, keys.clone(), packed).await?;
    let block = read(&store, &request(&layout, keys)).await?;
    for (row, n) in (0..48).enumerate() {
        expect_row(&block, 0, row, Some(&[text(n)]))?;
    }
    Ok(())
}

async fn empty(cx: &Cx<'_>) -> Verdict {
    let ints = Ints::new("conf", "none", 53)?;
    let store = cx.ready(&[&ints.layout]).await?;
    let none = Arc::new(EntityKeys::new());
    let batch = OnlineWrite::new(ints.layout.clone(), none.clone(), Arc::new(PackedRows::new()));
    let report = store
        .write(&batch.with_rule(rule(&store)), &WriteOptions::default())
        .await?;
    same(report, WriteReport::default(), "the report of an empty write")?;
    if store.capabilities().newest_wins {
        let batch = OnlineDelete {
            layout: ints.layout.clone(),
            keys: none,
            at: Micros(1),
            now: Micros(1),
        };
        let report = store.delete(&batch, &WriteOptions::default()).await?;
        same(report, WriteReport::default(), "the report of an empty deletion")?;
    }
    ints.expect(&store, &[0], &[None], "after empty batches").await
}
