//! How long does a join on S3 take when every request does, how many requests is it, and how many bytes too many?
//!
//! Needs a server: `LARDER_TEST_S3_ENDPOINT`, `…_BUCKET`, `…_ACCESS_KEY` and `…_SECRET_KEY` say where, as for the tests.
//! `cargo bench -p larder-parquet --features s3 --bench s3 -- [latency in ms] [files] [row groups per file]`

#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]

#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../tests/it/s3/proxy.rs"]
mod proxy;

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use larder_core::arrow::array::*;
use larder_core::model::Source;
use larder_core::{
    BuildContext, ColumnName, EntityRows, FeatureName, HistoricalRead, JoinKey, OfflineOptions, OfflineStore,
    OfflineStoreConfig, Secret, ViewJoin, ViewName, ViewScan, random,
};
use larder_parquet::{ParquetConfig, ParquetStore};
use object_store::aws::AmazonS3Builder;
use object_store::{ObjectStoreExt, PutPayload};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use proxy::{Fault, Proxy};

const FEATURES: usize = 12;
const GROUP_ROWS: usize = 50_000;
const USERS: u64 = 20_000;
const ENTITY_ROWS: usize = 100_000;

fn below(state: &mut u64, n: u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 11) % n
}

fn write(path: &Path, seed: u64, groups: usize) {
    let state = &mut (seed * 7919 + 1);
    let rows = groups * GROUP_ROWS;
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(
        (0..rows).map(|_| below(state, USERS) as i64),
    ));
    let start = seed as i64 * 1_000_000_000;
    let at = (0..rows).map(|_| start + below(state, 1_000_000_000) as i64);
    let at: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values(at).with_timezone("UTC"));
    let mut columns = vec![("id".to_owned(), ids), ("at".to_owned(), at)];
    for feature in 0..FEATURES {
        let values = (0..rows).map(|_| below(state, 1 << 40) as f64);
        columns.push((
            format!("f{feature}"),
            Arc::new(Float64Array::from_iter_values(values)),
        ));
    }
    let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(GROUP_ROWS));
    let file = File::create(path).expect("a file");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties.build())).expect("a writer");
    writer.write(&batch).expect("rows");
    writer.close().expect("a footer");
}

fn request(files: usize) -> HistoricalRead {
    let source = r#"{ "name": "s", "type": "parquet", "path": "s/", "event_time": "at" }"#;
    let source: Arc<Source> = Arc::new(serde_json::from_str(source).expect("a source"));
    let key = JoinKey {
        name: ColumnName::new("id").expect("a name"),
        value_type: "int64".parse().expect("a type"),
    };
    let mut scan = ViewScan::new(ViewName::new("v").expect("a name"), source).key(key, "id");
    for feature in ["f1", "f5", "f9"] {
        let name = FeatureName::new(feature).expect("a name");
        scan = scan.feature(name, "float64".parse().expect("a type"), feature);
    }
    let state = &mut 42;
    let ids = Int64Array::from_iter_values((0..ENTITY_ROWS).map(|_| below(state, USERS) as i64));
    let last = files as u64 * 1_000_000_000;
    let times =
        TimestampMicrosecondArray::from_iter_values((0..ENTITY_ROWS).map(|_| below(state, last) as i64));
    HistoricalRead {
        rows: EntityRows::batches(vec![Arc::new(ids)], times),
        views: vec![ViewJoin::new(scan, vec![0])],
    }
}

/// Seconds and matched rows.
async fn join(store: &dyn OfflineStore, files: usize) -> (f64, u64) {
    let start = Instant::now();
    let mut joined = store
        .historical(request(files), &OfflineOptions::default())
        .await
        .expect("a join");
    while let Some(batch) = joined.batches.next().await {
        batch.expect("a batch");
    }
    let matched = joined.report.lock().views[0].matched;
    (start.elapsed().as_secs_f64(), matched)
}

#[tokio::main]
async fn main() {
    let numbers: Vec<usize> = std::env::args()
        .skip(1)
        .filter_map(|arg| arg.parse().ok())
        .collect();
    let number = |at: usize, default: usize| numbers.get(at).copied().unwrap_or(default);
    let (latency, files, groups) = (number(0, 20), number(1, 16), number(2, 4));
    let Ok(endpoint) = std::env::var("LARDER_TEST_S3_ENDPOINT") else {
        println!("no server: set LARDER_TEST_S3_ENDPOINT and its companions");
        return;
    };
    let get = |name: &str| std::env::var(format!("LARDER_TEST_S3_{name}")).unwrap_or_default();
    let (bucket, access, secret) = (get("BUCKET"), get("ACCESS_KEY"), get("SECRET_KEY"));

    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("s")).expect("a folder");
    let client = AmazonS3Builder::new()
        .with_endpoint(&endpoint)
        .with_bucket_name(&bucket)
        .with_access_key_id(&access)
        .with_secret_access_key(&secret)
        .with_allow_http(true)
        .build()
        .expect("a client");
    let prefix = format!("bench{:016x}", random::u64());
    for file in 0..files {
        let path = folder.path().join(format!("s/{file:03}.parquet"));
        write(&path, file as u64, groups);
        let key = object_store::path::Path::from(format!("{prefix}/s/{file:03}.parquet"));
        let bytes = fs::read(&path).expect("bytes");
        client
            .put(&key, PutPayload::from(bytes))
            .await
            .expect("an upload");
    }

    let local = ParquetStore::new(folder.path());
    let (_, wanted) = join(&local, files).await;
    let (seconds, _) = join(&local, files).await;
    println!("{files} files of {groups} row groups, {ENTITY_ROWS} entity rows, {wanted} matched");
    println!("on disk                       {seconds:7.3} s");
    let explained = local
        .explain(&request(files), &OfflineOptions::default())
        .await
        .expect("a plan");
    let useful = explained.views[0].read.bytes;

    for concurrency in [16, 4, 1] {
        let proxy = Proxy::new(&endpoint, Duration::from_millis(latency as u64), |_| Fault::Pass);
        let mut config = ParquetConfig::new(format!("s3://{bucket}/{prefix}/"));
        config.endpoint = Some(proxy.endpoint());
        config.access_key_id = Some(access.clone());
        config.secret_access_key = Some(Secret::new(secret.clone()));
        config.concurrency = Some(concurrency);
        let store = config
            .build(&BuildContext::new(folder.path()))
            .await
            .expect("a store");
        for run in ["first", "again"] {
            let before = proxy.seen().len();
            let (seconds, matched) = join(&*store, files).await;
            assert_eq!(matched, wanted);
            let seen = &proxy.seen()[before..];
            let data: Vec<_> = seen.iter().filter(|seen| seen.is_data()).collect();
            let bytes: u64 = data.iter().map(|seen| seen.bytes).sum();
            println!(
                "{latency} ms, {concurrency:2} at a time, {run}  {seconds:7.3} s  {:3} GET, {} LIST and HEAD, {:.1} MiB for {:.1} MiB of \
                 column chunks; one after another {:.3} s",
                data.len(),
                seen.len() - data.len(),
                bytes as f64 / f64::from(1 << 20),
                useful as f64 / f64::from(1 << 20),
                seen.len() as f64 * latency as f64 / 1000.0,
            );
        }
    }
}
