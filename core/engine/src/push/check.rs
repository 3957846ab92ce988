//! Which rows can be pushed, and why not the others? Pure: a batch in, verdicts out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use larder_base::{Diagnostic, EntityKeys, Error, ErrorKind, JoinKey, Micros, Result};
use larder_core::ViewScan;
use larder_core::arrow::array::{
    Array, ArrayRef, BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use larder_core::arrow::compute::filter::filter_record_batch;
use larder_core::arrow::datatypes::{Field, Schema};
use larder_core::convert::{SourceColumns, encode_keys};

use super::{Job, RefusedRow};

/// What messages call the rows.
pub(super) const PLACE: &str = "the rows to push";

/// Bad rows that an error shows.
pub(super) const SHOWN: usize = 20;

/// The columns of a source that it or its views use.
pub(super) fn columns(scans: &[ViewScan]) -> BTreeSet<String> {
    let of_scan = |scan: &ViewScan| {
        let source = &scan.source;
        let keys = scan.keys.iter().map(|key| key.column.clone());
        let created = source.created_time.iter().map(|created| created.column.clone());
        let features = scan.features.iter().map(|feature| feature.column.clone());
        let times = std::iter::once(source.event_time.clone()).chain(created);
        let all = keys.chain(times).chain(source.tie_break.iter().cloned());
        all.chain(features).collect::<Vec<_>>()
    };
    scans.iter().flat_map(of_scan).collect()
}

/// What to say of columns that nobody takes: the name of one that somebody was meant to take may be mistyped.
pub(super) fn ignored(rows: &Schema, job: &Job, history: Option<&ViewScan>) -> Option<String> {
    let history = history.map(|scan| columns(std::slice::from_ref(scan)));
    let is_taken = |name: &String| {
        let kept = history.as_ref().is_some_and(|columns| columns.contains(name));
        kept || job.known.contains(name)
    };
    let names = rows.fields().iter().map(|field| field.name());
    let names: Vec<String> = names
        .filter(|name| !is_taken(name))
        .map(|name| format!("`{name}`"))
        .collect();
    let source = &job.scans[0].source.name;
    let whose = match history {
        Some(_) => format!("neither a feature view of source `{source}` nor its history has them"),
        None => format!("no feature view of source `{source}` has them"),
    };
    (!names.is_empty()).then(|| format!("columns were ignored: {}; {whose}", names.join(", ")))
}

/// Gives rows without a created time the present one, before any store sees them.
pub(super) fn stamp_created(rows: &RecordBatch, scan: &ViewScan, now: Micros) -> Result<RecordBatch> {
    let Some(created) = &scan.source.created_time else {
        return Ok(rows.clone());
    };
    let stamps = match rows.column_by_name(&created.column) {
        None => TimestampMicrosecondArray::from(vec![now.0; rows.num_rows()]),
        Some(column) if column.null_count() == 0 => return Ok(rows.clone()),
        Some(_) => {
            let known = SourceColumns::new(scan)?.created(rows, PLACE)?;
            let known = known.ok_or_else(|| Error::internal("a created time that is there is missing"))?;
            known.iter().map(|time| Some(time.unwrap_or(now.0))).collect()
        }
    };
    let (schema, mut columns, _) = rows.clone().into_parts();
    let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
    if let Some((index, _)) = schema.column_with_name(&created.column) {
        fields.remove(index);
        columns.remove(index);
    }
    let stamps: ArrayRef = Arc::new(stamps.with_timezone("UTC"));
    fields.push(Arc::new(Field::new(
        &created.column,
        stamps.data_type().clone(),
        true,
    )));
    columns.push(stamps);
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|error| Error::internal("created times could not be added").source(error))
}

