//! Words that make cases for offline stores short.

use std::path::Path;
use std::sync::Arc;

use arrow_ipc::writer::StreamWriter;
use futures::TryStreamExt;
use larder_core::arrow::array::{Array, RecordBatch, TimestampMicrosecondArray};
use larder_core::convert::{arrow_type, value_at};
use larder_core::model::Source;
use larder_core::{
    EntityRows, Error, HistoricalRead, JoinReport, JoinedBatch, OfflineOptions, OfflineStore, Result,
    SpineFiles, Value, ViewScan,
};

use crate::case::{Options, Stop, Verdict};
use crate::check::{ensure, same, same_value, short};
use crate::fixture::{Loaded, OfflineFixture, SourceTable};
use crate::oracle::{self, Answer};
use crate::table::{Facts, Scenario, View};

/// What a case works on.
pub(crate) struct Cx<'f> {
    pub(crate) fixture: &'f dyn OfflineFixture,
    pub(crate) options: Options,
}

impl Cx<'_> {
    /// A store that holds the tables of a scenario.
    pub(crate) async fn load(&self, scenario: &Scenario) -> Verdict<Loaded> {
        let mut tables = Vec::new();
        for facts in &scenario.tables {
            tables.push(SourceTable::new(facts.source.clone(), facts.batches()?));
        }
        let loaded = self.fixture.load(tables).await?;
        same(
            loaded.sources.len(),
            scenario.tables.len(),
            "sources that the fixture returned",
        )?;
        for (got, want) in loaded.sources.iter().zip(&scenario.tables) {
            let mut got = (**got).clone();
            got.kind.clone_from(&want.source.kind);
            got.options.clone_from(&want.source.options);
            got.store.clone_from(&want.source.store);
            same(
                &got,
                &want.source,
                "the source that the fixture returned, apart from its options",
            )?;
        }
        Ok(loaded)
    }

    /// Loads a scenario, joins it, and compares every row with the oracle.
    pub(crate) async fn check(&self, scenario: &Scenario) -> Verdict {
        let loaded = self.load(scenario).await?;
        let answer = join(&loaded, scenario, &OfflineOptions::default()).await?;
        compare(&loaded.store, scenario, &answer)?;
        if loaded.store.capabilities().entity_files {
            // The same from files, and with no memory to speak of.
            let folder = tempfile::tempdir().map_err(|error| {
                Error::unavailable("a folder for entity rows cannot be made").source(error)
            })?;
            let mut request = scenario.request(&loaded.sources)?;
            request.rows = in_files(&request.rows, folder.path())?;
            let options = OfflineOptions::default()
                .with_memory_limit(Some(1))
                .with_spill_dir(Some(folder.path().to_owned()));
            let answer = answered(&loaded, scenario, request, &options).await?;
            compare(&loaded.store, scenario, &answer)?;
        }
        Ok(())
    }
}

/// What a store answered to a scenario, as single values.
#[derive(Debug, PartialEq)]
pub(crate) struct Answered {
    pub(crate) views: Vec<AnsweredView>,
    pub(crate) report: JoinReport,
}

#[derive(Debug, PartialEq)]
pub(crate) struct AnsweredView {
    /// Per entity row the features.
    pub(crate) rows: Vec<Vec<Value>>,
    /// Per entity row the winner's event time, µs.
    pub(crate) event: Vec<Option<i64>>,
    /// Per entity row the winner's created time, µs.
    pub(crate) created: Vec<Option<i64>>,
}

/// Joins a scenario on the store that holds it.
pub(crate) async fn join(
    loaded: &Loaded,
    scenario: &Scenario,
    options: &OfflineOptions,
) -> Verdict<Answered> {
    answered(loaded, scenario, scenario.request(&loaded.sources)?, options).await
}

/// Entity rows as [`EntityRows::Files`] has them, in two files.
fn in_files(rows: &EntityRows, folder: &Path) -> Result<EntityRows> {
    let EntityRows::Batches { keys, times } = rows else {
        return Ok(rows.clone());
    };
    let failed = |error| Error::internal("entity rows cannot be written to a file").source(error);
    let whole = SpineFiles::batch(keys.clone(), times.clone())?;
    let first = whole.num_rows() / 3;
    let mut paths = Vec::new();
    for (name, batch) in [
        ("first", whole.slice(0, first)),
        ("second", whole.slice(first, whole.num_rows() - first)),
    ] {
        let path = folder.join(name);
        let file = std::fs::File::create(&path)
            .map_err(|error| Error::unavailable("a file of entity rows cannot be made").source(error))?;
        let mut writer = StreamWriter::try_new(file, &batch.schema()).map_err(failed)?;
        writer.write(&batch).map_err(failed)?;
        writer.finish().map_err(failed)?;
        paths.push(path);
    }
    Ok(EntityRows::Files(SpineFiles::new(paths, whole.num_rows() as u64)))
}

