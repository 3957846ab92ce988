//! How does what a run found read? View by view, feature by feature, and where the time went.

use std::time::Duration;

use larder::HistoricalReport;
use larder::model::Knowledge;

use crate::output::{Report, Table, age, count, elapsed, size};

/// Features shown to people; JSON has all.
const FEATURES: usize = 40;
/// Phases shorter than this are not told to people.
const SHORT: f64 = 0.001;

/// Adds what the run found.
pub(super) fn report(told: Report, report: &HistoricalReport, modes: &[Knowledge]) -> Report {
    let mut told = told;
    if !report.views.is_empty() {
        told = told.table(views(report));
    }
    told = told.table(features(report));
    if report.features.len() > FEATURES {
        let more = report.features.len() - FEATURES;
        told = told.text(format!("… and {more} features more; --format json has them all"));
    }
    for default in &report.defaults {
        told = told.text(format!(
            "default of {}: filled {} not found or expired, {} nulls",
            default.column,
            count(default.filled),
            count(default.filled_null)
        ));
    }
    for warning in &report.warnings {
        told = told.text(format!("warning: {warning}"));
    }
    told = leaks(told, report, modes);
    let phases: Vec<String> = report
        .phases
        .iter()
        .filter(|phase| phase.seconds >= SHORT)
        .map(|phase| format!("{} {}", phase.name, elapsed(seconds(phase.seconds))))
        .collect();
    if !phases.is_empty() {
        told = told.text(format!("time: {}", phases.join(", ")));
    }
    if report.spilled > 0 {
        told = told.text(format!(
            "{} went to disk and back for want of memory; --memory-limit SIZE gives more",
            size(report.spilled)
        ));
    }
    if report.views.is_empty() {
        return told;
    }
    let read = &report.read;
    told.text(format!(
        "{}; read {} in {} of {} row groups of {} of {} files",
        elapsed(seconds(report.seconds)),
        size(read.bytes),
        count(read.row_groups_read),
        count(read.row_groups),
        count(read.files_read),
        count(read.files),
    ))
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.max(0.0))
}

fn views(report: &HistoricalReport) -> Table {
    let mut table = Table::new([
        "view",
        ">matched",
        ">expired",
        ">not found",
        ">null keys",
        ">known later",
        ">ties",
        ">source rows",
    ]);
    for view in &report.views {
        let numbers = [
            view.matched,
            view.expired,
            view.unmatched,
            view.null_keys,
            view.known_later,
            view.full_ties,
            view.source_rows,
        ];
        table.row(std::iter::once(view.view.clone()).chain(numbers.map(count)));
    }
    table
}

fn features(report: &HistoricalReport) -> Table {
    let mut table = Table::new(["column", "feature", ">null", ">age p50", ">p99", ">max"]);
    for feature in report.features.iter().take(FEATURES) {
        let ages = match &feature.age {
            None => [String::new(), String::new(), String::new()],
            Some(found) => [found.p50_us, found.p99_us, found.max_us].map(age),
        };
        let cells = [
            feature.column.clone(),
            feature.reference.clone(),
            format!("{:.1} %", feature.null_share * 100.0),
        ];
        table.row(cells.into_iter().chain(ages));
    }
    table
}

/// Whether answers rest on what was not known yet, as far as created times tell.
fn leaks(mut told: Report, report: &HistoricalReport, modes: &[Knowledge]) -> Report {
    let (mut later, mut left_out) = (0, 0);
    for (view, mode) in report.views.iter().zip(modes) {
        match mode {
            Knowledge::AsOf => left_out += view.known_later,
            _ => later += view.known_later,
        }
    }
    if later > 0 {
        told = told.text(format!(
            "{} answers rest on rows that were written after their row's time; --knowledge as-of leaves those out",
            count(later)
        ));
    }
    if left_out > 0 {
        told = told.text(format!(
            "{} answers would be others if rows counted that had not been written yet (knowledge: as_of)",
            count(left_out)
        ));
    }
    told
}
