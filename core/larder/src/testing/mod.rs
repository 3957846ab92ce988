//! A project's own definitions on stores in memory, with a clock that tests turn.

mod faults;
mod given;

pub use faults::{Fault, Faults, OnlineFaults};

use std::future::IntoFuture;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use larder_base::memory::{MemoryOnline, MemoryRegistry};
use larder_base::{Clock, Micros, Result, Span, SystemClock};
use larder_core::memory::MemoryOffline;
use larder_engine::{ApplyOptions, DefinitionSet, FeatureStore, Project, PushTarget};

/// Puts a project's own definitions on stores in memory, with a clock that stands still; await it.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("larder.yaml");
/// # std::fs::write(&path, "project: shop\ndefinitions: features/\n").unwrap();
/// # std::fs::create_dir(dir.path().join("features")).unwrap();
/// # std::fs::write(dir.path().join("features/users.yaml"), "
/// # entities: [{ name: user, join_keys: [{ name: user_id, type: int64 }] }]
/// # sources: [{ name: user_daily, type: parquet, path: users/, event_time: event_timestamp }]
/// # feature_views:
/// #   - { name: user_stats, entities: [user], source: user_daily, ttl: 7d, features: [{ name: avg_basket, type: float64 }] }
/// # feature_services: [{ name: fraud_v1, features: [user_stats] }]
/// # ").unwrap();
/// let t = larder::testing(path).at("2026-05-01T00:00:00Z").await?;
/// t.given("user_stats", "user_id,event_timestamp,avg_basket\n7,2026-04-30T00:00:00Z,12.5").await?;
///
/// let plan = t.online("fraud_v1").await?;
/// let (user, basket) = (plan.key::<i64>("user_id")?, plan.feature::<f64>("avg_basket")?);
/// let mut session = plan.session();
/// let answer = session.column(user, &[7]).read(larder::ReadOptions::new()).await?;
/// assert_eq!(answer.get(0, basket), larder::Reading::Present(12.5));
///
/// t.clock().advance("8d")?;
/// let answer = session.read(larder::ReadOptions::new()).await?;
/// assert_eq!(answer.get(0, basket).status(), "expired");
/// # Ok::<(), larder::Error>(())
/// # }).unwrap();
/// ```
pub fn testing(path: impl Into<PathBuf>) -> Testing {
    Testing {
        path: path.into(),
        at: None,
    }
}

/// A test store about to be made; await it.
#[derive(Debug, Clone)]
#[must_use = "a test store is made by awaiting it"]
pub struct Testing {
    path: PathBuf,
    at: Option<String>,
}

impl Testing {
    /// Sets the clock; the machine's time where nothing is said.
    pub fn at(mut self, instant: impl Into<String>) -> Self {
        self.at = Some(instant.into());
        self
    }
}

impl IntoFuture for Testing {
    type Output = Result<TestStore>;
    type IntoFuture = BoxFuture<'static, Result<TestStore>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let now = SystemClock.now();
            let at = self.at.map_or(Ok(now), |text| Micros::parse(&text, now))?;
            let project = crate::project(&self.path, None)?;
            let definitions =
                DefinitionSet::load(&project.definitions.path, project.definitions.set.clone())?;
            TestStore::new(&project, &definitions, at).await
        })
    }
}

/// A feature store in memory, with the handles a test needs.
#[derive(Debug)]
pub struct TestStore {
    store: FeatureStore,
    clock: TestClock,
    faults: Faults,
}

impl TestStore {
    /// A project's definitions, applied to stores in memory.
    ///
    /// # Errors
    /// What applying the definitions says.
    pub async fn new(project: &Project, definitions: &DefinitionSet, at: Micros) -> Result<Self> {
        let clock = TestClock(larder_base::VirtualClock::at(at));
        let faults = Faults::default();
        let mut builder = FeatureStore::builder(project.name.clone())
            .registry(Arc::new(MemoryRegistry::new()))
            .clock(Arc::new(clock.0.clone()))
            .source_kinds(project.source_kinds());
        let default = larder_base::StoreName::default_store();
        let online = |faults: &Faults| {
            Arc::new(faults::FaultyOnline::new(
                Arc::new(MemoryOnline::new()),
                faults.clone(),
            ))
        };
        builder = builder
            .online(online(&faults))
            .offline(Arc::new(MemoryOffline::new()));
        for name in project.online_names().into_iter().filter(|name| *name != default) {
            builder = builder.online_named(name, online(&faults));
        }
        for name in project
            .offline_names()
            .into_iter()
            .filter(|name| *name != default)
        {
            builder = builder.offline_named(name, Arc::new(MemoryOffline::new()));
        }
        let store = builder.build()?;
        // There is no data to look at yet; `given` brings it.
        store
            .apply(definitions, &ApplyOptions::new().with_offline(true))
            .await?;
        Ok(Self { store, clock, faults })
    }

    /// Gives rows to a source, or to the source of a view, as CSV with a header; they are in its
    /// history and, through the ordinary push, in the online values.
    ///
    /// Columns are named as in the source or as in the definitions; features without a column
    /// are null. An empty field is null. Times are RFC 3339 with a zone.
    ///
    /// # Errors
    /// `Input` naming line and column.
    pub async fn given(&self, name: &str, csv: &str) -> Result<()> {
        let snapshot = self.store.snapshot().await?;
        let rows = given::rows(snapshot.catalog(), name, csv)?;
        self.store
            .push(name)
            .rows([rows])
            .to(PushTarget::Both)
            .run()
            .await
            .map(drop)
    }

    /// The clock.
    pub fn clock(&self) -> &TestClock {
        &self.clock
    }

    /// Faults to be injected.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }
}

impl Deref for TestStore {
    type Target = FeatureStore;

    fn deref(&self) -> &FeatureStore {
        &self.store
    }
}

/// The clock of a test: it stands still until it is turned.
#[derive(Debug, Clone)]
pub struct TestClock(larder_base::VirtualClock);

impl TestClock {
    /// The present instant.
    pub fn now(&self) -> Micros {
        self.0.now()
    }

    /// Turns the clock forward, by `8d` or the like.
    ///
    /// # Errors
    /// `Input` when the text is not a duration.
    pub fn advance(&self, by: &str) -> Result<()> {
        self.0.advance(by.parse::<Span>()?);
        Ok(())
    }

    /// Turns the clock to an instant.
    ///
    /// # Errors
    /// `Input` when the text is not an instant.
    pub fn set(&self, instant: &str) -> Result<()> {
        self.0.set(Micros::parse(instant, self.0.now())?);
        Ok(())
    }
}
