//! Whether commits of many at once are each whole and none is lost.

use std::collections::BTreeSet;
use std::sync::Arc;

use larder_core::{ErrorKind, ProjectName, Registry, Version};

use super::support::{Cx, entity, newest, project, puts};
use crate::case::{Case, Stop, Verdict, cases};
use crate::check::{ensure, joined, same};

pub(crate) fn cases<'f>() -> Vec<Case<Cx<'f>>> {
    cases![
        "registry.races.no-lost-update": "of many writers each one's every update is in the end there" => no_lost_update,
        "registry.races.across-handles": "the same through several handles" => across_handles,
        "registry.races.one-winner": "of many commits on one base exactly one wins" => one_winner,
        "registry.races.same-commit": "one commit sent many times at once is one commit" => same_commit,
        "registry.races.readers": "a reader sees each version whole, and never goes back" => readers,
        "registry.races.cancelled": "a commit whose future was dropped happened wholly or not at all, and can be sent again" => cancelled,
    ]
}

const WRITERS: usize = 6;
const UPDATES: usize = 5;

/// Adds one's own object again and again, reloading after each conflict.
async fn writer(registry: Arc<dyn Registry>, shop: ProjectName, number: usize) -> Verdict<usize> {
    let mut conflicts = 0;
    for update in 0..UPDATES {
        loop {
            let snapshot = newest(&registry, &shop).await?;
            let counted = snapshot
                .catalog()
                .entity("counter")
                .map_or(0, |entity| entity.description.parse::<usize>().unwrap_or(0));
            let changes = puts(
                &format!("{number}/{update}"),
                vec![
                    entity("counter", &(counted + 1).to_string())?,
                    entity(&format!("w{number}_{update}"), "x")?,
                ],
            );
            match registry.commit(&shop, snapshot.version(), &changes).await {
                Ok(_) => break,
                Err(error) if error.kind() == ErrorKind::Conflict => conflicts += 1,
                Err(error) => return Err(error.into()),
            }
            ensure!(conflicts < 5_000, "5,000 conflicts, and no end");
        }
    }
    Ok(conflicts)
}

async fn race(handles: &[Arc<dyn Registry>]) -> Verdict {
    let shop = project("shop")?;
    let mut tasks = Vec::new();
    for number in 0..WRITERS {
        tasks.push(tokio::spawn(writer(
            handles[number % handles.len()].clone(),
            shop.clone(),
            number,
        )));
    }
    for task in tasks {
        joined(task).await??;
    }
    let total = WRITERS * UPDATES;
    for registry in handles {
        let snapshot = newest(registry, &shop).await?;
        same(
            snapshot.version(),
            Version(total as u64),
            "the version after all updates",
        )?;
        same(
            &*snapshot.catalog().entity("counter")?.description,
            &*total.to_string(),
            "the counter",
        )?;
        same(snapshot.records().len(), total + 1, "objects after all updates")?;
        let history = registry.history(&shop, None, 1_000).await?;
        let versions: Vec<u64> = history.iter().map(|commit| commit.version.0).collect();
        let want: Vec<u64> = (1..=total as u64).rev().collect();
        same(versions, want, "versions in the history")?;
        let messages: BTreeSet<&str> = history.iter().map(|commit| commit.message.as_str()).collect();
        same(messages.len(), total, "different commits in the history")?;
    }
    Ok(())
}

async fn no_lost_update(cx: &Cx<'_>) -> Verdict {
    race(&[cx.fresh().await?]).await
}

async fn across_handles(cx: &Cx<'_>) -> Verdict {
    race(&[cx.fresh().await?, cx.open().await?, cx.open().await?]).await
}

