//! Whether rows can be added, all of them or none.

use std::sync::Arc;

use futures::{StreamExt, stream};
use larder_core::arrow::array::RecordBatch;
use larder_core::convert::array_of;
use larder_core::{
    BatchStream, Error, ErrorKind, Micros, OfflineOptions, Result, Value, ValueType, ViewScan,
};

use super::support::{Cx, compare, join, only_scan, scenario};
use crate::case::{Case, Verdict, cases};
use crate::check::{need, need_not, refused, same};
use crate::fixture::Loaded;
use crate::table::Scenario;

pub(crate) fn cases<'f>() -> Vec<Case<Cx<'f>>> {
    cases![
        "offline.append.round-trip": "appended rows are joined like those that were there" => round_trip,
        "offline.append.all-or-nothing": "an append whose stream fails appends nothing" => all_or_nothing,
        "offline.append.empty": "appending nothing appends nothing" => empty,
        "offline.append.renamed": "rows go to the columns that the source names" => renamed,
        "offline.append.undeclared": "a store without append says so and changes nothing" => undeclared,
    ]
}

const TEXT: &str = "
[source stats]
event_time: at
created_time: created
columns: { \"n\": \"N Value\" }
| user int64 | at timestamp | created timestamp | N Value int64 | s string |
| 1 | 100us | 100us | 1 | a |
| 2 | 100us | null | null | null |
[entities]
| user int64 | T |
| 1 | 150us |
| 1 | 250us |
| 2 | 250us |
| 3 | 250us |
| 3 | 50us |
[view stats]
keys: user
features: n, s
";

pub(super) async fn loaded(cx: &Cx<'_>) -> Verdict<(Scenario, Loaded, ViewScan)> {
    let scenario = scenario(TEXT)?;
    let loaded = cx.load(&scenario).await?;
    let scan = only_scan(&scenario, &loaded.sources)?;
    Ok((scenario, loaded, scan))
}

pub(super) type NewRow = (i64, i64, Option<i64>, Option<i64>, &'static str);

const NEW: [NewRow; 3] = [
    (1, 200, Some(210), Some(10), "b"),
    (3, 200, None, None, ""),
    (3, 40, Some(40), Some(30), "c"),
];

/// Rows of the scan's schema.
pub(super) fn batch(scan: &ViewScan, rows: &[NewRow]) -> Verdict<RecordBatch> {
    let time = |t: Option<i64>| t.map_or(Value::Null, |t| Value::Timestamp(Micros(t)));
    let column = |get: &dyn Fn(&NewRow) -> Value, of| array_of(&rows.iter().map(get).collect::<Vec<_>>(), of);
    let columns = vec![
        column(&|row| Value::Int64(row.0), ValueType::INT64)?,
        column(&|row| time(Some(row.1)), ValueType::TIMESTAMP)?,
        column(&|row| time(row.2), ValueType::TIMESTAMP)?,
        column(&|row| row.3.map_or(Value::Null, Value::Int64), ValueType::INT64)?,
        column(&|row| Value::str(row.4), ValueType::STRING)?,
    ];
    RecordBatch::try_new(scan.schema(), columns)
        .map_err(|error| Error::internal("the case's own batch").source(error).into())
}

/// The same rows in the scenario, where the oracle sees them.
pub(super) fn appended(scenario: &Scenario, rows: &[NewRow]) -> Scenario {
    let mut more = scenario.clone();
    let time = |t: Option<i64>| t.map_or(Value::Null, |t| Value::Timestamp(Micros(t)));
    for row in rows {
        more.tables[0].rows.push(vec![
            Value::Int64(row.0),
            time(Some(row.1)),
            time(row.2),
            row.3.map_or(Value::Null, Value::Int64),
            Value::str(row.4),
        ]);
    }
    more
}

pub(super) fn batches(batches: Vec<Result<RecordBatch>>) -> BatchStream {
    stream::iter(batches).boxed()
}

pub(super) async fn check(loaded: &Loaded, scenario: &Scenario) -> Verdict {
    let answer = join(loaded, scenario, &OfflineOptions::default()).await?;
    compare(&loaded.store, scenario, &answer)
}

async fn round_trip(cx: &Cx<'_>) -> Verdict {
    let (scenario, loaded, scan) = loaded(cx).await?;
    need(loaded.store.capabilities().append, "append")?;
    check(&loaded, &scenario).await?;
    let two = vec![Ok(batch(&scan, &NEW[..1])?), Ok(batch(&scan, &NEW[1..])?)];
    let count = loaded
        .store
        .append(&scan, batches(two), &OfflineOptions::default())
        .await?;
    same(count, 3, "rows that append reports")?;
    let more = appended(&scenario, &NEW);
    check(&loaded, &more).await?;
    let third = [(2, 240, Some(1), Some(5), "d")];
    let one = vec![Ok(batch(&scan, &third)?)];
    loaded
        .store
        .append(&scan, batches(one), &OfflineOptions::default())
        .await?;
    check(&loaded, &appended(&more, &third)).await
}

async fn all_or_nothing(cx: &Cx<'_>) -> Verdict {
    let (scenario, loaded, scan) = loaded(cx).await?;
    need(loaded.store.capabilities().append, "append")?;
    let broken = vec![
        Ok(batch(&scan, &NEW)?),
        Err(Error::unavailable("the sender went away")),
        Ok(batch(&scan, &NEW)?),
    ];
    let answer = loaded
        .store
        .append(&scan, batches(broken), &OfflineOptions::default())
        .await;
    refused(answer, &[ErrorKind::Unavailable], "an append whose stream fails")?;
    check(&loaded, &scenario)
        .await
        .map_err(|stop| stop.during("after an append that failed"))?;
    let whole = vec![Ok(batch(&scan, &NEW)?)];
    loaded
        .store
        .append(&scan, batches(whole), &OfflineOptions::default())
        .await?;
    check(&loaded, &appended(&scenario, &NEW)).await
}

async fn empty(cx: &Cx<'_>) -> Verdict {
    let (scenario, loaded, scan) = loaded(cx).await?;
    need(loaded.store.capabilities().append, "append")?;
    for nothing in [vec![], vec![Ok(RecordBatch::new_empty(scan.schema()))]] {
        let count = loaded
            .store
            .append(&scan, batches(nothing), &OfflineOptions::default())
            .await?;
        same(count, 0, "rows that append reports")?;
        check(&loaded, &scenario).await?;
    }
    Ok(())
}

async fn renamed(cx: &Cx<'_>) -> Verdict {
    let (_, loaded, scan) = loaded(cx).await?;
    need(loaded.store.capabilities().append, "append")?;
    let one = vec![Ok(batch(&scan, &NEW[..1])?)];
    loaded
        .store
        .append(&scan, batches(one), &OfflineOptions::default())
        .await?;
    let schema = loaded.store.schema(&Arc::clone(&loaded.sources[0])).await?;
    let mut names: Vec<&str> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    names.sort_unstable();
    same(
        names,
        vec!["N Value", "at", "created", "s", "user"],
        "the source's columns after an append",
    )
}

async fn undeclared(cx: &Cx<'_>) -> Verdict {
    let (scenario, loaded, scan) = loaded(cx).await?;
    need_not(loaded.store.capabilities().append, "append")?;
    let rows = vec![Ok(batch(&scan, &NEW)?)];
    let answer = loaded
        .store
        .append(&scan, batches(rows), &OfflineOptions::default())
        .await;
    refused(answer, &[ErrorKind::Unsupported], "append without the capability")?;
    check(&loaded, &scenario).await
}
