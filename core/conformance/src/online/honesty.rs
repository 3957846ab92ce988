//! Whether a store does what it declares, and declares what it does.

use std::sync::Arc;

use larder_core::{FeatureBlock, OnlineScan, OnlineStore, ReadFuture, ReadOptions, RowRef, ScannedRow};

use super::support::{Cx, Ints, int_keys, keys_of, layout, request, write};
use crate::case::{Case, Stop, Verdict, cases};
use crate::check::{ensure, need, same};

pub(crate) fn cases<'f>() -> Vec<Case<Cx<'f>>> {
    cases![
        "online.honesty.constant": "capabilities are the same at any time and through any handle" => constant,
        "online.honesty.some-rule": "a store has at least one rule of writing" => some_rule,
        "online.honesty.in-process": "a store in the process answers reads without waiting" => in_process,
        "online.honesty.scan": "scan is there exactly where it is declared" => scan_is_there,
        "online.scan.pages": "pages go through all rows of a view in key order, none twice, none lost" => pages,
        "online.scan.only-this-view": "scan shows rows of this view and generation only" => only_this_view,
        "online.scan.tombstones": "scan shows tombstones" => tombstones,
        "online.scan.any-start": "a page starts behind any key, stored or not" => any_start,
    ]
}

async fn constant(cx: &Cx<'_>) -> Verdict {
    let ints = Ints::new("conf", "stats", 131)?;
    let store = cx.fresh().await?;
    let before = store.capabilities();
    super::support::prepare(&store, &[&ints.layout]).await?;
    ints.put(&store, &[(1, 1, None, 1)], 1, 0).await?;
    same(store.capabilities(), before, "capabilities after a write")?;
    same(
        cx.open().await?.capabilities(),
        before,
        "capabilities of another handle",
    )
}

async fn some_rule(cx: &Cx<'_>) -> Verdict {
    let capabilities = cx.fresh().await?.capabilities();
    ensure!(
        capabilities.newest_wins || capabilities.overwrite,
        "neither `newest_wins` nor `overwrite` is declared: nothing could be written"
    );
    Ok(())
}

async fn in_process(cx: &Cx<'_>) -> Verdict {
    let ints = Ints::new("conf", "stats", 132)?;
    let store = cx.ready(&[&ints.layout]).await?;
    need(store.capabilities().in_process, "in_process")?;
    ints.put(&store, &[(1, 1, None, 1)], 1, 0).await?;
    let request = request(&ints.layout, int_keys(&ints.layout, &[1, 2])?);
    let mut block = FeatureBlock::new();
    let options = ReadOptions::default();
    let future = store.read(&request, &options, &mut block);
    ensure!(
        matches!(future, ReadFuture::Ready(_)),
        "a store in the process answered {future:?}"
    );
    future.await?;
    Ok(())
}

async fn scan_is_there(cx: &Cx<'_>) -> Verdict {
    let store = cx.fresh().await?;
    same(
        store.scan().is_some(),
        store.capabilities().scan,
        "whether scan is there, against the declaration",
    )
}

fn scan(store: &Arc<dyn OnlineStore>) -> Verdict<&dyn OnlineScan> {
    store
        .scan()
        .ok_or_else(|| Stop::Skipped("`scan` is not declared".to_owned()))
}

/// All rows by pages of a size.
async fn walk(store: &Arc<dyn OnlineStore>, ints: &Ints, limit: usize) -> Verdict<Vec<ScannedRow>> {
    let mut rows: Vec<ScannedRow> = Vec::new();
    loop {
        let after = rows.last().map(|row| row.key.clone());
        let page = scan(store)?.page(&ints.layout, after.as_deref(), limit).await?;
        ensure!(page.len() <= limit, "a page of {limit} has {} rows", page.len());
        if page.is_empty() {
            return Ok(rows);
        }
        for row in page {
            let ordered = rows.last().is_none_or(|last| last.key < row.key);
            ensure!(
                ordered,
                "row {} does not come after the one before it",
                rows.len()
            );
            rows.push(row);
        }
    }
}

