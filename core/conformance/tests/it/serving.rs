//! Training equals serving on the stores in memory, by a materialization of a few lines: the histories and their naive
//! answers are sound.

use std::sync::Arc;

use futures::TryStreamExt;
use larder_conformance::history::{FEATURES, History, HistoryShape, Known};
use larder_core::arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use larder_core::arrow::datatypes::TimestampMicrosecondType;
use larder_core::convert::{encode_keys, pack_rows, value_at};
use larder_core::memory::{MemoryOffline, MemoryOnline};
use larder_core::{
    ColumnName, EntityKeys, EntityRows, FeatureBlock, FeatureName, Generation, HistoricalRead, JoinKey,
    KeyGroup, LatestRead, Micros, OfflineOptions, OfflineStore, OnlineRead, OnlineStore, OnlineWrite,
    PackedRows, ProjectName, ReadOptions, RowStatus, Slot, SlotCell, Span, Value, ValueType, ViewJoin,
    ViewLayout, ViewName, ViewRead, ViewScan, WriteOptions,
};

fn key() -> JoinKey {
    JoinKey {
        name: ColumnName::new("user").unwrap(),
        value_type: ValueType::INT64,
    }
}

fn layout(history: &History) -> Arc<ViewLayout> {
    let slots = FEATURES.map(|(name, of)| Slot::new(FeatureName::new(name).unwrap(), of));
    let layout = ViewLayout::new(
        ProjectName::new("proof").unwrap(),
        ViewName::new("history").unwrap(),
        Generation(1),
        vec![key()],
        slots.to_vec(),
    );
    Arc::new(layout.with_ttl(history.shape.ttl))
}

fn scan(history: &History) -> ViewScan {
    let source = history.shared_source().unwrap();
    FEATURES
        .iter()
        .fold(
            ViewScan::new(ViewName::new("history").unwrap(), source),
            |scan, (name, of)| scan.feature(FeatureName::new(*name).unwrap(), *of, *name),
        )
        .key(key(), "user")
}

async fn materialize(
    offline: &MemoryOffline,
    online: &MemoryOnline,
    history: &History,
    after: Micros,
    until: Micros,
) {
    let request = LatestRead {
        scan: scan(history),
        floor: Micros::MIN,
        after,
        until,
    };
    let stream = offline.latest(request, &OfflineOptions::default()).await.unwrap();
    let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
    let layout = layout(history);
    for batch in batches {
        let mut keys = EntityKeys::new();
        encode_keys(
            layout.join_keys(),
            &batch.columns()[..1],
            batch.num_rows(),
            &mut keys,
        )
        .unwrap();
        let times = |at: usize| {
            batch
                .column(at)
                .as_primitive::<TimestampMicrosecondType>()
                .clone()
        };
        let columns: Vec<(u16, ArrayRef)> = (0_u16..).zip(batch.columns()[3..].iter().cloned()).collect();
        let mut rows = PackedRows::new();
        pack_rows(&layout, &times(1), &times(2), &columns, &mut rows).unwrap();
        let batch = OnlineWrite::new(layout.clone(), keys.into(), rows.into());
        online.write(&batch, &WriteOptions::default()).await.unwrap();
    }
}

/// Values per entity, or none, as served.
async fn served(online: &MemoryOnline, history: &History, now: Micros) -> Vec<Option<Vec<Value>>> {
    let layout = layout(history);
    let mut keys = EntityKeys::new();
    for entity in 0..history.shape.entities {
        keys.push_values(layout.join_keys(), &[Value::Int64(entity)])
            .unwrap();
    }
    let group = KeyGroup {
        keys: keys.into(),
        views: vec![ViewRead::all(0, layout)],
    };
    let mut block = FeatureBlock::new();
    online
        .read(
            &OnlineRead { groups: vec![group] },
            &ReadOptions::default(),
            &mut block,
        )
        .await
        .unwrap();
    block.settle(now);
    let value = |row, slot: u16| match block.cell(0, slot, row) {
        SlotCell::Cell(cell) => cell.to_value(FEATURES[usize::from(slot)].1),
        SlotCell::Missing => Value::Null,
    };
    (0..history.shape.entities as usize)
        .map(|row| {
            (block.status(0, row) == RowStatus::Present)
                .then(|| (0..3).map(|slot| value(row, slot)).collect())
        })
        .collect()
}

