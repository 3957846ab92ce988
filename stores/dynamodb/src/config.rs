//! Which options a DynamoDB store has in `larder.yaml`, what is wrong with them, and how it joins an application.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use larder_base::error::{Error, Result};
use larder_base::online::OnlineStore;
use larder_base::plugin::{BuildContext, OnlineStoreConfig, Plugin, Role};
// Named for the code that the macro below writes.
use larder_base::typetag;
use larder_base::{Secret, Span};
use larder_remote::is_local;
use serde::Deserialize;

use crate::layout::PROJECT;
use crate::store::DynamoDbStore;

/// Descriptor of the DynamoDB online store.
pub static PLUGIN: Plugin = Plugin {
    role: Role::Online,
    name: "dynamodb",
    summary: "Amazon DynamoDB: one table per project, one packed value per view and entity.",
    example: "online: { type: dynamodb, region: eu-west-1 }",
    capabilities: &["newest_wins", "overwrite", "durable", "shared", "native_expiry"],
    package: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    feature: "dynamodb",
    docs: include_str!("../docs.md"),
    sources: &[],
};

#[typetag::deserialize(name = "dynamodb")]
#[async_trait]
impl OnlineStoreConfig for DynamoDbConfig {
    fn check(&self) -> Result<()> {
        Self::check(self)
    }

    async fn build(&self, cx: &BuildContext) -> Result<Arc<dyn OnlineStore>> {
        Ok(Arc::new(DynamoDbStore::new(self, cx).await?))
    }
}

/// `type: dynamodb`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct DynamoDbConfig {
    /// The region; where absent, the one of AWS's usual chain: environment, shared files, instance.
    pub region: Option<String>,
    /// URL of a server that speaks like DynamoDB; AWS itself, or `AWS_ENDPOINT_URL_DYNAMODB`, where absent.
    pub endpoint: Option<String>,
    /// The profile of AWS's shared files.
    pub profile: Option<String>,
    /// Key id; the usual chain of AWS where absent: environment, shared files, web identity, container, instance.
    pub access_key_id: Option<String>,
    /// The key that belongs to it.
    pub secret_access_key: Option<Secret<String>>,
    /// Token of temporary credentials.
    pub session_token: Option<Secret<String>>,
    /// Certificates of authorities to trust (PEM) instead of the machine's.
    pub ca: Option<PathBuf>,
    /// The name of a project's table; holds `{project}` once.
    pub table: String,
    /// How a table that is made is billed.
    pub billing: Billing,
    /// Tags of a table that is made.
    pub tags: BTreeMap<String, String>,
    /// Whether reads see every write that was acknowledged before, for twice the cost.
    pub consistent_reads: bool,
    /// How rows are written.
    pub write_mode: WriteMode,
    /// Requests that read at once, per process; each has a connection.
    pub connections: u16,
    /// Requests that write at once, per process, beside those.
    pub write_connections: u16,
    /// How long connecting may take.
    pub connect_timeout: Span,
    /// How long a request of a read may take, and how long a read goes on without progress.
    pub timeout: Span,
    /// How long a write goes on without progress.
    pub write_timeout: Span,
    /// Capacity units per second that the removal of retired views uses at most.
    pub reclaim_rate: u32,
    /// Whether addresses of other machines may be used without TLS.
    pub allow_plaintext: bool,
}

/// How a table is billed, and what it can do per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Billing {
    /// Per request, without a limit to plan.
    #[default]
    OnDemand,
    /// Per hour, for so many capacity units per second.
    Provisioned {
        /// Read units: each 4 KB per second, or 8 KB with reads that need not be consistent.
        read: u32,
        /// Write units: each 1 KB per second.
        write: u32,
    },
}

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WriteMode {
    /// One conditional request per row: a row never replaces a newer one, whoever writes.
    #[default]
    NewestWins,
    /// Up to 25 rows per request: the row that arrives last stays, be it older. The store says that it cannot do better.
    Overwrite,
}

impl Default for DynamoDbConfig {
    fn default() -> Self {
        Self {
            region: None,
            endpoint: None,
            profile: None,
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            ca: None,
            table: format!("larder_{PROJECT}"),
            billing: Billing::OnDemand,
            tags: BTreeMap::new(),
            consistent_reads: false,
            write_mode: WriteMode::NewestWins,
            connections: 64,
            write_connections: 64,
            connect_timeout: Span::seconds(1),
            timeout: Span::seconds(1),
            write_timeout: Span::seconds(10),
            reclaim_rate: 2_000,
            allow_plaintext: false,
        }
    }
}

