//! Apply: definitions become a new version of the project, whole or not at all.
//!
//! Reads top to bottom: load, plan (pure), check against the data, prepare online stores, commit;
//! on a conflict once more from the start. What is retired is reclaimed later, never here and now.

mod diff;
mod effects;
mod layouts;
mod plan;
mod sources;

pub use plan::{Backfill, Plan, SavedPlan, Wanted};

#[cfg(feature = "offline")]
pub(crate) use diff::differences;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use larder_base::error::suggest;
use larder_base::model::{Kind, ObjectId};
use larder_base::{
    Change, Diagnostic, Error, ErrorKind, LayoutChanges, Result, Snapshot, StoreName, Version, ViewLayout,
};
use serde::Serialize;

use crate::definitions::DefinitionSet;
use crate::guard::Deed;
use crate::store::FeatureStore;
use plan::Scope;

/// How long an apply keeps trying when others commit at the same time.
const CONTENTION_LIMIT: Duration = Duration::from_secs(120);

/// Options of plan and apply.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ApplyOptions {
    /// Whether features, views and types that others use may go.
    pub allow_destructive: bool,
    /// Whether to skip looking at the data, and at online stores where nothing changes.
    pub offline: bool,
    /// Why, for the history.
    pub message: String,
}

impl ApplyOptions {
    /// The defaults: nothing destructive, sources are checked against the data.
    pub fn new() -> Self {
        Self::default()
    }

    /// Allows what destroys something that others use.
    #[must_use]
    pub fn with_allow_destructive(mut self, allow: bool) -> Self {
        self.allow_destructive = allow;
        self
    }

    /// Skips looking at the data.
    #[must_use]
    pub fn with_offline(mut self, offline: bool) -> Self {
        self.offline = offline;
        self
    }

    /// Says why, for the history.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }
}

/// What an apply did.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Applied {
    /// The project's version now.
    pub version: Version,
    /// Whether this apply made it.
    pub changed: bool,
    /// What changed.
    pub plan: Plan,
    /// How often it was planned because others committed at the same time.
    pub attempts: u32,
    /// Online stores that had nothing of the project, not even its tables, and were prepared although nothing changed.
    pub prepared: Vec<StoreName>,
}

/// What is to be applied, for [`FeatureStore::plan`] and its siblings.
struct Target<'a> {
    scope: Scope,
    wanted: &'a [Wanted],
    definitions: Option<&'a DefinitionSet>,
    /// Whether retired generations may live again, as a rollback wants.
    revive: bool,
}

/// What was prepared in attempts that others came before.
type Lost = Vec<(StoreName, Arc<ViewLayout>)>;

impl FeatureStore {
    /// What applying the definitions would change. Writes nothing.
    ///
    /// # Errors
    /// `Definition` with places for wrong definitions; `Input` for sources whose data does not fit.
    pub async fn plan(&self, definitions: &DefinitionSet, options: &ApplyOptions) -> Result<Plan> {
        self.allow(Deed::Describe, vec![format!("set:{}", definitions.set)])
            .await?;
        let wanted = plan::wanted_of(definitions)?;
        let target = Target {
            scope: Scope::Set(definitions.set.clone()),
            wanted: &wanted,
            definitions: Some(definitions),
            revive: false,
        };
        let snapshot = self.snapshot().await?;
        self.plan_on(&snapshot, &target, options, &mut BTreeMap::new())
            .await
    }

    /// Makes the definitions the new version of their set.
    ///
    /// # Errors
    /// As [`FeatureStore::plan`]; `Conflict` for destructive changes without the flag, and when
    /// others keep committing for two minutes.
    pub async fn apply(&self, definitions: &DefinitionSet, options: &ApplyOptions) -> Result<Applied> {
        let wanted = plan::wanted_of(definitions)?;
        let target = Target {
            scope: Scope::Set(definitions.set.clone()),
            wanted: &wanted,
            definitions: Some(definitions),
            revive: false,
        };
        self.commit(&target, options, None).await
    }

