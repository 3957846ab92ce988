//! Whether the rules of order hold when many write at once.

use std::sync::Arc;

use larder_core::{OnlineStore, WriteOptions, WriteRule};

use super::support::{Cx, IntRow, Ints};
use crate::case::{Case, Stop, Verdict, cases};
use crate::check::{ensure, joined, need, same};
use crate::rng::Rng;

pub(crate) fn cases<'f>() -> Vec<Case<Cx<'f>>> {
    cases![
        "online.order.newest-wins-under-races": "of rows that many tasks write in any order the newest remains" => newest_under_races,
        "online.order.newest-wins-across-handles": "the same through two handles onto the data" => across_handles,
        "online.order.deletes-under-races": "a deletion that races with older and newer rows loses and wins as its time says" => deletes_under_races,
        "online.order.readers-see-whole-rows": "a reader during writes sees old rows or new ones, and never goes back" => whole_rows,
    ]
}

/// Writes shuffled batches from several tasks, and expects the newest row of each key.
async fn race(handles: &[Arc<dyn OnlineStore>], ints: &Ints, seed: u64) -> Verdict {
    const KEYS: i64 = 7;
    let mut rng = Rng::new(seed);
    let mut rows: Vec<IntRow> = Vec::new();
    for key in 0..KEYS {
        for number in 0..48 {
            let created = if number % 3 == 0 { None } else { Some(number % 5) };
            rows.push((key, number / 3 - 8, created, 0));
        }
    }
    // The value says which pair of times it is, so equal pairs have equal values.
    for row in &mut rows {
        row.3 = row.1 * 100 + row.2.map_or(0, |created| created + 1);
    }
    rng.shuffle(&mut rows);
    let mut tasks = Vec::new();
    for (number, part) in rows.chunks(rows.len().div_ceil(12)).enumerate() {
        let store = handles[number % handles.len()].clone();
        let mut batches = Vec::new();
        for few in part.chunks(3) {
            batches.push(ints.batch(few, WriteRule::NewestWins)?);
        }
        tasks.push(tokio::spawn(async move {
            let mut counted = 0;
            for batch in &batches {
                let report = store.write(batch, &WriteOptions::default()).await?;
                counted += report.written + report.stale;
            }
            Ok::<u64, larder_core::Error>(counted)
        }));
    }
    let mut counted = 0;
    for task in tasks {
        counted += joined(task).await??;
    }
    same(counted, rows.len() as u64, "rows accounted for by all reports")?;
    let newest = |key: i64| {
        let of_key = rows.iter().filter(|row| row.0 == key);
        of_key.max_by_key(|row| (row.1, row.2)).map(|row| row.3)
    };
    let keys: Vec<i64> = (0..KEYS).collect();
    let want: Vec<_> = keys.iter().map(|key| newest(*key)).collect();
    for store in handles {
        ints.expect(store, &keys, &want, &format!("after the race of seed {seed}"))
            .await?;
    }
    Ok(())
}

/// Several tasks write one row each of the same keys at the same moment, again and again.
async fn contend(handles: &[Arc<dyn OnlineStore>], ints: &Ints) -> Verdict {
    const TASKS: i64 = 6;
    const ROUNDS: i64 = 40;
    let keys: Vec<i64> = (0..3).collect();
    let start = Arc::new(tokio::sync::Barrier::new(TASKS as usize));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..TASKS {
        let store = handles[number as usize % handles.len()].clone();
        let start = start.clone();
        let mut batches = Vec::new();
        for round in 0..ROUNDS {
            // In each round another task has the newest row of a key, and all are newer than in the round before.
            let row = |key: &i64| {
                let time = round * TASKS + (number + round + key) % TASKS;
                (*key, time, None, time)
            };
            let rows: Vec<IntRow> = keys.iter().map(row).collect();
            batches.push(ints.batch(&rows, WriteRule::NewestWins)?);
        }
        let layout = ints.layout.clone();
        tasks.spawn(async move {
            let ints = Ints { layout };
            for (round, batch) in (0..ROUNDS).zip(&batches) {
                start.wait().await;
                let written = store.write(batch, &WriteOptions::default()).await;
                // All have written before one looks; an error must not leave the others waiting.
                start.wait().await;
                written?;
                if number == 0 {
                    let newest = Some((round + 1) * TASKS - 1);
                    ints.expect(
                        &store,
                        &[0, 1, 2],
                        &[newest; 3],
                        &format!("after round {round} of six writers"),
                    )
                    .await?;
                }
            }
            Ok::<(), Stop>(())
        });
    }
    // A task that stops leaves the others waiting for it, so they are stopped, too, before the case ends.
    let mut verdict = Ok(());
    while let Some(ended) = tasks.join_next().await {
        verdict = match ended {
            Ok(verdict) => verdict,
            Err(error) => Err(Stop::Failed(format!("a writer did not end well: {error}"))),
        };
        if verdict.is_err() {
            break;
        }
    }
    tasks.shutdown().await;
    verdict
}

