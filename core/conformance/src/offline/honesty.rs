//! Whether a store does what it declares, and tells what it has.

use larder_core::{ErrorKind, OfflineOptions};

use super::support::{Cx, join, scenario};
use crate::case::{Case, Verdict, cases};
use crate::check::{ensure, need, need_not, refused, same};

pub(crate) fn cases<'f>() -> Vec<Case<Cx<'f>>> {
    cases![
        "offline.honesty.constant": "capabilities are the same at any time" => constant,
        "offline.honesty.check": "check names the backend" => check,
        "offline.honesty.schema": "schema tells the columns of the data under their own names" => schema,
        "offline.explain.views": "explain has an entry for each view, in the order of the request" => explain,
        "offline.explain.undeclared": "a store without explain says so" => explain_undeclared,
    ]
}

const TEXT: &str = "
[source stats]
event_time: at
columns: { \"n\": \"N Value\" }
| user int64 as int32 | at timestamp | N Value int64 | unused string |
| 1 | 100us | 1 | a |
[source empty]
event_time: at
| user int64 | at timestamp | n int64 |
[entities]
| user int64 | T |
| 1 | 200us |
[view first]
keys: user
features: n
[view second]
source: empty
keys: user
features: n
[view third]
keys: user
";

async fn constant(cx: &Cx<'_>) -> Verdict {
    let scenario = scenario(TEXT)?;
    let loaded = cx.load(&scenario).await?;
    let before = loaded.store.capabilities();
    join(&loaded, &scenario, &OfflineOptions::default()).await?;
    same(loaded.store.capabilities(), before, "capabilities after a join")
}

async fn check(cx: &Cx<'_>) -> Verdict {
    let loaded = cx.load(&scenario(TEXT)?).await?;
    ensure!(
        !loaded.store.check().await?.backend.is_empty(),
        "check does not name the backend"
    );
    Ok(())
}

async fn schema(cx: &Cx<'_>) -> Verdict {
    let scenario = scenario(TEXT)?;
    let loaded = cx.load(&scenario).await?;
    for (source, want) in loaded
        .sources
        .iter()
        .zip([vec!["N Value", "at", "unused", "user"], vec!["at", "n", "user"]])
    {
        let schema = loaded.store.schema(source).await?;
        let mut names: Vec<&str> = schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        names.sort_unstable();
        same(names, want, &format!("columns of source `{}`", source.name))?;
    }
    Ok(())
}

async fn explain(cx: &Cx<'_>) -> Verdict {
    let scenario = scenario(TEXT)?;
    let loaded = cx.load(&scenario).await?;
    need(loaded.store.capabilities().explain, "explain")?;
    let explanation = loaded
        .store
        .explain(&scenario.request(&loaded.sources)?, &OfflineOptions::default())
        .await?;
    let names: Vec<&str> = explanation.views.iter().map(|view| view.view.as_str()).collect();
    same(names, vec!["first", "second", "third"], "views explained")
}

async fn explain_undeclared(cx: &Cx<'_>) -> Verdict {
    let scenario = scenario(TEXT)?;
    let loaded = cx.load(&scenario).await?;
    need_not(loaded.store.capabilities().explain, "explain")?;
    let answer = loaded
        .store
        .explain(&scenario.request(&loaded.sources)?, &OfflineOptions::default())
        .await;
    refused(
        answer,
        &[ErrorKind::Unsupported],
        "explain without the capability",
    )?;
    Ok(())
}
