//! `larder historical --explain`: what would be read, why not the rest, and does it fit into memory?

use larder::historical::{HistoricalExplanation, ViewPlan};
use larder::{FeatureStore, Progress, Result};

use super::{Begun, Machine, Request};
use crate::context::Context;
use crate::output::{Report, Table, count, plural, size};

/// Explains a request; feature data stays unread.
pub(super) async fn run(
    _cx: &Context,
    store: &FeatureStore,
    request: &Request,
    machine: &Machine,
) -> Result<Report> {
    let begun = Begun::new(store, request, machine, Progress::default()).await?;
    let explanation = begun.historical.explain().await?;
    Ok(told(&explanation))
}

fn told(explanation: &HistoricalExplanation) -> Report {
    let mut table = Table::new([
        "view",
        "source",
        "store",
        "ttl",
        "knowledge",
        ">features",
        ">files",
        ">row groups",
        ">bytes",
    ]);
    for view in &explanation.views {
        let read = match &view.read {
            None => ["?".to_owned(), "?".to_owned(), "?".to_owned()],
            Some(read) => [
                format!("{} of {}", count(read.files_read), count(read.files)),
                format!("{} of {}", count(read.row_groups_read), count(read.row_groups)),
                size(read.bytes),
            ],
        };
        let cells = [
            view.view.clone(),
            view.source.clone(),
            view.store.clone(),
            view.ttl.map(|ttl| ttl.to_string()).unwrap_or_default(),
            view.knowledge.as_str().to_owned(),
            count(view.features as u64),
        ];
        table.row(cells.into_iter().chain(read));
    }
    let mut report = Report::new(explanation).table(table);
    let skipped = skipped(&explanation.views);
    if let Some(skipped) = skipped {
        report = report.table(skipped);
    }
    for warning in &explanation.warnings {
        report = report.text(format!("warning: {warning}"));
    }
    report.text(format!(
        "{} would read {}{}",
        plural(explanation.rows as usize, "entity row", "entity rows"),
        size(explanation.read.bytes),
        memory(explanation)
    ))
}

fn skipped(views: &[ViewPlan]) -> Option<Table> {
    let mut table = Table::new(["view", ">left unread", "why"]);
    let mut any = false;
    for view in views {
        for skipped in &view.skipped {
            any = true;
            table.row([view.view.clone(), count(skipped.count), skipped.reason.clone()]);
        }
    }
    any.then_some(table)
}

fn memory(explanation: &HistoricalExplanation) -> String {
    let limit = explanation.memory_limit;
    match (explanation.memory, explanation.spills) {
        (None, _) => String::new(),
        (Some(memory), false) => format!(" and need about {} of memory", size(memory)),
        (Some(memory), true) => format!(
            " and need about {} of memory{}: the rest would go to disk and back",
            size(memory),
            limit
                .map(|limit| format!(", more than the limit of {}", size(limit)))
                .unwrap_or_default()
        ),
    }
}