async fn newest_under_races(cx: &Cx<'_>) -> Verdict {
    for seed in 0..cx.options.seeds {
        let ints = Ints::new("conf", "raced", 81)?;
        let store = cx.ready(&[&ints.layout]).await?;
        need(store.capabilities().newest_wins, "newest_wins")?;
        race(&[store], &ints, seed).await?;
    }
    let ints = Ints::new("conf", "contended", 85)?;
    let store = cx.ready(&[&ints.layout]).await?;
    contend(&[store], &ints).await
}

async fn across_handles(cx: &Cx<'_>) -> Verdict {
    for seed in 100..100 + cx.options.seeds {
        let ints = Ints::new("conf", "raced", 82)?;
        let store = cx.ready(&[&ints.layout]).await?;
        need(store.capabilities().newest_wins, "newest_wins")?;
        let other = cx.open().await?;
        race(&[store, other], &ints, seed).await?;
    }
    let ints = Ints::new("conf", "contended", 86)?;
    let store = cx.ready(&[&ints.layout]).await?;
    let other = cx.open().await?;
    contend(&[store, other], &ints).await
}

async fn deletes_under_races(cx: &Cx<'_>) -> Verdict {
    for seed in 0..cx.options.seeds {
        let ints = Arc::new(Ints::new("conf", "raced", 83)?);
        let store = cx.ready(&[&ints.layout]).await?;
        need(store.capabilities().newest_wins, "newest_wins")?;
        // Even keys get a row newer than the deletion, odd ones do not.
        let keys: Vec<i64> = (0..16).collect();
        let mut work: Vec<(i64, i64)> = keys
            .iter()
            .flat_map(|key| {
                let last = if key % 2 == 0 { 150 } else { 99 };
                [(*key, 50), (*key, last), (*key, 100), (*key, 10)]
            })
            .collect();
        Rng::new(seed).shuffle(&mut work);
        let mut tasks = Vec::new();
        for part in work.chunks(8).map(<[_]>::to_vec) {
            let (store, ints) = (store.clone(), ints.clone());
            tasks.push(tokio::spawn(async move {
                for (key, time) in part {
                    if time == 100 {
                        ints.delete(&store, &[key], time, time).await?;
                    } else {
                        ints.write(&store, &[(key, time, None, time)]).await?;
                    }
                }
                Ok::<(), Stop>(())
            }));
        }
        for task in tasks {
            joined(task).await??;
        }
        let want: Vec<_> = keys.iter().map(|key| (key % 2 == 0).then_some(150)).collect();
        ints.expect(&store, &keys, &want, &format!("after the race of seed {seed}"))
            .await?;
    }
    Ok(())
}

async fn whole_rows(cx: &Cx<'_>) -> Verdict {
    let layout = super::support::layout(
        "conf",
        "whole",
        84,
        &[("user", "int64")],
        &[("a", "int64"), ("pad", "string"), ("b", "int64")],
    )?;
    let store = cx.ready(&[&layout]).await?;
    need(store.capabilities().newest_wins, "newest_wins")?;
    const ROUNDS: i64 = 60;
    let keys = super::support::int_keys(&layout, &[1, 2, 3])?;
    let writer = {
        let (store, layout, keys) = (store.clone(), layout.clone(), keys.clone());
        tokio::spawn(async move {
            for round in 1..=ROUNDS {
                let mut packed = larder_core::PackedRows::new();
                for _ in 0..3 {
                    let pad = "x".repeat((round as usize * 37) % 3_000);
                    let row = [
                        larder_core::Value::Int64(round),
                        larder_core::Value::str(&pad),
                        larder_core::Value::Int64(round),
                    ];
                    packed.push_values(&layout, larder_core::Micros(round), None, &row)?;
                }
                super::support::write(&store, &layout, keys.clone(), packed).await?;
                tokio::task::yield_now().await;
            }
            Ok::<(), Stop>(())
        })
    };
    let request = super::support::request(&layout, keys);
    let mut last = [0; 3];
    while last[0] < ROUNDS {
        let finished = writer.is_finished();
        let block = super::support::read(&store, &request).await?;
        for (row, seen) in last.iter_mut().enumerate() {
            let Some(values) = super::support::values_at(&block, 0, row)? else {
                ensure!(*seen == 0, "row {row} vanished after round {seen}");
                continue;
            };
            let (a, b) = (&values[0], &values[2]);
            ensure!(a == b, "row {row} was read half: {a:?} and {b:?}");
            if let larder_core::Value::Int64(round) = a {
                ensure!(*round >= *seen, "row {row} went back from {seen} to {round}");
                *seen = *round;
            }
        }
        ensure!(
            !finished || last[0] == ROUNDS,
            "the writer has ended, and round {} is read instead of {ROUNDS}",
            last[0]
        );
        tokio::task::yield_now().await;
    }
    joined(writer).await?
}
