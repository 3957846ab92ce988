//! How long does larder take from files on disk to a training set in memory?

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use futures::TryStreamExt;
use larder::arrow::array::RecordBatch;
use larder::memory::{MemoryOnline, MemoryRegistry};
use larder::parquet::ParquetStore;
use larder::{ApplyOptions, DefinitionSet, FeatureStore, ProjectName, Selection, SetName};
use serde_json::{Value, json};

use crate::Result;
use crate::files::{self, Writer};
use crate::shapes::Workload;

/// Tells its times before it writes the answer to a file, which is not part of the work.
pub(crate) fn run(workload: &Workload, result: Option<&Path>, tell: impl FnOnce(&Value)) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = store(workload).await?;
        let base = peak_bytes();

        let start = Instant::now();
        let spine = files::read_whole(&workload.spine())?;
        let spine_seconds = start.elapsed().as_secs_f64();
        let views = workload.views.iter().map(|view| view.name.clone());
        let set = store
            .historical(Selection::features(views))
            .entities(spine)
            .full_names(true);
        let batches: Vec<RecordBatch> = set.run().await?.try_collect().await?;
        let seconds = start.elapsed().as_secs_f64();

        tell(&json!({
            "seconds": seconds,
            "spine_seconds": spine_seconds,
            "rows": batches.iter().map(RecordBatch::num_rows).sum::<usize>(),
            "peak_bytes": peak_bytes(),
            "base_bytes": base,
            "versions": { "larder": env!("CARGO_PKG_VERSION") },
        }));
        match result {
            Some(path) => write(workload, &batches, path),
            None => Ok(()),
        }
    })
}

async fn store(workload: &Workload) -> Result<FeatureStore> {
    let store = FeatureStore::builder(ProjectName::new("pit")?)
        .registry(Arc::new(MemoryRegistry::new()))
        .online(Arc::new(MemoryOnline::new()))
        .offline(Arc::new(ParquetStore::new(&workload.root)))
        .build()?;
    let set = DefinitionSet::from_yaml("pit.yaml", &definitions(workload), SetName::new("pit")?)?;
    store.apply(&set, &ApplyOptions::new().with_offline(true)).await?;
    Ok(store)
}

/// The workload's views as a person would define them.
fn definitions(workload: &Workload) -> String {
    let (mut entities, mut sources, mut views) = (Vec::new(), String::new(), String::new());
    for view in &workload.views {
        let (name, key) = (&view.name, &view.key);
        let entity = format!(
            "  - {{ name: {key}, join_keys: [{{ name: {key}, type: {} }}] }}\n",
            view.key_type
        );
        if !entities.contains(&entity) {
            entities.push(entity);
        }
        let created = view.created.as_ref();
        let created = created.map_or(String::new(), |column| format!(", created_time: {column}"));
        let _ = writeln!(
            sources,
            "  - {{ name: source_{name}, type: parquet, path: {}, event_time: {}{created} }}",
            view.source, view.time,
        );
        let ttl = view
            .ttl_us
            .map_or(String::new(), |ttl| format!(", ttl: {}s", ttl / 1_000_000));
        let _ = writeln!(
            views,
            "  - {{ name: {name}, entities: [{key}], source: source_{name}{ttl}, features: ["
        );
        for feature in &view.features {
            let _ = writeln!(
                views,
                "      {{ name: {}, type: \"{}\" }},",
                feature.name, feature.of
            );
        }
        views.push_str("    ] }\n");
    }
    let entities = entities.concat();
    format!("entities:\n{entities}sources:\n{sources}feature_views:\n{views}")
}

fn write(workload: &Workload, batches: &[RecordBatch], path: &Path) -> Result<()> {
    let mut names = vec!["row_id".to_owned()];
    names.extend(workload.views.iter().flat_map(|view| view.outputs()));
    let mut writer = Writer::new(path, 1_000_000);
    for batch in batches {
        let schema = batch.schema();
        let columns: Vec<usize> = names
            .iter()
            .map(|n| schema.index_of(n))
            .collect::<Result<_, _>>()?;
        writer.write(&batch.project(&columns)?)?;
    }
    writer.finish()
}

/// The most memory that this process ever held, as the system counts it; 0 where it does not say.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
