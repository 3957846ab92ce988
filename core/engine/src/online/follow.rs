//! How prepared plans hear of new snapshots: one task per feature store, never the read itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use larder_base::{Loaded, Version};
use parking_lot::Mutex;

use super::plan::PlanInner;
use crate::store::{FeatureStore, Inner};

/// How long the registry may hold the question before it answers "nothing new".
const WAIT: Duration = Duration::from_secs(10);
/// Pause after a registry that could not be asked.
const PAUSE: Duration = Duration::from_secs(2);

/// The plans of a feature store that follow its registry.
#[derive(Debug, Default)]
pub(crate) struct Followers {
    plans: Mutex<Vec<Weak<PlanInner>>>,
    running: AtomicBool,
}

impl Followers {
    /// Adds a plan; starts the task with the first one. Needs a tokio runtime.
    pub(super) fn add(store: &FeatureStore, plan: &Arc<PlanInner>, version: Version) {
        let followers = &store.inner.followers;
        followers.plans.lock().push(Arc::downgrade(plan));
        if !followers.running.swap(true, Ordering::SeqCst) {
            tokio::spawn(follow(Arc::downgrade(&store.inner), version));
        }
    }
}

async fn follow(inner: Weak<Inner>, mut known: Version) {
    loop {
        // Without the store or any plan there is nobody to tell; the next plan starts a new task.
        let Some(inner) = inner.upgrade() else { return };
        let plans: Vec<Arc<PlanInner>> = {
            let mut plans = inner.followers.plans.lock();
            plans.retain(|plan| plan.strong_count() > 0);
            if plans.is_empty() {
                inner.followers.running.store(false, Ordering::SeqCst);
                return;
            }
            plans.iter().filter_map(Weak::upgrade).collect()
        };
        // A plan that was made meanwhile may be on an older snapshot than the task knows.
        let oldest = plans
            .iter()
            .map(|plan| plan.seen())
            .min()
            .unwrap_or(known)
            .min(known);
        let store = FeatureStore { inner };
        let loaded = match store.registry().await {
            Ok(registry) => registry.load(store.project(), Some(oldest), WAIT).await,
            Err(error) => Err(error),
        };
        match loaded {
            Ok(Loaded::Changed(snapshot)) => {
                known = snapshot.version();
                for plan in plans {
                    plan.adopt(&store, &snapshot).await;
                }
            }
            Ok(Loaded::Unchanged) => {}
            Err(error) => {
                tracing::warn!(%error, "the registry could not be asked for news; plans serve on as they are");
                drop(plans);
                drop(store);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
