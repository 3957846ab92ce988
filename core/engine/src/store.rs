//! The feature store: what applications hold, and where the flows find registry and stores.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use larder_base::error::suggest;
use larder_base::plugin::SourceKind;
use larder_base::{
    Clock, Error, Loaded, OnlineStore, ProjectName, Registry, Result, Snapshot, StoreName, SystemClock,
    Version,
};
#[cfg(feature = "offline")]
use larder_core::OfflineStore;

use crate::config::{HistoricalConfig, Project};
use crate::guard::{AllowAll, AuditEvent, AuditSink, Deed, Guard, NoAudit, Principal};
use crate::lazy::Lazy;
use crate::online::Followers;

/// A feature store: definitions in a registry, history in offline stores, values in online stores.
///
/// Cheap to clone; clones share everything.
#[derive(Debug, Clone)]
pub struct FeatureStore {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    project: ProjectName,
    registry: Lazy<dyn Registry>,
    online: BTreeMap<StoreName, Lazy<dyn OnlineStore>>,
    #[cfg(feature = "offline")]
    offline: BTreeMap<StoreName, Lazy<dyn OfflineStore>>,
    /// What `default` stands for, online and offline.
    defaults: (StoreName, StoreName),
    clock: Arc<dyn Clock>,
    guard: Arc<dyn Guard>,
    audit: Arc<dyn AuditSink>,
    principal: Principal,
    source_kinds: Vec<SourceKind>,
    /// What training sets may take where a run says nothing.
    #[cfg_attr(
        not(feature = "offline"),
        expect(dead_code, reason = "training sets need Arrow")
    )]
    historical: HistoricalConfig,
    /// The newest snapshot seen; refreshed by whoever loads.
    newest: ArcSwapOption<Snapshot>,
    /// Prepared plans that follow the registry.
    pub(crate) followers: Followers,
}

impl FeatureStore {
    /// Puts a feature store together from ready objects.
    pub fn builder(project: ProjectName) -> FeatureStoreBuilder {
        FeatureStoreBuilder {
            project,
            registry: None,
            online: BTreeMap::new(),
            #[cfg(feature = "offline")]
            offline: BTreeMap::new(),
            defaults: (StoreName::default_store(), StoreName::default_store()),
            clock: Arc::new(SystemClock),
            guard: Arc::new(AllowAll),
            audit: Arc::new(NoAudit),
            principal: Principal::default(),
            source_kinds: Vec::new(),
            historical: HistoricalConfig::default(),
        }
    }

    /// The feature store of a project file. Stores are built when they are first used.
    ///
    /// # Errors
    /// `Config` when a block of the project cannot be understood at all.
    pub fn from_project(project: &Project) -> Result<Self> {
        Ok(FeatureStoreBuilder::from_project(project).build_lazy())
    }

    /// The project.
    pub fn project(&self) -> &ProjectName {
        &self.inner.project
    }

    /// The only source of wall-clock time.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// On whose behalf this handle works.
    pub fn principal(&self) -> &Principal {
        &self.inner.principal
    }

    /// The registry, built if need be.
    ///
    /// # Errors
    /// What building it says.
    pub async fn registry(&self) -> Result<&Arc<dyn Registry>> {
        self.inner.registry.get().await
    }

    /// The name an online store is configured under: `default` is whichever is the default.
    pub(crate) fn online_name(&self, name: StoreName) -> StoreName {
        if name == StoreName::default_store() {
            self.inner.defaults.0.clone()
        } else {
            name
        }
    }

    /// The name an offline store is configured under: `default` is whichever is the default.
    #[cfg(feature = "offline")]
    pub(crate) fn offline_name(&self, name: Option<StoreName>) -> StoreName {
        name.filter(|name| *name != StoreName::default_store())
            .unwrap_or_else(|| self.inner.defaults.1.clone())
    }

    /// Names of the configured online stores.
    pub fn online_names(&self) -> impl Iterator<Item = &StoreName> {
        self.inner.online.keys()
    }

    /// An online store by name, built if need be.
    ///
    /// # Errors
    /// `Config` when none of that name is configured, or what building it says.
    pub async fn online_store(&self, name: &StoreName) -> Result<&Arc<dyn OnlineStore>> {
        let name = self.online_name(name.clone());
        let found = self
            .inner
            .online
            .get(&name)
            .ok_or_else(|| no_store("online", &name, self.inner.online.keys()))?;
        found.get().await
    }

    /// Names of the configured offline stores.
    #[cfg(feature = "offline")]
    pub fn offline_names(&self) -> impl Iterator<Item = &StoreName> {
        self.inner.offline.keys()
    }

