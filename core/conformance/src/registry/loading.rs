//! Whether the newest and any past version can be had, at once or when they come.

use std::time::{Duration, Instant};

use larder_core::{ErrorKind, Loaded, Snapshot, Version};

use super::support::{Cx, commit, entity, newest, project, puts, same_snapshot};
use crate::case::{Case, Verdict, cases};
use crate::check::{ensure, joined, refused, same};

pub(crate) fn cases<'f>() -> Vec<Case<Cx<'f>>> {
    cases![
        "registry.load.empty": "a project nobody committed to is the empty version 0, and no project" => empty,
        "registry.load.known": "the version the caller knows is not sent again" => known,
        "registry.load.known-other": "any other known version, even a larger one, gets the newest" => known_other,
        "registry.load.wait": "a waiting load answers when a commit comes" => wait,
        "registry.load.wait-in-vain": "a waiting load ends after its time, unchanged" => wait_in_vain,
        "registry.load.at": "every past version can be loaded and never changes" => at,
        "registry.load.at-unknown": "a version that never was is `NotFound`" => at_unknown,
        "registry.load.two-handles": "what one handle committed another one loads" => two_handles,
        "registry.load.reopen": "commits outlive the handle" => reopen,
        "registry.check": "check names the backend" => check,
    ]
}

async fn empty(cx: &Cx<'_>) -> Verdict {
    let registry = cx.fresh().await?;
    let shop = project("shop")?;
    let nothing = Snapshot::empty(shop.clone());
    same_snapshot(
        &*newest(&registry, &shop).await?,
        &nothing,
        "a project nobody committed to",
    )?;
    same_snapshot(
        &*registry.load_at(&shop, Version(0)).await?,
        &nothing,
        "version 0",
    )?;
    let loaded = registry.load(&shop, Some(Version(0)), Duration::ZERO).await?;
    ensure!(
        matches!(loaded, Loaded::Unchanged),
        "version 0 was known, and was sent again"
    );
    same(
        registry.history(&shop, None, 10).await?.len(),
        0,
        "commits of a project nobody committed to",
    )?;
    same(registry.projects().await?, vec![], "projects after reading only")
}

async fn known(cx: &Cx<'_>) -> Verdict {
    let registry = cx.fresh().await?;
    let shop = project("shop")?;
    commit(&registry, &shop, 0, &puts("a", vec![entity("user", "1")?])).await?;
    let loaded = registry.load(&shop, Some(Version(1)), Duration::ZERO).await?;
    ensure!(
        matches!(loaded, Loaded::Unchanged),
        "version 1 was known, and was sent again"
    );
    let loaded = registry.load(&shop, Some(Version(0)), Duration::ZERO).await?;
    match loaded {
        Loaded::Changed(snapshot) => same(snapshot.version(), Version(1), "the version after a known 0"),
        Loaded::Unchanged => {
            ensure!(
                false,
                "version 0 was known, version 1 is the newest, and nothing changed"
            );
            Ok(())
        }
    }
}

async fn known_other(cx: &Cx<'_>) -> Verdict {
    // A registry restored from a backup is behind its readers; they must learn it.
    let registry = cx.fresh().await?;
    let shop = project("shop")?;
    commit(&registry, &shop, 0, &puts("a", vec![entity("user", "1")?])).await?;
    match registry.load(&shop, Some(Version(7)), Duration::ZERO).await? {
        Loaded::Changed(snapshot) => same(snapshot.version(), Version(1), "the version after a known 7"),
        Loaded::Unchanged => {
            ensure!(
                false,
                "version 7 was known, version 1 is the newest, and nothing changed"
            );
            Ok(())
        }
    }
}

async fn wait(cx: &Cx<'_>) -> Verdict {
    let registry = cx.fresh().await?;
    let other = cx.open().await?;
    let shop = project("shop")?;
    for base in 0..3 {
        let (waiting, name) = (registry.clone(), shop.clone());
        let started = Instant::now();
        let task = tokio::spawn(async move {
            waiting
                .load(&name, Some(Version(base)), Duration::from_secs(60))
                .await
        });
        tokio::time::sleep(Duration::from_millis(30)).await;
        commit(
            &other,
            &shop,
            base,
            &puts("wake", vec![entity("user", &format!("{base}"))?]),
        )
        .await?;
        match joined(task).await?? {
            Loaded::Changed(snapshot) => {
                same(snapshot.version(), Version(base + 1), "the version waited for")?
            }
            Loaded::Unchanged => ensure!(false, "the wait for version {} ended unchanged", base + 1),
        }
        let waited = started.elapsed();
        ensure!(
            waited < Duration::from_secs(30),
            "a commit was noticed only after {} s",
            waited.as_secs()
        );
    }
    Ok(())
}

