//! Whether materialization gets what became visible, and the newest of it.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use larder_core::arrow::array::RecordBatch;
use larder_core::{ErrorKind, LatestRead, Micros, OfflineOptions, RangeRead, Value};

use super::random::{Size, scenario as generated};
use super::support::{Cx, only_scan, scanned, scanned_row};
use crate::case::{Case, Stop, Verdict, cases};
use crate::check::{ensure, need, need_not, refused, same};
use crate::fixture::Loaded;
use crate::oracle;
use crate::rng::Rng;
use crate::table::Scenario;

pub(crate) fn cases<'f>() -> Vec<Case<Cx<'f>>> {
    cases![
        "offline.latest.bounds": "after is exclusive, until and floor are inclusive, and available_after shifts" => bounds,
        "offline.latest.late-rows": "a row that came late is in the window in which it was created" => late_rows,
        "offline.latest.created-later": "a row available by until but created later is taken, except in as_of mode" => created_later,
        "offline.latest.nulls": "rows with a null key or event time are left out" => nulls,
        "offline.latest.random": "only rows in the window come, and of each key its newest" => random,
        "offline.latest.increments": "windows that follow each other together give what one window gives" => increments,
        "offline.range.bounds": "a range holds both its ends and nothing else" => range_bounds,
        "offline.range.random": "a range is all rows of its interval, each once" => range_random,
        "offline.range.undeclared": "a store without range says so" => range_undeclared,
    ]
}

/// Reads a window and fails unless the oracle agrees.
async fn check_window(
    loaded: &Loaded,
    scenario: &Scenario,
    floor: i64,
    after: Option<i64>,
    until: i64,
) -> Verdict<Vec<String>> {
    let what = format!("the window from {after:?} to {until}, events from {floor}");
    let view = &scenario.views[0];
    let facts = &scenario.tables[view.table];
    let scan = only_scan(scenario, &loaded.sources)?;
    let request = LatestRead {
        scan: scan.clone(),
        floor: Micros(floor),
        after: after.map_or(Micros::MIN, Micros),
        until: Micros(until),
    };
    let stream = loaded.store.latest(request, &OfflineOptions::default()).await?;
    let batches: Vec<RecordBatch> = stream.try_collect().await?;
    let got = scanned(&scan, &batches)?;
    let want = oracle::window(facts, view, floor, after, until)?;
    let mut left: BTreeMap<String, usize> = BTreeMap::new();
    for at in &want.rows {
        *left.entry(scanned_row(facts, view, *at)?).or_default() += 1;
    }
    for row in &got {
        match left.get_mut(&row.text) {
            Some(count) if *count > 0 => *count -= 1,
            _ => ensure!(
                false,
                "{what}: row {} came, and is not in the window so often",
                row.text
            ),
        }
    }
    for tied in &want.newest {
        let mut texts = Vec::new();
        for at in tied {
            texts.push(scanned_row(facts, view, *at)?);
        }
        let Some(newest) = got.iter().find(|row| texts.contains(&row.text)) else {
            return Err(Stop::Failed(format!(
                "{what}: the newest row of a key did not come: {}",
                texts[texts.len() - 1]
            )));
        };
        // Whoever reduces the rows goes by their tie-break bytes.
        let rivals = got
            .iter()
            .filter(|row| row.version == newest.version && row.tie > newest.tie);
        for rival in rivals {
            ensure!(
                texts.contains(&rival.text),
                "{what}: row {} has larger tie-break bytes than the winner {}",
                rival.text,
                newest.text
            );
        }
    }
    Ok(got.into_iter().map(|row| row.text).collect())
}

async fn check_text(cx: &Cx<'_>, text: &str, windows: &[(i64, Option<i64>, i64, usize)]) -> Verdict {
    let scenario = super::support::scenario(text)?;
    let loaded = cx.load(&scenario).await?;
    for (floor, after, until, keys) in windows {
        let rows = check_window(&loaded, &scenario, *floor, *after, *until).await?;
        // Each key of these cases has one row, so what comes is counted exactly.
        same(
            rows.len(),
            *keys,
            &format!("rows from {after:?} to {until}, events from {floor}"),
        )?;
    }
    Ok(())
}

async fn bounds(cx: &Cx<'_>) -> Verdict {
    let text = |options: &str| {
        format!(
            "[source stats]\nevent_time: at\n{options}\n| user int64 | at timestamp | n int64 |\n\
             | 1 | 100us | 1 |\n| 2 | 200us | 2 |\n| 3 | 300us | 3 |\n| 4 | min | 4 |\n| 5 | max | 5 |\n\
             [entities]\n| user int64 | T |\n[view stats]\nkeys: user\nfeatures: n"
        )
    };
    let least = i64::MIN;
    let windows = [
        (least, None, 300, 4),
        (least, None, 299, 3),
        (least, Some(100), 300, 2),
        (least, Some(99), 200, 2),
        (100, None, 200, 2),
        (101, None, 200, 1),
        (least, Some(300), 300, 0),
        (least, Some(200), i64::MAX, 2),
        (least, None, i64::MAX, 5),
        (i64::MAX, None, i64::MAX, 1),
    ];
    check_text(cx, &text(""), &windows).await?;
    // Ten microseconds later, and what is never available never comes.
    let windows = [
        (least, None, 310, 4),
        (least, None, 309, 3),
        (least, Some(110), 310, 2),
        (least, Some(109), 210, 2),
        (100, None, 210, 2),
        (101, None, 210, 1),
        (least, None, i64::MAX, 4),
    ];
    check_text(cx, &text("available_after: 10us"), &windows).await
}

