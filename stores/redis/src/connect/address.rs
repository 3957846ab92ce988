//! Where a Redis server is: what a URL says, and whether its address may be used without TLS.

use std::fmt;
use std::path::PathBuf;

use larder_base::{Error, Result, Secret};
use larder_remote::is_local;
use redis::{ConnectionAddr, IntoConnectionInfo};

/// The place of one server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Endpoint {
    /// A host, by name or number, and a port.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// A host and a port.
    pub(crate) fn tcp(host: impl Into<String>, port: u16) -> Self {
        Self::Tcp(host.into(), port)
    }

    /// An endpoint that a server told; it may not know its own name, then it is where it was asked.
    pub(crate) fn sibling(&self, host: &str, port: u16) -> Self {
        match (host, self) {
            ("" | "?", Self::Tcp(own, _)) => Self::tcp(own.clone(), port),
            ("" | "?", Self::Unix(_)) => Self::tcp("127.0.0.1", port),
            (host, _) => Self::tcp(host, port),
        }
    }

    /// Reads `host:port`, as a redirection names a node.
    pub(crate) fn parse(&self, text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Some(self.sibling(host.trim_matches(['[', ']']), port.parse().ok()?))
    }

    /// Whether nobody on the way can listen.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(host, _) => is_local(host),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What one URL says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Address {
    pub(crate) endpoint: Endpoint,
    pub(crate) tls: bool,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret<String>>,
    pub(crate) database: i64,
}

impl Address {
    /// Reads `redis://`, `rediss://`, `valkey://`, `valkeys://`, `redis+unix://`, `valkey+unix://` and `unix://`, or
    /// `host:port` alone; `port` stands where none is named.
    ///
    /// # Errors
    /// `Config`, without the text, which may hold a password.
    pub(crate) fn parse(text: &str, port: u16) -> Result<Self> {
        let wrong = |what: &str| {
            Error::config(format!("a Redis address {what}")).help(
                "write redis://[user:password@]host[:port][/database], rediss:// for TLS, or redis+unix:///path/to.sock",
            )
        };
        let text = text.trim();
        if text.is_empty() {
            return Err(wrong("is empty"));
        }
        let (tls, plain) = match text.split_once("://") {
            None => (false, format!("redis://{text}")),
            Some(("rediss", rest)) => (true, format!("redis://{rest}")),
            Some(("valkeys", rest)) => (true, format!("valkey://{rest}")),
            Some(_) => (false, text.to_owned()),
        };
        let url =
            redis::parse_redis_url(&plain).ok_or_else(|| wrong("is no URL of a kind that Redis has"))?;
        if url.fragment().is_some() {
            return Err(wrong(
                "holds a fragment: TLS is always verified; name your authority with `tls: { ca: FILE }`",
            ));
        }
        check_options(url.scheme(), url.query().unwrap_or_default())?;
        let no_port = url.port().is_none();
        let info = url
            .into_connection_info()
            .map_err(|_| wrong("is not understood"))?;
        let endpoint = match info.addr() {
            ConnectionAddr::Tcp(host, _) if no_port => Endpoint::tcp(host.clone(), port),
            ConnectionAddr::Tcp(host, port) => Endpoint::tcp(host.clone(), *port),
            ConnectionAddr::Unix(path) => Endpoint::Unix(path.clone()),
            _ => return Err(wrong("is of a kind that is not supported")),
        };
        let settings = info.redis_settings();
        Ok(Self {
            endpoint,
            tls,
            username: settings.username().map(str::to_owned),
            password: settings
                .password()
                .map(|password| Secret::new(password.to_owned())),
            database: settings.db(),
        })
    }
}