    /// An offline store by name, built if need be.
    ///
    /// # Errors
    /// `Config` when none of that name is configured, or what building it says.
    #[cfg(feature = "offline")]
    pub async fn offline_store(&self, name: &StoreName) -> Result<&Arc<dyn OfflineStore>> {
        let name = self.offline_name(Some(name.clone()));
        let found = self
            .inner
            .offline
            .get(&name)
            .ok_or_else(|| no_store("offline", &name, self.inner.offline.keys()))?;
        found.get().await
    }

    /// The offline store that reads a source.
    #[cfg(feature = "offline")]
    pub(crate) async fn store_of(
        &self,
        source: &larder_base::model::Source,
    ) -> Result<&Arc<dyn OfflineStore>> {
        let name = source.store.clone().unwrap_or_else(StoreName::default_store);
        self.offline_store(&name).await
    }

    /// What training sets may take where a run says nothing.
    #[cfg(feature = "offline")]
    pub fn historical_config(&self) -> &HistoricalConfig {
        &self.inner.historical
    }

    pub(crate) fn source_kinds(&self) -> &[SourceKind] {
        &self.inner.source_kinds
    }

    /// The newest snapshot of the project.
    ///
    /// # Errors
    /// What the registry says.
    pub async fn snapshot(&self) -> Result<Arc<Snapshot>> {
        self.wait_for_change(Duration::ZERO).await
    }

    /// The newest snapshot; waits up to `wait` for one that is newer than the last one seen.
    pub(crate) async fn wait_for_change(&self, wait: Duration) -> Result<Arc<Snapshot>> {
        let known = self.inner.newest.load_full();
        let version: Option<Version> = known.as_ref().map(|snapshot| snapshot.version());
        match (
            self.registry().await?.load(self.project(), version, wait).await?,
            known,
        ) {
            (Loaded::Changed(snapshot), _) => {
                self.inner.newest.store(Some(snapshot.clone()));
                Ok(snapshot)
            }
            (Loaded::Unchanged, Some(known)) => Ok(known),
            (Loaded::Unchanged, None) => Err(Error::internal(
                "the registry says unchanged to a caller who knows nothing",
            )),
        }
    }

    /// Asks the guard, and tells the audit sink what it decided.
    pub(crate) async fn allow(&self, deed: Deed, resources: Vec<String>) -> Result<()> {
        let inner = &*self.inner;
        let decision = inner
            .guard
            .check(&inner.principal, deed, &inner.project, &resources)
            .await;
        inner.audit.record(&AuditEvent {
            time: inner.clock.now(),
            principal: inner.principal.clone(),
            deed,
            project: inner.project.clone(),
            resources,
            allowed: decision.is_ok(),
        });
        decision
    }
}

fn no_store<'a>(role: &str, name: &StoreName, known: impl Iterator<Item = &'a StoreName> + Clone) -> Error {
    Error::config(format!("there is no {role} store `{name}` in this project"))
        .help(suggest(name.as_str(), known.map(StoreName::as_str)))
}

/// Puts a [`FeatureStore`] together.
#[derive(Debug)]
pub struct FeatureStoreBuilder {
    project: ProjectName,
    registry: Option<Lazy<dyn Registry>>,
    online: BTreeMap<StoreName, Lazy<dyn OnlineStore>>,
    #[cfg(feature = "offline")]
    offline: BTreeMap<StoreName, Lazy<dyn OfflineStore>>,
    defaults: (StoreName, StoreName),
    clock: Arc<dyn Clock>,
    guard: Arc<dyn Guard>,
    audit: Arc<dyn AuditSink>,
    principal: Principal,
    source_kinds: Vec<SourceKind>,
    historical: HistoricalConfig,
}

