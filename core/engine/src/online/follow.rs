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
    running: Arc<AtomicBool>,
}

impl Followers {
    /// Adds a plan; starts the task with the first one.
    ///
    /// Without a tokio runtime there is no task: such plans hear of news by `refresh` only.
    pub(super) fn add(store: &FeatureStore, plan: &Arc<PlanInner>, version: Version) {
        let followers = &store.inner.followers;
        followers.plans.lock().push(Arc::downgrade(plan));
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            tracing::debug!("no runtime to follow the registry in; plans change by `refresh` only");
            return;
        };
        if !followers.running.swap(true, Ordering::SeqCst) {
            let running = Running(followers.running.clone());
            runtime.spawn(follow(Arc::downgrade(&store.inner), version, running));
        }
    }
}

/// Says that the task has ended, be it with its runtime.
struct Running(Arc<AtomicBool>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

async fn follow(inner: Weak<Inner>, mut known: Version, running: Running) {
    loop {
        // Without the store or any plan there is nobody to tell; the next plan starts a new task.
        let Some(inner) = inner.upgrade() else { return };
        let plans: Vec<Arc<PlanInner>> = {
            let mut plans = inner.followers.plans.lock();
            plans.retain(|plan| plan.strong_count() > 0);
            if plans.is_empty() {
                // Said under the lock, so that a plan added right now finds either it or the task.
                drop(running);
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
        let told = match store.registry().await {
            Ok(registry) => registry.load(store.project(), Some(oldest), WAIT).await,
            Err(error) => Err(error),
        };
        let mut failure = None;
        match told {
            Ok(Loaded::Changed(snapshot)) => {
                known = snapshot.version();
                for plan in &plans {
                    failure = plan.adopt(&store, &snapshot).await.err().or(failure);
                }
            }
            Ok(Loaded::Unchanged) => {}
            Err(error) => failure = Some(error),
        }
        // Nobody is kept alive by a pause.
        drop((plans, store));
        if let Some(error) = failure {
            tracing::warn!(%error, "news could not be taken yet; plans serve on as they are");
            tokio::time::sleep(PAUSE).await;
        }
    }
}
