//! Which options a Redis store has in `larder.yaml`, what is wrong with them, and how it joins an application.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use larder_base::error::{Error, Result};
use larder_base::online::OnlineStore;
use larder_base::plugin::{BuildContext, OnlineStoreConfig, Plugin, Role};
// Named for the code that the macro below writes.
use larder_base::typetag;
use larder_base::{Secret, Span};
use larder_remote::TlsConfig;
use serde::{Deserialize, Deserializer};

use crate::connect::address::{Address, Endpoint};
use crate::store::RedisStore;

/// Descriptor of the Redis online store.
pub static PLUGIN: Plugin = Plugin {
    role: Role::Online,
    name: "redis",
    summary: "Redis or Valkey: standalone, Sentinel or Cluster; one packed value per view and entity.",
    example: "online: { type: redis, url: \"redis://localhost:6379/0\" }",
    capabilities: &["newest_wins", "overwrite", "durable", "shared", "native_expiry"],
    package: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    feature: "redis",
    docs: include_str!("../docs.md"),
    sources: &[],
};

#[typetag::deserialize(name = "redis")]
#[async_trait]
impl OnlineStoreConfig for RedisConfig {
    fn check(&self) -> Result<()> {
        self.checked().map(drop)
    }

    async fn build(&self, cx: &BuildContext) -> Result<Arc<dyn OnlineStore>> {
        Ok(Arc::new(RedisStore::new(self, cx)?))
    }
}

/// `type: redis`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RedisConfig {
    /// One server: `redis://[user:password@]host[:port][/database]`, `rediss://` for TLS, `redis+unix:///path`.
    #[serde(default)]
    pub url: Option<Secret<String>>,
    /// Some nodes of a cluster: URLs, as a list or with commas between; the others are found.
    #[serde(default)]
    pub cluster: Option<Nodes>,
    /// Sentinels, which know where the primary is.
    #[serde(default)]
    pub sentinel: Option<SentinelConfig>,
    /// The ACL user, where no URL names one.
    #[serde(default)]
    pub username: Option<String>,
    /// The password, where no URL names one.
    #[serde(default)]
    pub password: Option<Secret<String>>,
    /// The database, where no URL names one; a cluster has only 0.
    #[serde(default)]
    pub database: Option<u16>,
    /// TLS to every node. `rediss://` turns it on with the machine's authorities.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// What every key begins with; holds no braces.
    #[serde(default = "default_prefix")]
    pub prefix: String,
    /// Connections per node for reads, shared by all requests; writes have one of their own.
    #[serde(default = "default_connections")]
    pub connections: u16,
    /// How long connecting may take, signing in included.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout: Span,
    /// How long a read waits for a server that sends nothing.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// How long a write goes on trying, through a failover for example.
    #[serde(default = "default_write_timeout")]
    pub write_timeout: Span,
    /// Who answers reads.
    #[serde(default)]
    pub read_from: ReadFrom,
    /// Replicas that must have a write before it is acknowledged.
    #[serde(default)]
    pub wait: Option<WaitConfig>,
    /// Keys per second and node that the removal of retired views looks at.
    #[serde(default = "default_reclaim_rate")]
    pub reclaim_rate: u32,
    /// Whether addresses of other machines may be used without TLS.
    #[serde(default)]
    pub allow_plaintext: bool,
}

/// Who answers reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ReadFrom {
    /// The primary: what was acknowledged is seen.
    #[default]
    Primary,
    /// A replica, or the primary where none answers: answers may be older.
    Replica,
}

/// `sentinel:`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SentinelConfig {
    /// The name under which the sentinels watch the primary.
    pub master: String,
    /// Addresses of sentinels, as a list or with commas between; port 26379 where none is named.
    pub nodes: Nodes,
    /// The ACL user of the sentinels themselves.
    #[serde(default)]
    pub username: Option<String>,
    /// The password of the sentinels themselves.
    #[serde(default)]
    pub password: Option<Secret<String>>,
}

/// `wait:`
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct WaitConfig {
    /// How many replicas of each node must have the write.
    pub replicas: u16,
    /// How long to wait for them.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
}

/// Addresses, as a list or as one text with commas between, which an environment variable can hold.
#[derive(Clone)]
pub struct Nodes(Vec<Secret<String>>);