impl FeatureStoreBuilder {
    /// Takes the stores of a project file; what is set afterwards replaces them.
    pub fn from_project(project: &Project) -> Self {
        let mut builder = FeatureStore::builder(project.name.clone());
        builder.source_kinds = project.source_kinds();
        builder.historical = project.historical.clone();
        let default = StoreName::default_store();
        builder.defaults = (project.online_name(&default), project.offline_name(&default));
        // Stores of a project file tell real time, whatever clock the engine is given after this.
        let shared = Arc::new(project.clone());
        let clock = builder.clock.clone();
        let context = move |project: &Project, store: &StoreName| {
            larder_base::BuildContext::new(&project.dir)
                .with_clock(clock.clone())
                .with_store(store.clone())
                .with_project(project.name.clone())
        };
        let (project_, context_) = (shared.clone(), context.clone());
        builder.registry = Some(Lazy::new(move || {
            let (project, context) = (project_.clone(), context_.clone());
            Box::pin(async move {
                project
                    .registry_config()?
                    .build(&context(&project, &StoreName::default_store()))
                    .await
            })
        }));
        for name in project.online_names() {
            let (project_, context_, name_) = (shared.clone(), context.clone(), name.clone());
            let build = move || -> futures::future::BoxFuture<'static, Result<Arc<dyn OnlineStore>>> {
                let (project, context, name) = (project_.clone(), context_.clone(), name_.clone());
                Box::pin(async move {
                    project
                        .online_config(&name)?
                        .build(&context(&project, &name))
                        .await
                })
            };
            builder.online.insert(name, Lazy::new(build));
        }
        #[cfg(feature = "offline")]
        for name in project.offline_names() {
            let (project_, context_, name_) = (shared.clone(), context.clone(), name.clone());
            let build = move || -> futures::future::BoxFuture<'static, Result<Arc<dyn OfflineStore>>> {
                let (project, context, name) = (project_.clone(), context_.clone(), name_.clone());
                Box::pin(async move {
                    project
                        .offline_config(&name)?
                        .build(&context(&project, &name))
                        .await
                })
            };
            builder.offline.insert(name, Lazy::new(build));
        }
        builder
    }

    /// Sets the registry.
    #[must_use]
    pub fn registry(mut self, registry: Arc<dyn Registry>) -> Self {
        self.registry = Some(Lazy::ready(registry));
        self
    }

    /// Sets the default online store.
    #[must_use]
    pub fn online(self, store: Arc<dyn OnlineStore>) -> Self {
        let name = self.defaults.0.clone();
        self.online_named(name, store)
    }

    /// Sets a named online store.
    #[must_use]
    pub fn online_named(mut self, name: StoreName, store: Arc<dyn OnlineStore>) -> Self {
        self.online.insert(name, Lazy::ready(store));
        self
    }

    /// Sets the default offline store.
    #[cfg(feature = "offline")]
    #[must_use]
    pub fn offline(self, store: Arc<dyn OfflineStore>) -> Self {
        let name = self.defaults.1.clone();
        self.offline_named(name, store)
    }

    /// Sets a named offline store.
    #[cfg(feature = "offline")]
    #[must_use]
    pub fn offline_named(mut self, name: StoreName, store: Arc<dyn OfflineStore>) -> Self {
        self.offline.insert(name, Lazy::ready(store));
        self
    }

    /// Sets what training sets may take where a run says nothing.
    #[must_use]
    pub fn historical_config(mut self, config: HistoricalConfig) -> Self {
        self.historical = config;
        self
    }

    /// Sets the clock of the engine. Stores built from a project file keep the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets who decides what is allowed.
    #[must_use]
    pub fn guard(mut self, guard: Arc<dyn Guard>) -> Self {
        self.guard = guard;
        self
    }

    /// Sets who is told what was done.
    #[must_use]
    pub fn audit(mut self, audit: Arc<dyn AuditSink>) -> Self {
        self.audit = audit;
        self
    }

    /// Sets on whose behalf the store works; also the author of commits.
    #[must_use]
    pub fn principal(mut self, principal: Principal) -> Self {
        self.principal = principal;
        self
    }

    /// Sets the types of sources, for checks of definitions; unknown types pass where none are set.
    #[must_use]
    pub fn source_kinds(mut self, kinds: Vec<SourceKind>) -> Self {
        self.source_kinds = kinds;
        self
    }

    /// The feature store.
    ///
    /// # Errors
    /// `Config` without a registry.
    pub fn build(self) -> Result<FeatureStore> {
        if self.registry.is_none() {
            return Err(Error::config("a feature store needs a registry").help("set one with `registry(…)`"));
        }
        Ok(self.build_lazy())
    }

    fn build_lazy(self) -> FeatureStore {
        let missing = || -> futures::future::BoxFuture<'static, Result<Arc<dyn Registry>>> {
            Box::pin(async { Err(Error::config("a feature store needs a registry")) })
        };
        FeatureStore {
            inner: Arc::new(Inner {
                project: self.project,
                registry: self.registry.unwrap_or_else(|| Lazy::new(missing)),
                online: self.online,
                #[cfg(feature = "offline")]
                offline: self.offline,
                defaults: self.defaults,
                clock: self.clock,
                guard: self.guard,
                audit: self.audit,
                principal: self.principal,
                source_kinds: self.source_kinds,
                historical: self.historical,
                newest: ArcSwapOption::empty(),
                followers: Followers::default(),
            }),
        }
    }
}
