//! Prepared plans: resolved once, with a signature that never changes for their life.

use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use larder_base::error::suggest;
use larder_base::model::Sensitivity;
use larder_base::{ColumnName, Error, Result, Snapshot, ValueType, Version, ViewName};

use super::bound::Bound;
use super::follow::Followers;
use super::handle::{FeatureHandle, FeatureType, KeyHandle, KeyType, RequestHandle};
use super::session::Session;
use super::signature::Signature;
use super::tensor::{Tensor, TensorSpec};
use crate::guard::Deed;
use crate::selection::Selection;
use crate::store::FeatureStore;

/// A plan about to be prepared; await it.
#[derive(Debug, Clone)]
#[must_use = "a plan is prepared by awaiting it"]
pub struct OnlineBuilder {
    store: FeatureStore,
    selection: Selection,
    full_names: bool,
    keep_expired: bool,
    expected: Option<String>,
}

impl FeatureStore {
    /// Prepares the online read of a service or of single features.
    ///
    /// # Errors
    /// When awaited: `NotFound` for unknown names, `Input` for views that are not served,
    /// `Conflict` for another signature than expected, `Denied` by the guard.
    pub fn online(&self, select: impl Into<Selection>) -> OnlineBuilder {
        OnlineBuilder {
            store: self.clone(),
            selection: select.into(),
            full_names: false,
            keep_expired: false,
            expected: None,
        }
    }
}

impl OnlineBuilder {
    /// Demands a signature: the digest that was stored with the model.
    pub fn expect_signature(mut self, digest: impl ToString) -> Self {
        self.expected = Some(digest.to_string());
        self
    }

    /// Names output columns `view__feature`.
    pub fn full_names(mut self, full: bool) -> Self {
        self.full_names = full;
        self
    }

    /// Gives expired values out; their status stays `expired`.
    pub fn keep_expired(mut self, keep: bool) -> Self {
        self.keep_expired = keep;
        self
    }
}

impl IntoFuture for OnlineBuilder {
    type Output = Result<OnlinePlan>;
    type IntoFuture = BoxFuture<'static, Result<OnlinePlan>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let store = &self.store;
            let snapshot = store.snapshot().await?;
            let resolved = self.selection.resolve(snapshot.catalog(), self.full_names)?;
            let names = resolved
                .views
                .iter()
                .map(|view| format!("feature_view:{}", view.view.name));
            store.allow(Deed::ReadOnline, names.collect()).await?;
            let bound = Bound::new(store, &snapshot, &resolved).await?;
            if let Some(expected) = &self.expected
                && *expected != bound.signature.digest()
            {
                return Err(Error::conflict(format!(
                    "{} has another signature than expected",
                    self.selection.describe()
                ))
                .with("expected", expected)
                .with("found", bound.signature.digest())
                .help("retrain the model, or serve it with the definitions it was trained with"));
            }
            let inner = Arc::new(PlanInner {
                clock: store.clock().clone(),
                selection: self.selection,
                full_names: self.full_names,
                keep_expired: self.keep_expired,
                signature: bound.signature.clone(),
                seen: AtomicU64::new(bound.version.0),
                taking: parking_lot::Mutex::new(()),
                outdated: AtomicBool::new(false),
                bound: ArcSwap::from_pointee(bound),
            });
            Followers::add(store, &inner, snapshot.version());
            Ok(OnlinePlan {
                store: self.store,
                inner,
            })
        })
    }
}

/// A prepared online read. Cheap to clone; any number of threads read through it.
#[derive(Debug, Clone)]
pub struct OnlinePlan {
    store: FeatureStore,
    pub(super) inner: Arc<PlanInner>,
}

#[derive(Debug)]
pub(crate) struct PlanInner {
    pub(super) clock: Arc<dyn larder_base::Clock>,
    selection: Selection,
    full_names: bool,
    pub(super) keep_expired: bool,
    signature: Signature,
    /// The newest version looked at, whether adopted or not.
    seen: AtomicU64,
    /// Held while a version is taken, so that an older one never replaces a newer one.
    taking: parking_lot::Mutex<()>,
    outdated: AtomicBool,
    pub(super) bound: ArcSwap<Bound>,
}

/// One output of a plan.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct OutputInfo {
    /// Name of the column.
    pub name: String,
    /// How it was asked for: `view:feature`, or `role=view:feature`.
    pub reference: String,
    /// The feature view that it comes from.
    pub view: ViewName,
    /// Its type.
    pub value_type: ValueType,
    /// How sensitive its values are.
    pub sensitivity: Sensitivity,
}

impl PlanInner {
    pub(super) fn seen(&self) -> Version {
        Version(self.seen.load(Ordering::SeqCst))
    }