impl Nodes {
    /// Addresses.
    pub fn new<T: Into<String>>(nodes: impl IntoIterator<Item = T>) -> Self {
        Self(nodes.into_iter().map(|node| Secret::new(node.into())).collect())
    }
}

impl std::fmt::Debug for Nodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} nodes", self.0.len())
    }
}

impl<'de> Deserialize<'de> for Nodes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "addresses, as a list or as one text with commas between"
        )]
        enum Form {
            One(String),
            Many(Vec<String>),
        }
        Ok(match Form::deserialize(deserializer)? {
            Form::One(text) => Self::new(text.split(',')),
            Form::Many(nodes) => Self::new(nodes),
        })
    }
}

impl RedisConfig {
    fn empty() -> Self {
        Self {
            url: None,
            cluster: None,
            sentinel: None,
            username: None,
            password: None,
            database: None,
            tls: None,
            prefix: default_prefix(),
            connections: default_connections(),
            connect_timeout: default_connect_timeout(),
            timeout: default_timeout(),
            write_timeout: default_write_timeout(),
            read_from: ReadFrom::default(),
            wait: None,
            reclaim_rate: default_reclaim_rate(),
            allow_plaintext: false,
        }
    }

    /// One server, with the default options.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: Some(Secret::new(url.into())),
            ..Self::empty()
        }
    }

    /// A cluster that has these nodes among others.
    pub fn cluster<T: Into<String>>(nodes: impl IntoIterator<Item = T>) -> Self {
        Self {
            cluster: Some(Nodes::new(nodes)),
            ..Self::empty()
        }
    }

    /// The primary that sentinels watch under a name.
    pub fn sentinel<T: Into<String>>(master: impl Into<String>, nodes: impl IntoIterator<Item = T>) -> Self {
        let sentinel = SentinelConfig {
            master: master.into(),
            nodes: Nodes::new(nodes),
            username: None,
            password: None,
        };
        Self {
            sentinel: Some(sentinel),
            ..Self::empty()
        }
    }
}

fn default_prefix() -> String {
    "larder:".to_owned()
}

fn default_connections() -> u16 {
    2
}

fn default_connect_timeout() -> Span {
    Span::seconds(1)
}

fn default_timeout() -> Span {
    Span::seconds(1)
}

fn default_write_timeout() -> Span {
    Span::seconds(10)
}

fn default_reclaim_rate() -> u32 {
    200_000
}

/// Where the data is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Place {
    /// One server.
    Server(Endpoint),
    /// A primary that sentinels know.
    Sentinel {
        master: String,
        nodes: Vec<Endpoint>,
        username: Option<String>,
        password: Option<Secret<String>>,
    },
    /// A cluster with these nodes among others.
    Cluster(Vec<Endpoint>),
}

/// A configuration that was checked.
#[derive(Debug, Clone)]
pub(crate) struct Checked {
    pub(crate) place: Place,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret<String>>,
    pub(crate) database: i64,
    pub(crate) tls: Option<TlsConfig>,
    pub(crate) connections: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) timeout: Duration,
    pub(crate) write_timeout: Duration,
}

impl RedisConfig {
    /// Checks everything that can be known without a server.
    ///
    /// # Errors
    /// `Config`, never with a secret.
    pub(crate) fn checked(&self) -> Result<Checked> {
        self.check_numbers()?;
        let (addresses, place): (Vec<Address>, _) = match (&self.url, &self.cluster, &self.sentinel) {
            (Some(url), None, None) => {
                let address = Address::parse(url.reveal(), 6379)?;
                let place = Place::Server(address.endpoint.clone());
                (vec![address], place)
            }
            (None, Some(nodes), None) => {
                let addresses = nodes.addresses(6379)?;
                let place = Place::Cluster(endpoints(&addresses));
                (addresses, place)
            }
            (None, None, Some(sentinel)) => {
                let addresses = sentinel.nodes.addresses(26_379)?;
                // What a sentinel's URL says of user and password is about the sentinel.
                let named = addresses.iter().find(|address| address.password.is_some());
                let place = Place::Sentinel {
                    master: sentinel.master.clone(),
                    nodes: endpoints(&addresses),
                    username: sentinel
                        .username
                        .clone()
                        .or(named.and_then(|a| a.username.clone())),
                    password: sentinel
                        .password
                        .clone()
                        .or(named.and_then(|a| a.password.clone())),
                };
                (addresses, place)
            }
            _ => {
                return Err(Error::config(
                    "a Redis store needs exactly one of `url`, `cluster` and `sentinel`",
                )
                .help(PLUGIN.example));
            }
        };
        let checked = self.access(&addresses, place)?;
        self.check_plaintext(&checked)?;
        Ok(checked)
    }