async fn wait_in_vain(cx: &Cx<'_>) -> Verdict {
    let registry = cx.fresh().await?;
    let shop = project("shop")?;
    commit(&registry, &shop, 0, &puts("a", vec![])).await?;
    // A commit to another project wakes nobody for good.
    let (waiting, name) = (registry.clone(), shop.clone());
    let task = tokio::spawn(async move {
        waiting
            .load(&name, Some(Version(1)), Duration::from_millis(300))
            .await
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    commit(&registry, &project("other")?, 0, &puts("b", vec![])).await?;
    let answer = tokio::time::timeout(Duration::from_secs(30), task).await;
    match answer {
        Ok(task) => {
            let loaded =
                task.map_err(|error| crate::case::Stop::Failed(format!("the wait panicked: {error}")))??;
            ensure!(
                matches!(loaded, Loaded::Unchanged),
                "nothing was committed, and something changed"
            );
        }
        Err(_) => ensure!(false, "a wait of 300 ms had no end after 30 s"),
    }
    // An unknown version does not wait at all.
    let started = Instant::now();
    registry.load(&shop, None, Duration::from_secs(60)).await?;
    ensure!(
        started.elapsed() < Duration::from_secs(30),
        "a load that knows nothing waited"
    );
    Ok(())
}

async fn at(cx: &Cx<'_>) -> Verdict {
    let registry = cx.fresh().await?;
    let shop = project("shop")?;
    let mut versions = vec![Snapshot::empty(shop.clone())];
    for base in 0..6_u64 {
        let mut changes = puts(
            "grow",
            vec![
                entity(&format!("e{base}"), "x")?,
                entity("same", &format!("{base}"))?,
            ],
        );
        if base == 4 {
            changes.deletes.push(entity("e1", "")?.id);
        }
        versions.push(versions[base as usize].apply(&changes)?);
        commit(&registry, &shop, base, &changes).await?;
        for version in &versions {
            let loaded = registry.load_at(&shop, version.version()).await?;
            same_snapshot(
                &loaded,
                version,
                &format!("version {} of {}", version.version(), base + 1),
            )?;
        }
    }
    Ok(())
}

async fn at_unknown(cx: &Cx<'_>) -> Verdict {
    let registry = cx.fresh().await?;
    let shop = project("shop")?;
    refused(
        registry.load_at(&shop, Version(1)).await,
        &[ErrorKind::NotFound],
        "version 1 of an empty project",
    )?;
    commit(&registry, &shop, 0, &puts("a", vec![])).await?;
    for version in [2, 100, u64::MAX] {
        let answer = registry.load_at(&shop, Version(version)).await;
        refused(answer, &[ErrorKind::NotFound], &format!("version {version} of 1"))?;
    }
    Ok(())
}

async fn two_handles(cx: &Cx<'_>) -> Verdict {
    let one = cx.fresh().await?;
    let two = cx.open().await?;
    let shop = project("shop")?;
    for base in 0..6 {
        let (writer, reader) = if base % 2 == 0 { (&one, &two) } else { (&two, &one) };
        commit(
            writer,
            &shop,
            base,
            &puts("turn", vec![entity("user", &format!("{base}"))?]),
        )
        .await?;
        same(
            newest(reader, &shop).await?.version(),
            Version(base + 1),
            "the version that the other handle sees",
        )?;
        same(
            reader.history(&shop, None, 1).await?.len(),
            1,
            "the commit that the other handle sees",
        )?;
    }
    Ok(())
}

async fn reopen(cx: &Cx<'_>) -> Verdict {
    let registry = cx.fresh().await?;
    let shop = project("shop")?;
    let changes = puts("kept", vec![entity("user", "1")?]);
    commit(&registry, &shop, 0, &changes).await?;
    drop(registry);
    let registry = cx.open().await?;
    let want = Snapshot::empty(shop.clone()).apply(&changes)?;
    same_snapshot(&*newest(&registry, &shop).await?, &want, "after reopening")?;
    same(
        registry.history(&shop, None, 10).await?,
        vec![changes.commit(Version(1))],
        "history after reopening",
    )?;
    commit(&registry, &shop, 1, &puts("more", vec![])).await?;
    Ok(())
}

async fn check(cx: &Cx<'_>) -> Verdict {
    let registry = cx.fresh().await?;
    ensure!(
        !registry.check().await?.backend.is_empty(),
        "check does not name the backend"
    );
    same(registry.projects().await?, vec![], "projects after check")
}