async fn answered(
    loaded: &Loaded,
    scenario: &Scenario,
    request: HistoricalRead,
    options: &OfflineOptions,
) -> Verdict<Answered> {
    let scans: Vec<ViewScan> = request.views.iter().map(|view| view.scan.clone()).collect();
    let joined = loaded.store.historical(request, options).await?;
    let report = joined.report.clone();
    let batches: Vec<JoinedBatch> = joined.batches.try_collect().await?;
    let rows: usize = batches.iter().map(|batch| batch.rows).sum();
    same(rows, scenario.spine.times.len(), "rows out, against rows in")?;
    let mut views = Vec::new();
    for (number, scan) in scans.iter().enumerate() {
        let mut view = AnsweredView {
            rows: Vec::new(),
            event: Vec::new(),
            created: Vec::new(),
        };
        for batch in &batches {
            same(batch.views.len(), scans.len(), "views in a batch")?;
            let part = &batch.views[number];
            same(
                part.features.len(),
                scan.features.len(),
                "features of a view in a batch",
            )?;
            for (feature, of) in part.features.iter().zip(&scan.features) {
                same(
                    feature.data_type(),
                    &arrow_type(of.value_type),
                    "the Arrow type of a feature",
                )?;
                same(feature.len(), batch.rows, "rows of a feature column")?;
            }
            view.event.extend(times(&part.event, batch.rows, "event")?);
            view.created.extend(times(&part.created, batch.rows, "created")?);
            for row in 0..batch.rows {
                let features = part.features.iter().zip(&scan.features);
                view.rows.push(
                    features
                        .map(|(column, of)| value_at(column, row, of.value_type))
                        .collect(),
                );
            }
        }
        views.push(view);
    }
    let mut report = report.lock().clone();
    // Two runs never take the same time.
    report.phases.clear();
    Ok(Answered { views, report })
}

fn times(column: &TimestampMicrosecondArray, rows: usize, what: &str) -> Verdict<Vec<Option<i64>>> {
    same(column.len(), rows, &format!("rows of the {what} column"))?;
    let utc = matches!(column.timezone(), Some("UTC" | "+00:00"));
    ensure!(utc, "the {what} column is of type {}", column.data_type());
    Ok(column.iter().collect())
}

/// Fails unless a store answered what the oracle does, row for row, with the same counts.
pub(crate) fn compare(store: &Arc<dyn OfflineStore>, scenario: &Scenario, answered: &Answered) -> Verdict {
    let ordered = store.capabilities().ordered_source;
    same(
        answered.report.views.len(),
        scenario.views.len(),
        "views in the report",
    )?;
    for (number, view) in scenario.views.iter().enumerate() {
        let facts = &scenario.tables[view.table];
        let expected = oracle::join(scenario, view)?;
        let got = &answered.views[number];
        for (row, answer) in expected.answers.iter().enumerate() {
            let mut allowed: Vec<Row> = Vec::new();
            match answer {
                Answer::Winner(tied) => {
                    let last = tied.len().saturating_sub(1);
                    for at in if ordered { &tied[last..] } else { &tied[..] } {
                        allowed.push(source_row(facts, view, *at)?);
                    }
                }
                _ => allowed.push((vec![Value::Null; view.features.len()], None, None)),
            }
            let got = (&got.rows[row], got.event[row], got.created[row]);
            let fits = allowed.iter().any(|(values, event, created)| {
                *event == got.1
                    && *created == got.2
                    && values.iter().zip(got.0).all(|(a, b)| same_value(a, b))
            });
            ensure!(
                fits,
                "row {row} of view `{}` (T = {} us): expected {} {}, got {}",
                view.name,
                scenario.spine.times[row],
                match answer {
                    Answer::Winner(_) => "the row",
                    Answer::Expired => "expired:",
                    Answer::Unmatched => "unmatched:",
                    Answer::NullKey => "a null key:",
                },
                short(&allowed.last()),
                short(&got)
            );
        }
        let report = &answered.report.views[number];
        same(
            report.view.as_str(),
            view.name.as_str(),
            "the view's name in the report",
        )?;
        let [matched, expired, unmatched, null_keys] = expected.counts();
        let what = |counter: &str| format!("the report's `{counter}` of view `{}`", view.name);
        same(report.matched, matched, &what("matched"))?;
        same(report.null_keys, null_keys, &what("null_keys"))?;
        same(report.known_later, expected.known_later, &what("known_later"))?;
        same(report.full_ties, expected.full_ties, &what("full_ties"))?;
        // A store may leave unread what no entity row can use; then it cannot tell expired from unmatched there.
        let exact = report.expired == expired || report.expired == expected.expired_in_reach;
        ensure!(
            exact && report.expired + report.unmatched == expired + unmatched,
            "{}: expected {expired} (or {} within reach) expired and {unmatched} unmatched, got {} and {}",
            what("expired"),
            expected.expired_in_reach,
            report.expired,
            report.unmatched
        );
    }
    Ok(())
}

