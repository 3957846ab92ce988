//! Whether the ledger keeps each run's own record, apart from all versions.

use std::collections::BTreeMap;
use std::sync::Arc;

use larder_core::{
    Generation, Interval, Ledger, Micros, ProjectName, RunRecord, RunState, StoreIdentity, Version, ViewName,
};

use super::support::{Cx, commit, newest, project, puts};
use crate::case::{Case, Verdict, cases};
use crate::check::{ensure, joined, same};
use crate::rng::Rng;

pub(crate) fn cases<'f>() -> Vec<Case<Cx<'f>>> {
    cases![
        "registry.ledger.record": "a record comes back whole, and recording again replaces it" => record,
        "registry.ledger.order": "runs come oldest first" => order,
        "registry.ledger.isolation": "views, generations and projects have ledgers of their own" => isolation,
        "registry.ledger.no-version": "recording makes no version, no history and no project" => no_version,
        "registry.ledger.races": "runs that record at once lose nothing" => races,
        "registry.ledger.compact": "compacting loses no interval, no count and no running record" => compact,
        "registry.ledger.compact-again": "compacting again, or nothing, changes nothing" => compact_again,
        "registry.ledger.compact-apart": "records of other stores, sources and slots are not merged" => compact_apart,
        "registry.ledger.compact-races": "compacting while runs record loses nothing" => compact_races,
        "registry.ledger.reopen": "records outlive the handle" => reopen,
    ]
}

fn run(id: &str, started: i64, state: RunState) -> Verdict<RunRecord> {
    Ok(RunRecord {
        run: id.to_owned(),
        view: ViewName::new("stats")?,
        generation: Generation(7),
        store: StoreIdentity(1),
        fingerprint: "f00d".to_owned(),
        slots: vec![0, 1],
        owner: "ada@host:1".to_owned(),
        started: Micros(started),
        heartbeat: Micros(started + 5),
        afresh: false,
        state,
        done: vec![interval(started, started + 10)],
        rows_read: 100,
        rows_written: 90,
        rows_stale: 10,
        newest_event: Some(Micros(started)),
        error: None,
    })
}

fn interval(after: i64, until: i64) -> Interval {
    Interval {
        after: Micros(after),
        until: Micros(until),
        floor: Micros(after - 100),
    }
}

async fn runs(ledger: &Arc<dyn Ledger>, shop: &ProjectName) -> Verdict<Vec<RunRecord>> {
    Ok(ledger.runs(shop, &ViewName::new("stats")?, Generation(7)).await?)
}

async fn compacted(ledger: &Arc<dyn Ledger>, shop: &ProjectName) -> Verdict<Vec<RunRecord>> {
    ledger
        .compact(shop, &ViewName::new("stats")?, Generation(7))
        .await?;
    runs(ledger, shop).await
}

async fn record(cx: &Cx<'_>) -> Verdict {
    let ledger = cx.fresh().await?.ledger();
    let shop = project("shop")?;
    same(runs(&ledger, &shop).await?, vec![], "runs of an empty ledger")?;
    let mut mine = run("aa", 5, RunState::Running)?;
    mine.store = StoreIdentity(u128::MAX - 1);
    mine.slots = vec![0, 7, u16::MAX];
    mine.owner = "åsa \"x\" 日本@host:1\n".to_owned();
    mine.done = vec![
        interval(i64::MIN + 200, i64::MAX),
        Interval {
            after: Micros::MIN,
            until: Micros(0),
            floor: Micros::MIN,
        },
    ];
    mine.rows_read = u64::MAX;
    ledger.record(&shop, &mine).await?;
    same(runs(&ledger, &shop).await?, vec![mine.clone()], "the record")?;
    let other = run("bb", 6, RunState::Running)?;
    ledger.record(&shop, &other).await?;
    mine.state = RunState::Failed;
    mine.heartbeat = Micros(99);
    mine.done.clear();
    mine.newest_event = None;
    mine.error = Some("disk full".to_owned());
    for _ in 0..2 {
        ledger.record(&shop, &mine).await?;
        same(
            runs(&ledger, &shop).await?,
            vec![mine.clone(), other.clone()],
            "the records after replacing one",
        )?;
    }
    Ok(())
}