async fn one_winner(cx: &Cx<'_>) -> Verdict {
    let registry = cx.fresh().await?;
    for round in 0..12 + cx.options.seeds {
        let shop = project(&format!("shop-{round}"))?;
        let start = Arc::new(tokio::sync::Barrier::new(8));
        let mut tasks = Vec::new();
        for number in 0..8 {
            let (registry, shop, start) = (registry.clone(), shop.clone(), start.clone());
            let changes = puts(&format!("{number}"), vec![entity(&format!("e{number}"), "x")?]);
            tasks.push(tokio::spawn(async move {
                start.wait().await;
                registry.commit(&shop, Version(0), &changes).await
            }));
        }
        let mut winners = Vec::new();
        for (number, task) in tasks.into_iter().enumerate() {
            match joined(task).await? {
                Ok(version) => {
                    same(version, Version(1), "the version of the winner")?;
                    winners.push(format!("e{number}"));
                }
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) => return Err(error.into()),
            }
        }
        same(winners.len(), 1, &format!("winners of round {round}"))?;
        let snapshot = newest(&registry, &shop).await?;
        let names: Vec<String> = snapshot.records().keys().map(|id| id.name.clone()).collect();
        same(names, winners, "objects after the race, against the winner's")?;
    }
    Ok(())
}

async fn same_commit(cx: &Cx<'_>) -> Verdict {
    let registry = cx.fresh().await?;
    let shop = project("shop")?;
    let changes = puts("once", vec![entity("user", "x")?]);
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let (registry, shop, changes) = (registry.clone(), shop.clone(), changes.clone());
        tasks.push(tokio::spawn(async move {
            registry.commit(&shop, Version(0), &changes).await
        }));
    }
    for task in tasks {
        let version = joined(task)
            .await?
            .map_err(|error| Stop::from(error).during("one commit sent eight times"))?;
        same(version, Version(1), "the version that each sender is told")?;
    }
    same(
        registry.history(&shop, None, 10).await?.len(),
        1,
        "commits in the history",
    )
}

async fn readers(cx: &Cx<'_>) -> Verdict {
    let registry = cx.fresh().await?;
    let shop = project("shop")?;
    const VERSIONS: u64 = 25;
    let task = {
        let (registry, shop) = (registry.clone(), shop.clone());
        tokio::spawn(async move {
            for base in 0..VERSIONS {
                let text = (base + 1).to_string();
                let changes = puts("both", vec![entity("left", &text)?, entity("right", &text)?]);
                registry.commit(&shop, Version(base), &changes).await?;
                tokio::task::yield_now().await;
            }
            Ok::<(), Stop>(())
        })
    };
    let reader = cx.open().await?;
    let mut last = Version(0);
    while last < Version(VERSIONS) {
        let finished = task.is_finished();
        let snapshot = newest(&reader, &shop).await?;
        ensure!(
            snapshot.version() >= last,
            "a reader went back from version {last} to {}",
            snapshot.version()
        );
        last = snapshot.version();
        if last > Version(0) {
            let (left, right) = (
                snapshot.catalog().entity("left")?,
                snapshot.catalog().entity("right")?,
            );
            let text = last.to_string();
            ensure!(
                left.description == text && right.description == text,
                "version {last} was read half"
            );
        }
        ensure!(
            !finished || last == Version(VERSIONS),
            "the writer has ended, and version {last} is read"
        );
        tokio::task::yield_now().await;
    }
    joined(task).await?
}

async fn cancelled(cx: &Cx<'_>) -> Verdict {
    let registry = cx.fresh().await?;
    let shop = project("shop")?;
    for (base, micros) in (0_u64..).zip([0, 50, 200, 1_000, 5_000]) {
        let changes = puts(
            &format!("{base}"),
            vec![
                entity("left", &base.to_string())?,
                entity("right", &base.to_string())?,
            ],
        );
        {
            let (registry, shop, changes) = (registry.clone(), shop.clone(), changes.clone());
            let task = tokio::spawn(async move { registry.commit(&shop, Version(base), &changes).await });
            tokio::time::sleep(std::time::Duration::from_micros(micros)).await;
            task.abort();
            let _ = task.await;
        }
        let seen = newest(&registry, &shop).await?.version();
        ensure!(
            seen == Version(base) || seen == Version(base + 1),
            "version {seen} after a dropped commit on {base}"
        );
        let version = registry.commit(&shop, Version(base), &changes).await?;
        same(
            version,
            Version(base + 1),
            "the version of a commit that was dropped and sent again",
        )?;
        same(
            registry.history(&shop, None, 100).await?.len() as u64,
            base + 1,
            "commits after it was sent again",
        )?;
    }
    Ok(())
}