/// Values per entity, or none, as a model is trained on.
async fn trained(offline: &MemoryOffline, history: &History, at: Micros) -> Vec<Option<Vec<Value>>> {
    let entities = Int64Array::from_iter_values(0..history.shape.entities);
    let times =
        TimestampMicrosecondArray::from(vec![at.0; history.shape.entities as usize]).with_timezone("UTC");
    let join = ViewJoin::new(scan(history), vec![0]).with_ttl(history.shape.ttl);
    let request = HistoricalRead {
        rows: EntityRows::batches(vec![Arc::new(entities)], times),
        views: vec![join],
    };
    let options = OfflineOptions::default().with_batch_rows(usize::MAX);
    let mut joined = offline.historical(request, &options).await.unwrap();
    let batch = joined.batches.try_next().await.unwrap().unwrap();
    let view = &batch.views[0];
    let values = |row| {
        let cells = view.features.iter().zip(FEATURES);
        cells.map(|(column, (_, of))| value_at(column, row, of)).collect()
    };
    (0..batch.rows)
        .map(|row| view.event.iter().nth(row).flatten().map(|_| values(row)))
        .collect()
}

async fn proof(seed: u64, shape: &HistoryShape) -> [usize; 3] {
    let history = History::random(seed, shape);
    let (offline, online) = (MemoryOffline::new(), MemoryOnline::new());
    let mut after = Micros::MIN;
    let mut seen = [0; 3];
    for (number, step) in history.steps.iter().enumerate() {
        offline.insert("history", history.batch(number).unwrap());
        // An incremental run: without created times it looks back as far as rows may be late.
        let from = match after {
            Micros::MIN => Micros::MIN,
            after if shape.created => after,
            after => after.minus(shape.lateness),
        };
        materialize(&offline, &online, &history, from, step.until).await;
        after = step.until;
        let want: Vec<Option<Vec<Value>>> = (0..shape.entities)
            .map(|entity| match history.answer(number, entity, step.until) {
                Known::Row(row) => {
                    seen[0] += 1;
                    Some(row.values.clone())
                }
                Known::Expired => {
                    seen[1] += 1;
                    None
                }
                Known::Nothing => {
                    seen[2] += 1;
                    None
                }
            })
            .collect();
        let what = format!("seed {seed}, step {number}, {shape:?}");
        assert_eq!(
            trained(&offline, &history, step.until).await,
            want,
            "trained: {what}"
        );
        assert_eq!(
            served(&online, &history, step.until).await,
            want,
            "served: {what}"
        );
    }
    seen
}

#[tokio::test]
async fn training_equals_serving() {
    let mut seen = [0; 3];
    for seed in 0..300 {
        for (sum, more) in seen
            .iter_mut()
            .zip(proof(seed, &HistoryShape::varied(seed)).await)
        {
            *sum += more;
        }
    }
    // The histories are no good if nothing is ever present, expired or absent.
    assert!(seen.iter().all(|count| *count > 200), "{seen:?}");
}

#[tokio::test]
async fn every_knob_is_turned() {
    for delay in [Span::ZERO, Span::minutes(20)] {
        for ttl in [None, Some(Span::hours(1))] {
            for (created, backfilled) in [(false, false), (true, false), (true, true)] {
                let mut shape = HistoryShape::new();
                shape.available_after = delay;
                shape.ttl = ttl;
                shape.created = created;
                shape.backfilled = backfilled;
                for seed in 0..10 {
                    proof(seed, &shape).await;
                }
            }
        }
    }
}