async fn pages(cx: &Cx<'_>) -> Verdict {
    let ints = Ints::new("conf", "stats", 133)?;
    let store = cx.ready(&[&ints.layout]).await?;
    scan(&store)?;
    let rows: Vec<_> = (-150..150).rev().map(|n| (n * 3, 1, None, n)).collect();
    ints.put(&store, &rows, 300, 0).await?;
    let sorted: Vec<i64> = (-150..150).map(|n| n * 3).collect();
    let keys = int_keys(&ints.layout, &sorted)?;
    for limit in [1, 7, 100, 299, 300, 301, 10_000] {
        let found = walk(&store, &ints, limit).await?;
        same(found.len(), 300, &format!("rows found by pages of {limit}"))?;
        for (row, found) in found.iter().enumerate() {
            ensure!(
                Some(found.key.as_slice()) == keys.get(row),
                "row {row} of pages of {limit} has another key"
            );
            let packed = RowRef::parse(&found.row)?;
            packed.check(&ints.layout, &[0])?;
        }
    }
    // Long keys may be stored in another way, and come in order all the same.
    let texts = layout("conf", "texts", 134, &[("k", "string")], &[("n", "int64")])?;
    super::support::prepare(&store, &[&texts]).await?;
    let mut names = Vec::new();
    for length in [1, 300, 490, 500, 600, 1_000] {
        for end in ["a", "b", "c"] {
            names.push(vec![larder_core::Value::str(&format!(
                "{}{end}",
                "x".repeat(length)
            ))]);
        }
    }
    let keys = keys_of(&texts, &names)?;
    let mut packed = larder_core::PackedRows::new();
    for _ in 0..names.len() {
        packed.push_values(
            &texts,
            larder_core::Micros(1),
            None,
            &[larder_core::Value::Int64(1)],
        )?;
    }
    write(&store, &texts, keys.clone(), packed).await?;
    let texts = Ints { layout: texts };
    for limit in [1, 4, 100] {
        let found: Vec<Vec<u8>> = walk(&store, &texts, limit)
            .await?
            .into_iter()
            .map(|row| row.key)
            .collect();
        let mut want: Vec<Vec<u8>> = keys.iter().flatten().map(<[u8]>::to_vec).collect();
        want.sort();
        ensure!(
            found == want,
            "pages of {limit} do not show the long keys in order: {} of {}",
            found.len(),
            want.len()
        );
    }
    Ok(())
}

async fn only_this_view(cx: &Cx<'_>) -> Verdict {
    let views = [
        Ints::new("conf", "stats", 135)?,
        Ints::new("conf", "stats", 136)?,
        Ints::new("conf", "stats_2", 137)?,
        Ints::new("conf-2", "stats", 135)?,
    ];
    let layouts: Vec<_> = views.iter().map(|ints| &ints.layout).collect();
    let store = cx.ready(&layouts).await?;
    scan(&store)?;
    for (number, ints) in (1_i64..).zip(&views) {
        let rows: Vec<_> = (0..number * 2).map(|n| (n, 1, None, number)).collect();
        ints.write(&store, &rows).await?;
    }
    for (number, ints) in (1..).zip(&views) {
        same(
            walk(&store, ints, 3).await?.len(),
            number * 2,
            "rows of a view by scan",
        )?;
    }
    let absent = Ints::new("conf", "absent", 138)?;
    same(
        walk(&store, &absent, 3).await?.len(),
        0,
        "rows of a view that was never written",
    )
}

async fn tombstones(cx: &Cx<'_>) -> Verdict {
    let ints = Ints::new("conf", "stats", 139)?;
    let store = cx.ready(&[&ints.layout]).await?;
    scan(&store)?;
    need(store.capabilities().newest_wins, "newest_wins")?;
    ints.put(&store, &[(1, 1, None, 1), (2, 1, None, 2)], 2, 0)
        .await?;
    ints.delete(&store, &[2, 3], 5, 6).await?;
    let found = walk(&store, &ints, 2).await?;
    let mut dead = Vec::new();
    for row in &found {
        let row = RowRef::parse(&row.row)?;
        dead.push((row.is_tombstone(), row.event().0));
    }
    same(
        dead,
        vec![(false, 1), (true, 5), (true, 5)],
        "rows of a scan: whether deleted, and since when",
    )
}

async fn any_start(cx: &Cx<'_>) -> Verdict {
    let ints = Ints::new("conf", "stats", 140)?;
    let store = cx.ready(&[&ints.layout]).await?;
    scan(&store)?;
    ints.put(
        &store,
        &[(10, 1, None, 1), (20, 1, None, 2), (30, 1, None, 3)],
        3,
        0,
    )
    .await?;
    for (start, want) in [
        (-5, 3),
        (9, 3),
        (10, 2),
        (15, 2),
        (20, 1),
        (29, 1),
        (30, 0),
        (31, 0),
    ] {
        let keys = int_keys(&ints.layout, &[start])?;
        let page = scan(&store)?.page(&ints.layout, keys.get(0), 10).await?;
        same(page.len(), want, &format!("rows behind key {start}"))?;
    }
    let page = scan(&store)?.page(&ints.layout, Some(&[]), 10).await?;
    same(page.len(), 3, "rows behind the empty text")
}
