//! The contract of the larder feature store, without Arrow: what everything else agrees on.
//!
//! - [`model`]: what users define (entities, sources, views, services, models);
//! - [`keys`] and [`row`]: how entities and values become bytes;
//! - [`OnlineStore`], [`Registry`], [`Ledger`]: what backends implement;
//! - [`FeatureBlock`]: where a read puts its answer;
//! - [`plugin`]: how backends join an application;
//! - [`memory`]: stores in memory, the reference for all others.
//!
//! Times are [`Micros`]: signed 64-bit microseconds since the Unix epoch, UTC. Errors are
//! [`Error`]: one word, with a kind chosen by what the caller does next.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod block;
pub mod clock;
pub mod error;
pub mod keys;
pub mod layout;
pub mod ledger;
pub mod memory;
pub mod model;
pub mod names;
pub mod online;
pub mod plugin;
pub mod random;
pub mod registry;
pub mod row;
pub mod secret;
pub mod size;
pub mod snapshot;
pub mod time;
pub mod types;
pub mod value;

pub use block::{FeatureBlock, RowStatus};
pub use clock::{Clock, SystemClock, VirtualClock};
pub use error::{Diagnostic, Error, ErrorKind, Place, Result};
pub use keys::{EntityKeys, JoinKey};
pub use layout::{Generation, Slot, ViewLayout};
pub use ledger::{Interval, Ledger, RunRecord, RunState};
pub use names::{
    ColumnName, EntityName, FeatureName, ModelName, ProjectName, ServiceName, SetName, SourceName, StoreName,
    ViewName,
};
pub use online::{
    Health, KeyGroup, LayoutChanges, OnPartial, OnlineCapabilities, OnlineDelete, OnlineRead, OnlineScan,
    OnlineStore, OnlineWrite, ReadFuture, ReadOptions, ReadShape, ReclaimReport, ScannedRow, StoreIdentity,
    ViewRead, WriteOptions, WriteReport, WriteRule,
};
pub use plugin::{BuildContext, Plugin, Role};
pub use registry::{Loaded, Registry};
pub use row::{Cell, PackedRows, RowRef, SlotCell};
pub use secret::Secret;
pub use size::ByteSize;
pub use snapshot::{
    Action, Change, ChangeSet, Commit, CommitId, Record, Retired, Snapshot, SnapshotDocument, Version,
};
pub use time::{Micros, Span};
pub use types::{ScalarType, ValueType};
pub use value::Value;

// So that plugins need no dependency of their own on a version that could differ. typetag's macro
// names its crate, so it is used with `use larder_base::typetag;` in scope.
pub use {async_trait, inventory, typetag};
