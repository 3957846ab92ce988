//! The stores in memory as fixtures.

use std::sync::{Arc, Weak};

use larder_conformance::{Loaded, OfflineFixture, OnlineFixture, RegistryFixture, SourceTable};
use larder_core::memory::{MemoryOffline, MemoryOnline, MemoryRegistry};
use larder_core::{OnlineStore, Registry, Result, async_trait::async_trait};
use parking_lot::Mutex;

/// What is wrapped around a store before it is handed out.
pub(crate) type Wrap<In, Out> = Box<dyn Fn(Arc<In>) -> Arc<Out> + Send + Sync>;

pub(crate) struct Online {
    pub(crate) name: String,
    wrap: Wrap<MemoryOnline, dyn OnlineStore>,
    now: Mutex<Option<Arc<dyn OnlineStore>>>,
    /// The store as long as anybody holds it.
    held: Mutex<Option<Weak<dyn OnlineStore>>>,
    forgetful: bool,
}

impl Online {
    pub(crate) fn clean() -> Self {
        Self::wrapped("memory", Box::new(|store| store))
    }

    pub(crate) fn wrapped(name: &str, wrap: Wrap<MemoryOnline, dyn OnlineStore>) -> Self {
        Self {
            name: name.to_owned(),
            wrap,
            now: Mutex::default(),
            held: Mutex::default(),
            forgetful: false,
        }
    }

    /// A fixture whose data lives only as long as a handle.
    pub(crate) fn forgetful(name: &str, wrap: Wrap<MemoryOnline, dyn OnlineStore>) -> Self {
        Self {
            forgetful: true,
            ..Self::wrapped(name, wrap)
        }
    }
}

#[async_trait]
impl OnlineFixture for Online {
    fn name(&self) -> String {
        self.name.clone()
    }

    async fn open(&self) -> Result<Arc<dyn OnlineStore>> {
        if !self.forgetful {
            let mut now = self.now.lock();
            return Ok(now.get_or_insert_with(|| (self.wrap)(Arc::default())).clone());
        }
        let mut held = self.held.lock();
        let store = held.as_ref().and_then(Weak::upgrade);
        let store = store.unwrap_or_else(|| (self.wrap)(Arc::default()));
        *held = Some(Arc::downgrade(&store));
        Ok(store)
    }

    async fn wipe(&self) -> Result<()> {
        *self.now.lock() = None;
        *self.held.lock() = None;
        Ok(())
    }
}

pub(crate) struct Registries {
    pub(crate) name: String,
    wrap: Wrap<MemoryRegistry, dyn Registry>,
    now: Mutex<Option<Arc<dyn Registry>>>,
}

impl Registries {
    pub(crate) fn clean() -> Self {
        Self::wrapped("memory", Box::new(|registry| registry))
    }

    pub(crate) fn wrapped(name: &str, wrap: Wrap<MemoryRegistry, dyn Registry>) -> Self {
        Self {
            name: name.to_owned(),
            wrap,
            now: Mutex::default(),
        }
    }
}

#[async_trait]
impl RegistryFixture for Registries {
    fn name(&self) -> String {
        self.name.clone()
    }

    async fn open(&self) -> Result<Arc<dyn Registry>> {
        let mut now = self.now.lock();
        Ok(now.get_or_insert_with(|| (self.wrap)(Arc::default())).clone())
    }

    async fn wipe(&self) -> Result<()> {
        *self.now.lock() = None;
        Ok(())
    }
}

/// The clean offline store in memory.
pub(crate) struct Offline;

#[async_trait]
impl OfflineFixture for Offline {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    async fn load(&self, tables: Vec<SourceTable>) -> Result<Loaded> {
        let (store, sources) = memory(tables);
        Ok(Loaded { store, sources })
    }
}

/// A store in memory that holds tables.
pub(crate) fn memory(tables: Vec<SourceTable>) -> (Arc<MemoryOffline>, Vec<Arc<larder_core::model::Source>>) {
    let store = Arc::new(MemoryOffline::new());
    let mut sources = Vec::new();
    for table in tables {
        for batch in table.batches {
            store.insert(table.source.name.to_string(), batch);
        }
        sources.push(Arc::new(table.source));
    }
    (store, sources)
}
