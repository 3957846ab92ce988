//! Whether projects, views and generations keep out of each other's way.

use larder_core::{Clock, Generation, Micros, SystemClock};

use super::support::{Cx, Ints};
use crate::case::{Case, Verdict, cases};
use crate::check::{need, same};

pub(crate) fn cases<'f>() -> Vec<Case<Cx<'f>>> {
    cases![
        "online.isolation.projects": "the same view, generation and key in two projects are two rows" => projects,
        "online.isolation.views": "views whose names begin alike are apart" => views,
        "online.isolation.generations": "a new generation starts empty, the old one stays readable" => generations,
        "online.isolation.deletes": "a deletion in one view leaves the others alone" => deletes,
        "online.isolation.reclaim": "reclaim frees the retired generations of the project and nothing else" => reclaim,
        "online.isolation.reclaim-again": "reclaiming twice, or what never was, frees nothing" => reclaim_again,
        "online.isolation.reclaim-keeps-tombstones": "reclaim leaves fresh tombstones of other generations" => reclaim_keeps_tombstones,
    ]
}

async fn projects(cx: &Cx<'_>) -> Verdict {
    let names = ["shop", "shop-eu", "shop_eu", "sho", "shop-eu-1"];
    let mut all = Vec::new();
    for name in names {
        all.push(Ints::new(name, "stats", 61)?);
    }
    let layouts: Vec<_> = all.iter().map(|ints| &ints.layout).collect();
    let store = cx.ready(&layouts).await?;
    for (number, ints) in (0_i64..).zip(&all).take(4) {
        ints.put(&store, &[(1, 10 - number, None, number)], 1, 0).await?;
    }
    for (number, ints) in (0_i64..).zip(&all) {
        let want = (number < 4).then_some(number);
        ints.expect(&store, &[1], &[want], names[number as usize]).await?;
    }
    Ok(())
}

async fn views(cx: &Cx<'_>) -> Verdict {
    let names = ["a", "a_b", "ab", "a_b_c", "A_", "_a", "a_"];
    let mut all = Vec::new();
    // Generations whose bytes are prefixes and neighbours of each other, too.
    for (name, generation) in names.iter().zip([1, 256, 65_536, 0, u32::MAX, 0x6100_0000, 2]) {
        all.push(Ints::new("conf", name, generation)?);
    }
    let layouts: Vec<_> = all.iter().map(|ints| &ints.layout).collect();
    let store = cx.ready(&layouts).await?;
    for (number, ints) in (0_i64..).zip(&all).skip(1) {
        ints.put(
            &store,
            &[(1, 10, None, number), (100 + number, 10, None, number)],
            2,
            0,
        )
        .await?;
    }
    for (number, ints) in (0_i64..).zip(&all) {
        let want = (number > 0).then_some(number);
        ints.expect(&store, &[1], &[want], names[number as usize]).await?;
    }
    Ok(())
}

async fn generations(cx: &Cx<'_>) -> Verdict {
    let (old, new) = (Ints::new("conf", "stats", 62)?, Ints::new("conf", "stats", 63)?);
    let store = cx.ready(&[&old.layout]).await?;
    old.put(&store, &[(1, 100, None, 1), (2, 100, None, 2)], 2, 0)
        .await?;
    super::support::prepare(&store, &[&new.layout]).await?;
    new.expect(&store, &[1, 2], &[None, None], "a new generation")
        .await?;
    // An older event in the new generation has no older rival there.
    new.put(&store, &[(1, 5, None, 10)], 1, 0).await?;
    old.expect(&store, &[1, 2], &[Some(1), Some(2)], "the old generation")
        .await?;
    new.expect(&store, &[1, 2], &[Some(10), None], "the new generation")
        .await
}