    /// Applies a plan that was saved: exactly that, or a `Conflict` when it would do something
    /// else by now.
    ///
    /// # Errors
    /// As [`FeatureStore::apply`].
    pub async fn apply_plan(
        &self,
        definitions: &DefinitionSet,
        saved: &SavedPlan,
        options: &ApplyOptions,
    ) -> Result<Applied> {
        let wanted = plan::wanted_of(definitions)?;
        let target = Target {
            scope: Scope::Set(definitions.set.clone()),
            wanted: &wanted,
            definitions: Some(definitions),
            revive: false,
        };
        self.commit(&target, options, Some(saved)).await
    }

    /// Makes the definitions of a past version the new version. Restores definitions, never data.
    ///
    /// # Errors
    /// `NotFound` when there is no such version; otherwise as [`FeatureStore::apply`].
    pub async fn rollback(&self, version: Version, options: &ApplyOptions) -> Result<Applied> {
        let past = self.registry().await?.load_at(self.project(), version).await?;
        let wanted = plan::wanted_of_snapshot(&past);
        let target = Target {
            scope: Scope::All,
            wanted: &wanted,
            definitions: None,
            revive: true,
        };
        let message = match options.message.as_str() {
            "" => format!("rollback to version {version}"),
            said => said.to_owned(),
        };
        self.commit(&target, &options.clone().with_message(message), None)
            .await
    }

    async fn commit(
        &self,
        target: &Target<'_>,
        options: &ApplyOptions,
        saved: Option<&SavedPlan>,
    ) -> Result<Applied> {
        self.allow(Deed::Apply, vec![target.scope.resource()]).await?;
        let mut data_checks = BTreeMap::new();
        let mut lost = Lost::default();
        let outcome = self
            .attempts(target, options, saved, &mut data_checks, &mut lost)
            .await;
        self.reclaim_lost(lost).await;
        outcome
    }

