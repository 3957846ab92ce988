//! How is the data of a workload made? Once, with a fixed seed, into files that later runs find again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use larder::arrow::array::*;

use crate::Result;
use crate::columns::{ALL_TYPES, Random, instants, values};
use crate::files::Writer;
use crate::shapes::{Column, DAY, Data, START, Shape, Users, View, Workload};
use crate::taxi;

pub(crate) const SEED: u64 = 42;
/// Part of every folder's name: raise it when the data changes.
const VERSION: u32 = 3;
/// Rows per row group of entity rows: enough groups for an engine that decodes them side by side.
pub(crate) const SPINE_GROUP: usize = 250_000;
const DAYS: i64 = 90;
const BATCH: usize = 100_000;

/// Writes the data of a shape, all row counts divided by `divisor`; returns the workload's description.
pub(crate) fn workload(folder: &Path, shape: Shape, divisor: usize) -> Result<PathBuf> {
    let root = folder.join(format!("v{VERSION}"));
    std::fs::create_dir_all(&root)?;
    let root = root.canonicalize()?;
    let mut workload = match shape.data {
        Data::Users(users) => {
            let users = Users {
                entity_rows: users.entity_rows / divisor,
                source_rows: users.source_rows / divisor,
                ..users
            };
            users_workload(&root, &users)?
        }
        Data::Taxi(millions) => taxi::workload(&root, millions * 1_000_000 / divisor)?,
    };
    workload.name = shape.name.to_owned();
    workload.root = root.display().to_string();
    let path = root.join(format!("{}-{divisor}.json", shape.name));
    std::fs::write(&path, serde_json::to_string_pretty(&workload)?)?;
    workload.warm()?;
    Ok(path)
}

fn users_workload(root: &Path, shape: &Users) -> Result<Workload> {
    let features: Vec<Column> = match shape.all_types {
        true => ALL_TYPES
            .iter()
            .map(|(name, of)| Column::new(*name, *of))
            .collect(),
        false => (0..shape.features)
            .map(|at| Column::new(format!("f{at}"), "float64"))
            .collect(),
    };
    let kind = match shape {
        Users { skewed: true, .. } => "skewed",
        Users { by_day: true, .. } => "days",
        Users { all_types: true, .. } => "types",
        _ => "even",
    };
    let mut views = Vec::new();
    for at in 0..shape.views {
        let groups = shape.group_rows.min(shape.source_rows);
        let source = format!(
            "source-{kind}-{}-{}-{groups}-{at}",
            shape.source_rows,
            features.len()
        );
        source_files(&root.join(&source), &source, shape, &features)?;
        views.push(View {
            name: format!("v{at}"),
            source,
            key: "user_id".to_owned(),
            key_type: if shape.all_types { "string" } else { "int64" }.to_owned(),
            time: "event_timestamp".to_owned(),
            created: Some("created".to_owned()),
            ttl_us: Some(if shape.by_day { DAY } else { 7 * DAY }),
            features: features.clone(),
        });
    }
    let spine = format!("entity-{kind}-{}-{}.parquet", shape.entity_rows, users(shape));
    spine_file(&root.join(&spine), &spine, shape)?;
    Ok(Workload {
        name: String::new(),
        entity_rows: shape.entity_rows,
        source_rows: shape.source_rows,
        root: String::new(),
        spine,
        window: shape.by_day.then(|| {
            let (from, until) = spine_times(shape);
            [from - DAY, until]
        }),
        views,
    })
}

/// Number of distinct users.
fn users(shape: &Users) -> u64 {
    (shape.source_rows as u64 / 100).max(1)
}

/// First and last time of the entity rows.
fn spine_times(shape: &Users) -> (i64, i64) {
    match shape.by_day {
        true => (START + 12 * DAY, START + 15 * DAY),
        false => (START + 7 * DAY, START + DAYS * DAY),
    }
}

fn user(shape: &Users, random: &mut Random) -> i64 {
    let users = users(shape);
    if !shape.skewed {
        return random.below(users) as i64;
    }
    // User 0 takes a fifth; the cube gives the next ones far more than the last.
    if random.below(5) == 0 {
        return 0;
    }
    (random.unit().powi(3) * users as f64) as i64
}

fn key_column(shape: &Users, ids: &[i64]) -> ArrayRef {
    match shape.all_types {
        false => Arc::new(Int64Array::from(ids.to_vec())),
        true => Arc::new(StringArray::from_iter_values(
            ids.iter().map(|id| format!("user-{id:09}")),
        )),
    }
}

fn spine_file(path: &Path, name: &str, shape: &Users) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let mut random = Random::new(SEED, name);
    let (from, until) = spine_times(shape);
    let mut writer = Writer::new(path, SPINE_GROUP);
    for first in (0..shape.entity_rows).step_by(BATCH) {
        let rows = BATCH.min(shape.entity_rows - first);
        let mut ids: Vec<i64> = (0..rows).map(|_| user(shape, &mut random)).collect();
        let mut times: Vec<i64> = (0..rows)
            .map(|_| from + random.below((until - from) as u64) as i64)
            .collect();
        // 3 % are of users without features, 1 % ask again for the user and time of the row before.
        for row in (33..rows).step_by(33) {
            ids[row] += users(shape) as i64;
        }
        for row in (100..rows).step_by(100) {
            ids[row] = ids[row - 1];
            times[row] = times[row - 1];
        }
        let labels = Float64Array::from_iter_values((0..rows).map(|_| random.below(2) as f64));
        let row_ids = Int64Array::from_iter_values((first..first + rows).map(|row| row as i64));
        writer.write(&RecordBatch::try_from_iter([
            ("row_id", Arc::new(row_ids) as ArrayRef),
            ("user_id", key_column(shape, &ids)),
            ("event_timestamp", instants(times)),
            ("label", Arc::new(labels)),
        ])?)?;
    }
    writer.finish()
}

fn source_files(folder: &Path, name: &str, shape: &Users, features: &[Column]) -> Result<()> {
    let per_file = shape.source_rows / shape.files;
    for file in 0..shape.files {
        let path = folder.join(format!("{file:03}.parquet"));
        if path.exists() {
            continue;
        }
        let mut random = Random::new(SEED + file as u64, name);
        let (from, span) = match shape.by_day {
            true => (START + file as i64 * DAY, DAY),
            false => (START, DAYS * DAY),
        };
        let mut writer = Writer::new(&path, shape.group_rows);
        let mut left = per_file;
        while left > 0 {
            let rows = left.min(BATCH);
            left -= rows;
            let mut ids: Vec<i64> = (0..rows).map(|_| user(shape, &mut random)).collect();
            let mut times: Vec<i64> = (0..rows)
                .map(|_| from + random.below(span as u64) as i64)
                .collect();
            // 2 % repeat the key and time of the row before, with another created time.
            for row in (50..rows).step_by(50) {
                times[row] = times[row - 1];
                ids[row] = ids[row - 1];
            }
            // Written up to two days after the event.
            let created = times
                .iter()
                .map(|time| time + random.below(2 * DAY as u64) as i64)
                .collect();
            let mut columns = vec![
                ("user_id".to_owned(), key_column(shape, &ids)),
                ("event_timestamp".to_owned(), instants(times)),
                ("created".to_owned(), instants(created)),
            ];
            for feature in features {
                let column = values(&feature.of, rows, shape.all_types, &mut random)?;
                columns.push((feature.name.clone(), column));
            }
            writer.write(&RecordBatch::try_from_iter_with_nullable(
                columns.into_iter().map(|(name, column)| (name, column, true)),
            )?)?;
        }
        writer.finish()?;
    }
    Ok(())
}