async fn deletes(cx: &Cx<'_>) -> Verdict {
    let (a, b) = (Ints::new("conf", "a", 64)?, Ints::new("conf", "b", 65)?);
    let other = Ints::new("other", "a", 64)?;
    let store = cx.ready(&[&a.layout, &b.layout, &other.layout]).await?;
    need(store.capabilities().newest_wins, "newest_wins")?;
    for ints in [&a, &b, &other] {
        ints.put(&store, &[(1, 10, None, 1)], 1, 0).await?;
    }
    a.delete(&store, &[1], 20, 20).await?;
    a.expect(&store, &[1], &[None], "the view with the deletion")
        .await?;
    b.expect(&store, &[1], &[Some(1)], "another view").await?;
    other.expect(&store, &[1], &[Some(1)], "another project").await
}

async fn reclaim(cx: &Cx<'_>) -> Verdict {
    let retired = [Ints::new("conf", "stats", 70)?, Ints::new("conf", "old", 71)?];
    let kept = [
        Ints::new("conf", "stats", 72)?,
        Ints::new("conf", "stats_more", 69)?,
        Ints::new("conf-2", "stats", 70)?,
        Ints::new("con", "old", 71)?,
    ];
    let layouts: Vec<_> = retired.iter().chain(&kept).map(|ints| &ints.layout).collect();
    let store = cx.ready(&layouts).await?;
    let rows: Vec<_> = (0..50).map(|n| (n, 10, None, n)).collect();
    for ints in retired.iter().chain(&kept) {
        ints.put(&store, &rows, 50, 0).await?;
    }
    let identity = store.identity(retired[0].layout.project()).await?;
    let gone = [Generation(70), Generation(71)];
    let report = store.reclaim(retired[0].layout.project(), &gone).await?;
    same(report.rows, 100, "rows that reclaim reports")?;
    for ints in &retired {
        ints.expect(&store, &[0, 49], &[None, None], "a reclaimed generation")
            .await?;
    }
    for ints in &kept {
        ints.expect(&store, &[0, 49], &[Some(0), Some(49)], "what was not reclaimed")
            .await?;
        ints.put(&store, &[(0, 11, None, 5)], 1, 0).await?;
    }
    same(
        store.identity(retired[0].layout.project()).await?,
        identity,
        "the identity after reclaim",
    )
}

async fn reclaim_again(cx: &Cx<'_>) -> Verdict {
    let ints = Ints::new("conf", "stats", 73)?;
    let store = cx.ready(&[&ints.layout]).await?;
    let project = ints.layout.project();
    same(
        store.reclaim(project, &[]).await?.rows,
        0,
        "rows of reclaiming nothing",
    )?;
    same(
        store.reclaim(project, &[Generation(999)]).await?.rows,
        0,
        "rows of reclaiming an unknown generation",
    )?;
    ints.put(&store, &[(1, 1, None, 1)], 1, 0).await?;
    same(
        store.reclaim(project, &[Generation(73)]).await?.rows,
        1,
        "rows of the first reclaim",
    )?;
    same(
        store.reclaim(project, &[Generation(73)]).await?.rows,
        0,
        "rows of the second reclaim",
    )?;
    ints.expect(&store, &[1], &[None], "after two reclaims").await
}

async fn reclaim_keeps_tombstones(cx: &Cx<'_>) -> Verdict {
    let (kept, retired) = (Ints::new("conf", "stats", 74)?, Ints::new("conf", "stats", 75)?);
    let store = cx.ready(&[&kept.layout, &retired.layout]).await?;
    need(store.capabilities().newest_wins, "newest_wins")?;
    // The real time, because a store may free tombstones that are older than their retention.
    let Micros(now) = SystemClock.now();
    kept.put(&store, &[(1, now - 10, None, 1)], 1, 0).await?;
    kept.delete(&store, &[1, 2], now, now).await?;
    store.reclaim(kept.layout.project(), &[Generation(75)]).await?;
    kept.put(&store, &[(1, now - 5, None, 2), (2, now - 5, None, 2)], 0, 2)
        .await?;
    kept.expect(
        &store,
        &[1, 2],
        &[None, None],
        "after reclaim and rows older than the deletion",
    )
    .await
}
