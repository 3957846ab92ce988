//! Whether a commit is whole, checked, recognised, and says exactly what was asked.

use std::time::Duration;

use larder_core::model::{Kind, ObjectId};
use larder_core::{
    ChangeSet, ErrorKind, Generation, Loaded, Micros, ProjectName, Record, Retired, Snapshot, Version,
    ViewName,
};
use serde_json::json;

use super::support::{Cx, commit, entity, newest, project, puts, record, same_snapshot, view_layout};
use crate::case::{Case, Verdict, cases};
use crate::check::{ensure, refused, same};
use crate::rng::Rng;

pub(crate) fn cases<'f>() -> Vec<Case<Cx<'f>>> {
    cases![
        "registry.commit.first": "the first commit makes version 1 of a project" => first,
        "registry.commit.conflict": "a commit on an old version is a conflict and changes nothing" => conflict,
        "registry.commit.conflict-ahead": "a commit on a version that is not there yet is a conflict" => conflict_ahead,
        "registry.commit.lost-reply": "the same commit again on the same base answers like the first time" => lost_reply,
        "registry.commit.lost-reply-later": "also after others have committed on top" => lost_reply_later,
        "registry.commit.other-id": "the same changes under another id are another commit" => other_id,
        "registry.commit.apply": "each version is exactly `Snapshot::apply` of its changes" => apply,
        "registry.commit.unknown-kinds": "objects of kinds this build does not know survive untouched" => unknown_kinds,
        "registry.commit.min-writer": "an object of a newer writer may not be changed" => min_writer,
        "registry.commit.refused": "changes that cannot be applied leave no trace" => refused_leaves_nothing,
        "registry.commit.large": "a commit of 400 objects and 1 MB is one commit" => large,
        "registry.commit.empty": "a commit without changes is a version, too" => empty,
        "registry.commit.projects": "projects whose names begin alike do not meet" => projects,
    ]
}

async fn first(cx: &Cx<'_>) -> Verdict {
    let registry = cx.fresh().await?;
    let shop = project("shop")?;
    let changes = puts("first", vec![entity("user", "who buys")?]);
    commit(&registry, &shop, 0, &changes).await?;
    let want = Snapshot::empty(shop.clone()).apply(&changes)?;
    same_snapshot(&*newest(&registry, &shop).await?, &want, "the newest version")?;
    ensure!(
        newest(&registry, &shop).await?.catalog().entity("user").is_ok(),
        "the catalog does not have the committed entity"
    );
    same(
        registry.projects().await?,
        vec![shop],
        "projects after the first commit",
    )
}

async fn conflict(cx: &Cx<'_>) -> Verdict {
    let registry = cx.fresh().await?;
    let shop = project("shop")?;
    commit(&registry, &shop, 0, &puts("a", vec![entity("user", "1")?])).await?;
    commit(&registry, &shop, 1, &puts("b", vec![entity("user", "2")?])).await?;
    let before = newest(&registry, &shop).await?;
    for base in [0, 1] {
        let late = puts("late", vec![entity("user", "late")?, entity("extra", "late")?]);
        let answer = registry.commit(&shop, Version(base), &late).await;
        refused(
            answer,
            &[ErrorKind::Conflict],
            &format!("a commit on version {base} of 2"),
        )?;
    }
    same_snapshot(&*newest(&registry, &shop).await?, &before, "after two conflicts")?;
    same(
        registry.history(&shop, None, 10).await?.len(),
        2,
        "commits in the history after two conflicts",
    )
}

async fn conflict_ahead(cx: &Cx<'_>) -> Verdict {
    let registry = cx.fresh().await?;
    let shop = project("shop")?;
    let changes = puts("ahead", vec![entity("user", "1")?]);
    refused(
        registry.commit(&shop, Version(3), &changes).await,
        &[ErrorKind::Conflict],
        "a commit on version 3 of 0",
    )?;
    commit(&registry, &shop, 0, &changes).await?;
    let answer = registry.commit(&shop, Version(2), &puts("ahead", vec![])).await;
    refused(answer, &[ErrorKind::Conflict], "a commit on version 2 of 1")?;
    same(
        newest(&registry, &shop).await?.version(),
        Version(1),
        "the newest version",
    )
}

async fn lost_reply(cx: &Cx<'_>) -> Verdict {
    let registry = cx.fresh().await?;
    let shop = project("shop")?;
    let changes = puts("once", vec![entity("user", "1")?]);
    commit(&registry, &shop, 0, &changes).await?;
    for handle in [registry.clone(), cx.open().await?] {
        commit(&handle, &shop, 0, &changes)
            .await
            .map_err(|stop| stop.during("the same commit again"))?;
    }
    same(
        newest(&registry, &shop).await?.version(),
        Version(1),
        "the newest version",
    )?;
    same(
        registry.history(&shop, None, 10).await?.len(),
        1,
        "commits in the history",
    )
}