/// Refuses options that mean nothing here. Values are never told, nor what looks like a piece of a password.
fn check_options(scheme: &str, query: &str) -> Result<()> {
    let known: &[&str] = match scheme.ends_with("unix") {
        true => &["db", "user", "pass"],
        false => &[],
    };
    let names = query.split('&').filter(|option| !option.is_empty());
    let mut names = names.map(|option| option.split_once('=').unwrap_or((option, "")));
    let Some((name, value)) = names.find(|(name, _)| !known.contains(name)) else {
        return Ok(());
    };
    // Behind a special character in a password stands another piece of it.
    let piece = value.is_empty() || query.contains('@') || query.contains("pass=");
    let error = Error::config("a Redis address has an option that is not known");
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    Err(match name {
        "db" => error
            .with("option", name)
            .help("write the database behind the host: redis://host:port/3"),
        _ if !piece && name.bytes().all(is_word) => error
            .with("option", name)
            .help("remove it; what can be chosen are options of the store in `larder.yaml`"),
        _ => error.help("remove what stands behind the `?`; in a password write %3F for it"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Address {
        Address::parse(text, 6379).expect(text)
    }

    #[test]
    fn urls_are_read() {
        let full = parse("rediss://bob:s%3Acret@redis.example:7000/3");
        assert_eq!(full.endpoint, Endpoint::tcp("redis.example", 7000));
        assert!(full.tls && full.database == 3);
        assert_eq!(full.username.as_deref(), Some("bob"));
        assert_eq!(
            full.password.map(|p| p.reveal().clone()).as_deref(),
            Some("s:cret")
        );
        assert_eq!(parse("valkey://h").endpoint, Endpoint::tcp("h", 6379));
        assert_eq!(
            Address::parse("h", 26379).expect("a host").endpoint,
            Endpoint::tcp("h", 26379)
        );
        assert_eq!(parse("h:1").endpoint, Endpoint::tcp("h", 1));
        assert_eq!(parse("redis://[::1]:7/").endpoint, Endpoint::tcp("::1", 7));
        let socket = parse("redis+unix:///srv/r.sock?db=2&user=u&pass=p");
        assert_eq!(socket.endpoint, Endpoint::Unix("/srv/r.sock".into()));
        assert_eq!((socket.database, socket.username.as_deref()), (2, Some("u")));
    }

    #[test]
    fn what_is_wrong_is_told_without_the_password() {
        for text in [
            "",
            "http://x:hunter2@h",
            "redis://u:hunter2@",
            "redis://u:hunter2@h/x",
            "rediss://u:hunter2@h#insecure",
            "redis://u:hunter2@0.0.0.0",
            "redis://u:1?hunter2@h",
            "redis://u:1?hunter2=x@h",
            "redis://h?x=hunter2",
            "redis://h?db=hunter2",
            "redis+unix:///x?password=hunter2",
            "redis+unix:///x?pass=a&hunter2=1",
            "redis+unix:///x?pass=a&hunter2",
        ] {
            let error = Address::parse(text, 1).expect_err(text);
            let told = format!("{error:?} {}", error.chain());
            assert!(
                !told.contains("hunter2") && (told.contains("redis://[user") || text.contains('?')),
                "{told}"
            );
        }
        for (text, named) in [
            ("redis://h?db=3", "redis://host:port/3"),
            ("redis://h/?foo=bar", "option=foo"),
            ("unix:///x?db=1&foo=bar", "option=foo"),
        ] {
            let told = Address::parse(text, 1).expect_err(text).chain();
            assert!(told.contains(named) && !told.contains("bar"), "{told}");
        }
        assert!(!format!("{:?}", parse("redis://u:hunter2@h")).contains("hunter2"));
    }

    #[test]
    fn loopback_is_known() {
        for local in [
            "redis://localhost",
            "redis://127.8.0.1",
            "redis://[::1]",
            "unix:///x",
        ] {
            assert!(parse(local).endpoint.is_local(), "{local}");
        }
        for remote in ["redis://10.0.0.1", "redis://localhost.example"] {
            assert!(!parse(remote).endpoint.is_local(), "{remote}");
        }
    }

    #[test]
    fn siblings_are_named() {
        let seed = Endpoint::tcp("seed", 1);
        assert_eq!(seed.parse("10.0.0.1:7"), Some(Endpoint::tcp("10.0.0.1", 7)));
        assert_eq!(seed.parse(":7"), Some(Endpoint::tcp("seed", 7)));
        assert_eq!(seed.parse("[fe80::1]:7"), Some(Endpoint::tcp("fe80::1", 7)));
        assert_eq!(seed.parse("h"), None);
        assert_eq!(Endpoint::tcp("::1", 7).to_string(), "[::1]:7");
    }
}
