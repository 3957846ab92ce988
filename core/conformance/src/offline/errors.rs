//! Whether data that does not fit is refused by name, and never answered around.

use futures::TryStreamExt;
use larder_core::{
    EntityRows, Error, ErrorKind, HistoricalRead, LatestRead, Micros, OfflineOptions, RangeRead, Result,
    SpineFiles, ValueType, ViewScan,
};

use super::support::{Cx, join, scenario};
use crate::case::{Case, Verdict, cases};
use crate::check::{ensure, refused};
use crate::fixture::Loaded;
use crate::table::Scenario;

pub(crate) fn cases<'f>() -> Vec<Case<Cx<'f>>> {
    cases![
        "offline.errors.missing-column": "a missing key, time, tie-break or feature column is an `Input` error naming it" => missing_column,
        "offline.errors.wrong-type": "a column of a type that would lose something is an `Input` error naming it" => wrong_type,
        "offline.errors.naive-time": "a timestamp without a zone is an `Input` error naming the column" => naive_time,
        "offline.errors.quiet": "an error does not tell the data's values" => quiet,
        "offline.errors.entity-files": "entity rows that the store cannot read are an error, not an empty answer" => entity_files,
        "offline.errors.other-views": "a mistake in one view is found though others are right" => other_views,
    ]
}

const TEXT: &str = "
[source stats]
event_time: at
created_time: created
| user int64 | at timestamp | created timestamp | n int64 | x float64 | s string |
| 1 | 100us | 100us | 1 | 0.5 | topsecret |
[entities]
| user int64 | T |
| 1 | 200us |
[view stats]
keys: user
features: n, s
";

/// Everything that reads a scan must refuse it.
async fn refuses(loaded: &Loaded, scenario: &Scenario, scan: &ViewScan, column: &str) -> Verdict {
    let options = OfflineOptions::default();
    let mut request = scenario.request(&loaded.sources)?;
    request.views[0].scan = scan.clone();
    let joined = async {
        let stream = loaded.store.historical(request, &options).await?;
        stream
            .batches
            .try_collect::<Vec<_>>()
            .await
            .map(|batches| batches.len())
    };
    names(joined.await, column, "a join")?;
    let latest = LatestRead {
        scan: scan.clone(),
        floor: Micros::MIN,
        after: Micros::MIN,
        until: Micros::MAX,
    };
    let latest = async {
        loaded
            .store
            .latest(latest, &options)
            .await?
            .try_collect::<Vec<_>>()
            .await
    };
    names(latest.await.map(|batches| batches.len()), column, "latest")?;
    if loaded.store.capabilities().range {
        let range = RangeRead::new(scan.clone(), Micros::MIN, Micros::MAX);
        let range = async {
            loaded
                .store
                .range(range, &options)
                .await?
                .try_collect::<Vec<_>>()
                .await
        };
        names(range.await.map(|batches| batches.len()), column, "range")?;
    }
    Ok(())
}

fn names(answer: Result<usize>, column: &str, what: &str) -> Verdict {
    let what = format!("{what} with column `{column}`");
    let error: Error = refused(answer, &[ErrorKind::Input], &what)?;
    ensure!(
        error.chain().contains(column),
        "{what}: the error does not name it: {}",
        error.chain()
    );
    Ok(())
}

async fn missing_column(cx: &Cx<'_>) -> Verdict {
    let scenario = scenario(TEXT)?;
    let loaded = cx.load(&scenario).await?;
    let scan = super::support::only_scan(&scenario, &loaded.sources)?;
    join(&loaded, &scenario, &OfflineOptions::default()).await?;
    let mut feature = scan.clone();
    feature.features[1].column = "gone_feature".to_owned();
    refuses(&loaded, &scenario, &feature, "gone_feature").await?;
    let mut key = scan.clone();
    key.keys[0].column = "gone_key".to_owned();
    refuses(&loaded, &scenario, &key, "gone_key").await?;
    let with = |change: &dyn Fn(&mut larder_core::model::Source)| {
        let mut source = (*scan.source).clone();
        change(&mut source);
        ViewScan {
            source: source.into(),
            ..scan.clone()
        }
    };
    let event = with(&|source| source.event_time = "gone_event".to_owned());
    refuses(&loaded, &scenario, &event, "gone_event").await?;
    let created = with(&|source| {
        if let Some(created) = &mut source.created_time {
            created.column = "gone_created".to_owned();
        }
    });
    refuses(&loaded, &scenario, &created, "gone_created").await?;
    // Only a join needs the tie-break columns for certain.
    let tie = with(&|source| source.tie_break = vec!["gone_tie".to_owned()]);
    let mut request = scenario.request(&loaded.sources)?;
    request.views[0].scan = tie;
    let joined = async {
        let stream = loaded
            .store
            .historical(request, &OfflineOptions::default())
            .await?;
        stream
            .batches
            .try_collect::<Vec<_>>()
            .await
            .map(|batches| batches.len())
    };
    names(joined.await, "gone_tie", "a join")
}