async fn late_rows(cx: &Cx<'_>) -> Verdict {
    let text = "[source stats]\nevent_time: at\ncreated_time: { \"column\": \"created\", \"trusted_from\": \"1970-01-01T00:00:00.000050Z\" }\n\
        | user int64 | at timestamp | created timestamp | n int64 |\n\
        | 1 | 100us | 500us | 1 |\n| 2 | 100us | null | 2 |\n| 3 | 100us | 100us | 3 |\n| 4 | 100us | 49us | 4 |\n| 5 | 10us | 50us | 5 |\n\
        [entities]\n| user int64 | T |\n[view stats]\nkeys: user\nfeatures: n";
    let least = i64::MIN;
    let windows = [
        // Only the row that was created at 500 became visible then.
        (least, Some(400), 500, 1),
        (least, Some(499), 600, 1),
        (least, Some(500), 600, 0),
        // Absent and untrusted created times count as the event; a trusted one before it changes nothing.
        (least, Some(99), 100, 4),
        (least, Some(100), 100, 1),
        (least, Some(49), 99, 1),
        (least, Some(9), 49, 1),
        (101, Some(400), 500, 0),
    ];
    check_text(cx, text, &windows).await
}

async fn created_later(cx: &Cx<'_>) -> Verdict {
    let text = |mode: &str| {
        format!(
            "[source stats]\nevent_time: at\ncreated_time: created\nknowledge: {mode}\n\
             | user int64 | at timestamp | created timestamp | n int64 |\n\
             | 1 | 100us | 500us | 1 |\n| 2 | 100us | 90us | 2 |\n| 3 | 100us | null | 3 |\n\
             [entities]\n| user int64 | T |\n[view stats]\nkeys: user\nfeatures: n"
        )
    };
    let least = i64::MIN;
    check_text(
        cx,
        &text("tie_break"),
        &[
            (least, None, 100, 3),
            (least, None, 499, 3),
            (least, Some(100), 200, 1),
        ],
    )
    .await?;
    check_text(
        cx,
        &text("as_of"),
        &[
            (least, None, 100, 2),
            (least, None, 499, 2),
            (least, None, 500, 3),
            (least, Some(100), 500, 1),
        ],
    )
    .await
}

async fn nulls(cx: &Cx<'_>) -> Verdict {
    let text = "[source stats]\nevent_time: at\n| city string | user int64 | at timestamp | n int64 |\n\
        | a | 1 | 100us | 1 |\n| null | 1 | 100us | 2 |\n| a | null | 100us | 3 |\n| a | 2 | null | 4 |\n| b | 1 | 100us | null |\n\
        [entities]\n| city string | user int64 | T |\n[view stats]\nkeys: city, user\nfeatures: n";
    check_text(cx, text, &[(i64::MIN, None, i64::MAX, 2), (0, Some(0), 1_000, 2)]).await
}

/// A generated scenario with one view, which has features.
fn one_view(seed: u64, rows: usize) -> Verdict<Scenario> {
    let size = Size {
        rows,
        spine: 0,
        times: 40,
        keys: 3,
        views: 1,
    };
    let mut scenario = generated(seed, &size)?;
    scenario.views.truncate(1);
    scenario.views[0].features = vec!["n".to_owned(), "x".to_owned(), "s".to_owned()];
    Ok(scenario)
}

async fn random(cx: &Cx<'_>) -> Verdict {
    for seed in 3_000..3_000 + cx.options.seeds * 2 {
        let wrong = |stop: Stop| stop.during(format!("seed {seed}"));
        let scenario = one_view(seed, 60).map_err(wrong)?;
        let loaded = cx.load(&scenario).await?;
        let mut rng = Rng::new(seed);
        for _ in 0..12 {
            let edge = |rng: &mut Rng| match rng.below(8) {
                0 => i64::MIN,
                1 => i64::MAX,
                _ => rng.between(-2, 50),
            };
            let floor = if rng.percent(50) { i64::MIN } else { edge(&mut rng) };
            let after = rng
                .percent(60)
                .then(|| edge(&mut rng))
                .filter(|after| *after > i64::MIN);
            let until = edge(&mut rng);
            check_window(&loaded, &scenario, floor, after, until)
                .await
                .map_err(wrong)?;
        }
    }
    Ok(())
}

