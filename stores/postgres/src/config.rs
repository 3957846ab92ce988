//! Which options a Postgres store has in `larder.yaml`, what is wrong with them, and how it joins an application.

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
use serde::Deserialize;
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use crate::store::PostgresStore;
use crate::url;

/// Descriptor of the Postgres online store.
pub static PLUGIN: Plugin = Plugin {
    role: Role::Online,
    name: "postgres",
    summary: "PostgreSQL: one table per project, one packed value per view and entity.",
    example: "online: { type: postgres, url: \"postgresql://larder@localhost:5432/features\" }",
    capabilities: &[
        "newest_wins",
        "overwrite",
        "durable",
        "shared",
        "scan",
        "native_expiry",
    ],
    package: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    feature: "postgres",
    docs: include_str!("../docs.md"),
    sources: &[],
};

#[typetag::deserialize(name = "postgres")]
#[async_trait]
impl OnlineStoreConfig for PostgresConfig {
    fn check(&self) -> Result<()> {
        self.checked().map(drop)
    }

    async fn build(&self, cx: &BuildContext) -> Result<Arc<dyn OnlineStore>> {
        Ok(Arc::new(PostgresStore::new(self, cx)?))
    }
}

/// `type: postgres`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PostgresConfig {
    /// `postgresql://[user[:password]@]host[:port][/database][?options]`; `?host=/folder` for a unix socket; several
    /// hosts with commas between, of which the first one that takes writes is used.
    pub url: Secret<String>,
    /// The user, where the URL names none.
    #[serde(default)]
    pub username: Option<String>,
    /// The password, where the URL names none.
    #[serde(default)]
    pub password: Option<Secret<String>>,
    /// TLS, always with verification. `sslmode=require` in the URL turns it on with the machine's authorities.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// The schema of the tables; made where it is missing.
    #[serde(default = "default_schema")]
    pub schema: String,
    /// What the name of every table begins with.
    #[serde(default = "default_prefix")]
    pub prefix: String,
    /// Most connections for reads.
    #[serde(default = "default_connections")]
    pub connections: u16,
    /// Most connections for writes and upkeep, beside those for reads.
    #[serde(default = "default_write_connections")]
    pub write_connections: u16,
    /// How long connecting may take, signing in included.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout: Span,
    /// How long a read waits for a free connection, and for a server that sends nothing.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// How long a write goes on trying, through a restart for example.
    #[serde(default = "default_write_timeout")]
    pub write_timeout: Span,
    /// Whether statements are prepared once per connection; `false` behind a pooler in transaction mode.
    #[serde(default = "default_prepared")]
    pub prepared_statements: bool,
    /// Rows per second that the removal of retired and expired rows deletes at most.
    #[serde(default = "default_reclaim_rate")]
    pub reclaim_rate: u32,
    /// Whether addresses of other machines may be used without TLS.
    #[serde(default)]
    pub allow_plaintext: bool,
}

impl PostgresConfig {
    /// A server, with the default options.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: Secret::new(url.into()),
            username: None,
            password: None,
            tls: None,
            schema: default_schema(),
            prefix: default_prefix(),
            connections: default_connections(),
            write_connections: default_write_connections(),
            connect_timeout: default_connect_timeout(),
            timeout: default_timeout(),
            write_timeout: default_write_timeout(),
            prepared_statements: default_prepared(),
            reclaim_rate: default_reclaim_rate(),
            allow_plaintext: false,
        }
    }
}

fn default_schema() -> String {
    "public".to_owned()
}

fn default_prefix() -> String {
    "larder_".to_owned()
}

fn default_connections() -> u16 {
    8
}

