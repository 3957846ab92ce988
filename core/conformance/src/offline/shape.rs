//! Whether rows out are rows in, in order, in batches as asked for, the same every time.

use futures::TryStreamExt;
use larder_core::OfflineOptions;

use super::random::{Size, scenario as generated};
use super::support::{Cx, compare, join, scenario};
use crate::case::{Case, Verdict, cases};
use crate::check::{ensure, same};

pub(crate) fn cases<'f>() -> Vec<Case<Cx<'f>>> {
    cases![
        "offline.shape.batch-rows": "no batch has more rows than asked for, and their order is the request's" => batch_rows,
        "offline.shape.determinism": "the same request answers the same, with any number of threads" => determinism,
        "offline.shape.no-entity-rows": "a join of no entity rows is empty and reports nothing" => no_entity_rows,
        "offline.shape.no-views": "a join of no views still has all rows" => no_views,
        "offline.shape.no-features": "a view without features still answers event times" => no_features,
        "offline.shape.dropped": "a stream that is dropped midway harms no later one" => dropped,
        "offline.shape.at-once": "several joins on one store at once do not disturb each other" => at_once,
        "offline.shape.read-only": "a join changes nothing that a later join could see" => read_only,
    ]
}

const SIZE: Size = Size {
    rows: 300,
    spine: 200,
    times: 100,
    keys: 5,
    views: 2,
};

async fn batch_rows(cx: &Cx<'_>) -> Verdict {
    let scenario = generated(1, &SIZE)?;
    let loaded = cx.load(&scenario).await?;
    let rows = scenario.spine.times.len();
    for limit in [1, 7, rows - 1, rows, rows + 1, 1_000_000] {
        let options = OfflineOptions::default().with_batch_rows(limit);
        let stream = loaded
            .store
            .historical(scenario.request(&loaded.sources)?, &options)
            .await?;
        let batches: Vec<_> = stream.batches.try_collect().await?;
        let most = batches.iter().map(|batch| batch.rows).max().unwrap_or(0);
        ensure!(most <= limit, "a batch has {most} rows, {limit} were asked for");
        let answer = join(&loaded, &scenario, &options).await?;
        compare(&loaded.store, &scenario, &answer)
            .map_err(|stop| stop.during(format!("in batches of {limit}")))?;
    }
    Ok(())
}

async fn determinism(cx: &Cx<'_>) -> Verdict {
    let scenario = generated(2, &SIZE)?;
    let loaded = cx.load(&scenario).await?;
    let first = join(&loaded, &scenario, &OfflineOptions::default()).await?;
    for threads in [1, 1, 2, 5] {
        let options = OfflineOptions::default().with_threads(threads);
        let again = join(&loaded, &scenario, &options).await?;
        let equal = format!("{:?}", first.views) == format!("{:?}", again.views);
        ensure!(
            equal,
            "the answer with {threads} threads is another one than before"
        );
        compare(&loaded.store, &scenario, &again)?;
    }
    Ok(())
}

const SMALL: &str = "
[source stats]
event_time: at
| user int64 | at timestamp | n int64 |
| 1 | 10:00 | 1 |
| 1 | 11:00 | 2 |
| 2 | 10:30 | 3 |
";

async fn no_entity_rows(cx: &Cx<'_>) -> Verdict {
    let text = format!("{SMALL}\n[entities]\n| user int64 | T |\n[view stats]\nkeys: user\nfeatures: n");
    let scenario = scenario(&text)?;
    same(scenario.spine.times.len(), 0, "entity rows")?;
    cx.check(&scenario).await
}

async fn no_views(cx: &Cx<'_>) -> Verdict {
    let scenario = scenario(&format!(
        "{SMALL}\n[entities]\n| user int64 | T |\n| 1 | 10:00 |\n| 1 | 10:00 |"
    ))?;
    cx.check(&scenario).await
}

async fn no_features(cx: &Cx<'_>) -> Verdict {
    let entities = "[entities]\n| user int64 | T |\n| 1 | 10:59 |\n| 3 | 10:59 |\n| 2 | 10:30 |";
    cx.check(&scenario(&format!(
        "{SMALL}\n{entities}\n[view stats]\nkeys: user"
    ))?)
    .await
}

async fn dropped(cx: &Cx<'_>) -> Verdict {
    let scenario = generated(3, &SIZE)?;
    let loaded = cx.load(&scenario).await?;
    for batches in [0, 1, 3] {
        let options = OfflineOptions::default().with_batch_rows(10);
        let mut stream = loaded
            .store
            .historical(scenario.request(&loaded.sources)?, &options)
            .await?;
        for _ in 0..batches {
            ensure!(
                stream.batches.try_next().await?.is_some(),
                "the stream ended early"
            );
        }
        drop(stream);
        let future = loaded
            .store
            .historical(scenario.request(&loaded.sources)?, &options);
        drop(future);
        let answer = join(&loaded, &scenario, &OfflineOptions::default()).await?;
        compare(&loaded.store, &scenario, &answer)
            .map_err(|stop| stop.during(format!("after a stream dropped behind batch {batches}")))?;
    }
    Ok(())
}

async fn at_once(cx: &Cx<'_>) -> Verdict {
    let mut both = generated(4, &SIZE)?;
    let loaded = cx.load(&both).await?;
    let one = join(&loaded, &both, &OfflineOptions::default()).await?;
    let few = OfflineOptions::default().with_batch_rows(17);
    let more = OfflineOptions::default();
    let mut turned = both.clone();
    turned.spine.rows.reverse();
    turned.spine.times.reverse();
    let (a, b, c) = futures::join!(
        join(&loaded, &both, &few),
        join(&loaded, &turned, &more),
        join(&loaded, &both, &more)
    );
    let equal = format!("{:?}", one.views) == format!("{:?}", a?.views);
    ensure!(equal, "a join beside others answered another thing than alone");
    compare(&loaded.store, &turned, &b?)?;
    compare(&loaded.store, &both, &c?)?;
    // The views one by one say what they said together.
    let views = std::mem::take(&mut both.views);
    for view in views {
        both.views = vec![view];
        let alone = join(&loaded, &both, &more).await?;
        compare(&loaded.store, &both, &alone)?;
    }
    Ok(())
}

async fn read_only(cx: &Cx<'_>) -> Verdict {
    let scenario = generated(5, &SIZE)?;
    let loaded = cx.load(&scenario).await?;
    for _ in 0..3 {
        let answer = join(&loaded, &scenario, &OfflineOptions::default()).await?;
        compare(&loaded.store, &scenario, &answer)?;
        loaded.store.check().await?;
        for source in &loaded.sources {
            loaded.store.schema(source).await?;
        }
    }
    Ok(())
}