    /// Takes a new snapshot if the plan keeps its promise with it; otherwise serves on as it was.
    ///
    /// An error means that the snapshot could not be judged now: ask again later.
    pub(super) async fn adopt(&self, store: &FeatureStore, snapshot: &Snapshot) -> Result<()> {
        if snapshot.version() <= self.seen() {
            return Ok(());
        }
        let bound = match self.selection.resolve(snapshot.catalog(), self.full_names) {
            Ok(resolved) => Bound::new(store, snapshot, &resolved).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &bound
            && error.is_retryable()
        {
            return bound.map(drop);
        }
        let _taking = self.taking.lock();
        if snapshot.version() <= self.seen() {
            return Ok(());
        }
        self.seen.store(snapshot.version().0, Ordering::SeqCst);
        match bound {
            Ok(bound) if bound.signature == self.signature => {
                self.bound.store(Arc::new(bound));
                self.outdated.store(false, Ordering::SeqCst);
            }
            Ok(bound) => {
                tracing::warn!(
                    selection = %self.selection.describe(),
                    differences = %self.signature.differences(&bound.signature),
                    "a plan is outdated: the definitions now have another signature"
                );
                self.become_outdated();
            }
            Err(error) => {
                tracing::warn!(selection = %self.selection.describe(), %error, "a plan is outdated");
                self.become_outdated();
            }
        }
        Ok(())
    }

    fn become_outdated(&self) {
        if !self.outdated.swap(true, Ordering::SeqCst) {
            metrics::counter!("larder_plans_outdated_total").increment(1);
        }
    }
}

impl OnlinePlan {
    /// A session: owns keys and answers of reads, and is reused from read to read.
    pub fn session(&self) -> Session {
        Session::new(self.inner.clone())
    }

    /// The signature, fixed for the plan's life.
    pub fn signature(&self) -> &Signature {
        &self.inner.signature
    }

    /// Whether the definitions have another signature by now; the plan serves on as it was.
    pub fn outdated(&self) -> bool {
        self.inner.outdated.load(Ordering::SeqCst)
    }

    /// Version of the snapshot that reads use.
    pub fn version(&self) -> Version {
        self.inner.bound.load().version
    }

    /// Asks the registry for news now, instead of hearing of them a little later.
    ///
    /// # Errors
    /// What the registry says, or a store that is new in the plan and cannot be reached.
    pub async fn refresh(&self) -> Result<()> {
        let snapshot = self.store.snapshot().await?;
        self.inner.adopt(&self.store, &snapshot).await
    }

    /// The key columns a read needs, with their types.
    pub fn keys(&self) -> Vec<(ColumnName, ValueType)> {
        self.inner
            .bound
            .load()
            .keys
            .iter()
            .map(|key| (key.name.clone(), key.key.value_type))
            .collect()
    }

    /// The outputs in order.
    pub fn outputs(&self) -> Vec<OutputInfo> {
        let info = |output: &super::bound::BoundOutput| OutputInfo {
            name: output.name.clone(),
            reference: output.reference.clone(),
            view: output.view.clone(),
            value_type: output.value_type,
            sensitivity: output.sensitivity,
        };
        self.inner.bound.load().outputs.iter().map(info).collect()
    }

    /// A key column, resolved once and typed.
    ///
    /// # Errors
    /// `NotFound` for an unknown column, `Input` when it is of another type.
    pub fn key<K: KeyType + ?Sized>(&self, name: &str) -> Result<KeyHandle<K>> {
        let bound = self.inner.bound.load();
        let mut named = bound
            .keys
            .iter()
            .enumerate()
            .filter(|(_, key)| key.name == *name)
            .peekable();
        if named.peek().is_none() {
            return Err(Error::not_found(format!("no key column `{name}` is needed"))
                .help(suggest(name, bound.keys.iter().map(|key| key.name.as_str()))));
        }
        let types: Vec<String> = named
            .clone()
            .map(|(_, key)| key.key.value_type.to_string())
            .collect();
        match named.find(|(_, key)| K::accepts(key.key.value_type)) {
            Some((index, _)) => Ok(KeyHandle::new(index)),
            None => Err(Error::input(format!(
                "key column `{name}` is {}, not {}",
                types.join(" and "),
                K::NAME
            ))),
        }
    }

    /// A request field of an on-demand view.
    ///
    /// # Errors
    /// Always, until part 5 evaluates on-demand views.
    pub fn request<T: FeatureType + ?Sized>(&self, name: &str) -> Result<RequestHandle<T>> {
        Err(Error::unsupported(format!(
            "request field `{name}`: on-demand views are evaluated from part 5 on"
        )))
    }

    /// An output, resolved once and typed; by column name or by `view:feature`.
    ///
    /// # Errors
    /// `NotFound` for an unknown output, `Input` when it is of another type.
    pub fn feature<T: FeatureType + ?Sized>(&self, name: &str) -> Result<FeatureHandle<T>> {
        let bound = self.inner.bound.load();
        let index = self.output_index(name)?;
        let output = &bound.outputs[index];
        if !T::accepts(output.value_type) {
            return Err(Error::input(format!(
                "feature `{name}` is {}, not {}",
                output.value_type,
                T::NAME
            )));
        }
        Ok(FeatureHandle::new(index))
    }

    pub(super) fn output_index(&self, name: &str) -> Result<usize> {
        let bound = self.inner.bound.load();
        let found = bound
            .outputs
            .iter()
            .position(|output| output.name == name || output.reference == name);
        found.ok_or_else(|| {
            let known = bound
                .outputs
                .iter()
                .flat_map(|output| [output.name.as_str(), output.reference.as_str()]);
            Error::not_found(format!("the plan has no output `{name}`"))
                .help(suggest(name, known.collect::<Vec<_>>()))
        })
    }

    /// Which outputs make up the rows of an `f32` matrix.
    ///
    /// # Errors
    /// `Input` naming outputs that are not numeric.
    pub fn tensor_f32(&self, spec: TensorSpec) -> Result<Tensor> {
        Tensor::new(self, spec)
    }
}