fn default_write_connections() -> u16 {
    4
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

fn default_prepared() -> bool {
    true
}

fn default_reclaim_rate() -> u32 {
    50_000
}

/// A configuration that was checked.
#[derive(Clone)]
pub(crate) struct Checked {
    /// What the client needs to know; holds the password.
    pub(crate) client: Config,
    pub(crate) tls: Option<TlsConfig>,
    pub(crate) connect_timeout: Duration,
    pub(crate) timeout: Duration,
    pub(crate) write_timeout: Duration,
}

impl PostgresConfig {
    /// Checks everything that can be known without a server.
    ///
    /// # Errors
    /// `Config`, never with a secret.
    pub(crate) fn checked(&self) -> Result<Checked> {
        self.check_values()?;
        let mut client = url::parse(self.url.reveal())?;
        if client.get_user().is_none() {
            match &self.username {
                Some(user) => client.user(user.as_str()),
                None => {
                    return Err(Error::config("a Postgres store needs a user").help(
                        "write it into `url`, as in postgresql://user@host/database, or set `username`",
                    ));
                }
            };
        }
        if let (None, Some(password)) = (client.get_password(), &self.password) {
            client.password(password.reveal().as_bytes());
        }
        if client.get_application_name().is_none() {
            client.application_name("larder");
        }
        let secure = self.tls.is_some() || client.get_ssl_mode() == SslMode::Require;
        if !secure && !self.allow_plaintext {
            url::check_plaintext(&client)?;
        }
        // There is no half way: encrypted and verified, or plain.
        client.ssl_mode(match secure {
            true => SslMode::Require,
            false => SslMode::Disable,
        });
        Ok(Checked {
            tls: secure.then(|| self.tls.clone().unwrap_or_default()),
            client,
            connect_timeout: self.connect_timeout.to_std(),
            timeout: self.timeout.to_std(),
            write_timeout: self.write_timeout.to_std(),
        })
    }

    fn check_values(&self) -> Result<()> {
        for (name, text) in [("schema", &self.schema), ("prefix", &self.prefix)] {
            if text.contains('\0') || text.len() > 40 || (name == "schema" && text.is_empty()) {
                return Err(Error::config(format!("`{name}` of a Postgres store is no name"))
                    .help("use at most 40 bytes without a NUL"));
            }
        }
        for (name, count) in [
            ("connections", self.connections),
            ("write_connections", self.write_connections),
        ] {
            if count == 0 || count > 1_000 {
                return Err(Error::config(format!(
                    "`{name}` of a Postgres store must be 1 to 1000"
                )));
            }
        }
        if self.reclaim_rate == 0 {
            return Err(Error::config(
                "`reclaim_rate` of a Postgres store must be at least 1 row per second",
            ));
        }
        let waits = [
            ("connect_timeout", self.connect_timeout),
            ("timeout", self.timeout),
            ("write_timeout", self.write_timeout),
        ];
        match waits.iter().find(|(_, span)| span.0 < 1_000) {
            Some((name, _)) => Err(Error::config(format!(
                "`{name}` of a Postgres store must be at least 1ms"
            ))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(config: &PostgresConfig) -> String {
        match config.checked() {
            Ok(_) => panic!("nobody refused {config:?}"),
            Err(error) => error.chain(),
        }
    }

    #[test]
    fn a_url_is_enough() {
        let checked = PostgresConfig::new("postgresql://me:secret@localhost:6000/features")
            .checked()
            .expect("a good configuration");
        assert_eq!(checked.client.get_user(), Some("me"));
        assert_eq!(checked.client.get_dbname(), Some("features"));
        assert_eq!(checked.client.get_ports(), [6000]);
        assert!(checked.tls.is_none() && checked.client.get_ssl_mode() == SslMode::Disable);
    }

    #[test]
    fn secrets_are_never_shown() {
        for url in [
            "postgresql://me:hunter2@[broken/x?sslmode=hunter2",
            "postgresql://me:s3cr@hunter2@127.0.0.1:1/x",
            "postgresql://me:s3cr@hunter2/y@127.0.0.1/x",
            "postgresql://me:s3cr@hunter2?y=1@127.0.0.1/x",
            "postgresql://me:s3cr@h?hunter2=1@127.0.0.1/x",
            "postgresql://me:s3cr@hunter2%z1/x",
            "postgresql:///x?user=me&host=hunter2@h",
            "postgresql://me@localhost/x?hunter2",
            "postgresql://localhost/x?user=me&password=s3cr@hunter2",
            "postgresql://me@localhost/x?password=s3cr&hunter2=1",
            "postgresql://me@localhost/x?port=hunter2",
        ] {
            let mut config = PostgresConfig::new(url);
            config.password = Some(Secret::new("hunter2".to_owned()));
            assert!(!format!("{config:?}").contains("hunter2"));
            for plaintext in [false, true] {
                config.allow_plaintext = plaintext;
                let told = refused(&config);
                assert!(!told.contains("hunter2"), "{told}");
            }
        }
    }

    #[test]
    fn other_machines_need_tls() {
        let url = "postgresql://me@db.example.com/features";
        assert!(refused(&PostgresConfig::new(url)).contains("without TLS"));
        for mode in ["require", "verify-full", "verify-ca"] {
            let config = PostgresConfig::new(format!("{url}?sslmode={mode}"));
            assert!(
                config.checked().is_ok_and(|checked| checked.tls.is_some()),
                "{mode}"
            );
        }
        let mut config = PostgresConfig::new(url);
        config.allow_plaintext = true;
        assert!(config.checked().is_ok_and(|checked| checked.tls.is_none()));
        let local = PostgresConfig::new("postgresql://me@127.0.0.1,localhost/x");
        assert!(local.checked().is_ok());
        let socket = PostgresConfig::new("postgresql:///x?host=/run/postgresql&user=me");
        assert!(socket.checked().is_ok());
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let with = |change: &dyn Fn(&mut PostgresConfig)| {
            let mut config = PostgresConfig::new("postgresql://me@localhost/x");
            change(&mut config);
            refused(&config)
        };
        assert!(with(&|c| c.connections = 0).contains("`connections`"));
        assert!(with(&|c| c.write_connections = 5_000).contains("`write_connections`"));
        assert!(with(&|c| c.timeout = Span(5)).contains("`timeout`"));
        assert!(with(&|c| c.reclaim_rate = 0).contains("`reclaim_rate`"));
        assert!(with(&|c| c.schema.clear()).contains("`schema`"));
        assert!(with(&|c| c.prefix = "x\0".to_owned()).contains("`prefix`"));
        assert!(refused(&PostgresConfig::new("mysql://h/x")).contains("postgresql://"));
        assert!(refused(&PostgresConfig::new("postgresql://localhost/x")).contains("user"));
    }

    #[test]
    fn options_are_read_and_unknown_ones_refused() {
        let read = |text: &str| serde_json::from_str::<PostgresConfig>(text);
        let config = read(r#"{"url": "postgresql://me@h/x", "timeout": "300ms", "prefix": "f_", "tls": {}}"#)
            .expect("a configuration");
        assert_eq!((config.timeout, config.prefix.as_str()), (Span(300_000), "f_"));
        assert!(read(r#"{"url": "postgresql://me@h/x", "pool": 3}"#).is_err());
        assert!(read("{}").is_err());
    }
}