async fn lost_reply_later(cx: &Cx<'_>) -> Verdict {
    let registry = cx.fresh().await?;
    let shop = project("shop")?;
    let changes = puts("mine", vec![entity("user", "mine")?]);
    commit(&registry, &shop, 0, &puts("before", vec![])).await?;
    commit(&registry, &shop, 1, &changes).await?;
    for base in 2..5 {
        commit(
            &registry,
            &shop,
            base,
            &puts("theirs", vec![entity("user", &format!("{base}"))?]),
        )
        .await?;
    }
    commit(&registry, &shop, 1, &changes)
        .await
        .map_err(|stop| stop.during("the same commit again, three later"))?;
    let snapshot = newest(&registry, &shop).await?;
    same(snapshot.version(), Version(5), "the newest version")?;
    same(
        &*snapshot.catalog().entity("user")?.description,
        "4",
        "the newest description",
    )
}

async fn other_id(cx: &Cx<'_>) -> Verdict {
    let registry = cx.fresh().await?;
    let shop = project("shop")?;
    let records = vec![entity("user", "1")?];
    commit(&registry, &shop, 0, &puts("same", records.clone())).await?;
    let answer = registry.commit(&shop, Version(0), &puts("same", records)).await;
    refused(
        answer,
        &[ErrorKind::Conflict],
        "equal changes of somebody else on the same base",
    )?;
    Ok(())
}

/// Random changes that a planner could have made.
fn random_changes(rng: &mut Rng, shop: &ProjectName, known: &Snapshot) -> Verdict<ChangeSet> {
    let mut changes = puts("random", vec![]);
    for _ in 0..rng.below(4) {
        let name = format!("e{}", rng.below(6));
        let mut entity = entity(&name, &format!("number {}", rng.below(1_000)))?;
        entity.revision = rng.bits() >> 40;
        changes.puts.retain(|record: &Record| record.id != entity.id);
        changes.puts.push(entity);
    }
    if rng.percent(40) {
        let id = ObjectId {
            kind: "quantum_view".to_owned(),
            name: format!("q{}", rng.below(3)),
        };
        changes.puts.push(record(
            id,
            json!({ "spin": rng.bits(), "parts": [null, 0.1, "ö"] }),
        )?);
    }
    if rng.percent(40) {
        let gone = ObjectId::new(Kind::Entity, format!("e{}", rng.below(6)));
        if !changes.puts.iter().any(|record| record.id == gone) {
            changes.deletes.push(gone);
        }
    }
    if rng.percent(60) {
        let view = format!("v{}", rng.below(3));
        let layout = view_layout(shop, &view, rng.bits() as u32, 1 + rng.below(4))?;
        if let Some(old) = known.layout(&view) {
            changes.retired.push(Retired {
                layout: (**old).clone(),
                store: "default".to_owned(),
                at: Micros(rng.between(0, 1 << 50)),
                reclaiming: rng.percent(50),
            });
        }
        changes.layouts.push(layout);
    } else if rng.percent(30) {
        changes
            .drop_layouts
            .push(ViewName::new(format!("v{}", rng.below(3)))?);
    }
    if rng.percent(30) && !known.retired().is_empty() {
        let generation: Generation = rng.pick(known.retired()).layout.generation();
        changes.reclaimed.push(generation);
    }
    Ok(changes)
}

async fn apply(cx: &Cx<'_>) -> Verdict {
    for seed in 0..cx.options.seeds.min(6) {
        let mut rng = Rng::new(seed);
        let registry = cx.fresh().await?;
        let shop = project("shop")?;
        let mut versions = vec![Snapshot::empty(shop.clone())];
        for base in 0..12 {
            let known = &versions[base as usize];
            let changes = random_changes(&mut rng, &shop, known)?;
            let next = known.apply(&changes)?;
            commit(&registry, &shop, base, &changes).await?;
            same_snapshot(
                &*newest(&registry, &shop).await?,
                &next,
                &format!("seed {seed}, version {}", base + 1),
            )?;
            versions.push(next);
        }
        let reopened = cx.open().await?;
        for version in &versions {
            let loaded = reopened.load_at(&shop, version.version()).await?;
            same_snapshot(
                &loaded,
                version,
                &format!("seed {seed}, version {} read later", version.version()),
            )?;
        }
    }
    Ok(())
}

async fn unknown_kinds(cx: &Cx<'_>) -> Verdict {
    let registry = cx.fresh().await?;
    let shop = project("shop")?;
    let spec = json!({
        "name": "x", "big": u64::MAX, "small": i64::MIN, "float": 0.1, "tiny": 1e-300, "none": null,
        "deep": { "list": [[], {}, [null, true, "å\u{0}\n"]], "zz": 1, "aa": 2 },
    });
    let id = ObjectId {
        kind: "quantum_view".to_owned(),
        name: "not even a name!".to_owned(),
    };
    let unknown = record(id.clone(), spec)?;
    commit(
        &registry,
        &shop,
        0,
        &puts("from the future", vec![unknown.clone()]),
    )
    .await?;
    for base in 1..4 {
        commit(
            &registry,
            &shop,
            base,
            &puts("from today", vec![entity("user", &format!("{base}"))?]),
        )
        .await?;
    }
    let snapshot = newest(&cx.open().await?, &shop).await?;
    same(
        snapshot.records().get(&id),
        Some(&unknown),
        "the object of an unknown kind",
    )?;
    let mut gone = puts("remove", vec![]);
    gone.deletes.push(id.clone());
    commit(&registry, &shop, 4, &gone).await?;
    ensure!(
        !newest(&registry, &shop).await?.records().contains_key(&id),
        "a deleted object is still there"
    );
    Ok(())
}