impl DynamoDbConfig {
    /// DynamoDB in a region, with the default options.
    pub fn new(region: impl Into<String>) -> Self {
        Self {
            region: Some(region.into()),
            ..Self::default()
        }
    }

    /// Checks everything that can be known without a server.
    ///
    /// # Errors
    /// `Config`, never with a secret.
    pub(crate) fn check(&self) -> Result<()> {
        self.check_credentials()?;
        self.check_table()?;
        self.check_numbers()?;
        match &self.endpoint {
            Some(endpoint) => self.check_endpoint(endpoint),
            None => Ok(()),
        }
    }

    fn check_credentials(&self) -> Result<()> {
        if self.access_key_id.is_some() != self.secret_access_key.is_some() {
            return Err(Error::config(
                "`access_key_id` and `secret_access_key` of a DynamoDB store belong together",
            )
            .help("give both, or neither to use the usual chain of AWS"));
        }
        if self.session_token.is_some() && self.access_key_id.is_none() {
            return Err(
                Error::config("`session_token` of a DynamoDB store needs the keys it belongs to")
                    .help("give `access_key_id` and `secret_access_key` as well"),
            );
        }
        if self.profile.is_some() && self.access_key_id.is_some() {
            return Err(Error::config("a DynamoDB store has both `profile` and keys")
                .help("a profile names its own credentials; remove one of them"));
        }
        Ok(())
    }

    fn check_table(&self) -> Result<()> {
        let parts: Vec<&str> = self.table.split(PROJECT).collect();
        let rest = parts.concat();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if parts.len() == 2 && rest.chars().all(plain) && (2..=127).contains(&rest.len()) {
            return Ok(());
        }
        Err(Error::config("`table` of a DynamoDB store cannot name tables")
            .with("table", &self.table)
            .help("write `{project}` once, with 2 to 127 letters, digits, `_`, `-` or `.` around it, such as \"larder_{project}\""))
    }

    fn check_numbers(&self) -> Result<()> {
        for (name, count) in [
            ("connections", self.connections),
            ("write_connections", self.write_connections),
        ] {
            if count == 0 || count > 4_096 {
                return Err(Error::config(format!(
                    "`{name}` of a DynamoDB store must be 1 to 4096"
                )));
            }
        }
        if self.reclaim_rate == 0 {
            return Err(Error::config(
                "`reclaim_rate` of a DynamoDB store must be at least 1 unit per second",
            ));
        }
        if let Billing::Provisioned { read, write } = self.billing
            && (read == 0 || write == 0)
        {
            return Err(Error::config(
                "`billing` of a DynamoDB store needs at least one unit to read and one to write",
            ));
        }
        let waits = [
            ("connect_timeout", self.connect_timeout),
            ("timeout", self.timeout),
            ("write_timeout", self.write_timeout),
        ];
        match waits.iter().find(|(_, span)| span.0 < 1_000) {
            Some((name, _)) => Err(Error::config(format!(
                "`{name}` of a DynamoDB store must be at least 1ms"
            ))),
            None => Ok(()),
        }
    }

    /// Checks the endpoint, be it of the store's options or of AWS's variables and files. No error shows more of it
    /// than the host.
    pub(crate) fn check_endpoint(&self, endpoint: &str) -> Result<()> {
        let wrong = || {
            Error::config("the endpoint for DynamoDB is no URL")
                .help("give scheme, host and port, such as http://localhost:8000")
        };
        let (scheme, rest) = endpoint.split_once("://").ok_or_else(wrong)?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        // A password may hold what ends an authority.
        if rest.contains('@') {
            return Err(Error::config("the endpoint for DynamoDB has a user or password in it").help(
                "credentials belong in `access_key_id` and `secret_access_key` of the store, or in AWS's usual chain",
            ));
        }
        if rest.contains(['?', '#']) {
            return Err(Error::config(
                "the endpoint for DynamoDB has more than a scheme, a host, a port and a path",
            )
            .help("remove what follows `?` or `#`: DynamoDB takes no such parameters"));
        }
        if authority.is_empty() || authority.contains(char::is_whitespace) {
            return Err(wrong());
        }
        match scheme {
            "https" => Ok(()),
            "http" if self.allow_plaintext || is_local(host(authority)) => Ok(()),
            "http" => Err(Error::config("features would travel to DynamoDB without TLS")
                .with("host", host(authority))
                .help(
                    "use an https:// endpoint, or set `allow_plaintext: true` where the network is trusted",
                )),
            _ => Err(wrong()),
        }
    }
}