/// Features, event time and created time of a row of a source.
pub(crate) type Row = (Vec<Value>, Option<i64>, Option<i64>);

pub(crate) fn source_row(facts: &Facts, view: &View, at: usize) -> Verdict<Row> {
    let row = &facts.rows[at];
    let mut values = Vec::new();
    for name in &view.features {
        values.push(row[facts.column(facts.source.column_of(name))?].clone());
    }
    let time = |name: &str| -> Verdict<Option<i64>> {
        Ok(match &row[facts.column(name)?] {
            Value::Timestamp(time) => Some(time.0),
            _ => None,
        })
    };
    let event = time(&facts.source.event_time)?;
    let created = match &facts.source.created_time {
        Some(created) => time(&created.column)?,
        None => None,
    };
    Ok((values, event, created))
}

/// A row that came from a scan.
pub(crate) struct Scanned {
    /// All its values as text, so that rows can be sorted and compared.
    pub(crate) text: String,
    /// Its keys and times as text.
    pub(crate) version: String,
    /// Its tie-break columns in the format that compares as bytes; empty where the source has none.
    pub(crate) tie: Vec<u8>,
}

/// Rows of a scan's schema, which is checked.
pub(crate) fn scanned(scan: &ViewScan, batches: &[RecordBatch]) -> Verdict<Vec<Scanned>> {
    let mut types = Vec::new();
    types.extend(scan.keys.iter().map(|key| key.key.value_type));
    types.extend([larder_core::ValueType::TIMESTAMP; 2]);
    types.extend(scan.features.iter().map(|feature| feature.value_type));
    let has_tie = !scan.source.tie_break.is_empty();
    let mut rows = Vec::new();
    for batch in batches {
        let (schema, want) = (batch.schema(), scan.schema());
        same(schema.fields().len(), want.fields().len(), "columns of a batch")?;
        for (got, want) in schema.fields().iter().zip(want.fields()) {
            same(got.name(), want.name(), "the name of a column")?;
            same(
                got.data_type(),
                want.data_type(),
                &format!("the Arrow type of column `{}`", want.name()),
            )?;
        }
        for row in 0..batch.num_rows() {
            let values = batch.columns().iter().zip(&types);
            let values: Vec<Value> = values.map(|(column, of)| value_at(column, row, *of)).collect();
            let tie = match batch.columns().get(types.len()) {
                Some(column) if has_tie => match value_at(column, row, larder_core::ValueType::BYTES) {
                    Value::Bytes(bytes) => bytes.to_vec(),
                    _ => return Err(Stop::Failed("a row has no tie-break bytes".to_owned())),
                },
                _ => Vec::new(),
            };
            rows.push(Scanned {
                text: format!("{values:?}"),
                version: format!("{:?}", &values[..scan.keys.len() + 2]),
                tie,
            });
        }
    }
    Ok(rows)
}

/// The same text for a row of a scenario's source.
pub(crate) fn scanned_row(facts: &Facts, view: &View, at: usize) -> Verdict<String> {
    let mut values = Vec::new();
    for (name, _) in &view.keys {
        values.push(facts.rows[at][facts.column(facts.source.column_of(name))?].clone());
    }
    let (features, event, created) = source_row(facts, view, at)?;
    let time = |time: Option<i64>| time.map_or(Value::Null, |t| Value::Timestamp(larder_core::Micros(t)));
    values.extend([time(event), time(created)]);
    values.extend(features);
    Ok(format!("{values:?}"))
}

/// A scenario from text that this crate wrote.
pub(crate) fn scenario(text: &str) -> Verdict<Scenario> {
    Scenario::parse(text).map_err(|error| Stop::from(error).during("the case's own text"))
}

/// The only view of a scenario with one table, as a scan.
pub(crate) fn only_scan(scenario: &Scenario, sources: &[Arc<Source>]) -> Verdict<ViewScan> {
    let view = &scenario.views[0];
    Ok(view.scan(&scenario.tables[view.table], &sources[view.table])?)
}
