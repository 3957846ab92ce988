//! A source on S3 and the same on disk, and a store for each.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use larder_core::arrow::array::*;
use larder_core::model::Source;
use larder_core::{
    BuildContext, EntityRows, HistoricalRead, JoinReport, JoinedView, OfflineOptions, OfflineStore,
    OfflineStoreConfig, Result, Secret, Span, ViewJoin, random,
};
use larder_parquet::{ParquetConfig, ParquetStore};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{ObjectStoreExt, PutPayload};
use serde_json::json;

use super::proxy::{Fault, Proxy, Seen};
use crate::common::{Rng, batch, joined, micros, plain, scan, source, write_with};

/// The server that `cargo xtask test --only s3` starts.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) endpoint: String,
    pub(crate) bucket: String,
    access: String,
    secret: String,
}

impl Server {
    pub(crate) fn of_environment() -> Self {
        let get = |name: &str| {
            let name = format!("LARDER_TEST_S3_{name}");
            std::env::var(&name)
                .unwrap_or_else(|_| panic!("{name} is not set: cargo xtask test --only s3 sets it"))
        };
        Self {
            endpoint: get("ENDPOINT"),
            bucket: get("BUCKET"),
            access: get("ACCESS_KEY"),
            secret: get("SECRET_KEY"),
        }
    }

    /// A client past all proxies.
    pub(crate) fn client(&self) -> AmazonS3 {
        AmazonS3Builder::new()
            .with_endpoint(&self.endpoint)
            .with_bucket_name(&self.bucket)
            .with_access_key_id(&self.access)
            .with_secret_access_key(&self.secret)
            .with_allow_http(true)
            .build()
            .unwrap()
    }

    /// Options of a store below a prefix.
    pub(crate) fn config(&self, prefix: &str) -> ParquetConfig {
        let mut config = ParquetConfig::new(format!("s3://{}/{prefix}", self.bucket));
        config.endpoint = Some(self.endpoint.clone());
        config.access_key_id = Some(self.access.clone());
        config.secret_access_key = Some(Secret::new(self.secret.clone()));
        // Tests shall not wait for minutes.
        config.request_timeout = Some(Span::seconds(5));
        config.retry_timeout = Some(Span::seconds(20));
        config
    }

    pub(crate) async fn put(&self, key: &str, bytes: Vec<u8>) {
        let path = object_store::path::Path::parse(key).unwrap();
        self.client().put(&path, PutPayload::from(bytes)).await.unwrap();
    }

    /// Uploads a folder.
    pub(crate) async fn upload(&self, folder: &Path, prefix: &str) {
        let client = self.client();
        let mut open = vec![folder.to_path_buf()];
        while let Some(at) = open.pop() {
            for entry in fs::read_dir(&at).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                    continue;
                }
                let below = path
                    .strip_prefix(folder)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .replace('\\', "/");
                let key = object_store::path::Path::parse(format!("{prefix}{below}")).unwrap();
                client
                    .put(&key, PutPayload::from(fs::read(&path).unwrap()))
                    .await
                    .unwrap();
            }
        }
    }
}

pub(crate) fn prefix() -> String {
    format!("t{:016x}/", random::u64())
}

pub(crate) async fn built(config: &ParquetConfig) -> Arc<dyn OfflineStore> {
    config.build(&BuildContext::new("/nowhere")).await.unwrap()
}

/// A source of several files with several row groups, on disk and on S3.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) prefix: String,
    pub(crate) local: ParquetStore,
    pub(crate) source: Arc<Source>,
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) const FILES: usize = 6;
const ROWS: usize = 4_000;
const KEYS: u64 = 300;

