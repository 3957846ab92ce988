//! What the suite needs to know of a store to run on it.

use std::sync::Arc;

use async_trait::async_trait;
use larder_core::arrow::array::RecordBatch;
use larder_core::model::Source;
use larder_core::{OfflineStore, OnlineStore, Registry, Result};

/// An online store under test.
#[async_trait]
pub trait OnlineFixture: Send + Sync {
    /// The store's name in the report.
    fn name(&self) -> String;

    /// A handle onto the data, the same data each time: for a durable store as if the process had been started again,
    /// for a store in memory the same object.
    async fn open(&self) -> Result<Arc<dyn OnlineStore>>;

    /// Forgets all data, identity included. Called before each case, when no handle is held any more.
    async fn wipe(&self) -> Result<()>;
}

/// A registry under test, with its ledger.
#[async_trait]
pub trait RegistryFixture: Send + Sync {
    /// The registry's name in the report.
    fn name(&self) -> String;

    /// A handle onto the data, the same data each time.
    async fn open(&self) -> Result<Arc<dyn Registry>>;

    /// Forgets all data. Called before each case, when no handle is held any more.
    async fn wipe(&self) -> Result<()>;
}

/// An offline store under test.
#[async_trait]
pub trait OfflineFixture: Send + Sync {
    /// The store's name in the report.
    fn name(&self) -> String;

    /// A store that holds these tables and no others, and the sources that read them, in the same order.
    ///
    /// The fixture stores the rows however the store likes them, for example each batch as one file. Where the store
    /// has an order of rows (`ordered_source`), it must be that of the batches and of the rows in them. The source it
    /// returns is the given one with the type and options that find the data; everything else stays as it is.
    async fn load(&self, tables: Vec<SourceTable>) -> Result<Loaded>;
}

/// A source and its rows.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SourceTable {
    /// The source; its type is `memory` and it has no options.
    pub source: Source,
    /// Its rows: at least one batch, which may be empty, all of one schema.
    pub batches: Vec<RecordBatch>,
}

impl SourceTable {
    /// A source and its rows: at least one batch.
    pub fn new(source: Source, batches: Vec<RecordBatch>) -> Self {
        Self { source, batches }
    }
}

/// What [`OfflineFixture::load`] made.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The store.
    pub store: Arc<dyn OfflineStore>,
    /// One source per table.
    pub sources: Vec<Arc<Source>>,
}
