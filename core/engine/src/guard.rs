//! Who may do what, asked once per plan or flow; and who is told.
//!
//! Both are seams: the defaults allow everything and tell nobody. They sit in the engine so that
//! callers of the library cannot go around what a server enforces.

use std::fmt::Debug;

use async_trait::async_trait;
use larder_base::{Micros, ProjectName, Result};
use serde::Serialize;

/// On whose behalf something is done.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Principal(pub String);

impl Default for Principal {
    /// The user of this process.
    fn default() -> Self {
        let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
        Self(
            user.ok()
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| "unknown".to_owned()),
        )
    }
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Deed {
    /// Look at definitions, history, status.
    Describe,
    /// Change definitions.
    Apply,
    /// Read training data.
    ReadOffline,
    /// Read online values.
    ReadOnline,
    /// Write rows, offline or online.
    Write,
    /// Delete values of entities.
    Delete,
}

/// Decides whether a principal may do something.
#[async_trait]
pub trait Guard: Debug + Send + Sync + 'static {
    /// `Ok` or a `Denied` error. `resources` are names such as `feature_view:user_stats`.
    async fn check(
        &self,
        principal: &Principal,
        deed: Deed,
        project: &ProjectName,
        resources: &[String],
    ) -> Result<()>;
}

/// Allows everything: the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct AllowAll;

#[async_trait]
impl Guard for AllowAll {
    async fn check(&self, _: &Principal, _: Deed, _: &ProjectName, _: &[String]) -> Result<()> {
        Ok(())
    }
}

/// Something that was done, or refused.
#[derive(Debug, Clone, Serialize)]
pub struct AuditEvent {
    /// When.
    pub time: Micros,
    /// Who.
    pub principal: Principal,
    /// What.
    pub deed: Deed,
    /// Where.
    pub project: ProjectName,
    /// On what.
    pub resources: Vec<String>,
    /// Whether the guard allowed it.
    pub allowed: bool,
}

/// Is told what was done.
pub trait AuditSink: Debug + Send + Sync + 'static {
    /// Called once per plan or flow, after the guard decided. Must not block.
    fn record(&self, event: &AuditEvent);
}

/// Tells nobody: the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoAudit;

impl AuditSink for NoAudit {
    fn record(&self, _: &AuditEvent) {}
}
