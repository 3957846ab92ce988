//! Whether small appends can be merged without anybody noticing.

use futures::TryStreamExt;
use larder_core::arrow::array::RecordBatch;
use larder_core::{
    CompactOptions, CompactReport, ErrorKind, Micros, OfflineOptions, RangeRead, Result, Span, ViewScan,
};

use super::append::{NewRow, appended, batch, batches, check, loaded};
use super::support::Cx;
use crate::case::{Case, Verdict, cases};
use crate::check::{ensure, need, need_not, refused, same};
use crate::fixture::Loaded;
use crate::table::Scenario;

pub(crate) fn cases<'f>() -> Vec<Case<Cx<'f>>> {
    cases![
        "offline.compact.same-answers": "joins and ranges find after a compaction what they found before" => same_answers,
        "offline.compact.again": "a second compaction finds nothing to do" => again,
        "offline.compact.dry-run": "a dry run tells what would be done, and does nothing" => dry_run,
        "offline.compact.undeclared": "a store without compaction says so and changes nothing" => undeclared,
    ]
}

/// Small appends, each a list: late rows, full ties that the last one wins, nulls, rows out of order.
const APPENDS: [&[NewRow]; 6] = [
    &[
        (1, 200, Some(210), Some(10), "b"),
        (3, 40, Some(40), Some(30), "c"),
    ],
    &[(3, 200, None, None, "")],
    &[(1, 200, Some(210), Some(11), "b again")],
    &[
        (2, 20, Some(300), Some(5), "late"),
        (1, 120, Some(1), Some(6), "d"),
    ],
    &[
        (1, 200, Some(210), Some(12), "and again"),
        (3, 200, None, Some(1), "tie"),
    ],
    &[(2, 240, Some(1), None, "e")],
];

fn options() -> CompactOptions {
    CompactOptions::default().with_grace(Span::ZERO)
}

async fn append(loaded: &Loaded, scan: &ViewScan, scenario: &Scenario, rows: &[NewRow]) -> Verdict<Scenario> {
    let one = vec![Ok(batch(scan, rows)?)];
    loaded
        .store
        .append(scan, batches(one), &OfflineOptions::default())
        .await?;
    Ok(appended(scenario, rows))
}

/// A store with small appends, where it has what that takes.
async fn small(cx: &Cx<'_>) -> Verdict<(Scenario, Loaded, ViewScan)> {
    let (mut scenario, loaded, scan) = loaded(cx).await?;
    need(loaded.store.capabilities().compact, "compact")?;
    ensure!(
        loaded.store.capabilities().append,
        "a store that compacts what was appended has to append"
    );
    for rows in APPENDS {
        scenario = append(&loaded, &scan, &scenario, rows).await?;
    }
    check(&loaded, &scenario).await?;
    Ok((scenario, loaded, scan))
}

async fn compact(loaded: &Loaded, options: &CompactOptions) -> Result<CompactReport> {
    loaded.store.compact(&loaded.sources[0], options).await
}

/// Checks joins, and that a range has as many rows as there are.
async fn unchanged(loaded: &Loaded, scenario: &Scenario, scan: &ViewScan) -> Verdict {
    check(loaded, scenario).await?;
    if loaded.store.capabilities().range {
        let request = RangeRead::new(scan.clone(), Micros::MIN, Micros::MAX);
        let rows = loaded.store.range(request, &OfflineOptions::default()).await?;
        let rows: Vec<RecordBatch> = rows.try_collect().await?;
        let count: usize = rows.iter().map(RecordBatch::num_rows).sum();
        same(count, scenario.tables[0].rows.len(), "rows of the source")?;
    }
    Ok(())
}

async fn same_answers(cx: &Cx<'_>) -> Verdict {
    let (mut scenario, loaded, scan) = small(cx).await?;
    let report = compact(&loaded, &options()).await?;
    ensure!(
        report.merged > report.made && report.made > 0,
        "six small appends were not merged: {report:?}"
    );
    unchanged(&loaded, &scenario, &scan).await?;
    // What comes later wins ties all the same, before and after the next one.
    for round in 0..3 {
        scenario = append(
            &loaded,
            &scan,
            &scenario,
            &[(1, 200, Some(210), Some(20 + round), "later")],
        )
        .await?;
        unchanged(&loaded, &scenario, &scan).await?;
        compact(&loaded, &options()).await?;
        unchanged(&loaded, &scenario, &scan).await?;
    }
    Ok(())
}

async fn again(cx: &Cx<'_>) -> Verdict {
    let (scenario, loaded, scan) = small(cx).await?;
    compact(&loaded, &options()).await?;
    let report = compact(&loaded, &options()).await?;
    same(
        (report.merged, report.made),
        (0, 0),
        "merged and made by a second compaction",
    )?;
    unchanged(&loaded, &scenario, &scan).await
}

async fn dry_run(cx: &Cx<'_>) -> Verdict {
    let (scenario, loaded, scan) = small(cx).await?;
    let told = compact(&loaded, &options().with_dry_run(true)).await?;
    unchanged(&loaded, &scenario, &scan).await?;
    let done = compact(&loaded, &options()).await?;
    same(
        (told.merged, told.made, told.rows),
        (done.merged, done.made, done.rows),
        "what a dry run tells of files merged, files made and rows",
    )
}

async fn undeclared(cx: &Cx<'_>) -> Verdict {
    let (scenario, loaded, _) = loaded(cx).await?;
    need_not(loaded.store.capabilities().compact, "compact")?;
    let answer = compact(&loaded, &options()).await;
    refused(
        answer,
        &[ErrorKind::Unsupported],
        "compact without the capability",
    )?;
    check(&loaded, &scenario).await
}