    fn access(&self, addresses: &[Address], place: Place) -> Result<Checked> {
        let sentinel = matches!(place, Place::Sentinel { .. });
        let signed = addresses
            .iter()
            .find(|a| !sentinel && (a.password.is_some() || a.username.is_some()));
        let database = addresses
            .iter()
            .map(|a| a.database)
            .find(|database| !sentinel && *database != 0);
        let database = database.unwrap_or_else(|| self.database.map_or(0, i64::from));
        if database != 0 && matches!(place, Place::Cluster(_)) {
            return Err(Error::config("a Redis cluster has no database but 0")
                .help("remove the database; `prefix` keeps several stores in one cluster apart"));
        }
        let tls = addresses.iter().any(|address| address.tls);
        Ok(Checked {
            place,
            username: signed
                .and_then(|a| a.username.clone())
                .or_else(|| self.username.clone()),
            password: signed
                .and_then(|a| a.password.clone())
                .or_else(|| self.password.clone()),
            database,
            tls: self.tls.clone().or_else(|| tls.then(TlsConfig::default)),
            connections: usize::from(self.connections),
            connect_timeout: self.connect_timeout.to_std(),
            timeout: self.timeout.to_std(),
            write_timeout: self.write_timeout.to_std(),
        })
    }

    fn check_numbers(&self) -> Result<()> {
        if self.prefix.contains(['{', '}']) {
            return Err(Error::config("`prefix` of a Redis store holds a brace")
                .help("braces mark what decides a key's slot in a cluster; choose another prefix"));
        }
        if self.connections == 0 || self.connections > 256 {
            return Err(Error::config("`connections` of a Redis store must be 1 to 256"));
        }
        if self.reclaim_rate == 0 {
            return Err(Error::config(
                "`reclaim_rate` of a Redis store must be at least 1 key per second",
            ));
        }
        let waits = [
            ("connect_timeout", self.connect_timeout),
            ("timeout", self.timeout),
            ("write_timeout", self.write_timeout),
            (
                "wait.timeout",
                self.wait.map_or(Span::seconds(1), |wait| wait.timeout),
            ),
        ];
        match waits.iter().find(|(_, span)| span.0 < 1_000) {
            Some((name, _)) => Err(Error::config(format!(
                "`{name}` of a Redis store must be at least 1ms"
            ))),
            None => Ok(()),
        }
    }

    fn check_plaintext(&self, checked: &Checked) -> Result<()> {
        if checked.tls.is_some() || self.allow_plaintext {
            return Ok(());
        }
        let endpoints = match &checked.place {
            Place::Server(endpoint) => std::slice::from_ref(endpoint),
            Place::Sentinel { nodes, .. } | Place::Cluster(nodes) => nodes,
        };
        match endpoints.iter().find(|endpoint| !endpoint.is_local()) {
            Some(remote) => Err(plaintext(remote)),
            None => Ok(()),
        }
    }
}

/// The error for an address of another machine without TLS.
pub(crate) fn plaintext(endpoint: &Endpoint) -> Error {
    Error::config("features would travel to Redis without TLS")
        .with("address", endpoint)
        .help("use rediss:// (or `tls: {}`), or set `allow_plaintext: true` where the network is trusted")
}

impl Nodes {
    fn addresses(&self, port: u16) -> Result<Vec<Address>> {
        let addresses: Vec<Address> = self
            .0
            .iter()
            .map(|node| Address::parse(node.reveal(), port))
            .collect::<Result<_>>()?;
        if addresses.is_empty() {
            return Err(Error::config("a list of Redis nodes is empty"));
        }
        let sockets = addresses
            .iter()
            .any(|address| matches!(address.endpoint, Endpoint::Unix(_)));
        if sockets {
            return Err(Error::config("a list of Redis nodes names a Unix socket")
                .help("give host and port; a socket is for one server: `url: redis+unix:///path`"));
        }
        Ok(addresses)
    }
}