async fn wrong_type(cx: &Cx<'_>) -> Verdict {
    let scenario = scenario(TEXT)?;
    let loaded = cx.load(&scenario).await?;
    let scan = super::support::only_scan(&scenario, &loaded.sources)?;
    for (column, of) in [
        ("n", ValueType::INT32),
        ("n", ValueType::FLOAT64),
        ("n", ValueType::STRING),
        ("n", ValueType::BOOL),
        ("x", ValueType::INT64),
        ("x", ValueType::FLOAT32),
        ("s", ValueType::INT64),
        ("at", ValueType::INT64),
        ("s", ValueType::List(larder_core::ScalarType::String)),
        ("x", ValueType::Vector(1)),
    ] {
        let mut wrong = scan.clone();
        wrong.features[0].column = column.to_owned();
        wrong.features[0].value_type = of;
        refuses(&loaded, &scenario, &wrong, column)
            .await
            .map_err(|stop| stop.during(format!("declared {of}")))?;
    }
    let mut key = scan.clone();
    key.keys[0].column = "s".to_owned();
    refuses(&loaded, &scenario, &key, "s").await
}

async fn naive_time(cx: &Cx<'_>) -> Verdict {
    let naive = TEXT.replace("at timestamp", "at timestamp as naive");
    let scenario = scenario(&naive)?;
    let loaded = cx.load(&scenario).await?;
    let scan = super::support::only_scan(&scenario, &loaded.sources)?;
    refuses(&loaded, &scenario, &scan, "at").await
}

async fn quiet(cx: &Cx<'_>) -> Verdict {
    let scenario = scenario(TEXT)?;
    let loaded = cx.load(&scenario).await?;
    let mut request = scenario.request(&loaded.sources)?;
    request.views[0].scan.features[1].value_type = ValueType::INT64;
    let joined = async {
        let stream = loaded
            .store
            .historical(request, &OfflineOptions::default())
            .await?;
        stream
            .batches
            .try_collect::<Vec<_>>()
            .await
            .map(|batches| batches.len())
    };
    let error = refused(joined.await, &[ErrorKind::Input], "text read as a number")?;
    let text = format!("{error:?} {}", error.chain());
    ensure!(!text.contains("topsecret"), "the error tells a value of the data");
    Ok(())
}

async fn entity_files(cx: &Cx<'_>) -> Verdict {
    let scenario = scenario(TEXT)?;
    let loaded = cx.load(&scenario).await?;
    for rows in [
        EntityRows::Files(SpineFiles::new(vec!["no/such/file".into()], 1)),
        EntityRows::Sql("select nothing from no_such_table".to_owned()),
    ] {
        let what = format!("{rows:?}");
        let request = HistoricalRead {
            rows,
            views: scenario.request(&loaded.sources)?.views,
        };
        let answer = async {
            let stream = loaded
                .store
                .historical(request, &OfflineOptions::default())
                .await?;
            stream.batches.try_collect::<Vec<_>>().await
        };
        ensure!(answer.await.is_err(), "{what} gave an answer");
    }
    Ok(())
}

async fn other_views(cx: &Cx<'_>) -> Verdict {
    let scenario = scenario(TEXT)?;
    let loaded = cx.load(&scenario).await?;
    let request = scenario.request(&loaded.sources)?;
    for wrong in [0, 1] {
        let mut request = HistoricalRead {
            rows: request.rows.clone(),
            views: vec![request.views[0].clone(), request.views[0].clone()],
        };
        request.views[wrong].scan.features[0].column = "gone_feature".to_owned();
        let joined = async {
            let stream = loaded
                .store
                .historical(request, &OfflineOptions::default())
                .await?;
            stream
                .batches
                .try_collect::<Vec<_>>()
                .await
                .map(|batches| batches.len())
        };
        names(joined.await, "gone_feature", "a join of two views")?;
    }
    Ok(())
}
