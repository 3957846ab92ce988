//! P6: how much longer does a load take than parsing the same bytes as JSON?
//!
//! `cargo bench -p larder-object`: 1,000 views of 10 features, 500 services; medians in ms.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use larder_base::model::{Kind, ObjectId};
use larder_base::{
    ChangeSet, Generation, Loaded, Micros, ProjectName, Record, Registry, Slot, Version, ViewLayout,
};
use larder_object::ObjectRegistry;
use serde_json::{Value, json};

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let place = tempfile::tempdir().expect("a folder");
    let registry = ObjectRegistry::in_folder(place.path()).expect("a registry");
    let project = ProjectName::new("bench").expect("a name");
    let changes = changes(&project);

    let started = Instant::now();
    runtime
        .block_on(registry.commit(&project, Version(0), &changes))
        .expect("a commit");
    println!("commit        {:>8.2}", ms(started.elapsed()));

    let file = place.path().join("bench/v/00000000000000000001.json");
    let (mut bare, mut load, mut refresh) = (Vec::new(), Vec::new(), Vec::new());
    let size = std::fs::metadata(&file).expect("the version").len();
    for _ in 0..31 {
        let started = Instant::now();
        let bytes = std::fs::read(&file).expect("the version");
        let value: Value = serde_json::from_slice(&bytes).expect("JSON");
        bare.push(started.elapsed());
        drop(black_box(value));

        let started = Instant::now();
        let loaded = runtime
            .block_on(registry.load(&project, None, Duration::ZERO))
            .expect("a load");
        load.push(started.elapsed());
        assert!(matches!(loaded, Loaded::Changed(_)));
        drop(black_box(loaded));

        let started = Instant::now();
        let same = runtime
            .block_on(registry.load(&project, Some(Version(1)), Duration::ZERO))
            .expect("a load");
        refresh.push(started.elapsed());
        assert!(matches!(same, Loaded::Unchanged));
    }
    let best = |times: &[Duration]| times.iter().min().map_or(0.0, Duration::as_secs_f64);
    let best = best(&load) / best(&bare);
    let (bare, load, refresh) = (median(bare), median(load), median(refresh));
    println!("bytes         {size:>8}");
    println!("read + parse  {:>8.2}", ms(bare));
    println!(
        "load          {:>8.2}  {:.2}x",
        ms(load),
        load.as_secs_f64() / bare.as_secs_f64()
    );
    println!("unchanged     {:>8.3}", ms(refresh));
    println!("the best of each: {best:.2}x");
}

fn changes(project: &ProjectName) -> ChangeSet {
    let set = project.default_set();
    let record = |kind: Kind, name: &str, spec: Value| Record {
        id: ObjectId::new(kind, name),
        set: set.clone(),
        revision: 1,
        min_writer: 1,
        spec: spec.into(),
    };
    let mut changes = ChangeSet::new(Micros(0), "bench", "everything");
    let key = json!([{"name": "user_id", "type": "int64"}]);
    changes.puts.push(record(
        Kind::Entity,
        "user",
        json!({"name": "user", "join_keys": key}),
    ));
    for i in 0..1_000_u32 {
        let (source, view) = (format!("source_{i}"), format!("view_{i}"));
        changes.puts.push(record(
            Kind::Source,
            &source,
            json!({"name": source, "type": "parquet", "path": format!("data/{i}/*.parquet"), "event_time": "event_time",
                "created_time": "created_at", "owner": "team@example.com"}),
        ));
        let features: Vec<Value> = (0..10)
            .map(|f| json!({"name": format!("feature_{f}"), "type": "float32"}))
            .collect();
        changes.puts.push(record(
            Kind::FeatureView,
            &view,
            json!({"name": view, "entities": ["user"], "source": source, "ttl": "7d", "features": features,
                "description": "a view of ten features", "owner": "team@example.com", "tags": {"tier": "gold"}}),
        ));
        let slots = (0..10).map(|f| {
            Slot::new(
                format!("feature_{f}").parse().expect("a name"),
                "float32".parse().expect("a type"),
            )
        });
        let keys = serde_json::from_value(key.clone()).expect("keys");
        let view = view.parse().expect("a name");
        changes.layouts.push(ViewLayout::new(
            project.clone(),
            view,
            Generation(i),
            keys,
            slots.collect(),
        ));
    }
    for i in 0..500_u32 {
        let name = format!("service_{i}");
        let items: Vec<Value> = (0..5)
            .map(|f| json!({"view": format!("view_{}", i * 2), "features": [format!("feature_{f}")]}))
            .collect();
        changes.puts.push(record(
            Kind::FeatureService,
            &name,
            json!({"name": name, "features": items, "owner": "team@example.com"}),
        ));
    }
    changes
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