async fn min_writer(cx: &Cx<'_>) -> Verdict {
    let registry = cx.fresh().await?;
    let shop = project("shop")?;
    let mut guarded = entity("user", "by a newer writer")?;
    guarded.min_writer = 99;
    commit(&registry, &shop, 0, &puts("newer", vec![guarded.clone()])).await?;
    let mut delete = puts("delete", vec![]);
    delete.deletes.push(guarded.id.clone());
    for changes in [
        puts("change", vec![entity("user", "changed")?, entity("other", "x")?]),
        delete,
    ] {
        let answer = registry.commit(&shop, Version(1), &changes).await;
        refused(
            answer,
            &[ErrorKind::Unsupported],
            "changing an object of a newer writer",
        )?;
    }
    let snapshot = newest(&registry, &shop).await?;
    same(
        snapshot.version(),
        Version(1),
        "the version after refused changes",
    )?;
    same(
        snapshot.records().get(&guarded.id),
        Some(&guarded),
        "the guarded object",
    )?;
    // Everything else may still change.
    commit(&registry, &shop, 1, &puts("other", vec![entity("other", "x")?])).await?;
    Ok(())
}

async fn refused_leaves_nothing(cx: &Cx<'_>) -> Verdict {
    let registry = cx.fresh().await?;
    let shop = project("shop")?;
    let broken = record(ObjectId::new(Kind::Entity, "broken"), json!({ "join_keys": 7 }))?;
    let changes = puts("broken", vec![entity("good", "x")?, broken]);
    ensure!(
        registry.commit(&shop, Version(0), &changes).await.is_err(),
        "an object that cannot be read was committed"
    );
    same(
        newest(&registry, &shop).await?.version(),
        Version(0),
        "the version after refused changes",
    )?;
    same(
        registry.history(&shop, None, 10).await?.len(),
        0,
        "commits after refused changes",
    )?;
    commit(&registry, &shop, 0, &puts("good", vec![entity("good", "x")?])).await?;
    same(
        newest(&registry, &shop).await?.records().len(),
        1,
        "objects after a good commit",
    )
}

async fn large(cx: &Cx<'_>) -> Verdict {
    let registry = cx.fresh().await?;
    let shop = project("shop")?;
    let mut records = Vec::new();
    for number in 0..400 {
        records.push(entity(&format!("entity_{number}"), &"description ".repeat(220))?);
    }
    let mut changes = puts("a whole catalog", records);
    for number in 0..100 {
        changes
            .layouts
            .push(view_layout(&shop, &format!("view_{number}"), number, 50)?);
    }
    commit(&registry, &shop, 0, &changes).await?;
    let want = Snapshot::empty(shop.clone()).apply(&changes)?;
    same_snapshot(
        &*newest(&cx.open().await?, &shop).await?,
        &want,
        "a large version",
    )?;
    same(
        registry.history(&shop, None, 1).await?,
        vec![changes.commit(Version(1))],
        "its history entry",
    )
}

async fn empty(cx: &Cx<'_>) -> Verdict {
    let registry = cx.fresh().await?;
    let shop = project("shop")?;
    commit(&registry, &shop, 0, &puts("nothing", vec![])).await?;
    same(
        newest(&registry, &shop).await?.version(),
        Version(1),
        "the version after an empty commit",
    )
}

async fn projects(cx: &Cx<'_>) -> Verdict {
    let registry = cx.fresh().await?;
    let names = ["shop", "shop-eu", "shop_eu", "sho", "shop-eu-1", "Shop2"];
    for (number, name) in (0_usize..).zip(names) {
        let project = project(name)?;
        for base in 0..=number as u64 {
            let changes = puts(name, vec![entity(&format!("of_{base}"), name)?]);
            commit(&registry, &project, base, &changes).await?;
        }
    }
    let mut sorted = Vec::new();
    for name in names {
        sorted.push(project(name)?);
    }
    sorted.sort();
    same(registry.projects().await?, sorted, "all projects, sorted")?;
    for (number, name) in (0_usize..).zip(names) {
        let project = project(name)?;
        let snapshot = newest(&registry, &project).await?;
        same(snapshot.project(), &project, "the project of a snapshot")?;
        same(snapshot.version(), Version(number as u64 + 1), name)?;
        same(snapshot.records().len(), number + 1, name)?;
        let history = registry.history(&project, None, 100).await?;
        ensure!(
            history.len() == number + 1 && history.iter().all(|commit| commit.message == name),
            "the history of `{name}` has commits of others"
        );
    }
    let known = newest(&registry, &project("shop")?).await?.version();
    let loaded = registry
        .load(&project("shop")?, Some(known), Duration::ZERO)
        .await?;
    ensure!(
        matches!(loaded, Loaded::Unchanged),
        "a project changed by the commits of another"
    );
    Ok(())
}
