//! A feature store as a library: define features once, train without leaks, serve in microseconds.
//!
//! This crate is the facade: it names the backends that its cargo features enable and re-exports
//! everything an application needs.
//!
//! | feature | brings |
//! | --- | --- |
//! | `dynamodb` | `online: { type: dynamodb }`: Amazon DynamoDB; `dynamodb-sso` for sign-in by AWS SSO as well |
//! | `local` (default) | `online: { type: local }`: embedded, durable, one folder |
//! | `parquet` (default) | `offline: { type: parquet }`: Parquet files; brings Arrow |
//! | `postgres` | `online: { type: postgres }`: PostgreSQL |
//! | `redis` | `online: { type: redis }`: Redis and Valkey, standalone, Sentinel, Cluster |
//! | `s3` | Parquet files on S3: `root: s3://bucket/prefix/` |
//! | `object` (default) | `registry: { type: file }`: definitions on a file system |
//! | `offline` | training sets, materialization, push; brings Arrow |
//! | `full` | everything |
//!
//! Stores in memory are always there. Without default features and with `local`, `redis`, `postgres` or `dynamodb` alone
//! there is no Arrow in the build: that is what goes into an inference server.
//!
//! # Example
//! ```
//! # #[cfg(feature = "offline")]
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let store = larder::memory();
//! let definitions = larder::DefinitionSet::from_yaml(
//!     "features.yaml",
//!     r#"
//! entities:
//!   - { name: user, join_keys: [{ name: user_id, type: int64 }] }
//! sources:
//!   - { name: orders, type: memory, event_time: at, timezone: UTC }
//! feature_views:
//!   - { name: user_stats, entities: [user], source: orders, ttl: 7d, features: [{ name: total, type: float64 }] }
//! "#,
//!     larder::SetName::new("docs")?,
//! )?;
//! store.apply(&definitions, &larder::ApplyOptions::new().with_offline(true)).await?;
//!
//! let plan = store.online(larder::Selection::features(["user_stats:total"])).await?;
//! let user = plan.key::<i64>("user_id")?;
//! let total = plan.feature::<f64>("user_stats:total")?;
//! let mut session = plan.session();
//! let answer = session.column(user, &[7]).read(larder::ReadOptions::new()).await?;
//! assert_eq!(answer.get(0, total), larder::Reading::NotFound);
//! # Ok::<(), larder::Error>(())
//! # }).unwrap();
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

mod open;
mod plugins;
#[cfg(feature = "offline")]
pub mod testing;

pub use open::{Open, Serving, memory, open, project, serving};
pub use plugins::plugins;
#[cfg(feature = "offline")]
pub use testing::testing;

#[cfg(not(feature = "offline"))]
pub use larder_base::*;
#[cfg(feature = "offline")]
pub use larder_core::*;
pub use larder_engine::{
    self as engine, AllowAll, Applied, ApplyOptions, AuditEvent, AuditSink, Backfill, Deed, DefinitionSet,
    EntityValues, FeatureStore, FeatureStoreBuilder, Finding, GcOptions, GcReport, Guard, NoAudit,
    OnlinePlan, OutputInfo, Plan, Plugins, Principal, Project, Reading, RunStatus, SavedPlan, Selection,
    Session, Signature, TensorSpec, ViewStatus,
};
#[cfg(feature = "offline")]
pub use larder_engine::{
    Acknowledge, BufferOptions, Compact, CompactedSource, Historical, HistoricalExplanation,
    HistoricalReport, Judged, Manifest, Materialize, MaterializeEvent, MaterializeReport, Preview,
    PreviewReport, Push, PushBuffer, PushEvent, PushPhase, PushReport, PushTarget, PushedSide, Sensitive,
    ShownValue, Split, TrainingSet, Verdict, ViewRun, Why, WhyReport, historical,
};

/// The online store on Amazon DynamoDB.
#[cfg(feature = "dynamodb")]
pub use larder_dynamodb as dynamodb;
/// The online store in one folder.
#[cfg(feature = "local")]
pub use larder_local as local;
/// The registry on files and object stores.
#[cfg(feature = "object")]
pub use larder_object as object;
/// The offline store on Parquet files.
#[cfg(feature = "parquet")]
pub use larder_parquet as parquet;
/// The online store on PostgreSQL.
#[cfg(feature = "postgres")]
pub use larder_postgres as postgres;
/// The online store on Redis and Valkey.
#[cfg(feature = "redis")]
pub use larder_redis as redis;