/// The columns of one file.
pub(crate) fn file(seed: u64) -> RecordBatch {
    let mut rng = Rng::new(seed);
    let times: Vec<i64> = (0..ROWS).map(|_| rng.below(1_000_000) as i64).collect();
    let ids: Vec<i64> = (0..ROWS).map(|_| rng.below(KEYS) as i64).collect();
    let text: Vec<String> = (0..ROWS)
        .map(|_| format!("{:x}", rng.below(u64::MAX >> 11)))
        .collect();
    batch(vec![
        ("id", Arc::new(Int64Array::from(ids))),
        ("at", micros(times.iter().copied())),
        ("written", micros(times.iter().map(|time| time + 7))),
        (
            "total",
            Arc::new(
                times
                    .iter()
                    .map(|time| Some(*time as f64 / 3.0))
                    .collect::<Float64Array>(),
            ),
        ),
        (
            "unread",
            Arc::new(
                times
                    .iter()
                    .rev()
                    .map(|time| Some(time * 31))
                    .collect::<Int64Array>(),
            ),
        ),
        ("text", Arc::new(StringArray::from(text))),
    ])
}

impl World {
    pub(crate) async fn new() -> Self {
        let server = Server::of_environment();
        let folder = tempfile::tempdir().unwrap();
        for at in 0..FILES {
            let path = folder
                .path()
                .join(format!("events/dt=2024-01-0{}/part-{at}.parquet", 1 + at % 2));
            let properties = plain()
                .set_max_row_group_row_count(Some(ROWS / 4))
                .set_data_page_row_count_limit(200)
                .set_write_batch_size(100);
            write_with(&path, &file(at as u64 + 1), properties);
        }
        fs::write(folder.path().join("events/_SUCCESS"), b"").unwrap();
        fs::write(folder.path().join("events/README.txt"), b"not data").unwrap();
        let prefix = prefix();
        server.upload(folder.path(), &prefix).await;
        let source = source(json!({
            "name": "events", "type": "parquet", "path": "events/", "event_time": "at",
            "created_time": "written", "timezone": "UTC",
        }));
        Self {
            local: ParquetStore::new(folder.path()),
            server,
            prefix,
            source,
            folder,
        }
    }

    /// A store on S3.
    pub(crate) async fn remote(&self) -> Arc<dyn OfflineStore> {
        built(&self.server.config(&self.prefix)).await
    }

    /// A store that reaches S3 through a proxy, with more options.
    pub(crate) async fn through(
        &self,
        proxy: &Proxy,
        change: impl FnOnce(&mut ParquetConfig),
    ) -> Arc<dyn OfflineStore> {
        let mut config = self.server.config(&self.prefix);
        config.endpoint = Some(proxy.endpoint());
        change(&mut config);
        built(&config).await
    }

    pub(crate) fn proxy(&self, rule: impl FnMut(&Seen) -> Fault + Send + 'static) -> Proxy {
        Proxy::new(&self.server.endpoint, Duration::ZERO, rule)
    }

    /// A join of two views, one with few winners.
    pub(crate) fn request(&self) -> HistoricalRead {
        let mut rng = Rng::new(99);
        let rows = 2_000;
        let ids: Vec<i64> = (0..rows).map(|_| rng.below(KEYS + 20) as i64).collect();
        let times: Vec<i64> = (0..rows).map(|_| rng.below(1_100_000) as i64).collect();
        let keys: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(ids))];
        let view = |features: &[(&str, &str)]| {
            ViewJoin::new(scan(&self.source, &[("id", "int64")], features), vec![0])
        };
        HistoricalRead {
            rows: EntityRows::batches(keys, TimestampMicrosecondArray::from(times)),
            views: vec![
                view(&[("total", "float64"), ("dt", "date")]),
                view(&[("text", "string")]).with_ttl(Some(Span(20_000))),
            ],
        }
    }

    pub(crate) async fn join(&self, store: &dyn OfflineStore) -> Result<(Vec<JoinedView>, JoinReport)> {
        joined(store, self.request(), &OfflineOptions::default()).await
    }

    /// Refuses an answer that is not that of the files on disk.
    pub(crate) async fn assert_same(&self, answer: &(Vec<JoinedView>, JoinReport)) {
        let local = self.join(&self.local).await.unwrap();
        assert_eq!(answer.1.views, local.1.views);
        assert!(local.1.views.iter().all(|view| view.matched > 0), "{:?}", local.1);
        for (found, wanted) in answer.0.iter().zip(&local.0) {
            assert_eq!(found.features, wanted.features);
            assert_eq!(found.event, wanted.event);
            assert_eq!(found.created, wanted.created);
        }
        assert_eq!(answer.0.len(), local.0.len());
    }
}