async fn order(cx: &Cx<'_>) -> Verdict {
    let ledger = cx.fresh().await?.ledger();
    let shop = project("shop")?;
    let mut starts: Vec<i64> = (-10..10).collect();
    Rng::new(3).shuffle(&mut starts);
    for start in &starts {
        ledger
            .record(
                &shop,
                &run(&format!("r{}", start * start + start), *start, RunState::Done)?,
            )
            .await?;
    }
    let found: Vec<i64> = runs(&ledger, &shop)
        .await?
        .iter()
        .map(|run| run.started.0)
        .collect();
    let ordered = found.is_sorted();
    ensure!(ordered, "runs are not oldest first: {found:?}");
    Ok(())
}

async fn isolation(cx: &Cx<'_>) -> Verdict {
    let ledger = cx.fresh().await?.ledger();
    let places = [
        ("shop", "stats", 7),
        ("shop", "stats", 70),
        ("shop", "stats_2", 7),
        ("shop-eu", "stats", 7),
        ("sho", "stat", 7),
    ];
    for (number, (project_name, view, generation)) in (0_i64..).zip(places) {
        let mut record = run("same-id", number, RunState::Done)?;
        record.view = ViewName::new(view)?;
        record.generation = Generation(generation);
        ledger.record(&project(project_name)?, &record).await?;
    }
    for (number, (project_name, view, generation)) in (0_i64..).zip(places) {
        let found = ledger
            .runs(
                &project(project_name)?,
                &ViewName::new(view)?,
                Generation(generation),
            )
            .await?;
        let starts: Vec<i64> = found.iter().map(|run| run.started.0).collect();
        same(
            starts,
            vec![number],
            &format!("runs of {project_name}/{view}/{generation}"),
        )?;
    }
    ledger
        .compact(&project("shop")?, &ViewName::new("stats")?, Generation(7))
        .await?;
    let found = ledger
        .runs(&project("shop")?, &ViewName::new("stats")?, Generation(70))
        .await?;
    same(found.len(), 1, "runs of another generation after compacting")
}

async fn no_version(cx: &Cx<'_>) -> Verdict {
    let registry = cx.fresh().await?;
    let shop = project("shop")?;
    registry
        .ledger()
        .record(&shop, &run("aa", 1, RunState::Done)?)
        .await?;
    same(
        registry.projects().await?,
        vec![],
        "projects after recording only",
    )?;
    commit(&registry, &shop, 0, &puts("a", vec![])).await?;
    for number in 0..5 {
        registry
            .ledger()
            .record(&shop, &run(&format!("r{number}"), number, RunState::Done)?)
            .await?;
        compacted(&registry.ledger(), &shop).await?;
    }
    same(
        newest(&registry, &shop).await?.version(),
        Version(1),
        "the version after recording",
    )?;
    same(
        registry.history(&shop, None, 10).await?.len(),
        1,
        "commits after recording",
    )?;
    let before = runs(&registry.ledger(), &shop).await?;
    commit(&registry, &shop, 1, &puts("b", vec![])).await?;
    same(
        runs(&registry.ledger(), &shop).await?,
        before,
        "the ledger after a commit",
    )
}