async fn increments(cx: &Cx<'_>) -> Verdict {
    for seed in 4_000..4_000 + cx.options.seeds {
        let scenario = one_view(seed, 80)?;
        let loaded = cx.load(&scenario).await?;
        let view = &scenario.views[0];
        let facts = &scenario.tables[view.table];
        let mut rows = Vec::new();
        let mut after = None;
        for until in [5, 12, 13, 30, 45] {
            rows.extend(check_window(&loaded, &scenario, i64::MIN, after, until).await?);
            after = Some(until);
        }
        for tied in oracle::window(facts, view, i64::MIN, None, 45)?.newest {
            let mut found = false;
            for at in &tied {
                found |= rows.contains(&scanned_row(facts, view, *at)?);
            }
            ensure!(
                found,
                "seed {seed}: five windows in a row lost the newest row of a key"
            );
        }
    }
    Ok(())
}

async fn read_range(loaded: &Loaded, scenario: &Scenario, from: i64, until: i64) -> Verdict<Vec<String>> {
    let scan = only_scan(scenario, &loaded.sources)?;
    let request = RangeRead::new(scan.clone(), Micros(from), Micros(until));
    let stream = loaded.store.range(request, &OfflineOptions::default()).await?;
    let batches: Vec<RecordBatch> = stream.try_collect().await?;
    let mut rows: Vec<String> = scanned(&scan, &batches)?
        .into_iter()
        .map(|row| row.text)
        .collect();
    rows.sort();
    Ok(rows)
}

/// Reads a range and fails unless it is what the scenario holds; rows with a null key may come or not.
async fn check_range(loaded: &Loaded, scenario: &Scenario, from: i64, until: i64) -> Verdict {
    let view = &scenario.views[0];
    let facts = &scenario.tables[view.table];
    let (mut want, mut may) = (Vec::new(), Vec::new());
    for (at, row) in facts.rows.iter().enumerate() {
        let event = &row[facts.column(&facts.source.event_time)?];
        let inside = matches!(event, Value::Timestamp(t) if (from..=until).contains(&t.0));
        let mut null_key = false;
        for (name, _) in &view.keys {
            null_key |= row[facts.column(facts.source.column_of(name))?].is_null();
        }
        if inside {
            let text = scanned_row(facts, view, at)?;
            if null_key { may.push(text) } else { want.push(text) }
        }
    }
    want.sort();
    let mut got = read_range(loaded, scenario, from, until).await?;
    got.retain(|row| !may.contains(row));
    ensure!(
        got == want,
        "the range from {from} to {until}: expected {} rows, got {}; the first that differs: {:?}",
        want.len(),
        got.len(),
        want.iter().zip(&got).find(|(a, b)| a != b)
    );
    Ok(())
}

async fn range_bounds(cx: &Cx<'_>) -> Verdict {
    let text = "[source stats]\nevent_time: at\navailable_after: 7us\n| user int64 | at timestamp | n int64 |\n\
        | 1 | 100us | 1 |\n| 1 | 200us | 2 |\n==\n| 1 | 200us | 2 |\n| 2 | 300us | 3 |\n| 3 | min | 4 |\n| 3 | max | 5 |\n| 3 | null | 6 |\n\
        [entities]\n| user int64 | T |\n[view stats]\nkeys: user\nfeatures: n";
    let scenario = super::support::scenario(text)?;
    let loaded = cx.load(&scenario).await?;
    need(loaded.store.capabilities().range, "range")?;
    for (from, until, rows) in [
        (100, 300, 4),
        (101, 299, 2),
        (200, 200, 2),
        (300, 100, 0),
        (i64::MIN, i64::MAX, 6),
        (i64::MIN, 99, 1),
        (301, i64::MAX, 1),
    ] {
        check_range(&loaded, &scenario, from, until).await?;
        same(
            read_range(&loaded, &scenario, from, until).await?.len(),
            rows,
            &format!("rows from {from} to {until}"),
        )?;
    }
    Ok(())
}

async fn range_random(cx: &Cx<'_>) -> Verdict {
    for seed in 5_000..5_000 + cx.options.seeds {
        let scenario = one_view(seed, 60)?;
        let loaded = cx.load(&scenario).await?;
        need(loaded.store.capabilities().range, "range")?;
        let mut rng = Rng::new(seed);
        for _ in 0..6 {
            let (from, until) = (rng.between(-2, 40), rng.between(0, 45));
            check_range(&loaded, &scenario, from, until)
                .await
                .map_err(|stop| stop.during(format!("seed {seed}")))?;
        }
    }
    Ok(())
}

async fn range_undeclared(cx: &Cx<'_>) -> Verdict {
    let scenario = one_view(1, 5)?;
    let loaded = cx.load(&scenario).await?;
    need_not(loaded.store.capabilities().range, "range")?;
    let request = RangeRead::new(only_scan(&scenario, &loaded.sources)?, Micros::MIN, Micros::MAX);
    let answer = loaded.store.range(request, &OfflineOptions::default()).await;
    refused(
        answer.map(|_| "a stream"),
        &[ErrorKind::Unsupported],
        "range without the capability",
    )?;
    Ok(())
}
