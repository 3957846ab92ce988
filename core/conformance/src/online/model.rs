//! Whether any mixture of operations leaves what a `BTreeMap` would hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use larder_core::{
    KeyGroup, OnlineRead, OnlineStore, PackedRows, RowRef, ViewRead, WriteOptions, WriteReport, WriteRule,
};

use super::support::{Cx, IntRow, Ints, int_keys, prepare, read};
use crate::case::{Case, Verdict, cases};
use crate::check::{ensure, need, same};
use crate::rng::Rng;

pub(crate) fn cases<'f>() -> Vec<Case<Cx<'f>>> {
    cases![
        "online.model.random-operations": "random writes, deletions, reclaims and reopenings leave what a map would hold" => random_operations,
    ]
}

const OPERATIONS: usize = 150;
const KEYS: i64 = 9;

/// What the store should hold: the packed row of each key of each view; a tombstone is a row, too.
#[derive(Default)]
struct Model(BTreeMap<(usize, i64), Vec<u8>>);

impl Model {
    fn put(&mut self, view: usize, key: i64, row: &[u8], rule: WriteRule) -> Verdict<WriteReport> {
        if let Some(stored) = self.0.get(&(view, key))
            && rule == WriteRule::NewestWins
            && version(row)? < version(stored)?
        {
            return Ok(WriteReport::new(0, 1));
        }
        self.0.insert((view, key), row.to_vec());
        Ok(WriteReport::new(1, 0))
    }
}

/// The times as numbers, so that the comparison is not the one of the stores.
fn version(row: &[u8]) -> Verdict<(i64, Option<i64>)> {
    let row = RowRef::parse(row)?;
    Ok((row.event().0, row.created().map(|created| created.0)))
}

async fn random_operations(cx: &Cx<'_>) -> Verdict {
    for seed in 0..cx.options.seeds {
        run(cx, seed)
            .await
            .map_err(|stop| stop.during(format!("seed {seed}")))?;
    }
    Ok(())
}

fn times(rng: &mut Rng) -> (i64, Option<i64>) {
    let event = match rng.below(12) {
        0 => i64::MIN,
        1 => i64::MAX,
        _ => rng.between(-4, 4),
    };
    let created = match rng.below(4) {
        0 => None,
        _ => Some(rng.between(-2, 2)),
    };
    (event, created)
}

async fn run(cx: &Cx<'_>, seed: u64) -> Verdict {
    let mut rng = Rng::new(seed);
    let views = [
        Ints::new("conf", "a", 141)?,
        Ints::new("conf", "a", 142)?,
        Ints::new("conf", "a_b", 143)?,
        Ints::new("conf-2", "a", 141)?,
    ];
    let layouts: Vec<_> = views.iter().map(|ints| &ints.layout).collect();
    let mut store = cx.ready(&layouts).await?;
    let capabilities = store.capabilities();
    need(capabilities.newest_wins, "newest_wins")?;
    let mut model = Model::default();
    for number in 0..OPERATIONS {
        let at = rng.below(views.len());
        let ints = &views[at];
        match rng.below(100) {
            0..45 => {
                let rows: Vec<IntRow> = (0..rng.below(6))
                    .map(|_| {
                        let (event, created) = times(&mut rng);
                        (rng.between(0, KEYS - 1), event, created, rng.between(0, 1_000))
                    })
                    .collect();
                let overwrite = capabilities.overwrite && rng.percent(15);
                let rule = if overwrite {
                    WriteRule::Overwrite
                } else {
                    WriteRule::NewestWins
                };
                write(&store, ints, at, &rows, rule, &mut model).await?;
            }
            45..60 => delete(&store, ints, at, &mut rng, &mut model).await?,
            60..63 => {
                store
                    .reclaim(ints.layout.project(), &[ints.layout.generation()])
                    .await?;
                model.0.retain(|(view, _), _| *view != at);
                prepare(&store, &[&ints.layout]).await?;
            }
            63..66 if capabilities.durable => {
                drop(store);
                store = cx.open().await?;
            }
            66..70 => prepare(&store, &[&ints.layout]).await?,
            _ => {}
        }
        compare(&store, &views, &model, &mut rng)
            .await
            .map_err(|stop| stop.during(format!("after operation {number}")))?;
    }
    Ok(())
}

async fn write(
    store: &Arc<dyn OnlineStore>,
    ints: &Ints,
    view: usize,
    rows: &[IntRow],
    rule: WriteRule,
    model: &mut Model,
) -> Verdict {
    // Rows of one key in one batch have no order among themselves, so the engine sends one per key.
    let mut seen = Vec::new();
    let rows: Vec<IntRow> = rows
        .iter()
        .filter(|row| {
            !seen.contains(&row.0) && {
                seen.push(row.0);
                true
            }
        })
        .copied()
        .collect();
    let batch = ints.batch(&rows, rule)?;
    let report = store.write(&batch, &WriteOptions::default()).await?;
    let mut want = WriteReport::default();
    for (row, packed) in rows.iter().zip(batch.rows.iter()) {
        want.add(model.put(view, row.0, packed, rule)?);
    }
    same(report, want, "the report of a write")
}

async fn delete(
    store: &Arc<dyn OnlineStore>,
    ints: &Ints,
    view: usize,
    rng: &mut Rng,
    model: &mut Model,
) -> Verdict {
    let (event, now) = times(rng);
    let now = now.unwrap_or(0);
    let first = rng.between(0, KEYS - 1);
    let keys: Vec<i64> = (first..(first + rng.between(1, 3)).min(KEYS)).collect();
    let report = ints.delete(store, &keys, event, now).await?;
    let mut tombstone = PackedRows::new();
    tombstone.push_tombstone(&ints.layout, larder_core::Micros(event), larder_core::Micros(now));
    let mut want = WriteReport::default();
    for key in keys {
        want.add(model.put(view, key, tombstone.get(0), WriteRule::NewestWins)?);
    }
    same(report, want, "the report of a deletion")
}

async fn compare(store: &Arc<dyn OnlineStore>, views: &[Ints], model: &Model, rng: &mut Rng) -> Verdict {
    let mut keys: Vec<i64> = (-1..=KEYS).collect();
    rng.shuffle(&mut keys);
    keys.truncate(1 + rng.below(keys.len()));
    let packed = int_keys(&views[0].layout, &keys)?;
    let request = OnlineRead {
        groups: vec![KeyGroup {
            keys: packed,
            views: (0_u16..)
                .zip(views)
                .map(|(slot, v)| ViewRead::all(slot, v.layout.clone()))
                .collect(),
        }],
    };
    let block = read(store, &request).await?;
    for (slot, view) in (0_u16..).zip(0..views.len()) {
        for (row, key) in keys.iter().enumerate() {
            let want = model.0.get(&(view, *key)).map(Vec::as_slice);
            let alive = match want {
                Some(bytes) if RowRef::parse(bytes)?.is_tombstone() => None,
                other => other,
            };
            ensure!(
                block.packed(slot, row) == alive,
                "key {key} of view {view}: the map {}, the store {}",
                if alive.is_some() { "has a row" } else { "has none" },
                if block.packed(slot, row).is_some() {
                    "has another"
                } else {
                    "has none"
                }
            );
        }
    }
    Ok(())
}