async fn races(cx: &Cx<'_>) -> Verdict {
    let registry = cx.fresh().await?;
    let shop = project("shop")?;
    let mut tasks = Vec::new();
    for number in 0..8 {
        let (handle, shop) = (
            if number % 2 == 0 {
                registry.clone()
            } else {
                cx.open().await?
            },
            shop.clone(),
        );
        tasks.push(tokio::spawn(async move {
            let mut record = run(&format!("r{number}"), number, RunState::Running)?;
            for step in 0..6 {
                record.rows_read = step;
                record.done.push(interval(step as i64, step as i64 + 1));
                handle.ledger().record(&shop, &record).await?;
            }
            record.state = RunState::Done;
            handle.ledger().record(&shop, &record).await?;
            Ok::<RunRecord, crate::case::Stop>(record)
        }));
    }
    let mut want = Vec::new();
    for task in tasks {
        want.push(joined(task).await??);
    }
    same(
        runs(&registry.ledger(), &shop).await?,
        want,
        "the records of eight runs",
    )
}

/// What records say together, by what they are about: intervals, then rows read, written, stale.
type Total = BTreeMap<(StoreIdentity, String, Vec<u16>), (Vec<Interval>, [u64; 3])>;

fn total(runs: &[RunRecord]) -> Total {
    let mut total = Total::new();
    for run in runs {
        let about = (run.store, run.fingerprint.clone(), run.slots.clone());
        let (done, rows) = total.entry(about).or_default();
        done.extend(&run.done);
        for (sum, more) in rows
            .iter_mut()
            .zip([run.rows_read, run.rows_written, run.rows_stale])
        {
            *sum += more;
        }
    }
    total
}

/// The smallest event time that was looked at among rows that became visible at an instant.
fn floor_at(done: &[Interval], visible: i64) -> Option<Micros> {
    let covers = |interval: &&Interval| interval.after.0 < visible && visible <= interval.until.0;
    done.iter().filter(covers).map(|interval| interval.floor).min()
}

/// Fails unless records say together what others did: the same counts, and the same coverage instant by instant.
///
/// Intervals may have been joined. Then the floor of an older one may have risen, but never above that of the newest,
/// because nobody asks any more for what lies below it.
fn same_total(got: &[RunRecord], want: &[RunRecord], what: &str) -> Verdict {
    let (got, want) = (total(got), total(want));
    same(
        got.keys().collect::<Vec<_>>(),
        want.keys().collect::<Vec<_>>(),
        &format!("{what}: stores, sources and slots"),
    )?;
    for (about, (done, rows)) in &want {
        let Some((got_done, got_rows)) = got.get(about) else {
            continue;
        };
        same(got_rows, rows, &format!("{what}: rows read, written and stale"))?;
        let newest = done
            .iter()
            .max_by_key(|interval| interval.until)
            .map(|interval| interval.floor);
        // All instants of these cases are small numbers.
        for visible in -200..1_000 {
            let (got, want) = (floor_at(got_done, visible), floor_at(done, visible));
            let kept = match (got, want) {
                (None, None) => true,
                (Some(got), Some(want)) => got >= want && (got == want || Some(got) <= newest),
                _ => false,
            };
            ensure!(
                kept,
                "{what}: of rows visible at {visible} us those with events from {want:?} on were done, the records say {got:?}"
            );
        }
    }
    Ok(())
}

