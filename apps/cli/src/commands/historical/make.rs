//! How is a training set made: into files with a manifest, or onto the screen?

use std::path::{Path, PathBuf};

use arrow_select::concat::concat_batches;
use futures::StreamExt;
use larder::historical::Manifest;
use larder::model::Knowledge;
use larder::{Error, FeatureStore, HistoricalReport, Progress, Result};
use serde_json::{Value as Json, json};

use super::files::{Files, folder, from_project, manifest_path, paths};
use super::{Begun, Machine, Request, check_outputs, entity_file, refuse_sources, told};
use crate::context::Context;
use crate::output::{Format, Report, batch_json, batch_table, count, plural, size, transposed};

/// Rows shown where no file is written.
const PREVIEW: usize = 10;
/// Rows shown side by side, one line per column.
const WIDE_PREVIEW: usize = 3;
/// Columns from which on a preview has one line per column.
const MANY_COLUMNS: usize = 12;

/// A training set that was written.
pub(super) struct Made {
    pub(super) manifest: Manifest,
    pub(super) report: HistoricalReport,
    modes: Vec<Knowledge>,
    path: PathBuf,
    /// Parts of the training set that it replaces which it does not have any more.
    removed: Vec<PathBuf>,
    columns: usize,
}

/// Writes files and their manifest, and tells what was found.
pub(super) async fn into_files(
    cx: &Context,
    store: &FeatureStore,
    request: &Request,
    out: &Path,
    machine: &Machine,
) -> Result<Report> {
    let made = write(cx, store, request, out, machine).await?;
    let report = Report::new(made.document(out));
    Ok(told::report(made.lines(out, report), &made.report, &made.modes))
}

/// Writes files and their manifest.
pub(super) async fn write(
    cx: &Context,
    store: &FeatureStore,
    request: &Request,
    out: &Path,
    machine: &Machine,
) -> Result<Made> {
    let outputs = paths(out, request.parameters.split.as_ref());
    let mut all = outputs.clone();
    all.push(out.to_owned());
    check_outputs(request, &all)?;
    let progress = Progress::default();
    let bar = cx.bars.rows("historical");
    let following = bar.follow(progress.clone());
    let begun = Begun::new(store, request, machine, progress).await?;
    let entities = request.entities.as_ref();
    let entities = entities.map(|file| entity_file(file, &folder(out))).transpose()?;
    let created = store.clock().now();
    let written = outputs.iter().cloned().chain([manifest_path(out)]);
    let mut training = begun.historical.writes_to(written).run().await?;
    let schema = training.schema();
    let mut parts = training.parts()?;
    let mut files = Files::create(&outputs, &schema, machine.memory_limit(store))?;
    while let Some(batch) = training.next().await {
        files.write(&parts.cut(batch?)?)?;
        // Writing never waits, and an interrupt must get its turn.
        tokio::task::yield_now().await;
    }
    drop(following);
    bar.clear();
    let report = training.report();
    refuse_sources(&all, &report.sources)?;
    let mut manifest =
        Manifest::new(&training.inputs(), &schema, &report, &parts, created).with_entities(entities);
    from_project(&mut manifest, &cx.dir);
    let finished = files.finish(out, &mut manifest, &report.sources)?;
    let mut report = report;
    report.warnings.extend(finished.warnings.iter().cloned());
    Ok(Made {
        manifest,
        report,
        modes: begun.modes,
        path: finished.manifest,
        removed: finished.removed,
        columns: schema.fields().len(),
    })
}

impl Made {
    pub(super) fn document(&self, out: &Path) -> Json {
        let manifest = &self.manifest;
        let output = |output: &larder::historical::ManifestOutput| {
            let path = output.path.as_ref().map(|name| out.with_file_name(name));
            json!({
                "part": output.part,
                "path": path,
                "rows": output.content.rows,
                "bytes": output.bytes,
                "digest": output.content.digest,
            })
        };
        json!({
            "out": out.display().to_string(),
            "manifest": self.path.display().to_string(),
            "rows": manifest.rows,
            "columns": self.columns,
            "bytes": manifest.outputs.iter().filter_map(|output| output.bytes).sum::<u64>(),
            "outputs": manifest.outputs.iter().map(output).collect::<Vec<_>>(),
            "outside": manifest.outside,
            "embargoed": manifest.embargoed,
            "removed": self.removed,
            "knowledge": self.modes,
            "report": self.report,
        })
    }

    /// One line per file, and what of the rows is in none.
    pub(super) fn lines(&self, out: &Path, mut told: Report) -> Report {
        for output in &self.manifest.outputs {
            let path = output.path.as_ref().map(|name| out.with_file_name(name));
            told = told.text(format!(
                "{}: {}, {} columns, {}",
                path.unwrap_or_else(|| out.to_owned()).display(),
                plural(output.content.rows as usize, "row", "rows"),
                self.columns,
                size(output.bytes.unwrap_or(0))
            ));
        }
        let left_out = [
            (self.manifest.outside, "meet the condition of no part"),
            (self.manifest.embargoed, "fall into the embargo"),
        ];
        for (rows, why) in left_out.into_iter().filter(|(rows, _)| *rows > 0) {
            told = told.text(format!("{} rows {why} and are in no file", count(rows)));
        }
        let empty = self.manifest.outputs.iter().filter(|o| o.content.rows == 0);
        for part in empty.filter_map(|output| output.part.as_ref()) {
            told = told.text(format!("warning: part {part} has no rows"));
        }
        for file in &self.removed {
            told = told.text(format!(
                "{}: removed, a part of the training set that was replaced",
                file.display()
            ));
        }
        told.text(format!("{}: what it was made from", self.path.display()))
    }
}

/// Shows the first rows, or all of them to a program.
pub(super) async fn onto_screen(
    cx: &Context,
    store: &FeatureStore,
    request: &Request,
    machine: &Machine,
) -> Result<Report> {
    let progress = Progress::default();
    let bar = cx.bars.rows("historical");
    let following = bar.follow(progress.clone());
    let begun = Begun::new(store, request, machine, progress).await?;
    let mut training = begun.historical.run().await?;
    let schema = training.schema();
    let for_people = matches!(cx.format, Format::Table | Format::Markdown);
    let wide = schema.fields().len() > MANY_COLUMNS;
    let wanted = match (for_people, wide) {
        (false, _) => usize::MAX,
        (true, false) => PREVIEW,
        (true, true) => WIDE_PREVIEW,
    };
    let (mut batches, mut kept) = (Vec::new(), 0);
    while let Some(batch) = training.next().await {
        let batch = batch?;
        let take = batch.num_rows().min(wanted - kept);
        if take > 0 {
            batches.push(batch.slice(0, take));
            kept += take;
        }
    }
    drop(following);
    bar.clear();
    let all = concat_batches(&schema, &batches)
        .map_err(|e| Error::internal("the rows of a training set do not fit together").source(e))?;
    let report = training.report();
    match cx.format {
        Format::Json => Ok(Report::new(batch_json(&all)?)),
        Format::Csv => Ok(Report::new(()).table(batch_table(&all)?)),
        Format::Table | Format::Markdown => {
            let table = if wide {
                transposed(&all)?
            } else {
                batch_table(&all)?
            };
            let mut shown = Report::new(()).table(table);
            if report.rows > kept as u64 {
                let more = count(report.rows - kept as u64);
                shown = shown.text(format!("… and {more} rows more; --out FILE writes them all"));
            }
            Ok(told::report(shown, &report, &begun.modes))
        }
    }
}
