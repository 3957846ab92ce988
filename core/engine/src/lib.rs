//! The engine of the larder feature store: [`FeatureStore`] and its five flows.
//!
//! ```text
//!  apply        definitions -> Registry::load -> plan (pure) -> OnlineStore::prepare -> Registry::commit
//!  historical   selection -> entity rows -> OfflineStore::historical (each) -> zip, defaults -> batches
//!  materialize  coverage - ledger (pure) -> OfflineStore::latest -> shape -> OnlineStore::write -> ledger
//!  online       prepared plan -> keys -> OnlineStore::read (once per store) -> status, defaults -> values
//!  push         rows -> shape -> OfflineStore::append and/or OnlineStore::write -> report
//! ```
//!
//! Each flow is one file that reads top to bottom; what it decides is computed by pure functions
//! beside it. The engine knows no store: it is given them.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod apply;
#[cfg(feature = "offline")]
mod compact;
pub mod config;
mod coverage;
pub mod definitions;
mod delete;
mod doctor;
mod fingerprint;
mod gc;
mod guard;
#[cfg(feature = "offline")]
pub mod historical;
mod history;
#[cfg(feature = "offline")]
mod ingest;
mod items;
pub mod layers;
mod lazy;
#[cfg(feature = "offline")]
pub mod materialize;
pub mod online;
#[cfg(feature = "offline")]
mod outputs;
#[cfg(feature = "offline")]
pub mod preview;
#[cfg(feature = "offline")]
pub mod push;
mod ready;
#[cfg(feature = "offline")]
mod scan;
pub mod selection;
#[cfg(feature = "offline")]
mod sensitive;
mod status;
mod store;
#[cfg(feature = "offline")]
pub mod why;
#[cfg(feature = "offline")]
mod writes;
pub mod yaml;

pub use apply::{Applied, ApplyOptions, Backfill, Plan, SavedPlan};
#[cfg(feature = "offline")]
pub use compact::{Compact, CompactedSource};
pub use config::{HistoricalConfig, Plugins, Project};
pub use definitions::DefinitionSet;
pub use delete::EntityValues;
pub use doctor::Finding;
pub use gc::{GcOptions, GcReport};
pub use guard::{AllowAll, AuditEvent, AuditSink, Deed, Guard, NoAudit, Principal};
#[cfg(feature = "offline")]
pub use historical::{Historical, HistoricalExplanation, HistoricalReport, Manifest, Split, TrainingSet};
#[cfg(feature = "offline")]
pub use materialize::{Materialize, MaterializeEvent, MaterializeReport, ViewRun};
pub use online::{OnlinePlan, OutputInfo, Reading, Session, Signature, TensorSpec};
#[cfg(feature = "offline")]
pub use preview::{Preview, PreviewReport};
#[cfg(feature = "offline")]
pub use push::{
    Acknowledge, BufferOptions, Judged, Push, PushBuffer, PushEvent, PushPhase, PushReport, PushTarget,
    PushedSide, PushedView, RefusedRow,
};
pub use selection::Selection;
#[cfg(feature = "offline")]
pub use sensitive::{Sensitive, ShownValue};
pub use status::{RunStatus, ViewStatus};
pub use store::{FeatureStore, FeatureStoreBuilder};
#[cfg(feature = "offline")]
pub use why::{Verdict, Why, WhyReport};
