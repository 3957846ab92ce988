//! Whether the history tells every commit, newest first, page by page.

use larder_core::{Commit, Micros, Version};

use super::support::{Cx, commit, entity, project, puts};
use crate::case::{Case, Verdict, cases};
use crate::check::{ensure, same};

pub(crate) fn cases<'f>() -> Vec<Case<Cx<'f>>> {
    cases![
        "registry.history.order": "commits come newest first and tell all of their change set" => order,
        "registry.history.limit": "at most as many as asked for come" => limit,
        "registry.history.before": "`before` is exclusive, and pages lose and repeat nothing" => before,
        "registry.history.texts": "authors and messages of any script, and times of any sign, survive" => texts,
    ]
}

async fn filled(
    cx: &Cx<'_>,
    count: u64,
) -> Verdict<(std::sync::Arc<dyn larder_core::Registry>, Vec<Commit>)> {
    let registry = cx.fresh().await?;
    let shop = project("shop")?;
    let mut commits = Vec::new();
    for base in 0..count {
        let mut changes = puts(&format!("commit {base}"), vec![entity(&format!("e{base}"), "x")?]);
        // Clocks of several writers disagree; the order is that of the versions.
        changes.time = Micros((base as i64 * 7) % 5);
        commit(&registry, &shop, base, &changes).await?;
        commits.insert(0, changes.commit(Version(base + 1)));
    }
    Ok((registry, commits))
}

async fn order(cx: &Cx<'_>) -> Verdict {
    let (registry, commits) = filled(cx, 15).await?;
    let history = registry.history(&project("shop")?, None, 100).await?;
    same(history.len(), 15, "commits in the history")?;
    for (got, want) in history.iter().zip(&commits) {
        same(got, want, &format!("the commit of version {}", want.version))?;
    }
    Ok(())
}

async fn limit(cx: &Cx<'_>) -> Verdict {
    let (registry, commits) = filled(cx, 12).await?;
    for limit in [0, 1, 5, 11, 12, 13, usize::MAX] {
        let history = registry.history(&project("shop")?, None, limit).await?;
        same(
            history.as_slice(),
            &commits[..limit.min(12)],
            &format!("at most {limit} commits"),
        )?;
    }
    Ok(())
}

async fn before(cx: &Cx<'_>) -> Verdict {
    let (registry, commits) = filled(cx, 12).await?;
    let shop = project("shop")?;
    for (before, first) in [(13, 0), (12, 1), (2, 11), (1, 12), (0, 12), (1_000, 0)] {
        let history = registry.history(&shop, Some(Version(before)), 100).await?;
        same(
            history.as_slice(),
            &commits[first..],
            &format!("commits before version {before}"),
        )?;
    }
    for size in [1, 5, 7] {
        let mut pages: Vec<Commit> = Vec::new();
        loop {
            let last = pages.last().map(|commit| commit.version);
            let page = registry.history(&shop, last, size).await?;
            ensure!(page.len() <= size, "a page of {size} has {} commits", page.len());
            if page.is_empty() {
                break;
            }
            pages.extend(page);
        }
        same(&pages, &commits, &format!("all pages of {size}"))?;
    }
    Ok(())
}

async fn texts(cx: &Cx<'_>) -> Verdict {
    let registry = cx.fresh().await?;
    let shop = project("shop")?;
    let texts = [
        "",
        "Åsa Öberg <asa@example.org>",
        "multi\nline\r\n\t\"quoted\" \\ {}",
        "日本 👩‍👩‍👧",
        "a/b:c*?|<>",
        "\u{0}\u{1b}[0m",
    ];
    let times = [i64::MIN, -1, 0, 1, 1_777_777_777_777_777, i64::MAX];
    let mut want = Vec::new();
    for ((base, text), time) in (0_u64..).zip(texts).zip(times) {
        let mut changes = puts(text, vec![]);
        changes.author = format!("by {text}");
        changes.time = Micros(time);
        commit(&registry, &shop, base, &changes).await?;
        want.insert(0, changes.commit(Version(base + 1)));
    }
    same(
        cx.open().await?.history(&shop, None, 100).await?,
        want,
        "commits with unusual texts and times",
    )
}