/// Every bad row with its reason. Missing columns and wrong types are errors of the whole batch.
pub(super) fn refuse(rows: &RecordBatch, scans: &[ViewScan], latest: Micros) -> Result<Vec<RefusedRow>> {
    let mut reasons: BTreeMap<usize, String> = BTreeMap::new();
    for scan in scans {
        let columns = SourceColumns::new(scan)?;
        let place = PLACE;
        columns.check(rows.schema_ref(), place)?;
        let event = columns.event(rows, place)?;
        let created = columns.created(rows, place)?;
        let keys = columns.keys(rows, place)?;
        columns.features(rows, place)?;
        let join_keys: Vec<JoinKey> = scan.keys.iter().map(|key| key.key.clone()).collect();
        let mut encoded = EntityKeys::new();
        // One look at all rows; only where a key cannot be encoded, row by row.
        let all_fit = encode_keys(&join_keys, &keys, rows.num_rows(), &mut encoded).is_ok();
        let fits = |row: usize| {
            let key: Vec<ArrayRef> = keys.iter().map(|column| column.slice(row, 1)).collect();
            encode_keys(&join_keys, &key, 1, &mut EntityKeys::new())
        };
        for row in 0..rows.num_rows() {
            let null_key = scan
                .keys
                .iter()
                .zip(&keys)
                .find(|(_, column)| column.is_null(row));
            let reason = if let Some((key, _)) = null_key {
                format!("join key `{}` is null", key.key.name)
            } else if event.is_null(row) {
                format!("event time `{}` is null", scan.source.event_time)
            } else if event.value(row) > latest.0 {
                format!("event time {} is in the future", Micros(event.value(row)))
            } else if let Some(created) = created
                .as_ref()
                .filter(|times| times.is_valid(row) && times.value(row) > latest.0)
            {
                format!("created time {} is in the future", Micros(created.value(row)))
            } else if !all_fit && let Err(error) = fits(row) {
                error.message().to_owned()
            } else {
                continue;
            };
            reasons.entry(row).or_insert(reason);
        }
    }
    Ok(reasons
        .into_iter()
        .map(|(row, reason)| RefusedRow { row, reason })
        .collect())
}

/// More refused rows, whose places are counted among those that were not refused so far.
pub(super) fn besides(refused: Vec<RefusedRow>, more: Vec<RefusedRow>, rows: usize) -> Vec<RefusedRow> {
    let mut kept = vec![true; rows];
    refused.iter().for_each(|bad| kept[bad.row] = false);
    let kept: Vec<usize> = (0..rows).filter(|row| kept[*row]).collect();
    let more = more.into_iter().map(|bad| RefusedRow {
        row: kept[bad.row],
        reason: bad.reason,
    });
    let mut all: Vec<RefusedRow> = refused.into_iter().chain(more).collect();
    all.sort_by_key(|bad| bad.row);
    all
}

/// The error of a push without a dead letter: how many rows are bad, and the first of them.
pub(super) fn refusal(shown: &[RefusedRow], refused: u64, rows: u64) -> Error {
    let shown = shown
        .iter()
        .take(SHOWN)
        .map(|bad| Diagnostic::new(format!("row {}: {}", bad.row, bad.reason)));
    let more = if refused > SHOWN as u64 {
        format!("; {SHOWN} are told")
    } else {
        String::new()
    };
    let what = format!("the {rows} rows to push ({refused} bad{more})");
    Error::from_diagnostics(ErrorKind::Input, &what, shown.collect())
        .help("nothing was written; mend the rows, or set them aside with `--dead-letter FILE`; rows are counted from 0")
}

/// The rows that were not refused.
pub(super) fn keep(rows: &RecordBatch, refused: &[RefusedRow]) -> Result<RecordBatch> {
    if refused.is_empty() {
        return Ok(rows.clone());
    }
    let mut mask = vec![true; rows.num_rows()];
    refused.iter().for_each(|bad| mask[bad.row] = false);
    filter_record_batch(rows, &BooleanArray::from(mask))
        .map_err(|error| Error::internal("rows could not be set aside").source(error))
}

/// Those that were, with a column `reason`.
pub(super) fn dead(rows: &RecordBatch, refused: &[RefusedRow]) -> Result<RecordBatch> {
    let mut mask = vec![false; rows.num_rows()];
    refused.iter().for_each(|bad| mask[bad.row] = true);
    let bad = filter_record_batch(rows, &BooleanArray::from(mask))
        .map_err(|error| Error::internal("rows could not be set aside").source(error))?;
    let reasons: StringArray = refused.iter().map(|bad| Some(bad.reason.as_str())).collect();
    let (schema, mut columns, _) = bad.into_parts();
    let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("reason", reasons.data_type().clone(), false)));
    columns.push(Arc::new(reasons));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|error| Error::internal("rows could not be set aside").source(error))
}