    async fn attempts(
        &self,
        target: &Target<'_>,
        options: &ApplyOptions,
        saved: Option<&SavedPlan>,
        data_checks: &mut BTreeMap<String, Vec<Diagnostic>>,
        lost: &mut Lost,
    ) -> Result<Applied> {
        let started = std::time::Instant::now();
        for attempt in 1.. {
            let snapshot = self.snapshot().await?;
            let plan = self.plan_on(&snapshot, target, options, data_checks).await?;
            if let Some(saved) = saved {
                saved.expect_same(self.project().as_str(), &plan)?;
            }
            if plan.is_empty() {
                let prepared = match options.offline {
                    true => Vec::new(),
                    false => self.make_ready(&snapshot).await,
                };
                return Ok(Applied {
                    version: snapshot.version(),
                    changed: false,
                    plan,
                    attempts: attempt,
                    prepared,
                });
            }
            plan.refuse_destructive(options.allow_destructive)?;
            self.prepare(&plan.prepare).await?;
            let author = self.principal().0.clone();
            let changes = plan.change_set(self.clock().now(), &author, &options.message);
            match self
                .registry()
                .await?
                .commit(self.project(), snapshot.version(), &changes)
                .await
            {
                Ok(version) => {
                    tracing::info!(%version, changes = plan.changes.len(), "applied");
                    self.reclaim_quietly().await;
                    return Ok(Applied {
                        version,
                        changed: true,
                        plan,
                        attempts: attempt,
                        prepared: Vec::new(),
                    });
                }
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    let new = plan.prepare.iter().filter(|(_, layout)| !has(&snapshot, layout));
                    lost.extend(new.cloned());
                    if started.elapsed() >= CONTENTION_LIMIT {
                        return Err(error.operation("apply"));
                    }
                    tokio::time::sleep(pause(attempt)).await;
                }
                // Whether it was committed is not known, so what was prepared may be in use.
                Err(error) => return Err(error.operation("apply")),
            }
        }
        Err(Error::internal("an apply ended without an answer"))
    }

    async fn plan_on(
        &self,
        snapshot: &Snapshot,
        target: &Target<'_>,
        options: &ApplyOptions,
        data_checks: &mut BTreeMap<String, Vec<Diagnostic>>,
    ) -> Result<Plan> {
        let mut plan = plan::plan(
            snapshot,
            target.wanted,
            &target.scope,
            target.definitions,
            plan::Rules {
                now: self.clock().now(),
                revive: target.revive,
                allow_type_change: options.allow_destructive,
                source_kinds: self.source_kinds(),
                default_online: self.online_name(StoreName::default_store()),
            },
        )?;
        let strangers = self.unknown_stores(&plan, target.definitions);
        if !strangers.is_empty() {
            return Err(Error::from_diagnostics(
                ErrorKind::Definition,
                "the definitions",
                strangers,
            ));
        }
        if !options.offline && !plan.is_empty() {
            let findings = sources::check(self, &plan, target.definitions, data_checks).await?;
            if !findings.is_empty() {
                return Err(Error::from_diagnostics(ErrorKind::Input, "the sources", findings)
                    .help("mend the data or the definitions; `--offline` skips looking at the data, such as before the first rows are pushed"));
            }
        }
        plan.warnings
            .sort_by(|a, b| (&a.place, &a.message).cmp(&(&b.place, &b.message)));
        Ok(plan)
    }

    /// Views that name an online store which is not configured here.
    fn unknown_stores(&self, plan: &Plan, definitions: Option<&DefinitionSet>) -> Vec<Diagnostic> {
        let known: Vec<&StoreName> = self.online_names().collect();
        let mut findings = Vec::new();
        for view in &plan.changed_views {
            let Some(name) = view.online.store().map(|name| self.online_name(name)) else {
                continue;
            };
            if known.contains(&&name) || name == StoreName::default_store() {
                continue;
            }
            let id = ObjectId::new(Kind::FeatureView, &view.name);
            let place = definitions.and_then(|d| d.place(&id, &["online"]).or_else(|| d.place(&id, &[])));
            findings.push(
                Diagnostic::new(format!("there is no online store `{name}` in this project"))
                    .at(place)
                    .help(suggest(name.as_str(), known.iter().map(|name| name.as_str()))),
            );
        }
        findings
    }

    /// Frees what attempts prepared that lost against others: new generations that nobody else can know of. A failure
    /// is told and changes nothing.
    async fn reclaim_lost(&self, lost: Lost) {
        if lost.is_empty() {
            return;
        }
        let freed = async {
            // A commit that was answered as lost may have been made all the same.
            let snapshot = self.snapshot().await?;
            for (store, layout) in lost.iter().filter(|(_, layout)| !has(&snapshot, layout)) {
                let online = self.online_store(store).await?;
                online.reclaim(self.project(), &[layout.generation()]).await?;
            }
            Ok::<(), Error>(())
        };
        if let Err(error) = freed.await {
            tracing::warn!(%error, "what an apply prepared in vain was not reclaimed");
        }
    }

    /// Makes online stores ready for new and changed layouts, before anybody can see them.
    async fn prepare(&self, layouts: &[(StoreName, Arc<ViewLayout>)]) -> Result<()> {
        let mut by_store: BTreeMap<&StoreName, Vec<Arc<ViewLayout>>> = BTreeMap::new();
        for (store, layout) in layouts {
            by_store.entry(store).or_default().push(layout.clone());
        }
        for (store, layouts) in by_store {
            let changes = LayoutChanges {
                project: self.project().clone(),
                layouts,
            };
            self.online_store(store)
                .await?
                .prepare(&changes)
                .await
                .map_err(|error| error.operation("prepare"))?;
        }
        Ok(())
    }
}

/// Whether a snapshot knows of the generation of a layout, in use or retired.
fn has(snapshot: &Snapshot, layout: &ViewLayout) -> bool {
    let generation = layout.generation();
    let retired = snapshot.retired().iter();
    snapshot
        .layouts()
        .values()
        .any(|known| known.generation() == generation)
        || retired
            .into_iter()
            .any(|known| known.layout.generation() == generation)
}

/// Jittered, growing to a quarter of a second: many appliers must not march in step.
fn pause(attempt: u32) -> Duration {
    let limit = 8_u64 << attempt.min(5);
    Duration::from_millis(1 + larder_base::random::u64() % limit)
}

/// Changes for people, as in the history.
pub(crate) fn summary(changes: &[Change]) -> String {
    let count = |action| changes.iter().filter(|change| change.action == action).count();
    use larder_base::Action;
    format!(
        "{} to create, {} to update, {} to delete",
        count(Action::Create),
        count(Action::Update),
        count(Action::Delete)
    )
}