fn endpoints(addresses: &[Address]) -> Vec<Endpoint> {
    addresses.iter().map(|address| address.endpoint.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: serde_json::Value) -> Result<Checked, String> {
        let config: RedisConfig = serde_json::from_value(json).map_err(|error| error.to_string())?;
        config.checked().map_err(|error| error.chain())
    }

    #[test]
    fn each_form_is_read() {
        let one = read(serde_json::json!({ "url": "redis://u:p@localhost:1/2" })).expect("a server");
        assert_eq!(one.place, Place::Server(Endpoint::tcp("localhost", 1)));
        assert_eq!((one.username.as_deref(), one.database), (Some("u"), 2));
        let cluster = serde_json::json!({ "cluster": "rediss://a:1, rediss://b:2", "password": "p" });
        let cluster = read(cluster).expect("a cluster");
        assert_eq!(
            cluster.place,
            Place::Cluster(vec![Endpoint::tcp("a", 1), Endpoint::tcp("b", 2)])
        );
        assert!(cluster.tls.is_some() && cluster.password.is_some());
        let sentinel = serde_json::json!({
            "sentinel": { "master": "m", "nodes": ["redis://:sp@127.0.0.1"] }, "database": 4, "password": "dp",
        });
        let sentinel = read(sentinel).expect("sentinels");
        assert_eq!(
            sentinel.password.map(|p| p.reveal().clone()).as_deref(),
            Some("dp")
        );
        assert_eq!(sentinel.database, 4);
        let Place::Sentinel { nodes, password, .. } = sentinel.place else {
            panic!("another place");
        };
        assert_eq!(nodes, [Endpoint::tcp("127.0.0.1", 26_379)]);
        assert_eq!(password.map(|p| p.reveal().clone()).as_deref(), Some("sp"));
    }

    #[test]
    fn mistakes_are_told() {
        let cases = [
            (serde_json::json!({}), "exactly one of"),
            (
                serde_json::json!({ "url": "redis://h", "cluster": ["h"] }),
                "exactly one of",
            ),
            (serde_json::json!({ "url": "redis://10.0.0.1" }), "without TLS"),
            (
                serde_json::json!({ "cluster": ["localhost:1", "10.0.0.1:2"] }),
                "10.0.0.1:2",
            ),
            (
                serde_json::json!({ "cluster": ["localhost:1"], "database": 1 }),
                "no database but 0",
            ),
            (serde_json::json!({ "cluster": [] }), "empty"),
            (serde_json::json!({ "cluster": ["unix:///x"] }), "Unix socket"),
            (
                serde_json::json!({ "url": "redis://localhost", "prefix": "a{b" }),
                "brace",
            ),
            (
                serde_json::json!({ "url": "redis://localhost", "connections": 0 }),
                "1 to 256",
            ),
            (
                serde_json::json!({ "url": "redis://localhost", "timeout": "1us" }),
                "`timeout`",
            ),
            (
                serde_json::json!({ "url": "redis://localhost", "reclaim_rate": 0 }),
                "reclaim_rate",
            ),
            (
                serde_json::json!({ "url": "redis://localhost", "host": "x" }),
                "host",
            ),
        ];
        for (json, part) in cases {
            let told = read(json.clone()).expect_err(&json.to_string());
            assert!(told.contains(part), "{json}: {told}");
        }
        read(serde_json::json!({ "url": "redis://10.0.0.1", "allow_plaintext": true })).expect("allowed");
        read(serde_json::json!({ "url": "redis://10.0.0.1", "tls": {} })).expect("with TLS");
    }

    #[test]
    fn secrets_are_not_shown() {
        let json = serde_json::json!({
            "cluster": ["redis://u:hunter2@localhost"], "password": "hunter2",
        });
        let config: RedisConfig = serde_json::from_value(json).expect("a configuration");
        let shown = format!("{config:?} {:?}", config.checked().expect("checked"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