async fn compact(cx: &Cx<'_>) -> Verdict {
    let ledger = cx.fresh().await?.ledger();
    let shop = project("shop")?;
    for number in 0..12 {
        let state = match number {
            3 | 8 => RunState::Running,
            5 => RunState::Failed,
            _ => RunState::Done,
        };
        ledger
            .record(&shop, &run(&format!("r{number:02}"), number * 20, state)?)
            .await?;
    }
    let before = runs(&ledger, &shop).await?;
    let after = compacted(&ledger, &shop).await?;
    ensure!(
        after.len() < before.len(),
        "compacting twelve records left {}",
        after.len()
    );
    same_total(&after, &before, "what all records say together")?;
    for running in before.iter().filter(|run| run.state == RunState::Running) {
        ensure!(
            after.contains(running),
            "the running record `{}` was touched",
            running.run
        );
    }
    ensure!(
        after.iter().any(|run| run.run == "r11"),
        "the newest finished run is no longer shown"
    );
    let mut ids: Vec<&str> = after.iter().map(|run| run.run.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    same(ids.len(), after.len(), "different ids after compacting")?;
    // A run that still runs records on.
    let mut running = run("r03", 60, RunState::Running)?;
    running.rows_read = 777;
    ledger.record(&shop, &running).await?;
    let later = runs(&ledger, &shop).await?;
    same(
        later.len(),
        after.len(),
        "records after the running one wrote again",
    )?;
    ensure!(
        later.contains(&running),
        "a running record could not be replaced after compacting"
    );
    Ok(())
}

async fn compact_again(cx: &Cx<'_>) -> Verdict {
    let ledger = cx.fresh().await?.ledger();
    let shop = project("shop")?;
    same(
        compacted(&ledger, &shop).await?,
        vec![],
        "an empty ledger compacted",
    )?;
    let only = run("only", 1, RunState::Done)?;
    ledger.record(&shop, &only).await?;
    same(
        compacted(&ledger, &shop).await?,
        vec![only],
        "one record compacted",
    )?;
    for number in 0..6 {
        ledger
            .record(&shop, &run(&format!("r{number}"), number * 20, RunState::Done)?)
            .await?;
    }
    let want = runs(&ledger, &shop).await?;
    let once = compacted(&ledger, &shop).await?;
    let twice = compacted(&ledger, &shop).await?;
    same_total(&twice, &want, "what all records say after compacting twice")?;
    same(twice.len(), once.len(), "records after compacting twice")
}

async fn compact_apart(cx: &Cx<'_>) -> Verdict {
    let ledger = cx.fresh().await?.ledger();
    let shop = project("shop")?;
    for number in 0..16 {
        let mut record = run(&format!("r{number:02}"), number, RunState::Done)?;
        record.store = StoreIdentity(1 + (number % 2) as u128);
        record.fingerprint = format!("f{}", number / 2 % 2);
        record.slots = if number / 4 % 2 == 0 { vec![0] } else { vec![0, 1] };
        ledger.record(&shop, &record).await?;
    }
    let before = runs(&ledger, &shop).await?;
    same(total(&before).len(), 8, "different things recorded")?;
    let after = compacted(&ledger, &shop).await?;
    same_total(&after, &before, "what all records say together")
}

async fn compact_races(cx: &Cx<'_>) -> Verdict {
    let registry = cx.fresh().await?;
    let shop = project("shop")?;
    let mut tasks = Vec::new();
    for number in 0..4 {
        let (ledger, shop) = (registry.ledger(), shop.clone());
        tasks.push(tokio::spawn(async move {
            for step in 0..5 {
                let id = number * 100 + step;
                let mut record = run(&format!("r{id}"), id, RunState::Running)?;
                ledger.record(&shop, &record).await?;
                tokio::task::yield_now().await;
                record.state = RunState::Done;
                ledger.record(&shop, &record).await?;
            }
            Ok::<(), crate::case::Stop>(())
        }));
    }
    // One compactor, as one engine has; runs of others go on meanwhile.
    for _ in 0..20 {
        compacted(&registry.ledger(), &shop).await?;
        tokio::task::yield_now().await;
    }
    for task in tasks {
        joined(task).await??;
    }
    let mut want = Vec::new();
    for number in 0..4 {
        for step in 0..5 {
            want.push(run("", number * 100 + step, RunState::Done)?);
        }
    }
    let after = compacted(&registry.ledger(), &shop).await?;
    same_total(&after, &want, "what all records say together")
}

async fn reopen(cx: &Cx<'_>) -> Verdict {
    let registry = cx.fresh().await?;
    let shop = project("shop")?;
    let mine = run("aa", 1, RunState::Done)?;
    registry.ledger().record(&shop, &mine).await?;
    drop(registry);
    let ledger = cx.open().await?.ledger();
    same(runs(&ledger, &shop).await?, vec![mine], "records after reopening")
}