/// The host in `host:port`, without the brackets of an IPv6 address.
fn host(authority: &str) -> &str {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => host,
        _ => authority,
    };
    host.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: serde_json::Value) -> Result<DynamoDbConfig, String> {
        let config: DynamoDbConfig = serde_json::from_value(json).map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.chain())?;
        Ok(config)
    }

    #[test]
    fn nothing_is_needed() {
        let config = read(serde_json::json!({})).expect("the usual chain of AWS");
        assert_eq!(config.table, "larder_{project}");
        assert_eq!(
            (config.billing, config.write_mode),
            (Billing::OnDemand, WriteMode::NewestWins)
        );
    }

    #[test]
    fn options_are_read() {
        let config = read(serde_json::json!({
            "region": "eu-west-1", "endpoint": "http://[::1]:8000", "table": "{project}.features",
            "billing": { "provisioned": { "read": 5, "write": 7 } }, "write_mode": "overwrite", "timeout": "300ms",
            "tags": { "team": "risk" }, "consistent_reads": true,
        }))
        .expect("good options");
        assert_eq!(config.billing, Billing::Provisioned { read: 5, write: 7 });
        assert_eq!(
            (config.write_mode, config.timeout),
            (WriteMode::Overwrite, Span(300_000))
        );
        read(serde_json::json!({ "billing": "on_demand" })).expect("a word is enough");
        read(serde_json::json!({ "endpoint": "https://dynamodb.example.com/x" })).expect("TLS");
        read(serde_json::json!({ "endpoint": "http://10.0.0.1:8000", "allow_plaintext": true }))
            .expect("allowed");
    }

    #[test]
    fn mistakes_are_told() {
        let cases = [
            (
                serde_json::json!({ "endpoint": "http://10.0.0.1:8000" }),
                "without TLS",
            ),
            (serde_json::json!({ "endpoint": "localhost:8000" }), "no URL"),
            (serde_json::json!({ "endpoint": "ftp://localhost" }), "no URL"),
            (serde_json::json!({ "endpoint": "http://" }), "no URL"),
            (
                serde_json::json!({ "endpoint": "http://me:hunter2@localhost:1" }),
                "credentials belong in",
            ),
            (
                serde_json::json!({ "endpoint": "http://me:hunter2/x@localhost:1" }),
                "credentials belong in",
            ),
            (
                serde_json::json!({ "endpoint": "http://localhost:1/x?token=hunter2" }),
                "follows `?`",
            ),
            (serde_json::json!({ "table": "larder" }), "{project}"),
            (serde_json::json!({ "table": "{project}" }), "2 to 127"),
            (serde_json::json!({ "table": "a {project}" }), "2 to 127"),
            (serde_json::json!({ "access_key_id": "x" }), "belong together"),
            (serde_json::json!({ "session_token": "x" }), "needs the keys"),
            (
                serde_json::json!({ "profile": "p", "access_key_id": "x", "secret_access_key": "y" }),
                "both `profile`",
            ),
            (serde_json::json!({ "connections": 0 }), "`connections`"),
            (
                serde_json::json!({ "write_connections": 5_000 }),
                "`write_connections`",
            ),
            (serde_json::json!({ "timeout": "1us" }), "`timeout`"),
            (serde_json::json!({ "reclaim_rate": 0 }), "`reclaim_rate`"),
            (
                serde_json::json!({ "billing": { "provisioned": { "read": 0, "write": 1 } } }),
                "`billing`",
            ),
            (serde_json::json!({ "billing": "cheap" }), "cheap"),
            (serde_json::json!({ "bucket": "x" }), "bucket"),
        ];
        for (json, part) in cases {
            let told = read(json.clone()).expect_err(&json.to_string());
            assert!(told.contains(part) && !told.contains("hunter2"), "{json}: {told}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let config = read(serde_json::json!({
            "access_key_id": "AKID", "secret_access_key": "hunter2", "session_token": "hunter2",
        }))
        .expect("keys");
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
