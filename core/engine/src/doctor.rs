//! Whether everything that is configured can be reached and used, and what to do where not.

use larder_base::{Error, Health, Result};
use serde::Serialize;

use crate::store::FeatureStore;

/// What was found about one configured part.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// `registry`, `online` or `offline`.
    pub role: &'static str,
    /// The store's name in the configuration.
    pub store: String,
    /// Whether it works.
    pub ok: bool,
    /// The backend and its version.
    pub backend: String,
    /// Lines worth showing.
    pub details: Vec<(String, String)>,
    /// Things that work now and will hurt later.
    pub warnings: Vec<String>,
    /// Why it does not work.
    pub error: Option<String>,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Finding {
    fn new(role: &'static str, store: impl ToString, health: Result<Health>) -> Self {
        let (ok, health, mut error) = match health {
            Ok(health) => (true, health, None),
            Err(error) => (false, Health::default(), Some(error)),
        };
        // It stands beside the error, and not in it, too.
        let remedy = error.as_mut().and_then(Error::take_remedy);
        Self {
            role,
            store: store.to_string(),
            ok,
            backend: health.backend,
            details: health.details,
            warnings: health.warnings,
            remedy,
            error: error.as_ref().map(Error::chain),
        }
    }
}

impl FeatureStore {
    /// Checks the registry and every configured store. Never fails: what does not work is a finding.
    pub async fn doctor(&self) -> Vec<Finding> {
        let registry = async { self.registry().await?.check().await };
        let mut findings = vec![Finding::new("registry", "default", registry.await)];
        for name in self.online_names() {
            let health = async {
                let online = self.online_store(name).await?;
                let health = online.check().await?;
                Ok(match online.identity(self.project()).await? {
                    Some(identity) => health.detail("identity", identity),
                    None => health
                        .warning("the store is empty; `larder apply`, then `larder materialize` fill it"),
                })
            };
            findings.push(Finding::new("online", name, health.await));
        }
        #[cfg(feature = "offline")]
        for name in self.offline_names() {
            let health = async { self.offline_store(name).await?.check().await };
            findings.push(Finding::new("offline", name, health.await));
        }
        findings
    }
}
