//! Whether a store is prepared, named, reopened and checked as it should be.

use larder_core::{LayoutChanges, ProjectName};

use super::support::{Cx, Ints, prepare};
use crate::case::{Case, Verdict, cases};
use crate::check::{ensure, joined, need, same};

pub(crate) fn cases<'f>() -> Vec<Case<Cx<'f>>> {
    cases![
        "online.lifecycle.empty": "a wiped store has no identity and no rows, and reading it is no error" => empty,
        "online.lifecycle.identity": "prepare gives an identity once and keeps it" => identity,
        "online.lifecycle.identity-races": "of many first prepares one identity remains, and all answer it" => identity_races,
        "online.lifecycle.identity-after-wipe": "a flushed store has another identity" => identity_after_wipe,
        "online.lifecycle.check": "check names the backend" => check,
        "online.lifecycle.two-handles": "what one handle wrote another one reads" => two_handles,
        "online.lifecycle.reopen": "rows, tombstones and identity outlive the handle" => reopen,
        "online.lifecycle.reopen-reclaimed": "what was reclaimed stays away after reopening" => reopen_reclaimed,
    ]
}

async fn empty(cx: &Cx<'_>) -> Verdict {
    let ints = Ints::new("conf", "stats", 101)?;
    let store = cx.fresh().await?;
    same(
        store.identity(ints.layout.project()).await?,
        None,
        "the identity before prepare",
    )?;
    ints.expect(&store, &[1, 2], &[None, None], "a view that was never prepared")
        .await?;
    same(
        store.identity(ints.layout.project()).await?,
        None,
        "the identity after a read",
    )
}

async fn identity(cx: &Cx<'_>) -> Verdict {
    let (a, b) = (Ints::new("conf", "a", 102)?, Ints::new("conf", "b", 103)?);
    let store = cx.fresh().await?;
    let project = a.layout.project().clone();
    let changes = |layouts| LayoutChanges {
        project: project.clone(),
        layouts,
    };
    let first = store.prepare(&changes(vec![a.layout.clone()])).await?;
    same(
        store.identity(&project).await?,
        Some(first),
        "the identity after prepare",
    )?;
    same(
        store.prepare(&changes(vec![a.layout.clone()])).await?,
        first,
        "the answer of a second prepare",
    )?;
    a.put(&store, &[(1, 1, None, 1)], 1, 0).await?;
    same(
        store.prepare(&changes(vec![b.layout.clone()])).await?,
        first,
        "the answer for another view",
    )?;
    same(
        store.prepare(&changes(vec![])).await?,
        first,
        "the answer for no layouts",
    )?;
    a.expect(&store, &[1], &[Some(1)], "rows after prepare").await?;
    same(
        cx.open().await?.identity(&project).await?,
        Some(first),
        "the identity through another handle",
    )
}

async fn identity_races(cx: &Cx<'_>) -> Verdict {
    for _ in 0..cx.options.seeds {
        let ints = Ints::new("conf", "stats", 104)?;
        let store = cx.fresh().await?;
        let mut tasks = Vec::new();
        for _ in 0..8 {
            let (store, layout) = (store.clone(), ints.layout.clone());
            tasks.push(tokio::spawn(async move {
                let changes = LayoutChanges {
                    project: layout.project().clone(),
                    layouts: vec![layout],
                };
                store.prepare(&changes).await
            }));
        }
        let mut answers = Vec::new();
        for task in tasks {
            answers.push(joined(task).await??);
        }
        let remains = store.identity(ints.layout.project()).await?;
        ensure!(
            answers.iter().all(|answer| Some(*answer) == remains),
            "eight first prepares answered {answers:?}, and {remains:?} remains"
        );
    }
    Ok(())
}

async fn identity_after_wipe(cx: &Cx<'_>) -> Verdict {
    let ints = Ints::new("conf", "stats", 105)?;
    let store = cx.ready(&[&ints.layout]).await?;
    let before = store.identity(ints.layout.project()).await?;
    drop(store);
    let store = cx.ready(&[&ints.layout]).await?;
    let after = store.identity(ints.layout.project()).await?;
    ensure!(
        before.is_some() && after.is_some(),
        "prepare left the store without an identity"
    );
    ensure!(
        before != after,
        "a flushed store has the identity {after:?} it had before"
    );
    Ok(())
}

async fn check(cx: &Cx<'_>) -> Verdict {
    let store = cx.fresh().await?;
    let health = store.check().await?;
    ensure!(!health.backend.is_empty(), "check does not name the backend");
    // Asking must not make the store.
    same(
        store.identity(&ProjectName::new("conf")?).await?,
        None,
        "the identity after check",
    )
}

async fn two_handles(cx: &Cx<'_>) -> Verdict {
    let ints = Ints::new("conf", "stats", 106)?;
    let one = cx.ready(&[&ints.layout]).await?;
    let two = cx.open().await?;
    ints.put(&one, &[(1, 10, None, 1)], 1, 0).await?;
    ints.expect(&two, &[1], &[Some(1)], "the other handle").await?;
    ints.put(&two, &[(1, 20, None, 2), (2, 5, None, 3)], 2, 0).await?;
    ints.expect(&one, &[1, 2], &[Some(2), Some(3)], "the first handle")
        .await
}

async fn reopen(cx: &Cx<'_>) -> Verdict {
    let ints = Ints::new("conf", "stats", 107)?;
    let store = cx.ready(&[&ints.layout]).await?;
    need(store.capabilities().durable, "durable")?;
    let newest_wins = store.capabilities().newest_wins;
    let identity = store.identity(ints.layout.project()).await?;
    let rows: Vec<_> = (0..500).map(|n| (n, 100, None, n)).collect();
    ints.put(&store, &rows, 500, 0).await?;
    if newest_wins {
        ints.delete(&store, &[0], 200, 200).await?;
    }
    drop(store);
    for round in 0..2 {
        let store = cx.open().await?;
        same(
            store.identity(ints.layout.project()).await?,
            identity,
            "the identity after reopening",
        )?;
        ints.expect(
            &store,
            &[1, 499, 500],
            &[Some(1), Some(499), None],
            "rows after reopening",
        )
        .await?;
        if newest_wins {
            ints.expect(&store, &[0], &[None], "a deleted row after reopening")
                .await?;
            ints.put(&store, &[(0, 150, None, 9), (1, 99, None, 9)], 0, 2)
                .await?;
        }
        prepare(&store, &[&ints.layout]).await?;
        ensure!(
            store.identity(ints.layout.project()).await? == identity,
            "prepare after reopening number {round} gave another identity"
        );
    }
    Ok(())
}

async fn reopen_reclaimed(cx: &Cx<'_>) -> Verdict {
    let (gone, kept) = (Ints::new("conf", "stats", 108)?, Ints::new("conf", "stats", 109)?);
    let store = cx.ready(&[&gone.layout, &kept.layout]).await?;
    need(store.capabilities().durable, "durable")?;
    for ints in [&gone, &kept] {
        ints.put(&store, &[(1, 1, None, 1)], 1, 0).await?;
    }
    store
        .reclaim(gone.layout.project(), &[gone.layout.generation()])
        .await?;
    drop(store);
    let store = cx.open().await?;
    gone.expect(&store, &[1], &[None], "a reclaimed generation after reopening")
        .await?;
    kept.expect(&store, &[1], &[Some(1)], "a kept generation after reopening")
        .await
}
