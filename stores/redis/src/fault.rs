//! What a failure of Redis means: to the caller, and to whoever decides about another try.

use larder_base::ErrorKind;
use larder_remote::{Turns, tls_refusal};
use redis::{RedisError, ServerError};

/// One failure, before anybody decided whether to try again.
pub(crate) type Fault = larder_remote::Fault<Turn>;

/// What can be done about a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The connection is gone: connect again, perhaps to another node.
    Reconnect,
    /// Nothing came in time.
    Silent,
    /// The slot is served by `host:port` from now on.
    Moved { slot: u16, to: String },
    /// This key is at `host:port`, which must be told `ASKING` first.
    Ask(String),
    /// Some of a command's keys were moved already: ask for each by itself.
    Split,
    /// Not now; the same node may do it in a moment.
    Later,
    /// The script is not in the server's cache.
    NoScript,
    /// Nothing here.
    Give,
}

impl Turns for Turn {
    const BACKEND: &'static str = "redis";
    const RECONNECT: Self = Self::Reconnect;
    const SILENT: Self = Self::Silent;
    const GIVE: Self = Self::Give;

    fn passes(&self) -> bool {
        !matches!(self, Self::Give)
    }
}

/// A slot of the cluster is served by nobody.
pub(crate) fn unserved() -> Fault {
    Fault::new(
        Turn::Reconnect,
        ErrorKind::Unavailable,
        "a part of the redis cluster is down",
        "check the cluster with `redis-cli --cluster check`",
    )
}

/// A node of a cluster, named as if it were a server by itself.
pub(crate) fn is_cluster() -> Fault {
    Fault::new(
        Turn::Give,
        ErrorKind::Config,
        "this redis is a cluster",
        "name its nodes with `cluster:` instead of `url:`",
    )
}

/// A sentinel, named as if it were a server with data.
pub(crate) fn is_sentinel() -> Fault {
    Fault::new(
        Turn::Give,
        ErrorKind::Config,
        "this is a redis sentinel, which holds no data",
        "name it with `sentinel: { master, nodes }` instead of `url:`",
    )
}

/// An answer of a form that the command does not have.
pub(crate) fn odd(what: &'static str) -> Fault {
    Fault::new(
        Turn::Give,
        ErrorKind::Corrupt,
        what,
        "check that nobody else writes keys with this store's prefix",
    )
}

/// What the client said.
pub(crate) fn of_client(error: &RedisError) -> Fault {
    use redis::ErrorKind as Redis;
    if let Some(told) = tls_refusal(error) {
        return Fault::tls(told);
    }
    match error.kind() {
        Redis::AuthenticationFailed => signing(error.detail()),
        Redis::Server(_) | Redis::Extension => {
            let code = error.code().unwrap_or("ERR");
            of_code(code, error.detail())
        }
        Redis::Parse => Fault::new(
            Turn::Reconnect,
            ErrorKind::Unavailable,
            "redis sent what is no answer",
            "check that the address is that of a Redis server, and whether it wants TLS",
        ),
        _ if error.is_timeout() => Fault::silent(),
        Redis::InvalidClientConfig | Redis::Client => Fault::new(
            Turn::Give,
            ErrorKind::Config,
            "the redis client refuses its options",
            "check the options of the store",
        )
        .told(error),
        _ => Fault::broken(error),
    }
}

/// What the server said.
pub(crate) fn of_server(error: &ServerError) -> Fault {
    of_code(error.code(), error.details())
}

fn signing(detail: Option<&str>) -> Fault {
    let fault = Fault::new(
        Turn::Give,
        ErrorKind::Config,
        "redis refuses the user or password",
        "check `username` and `password` of the store (or those in its URL)",
    );
    match detail {
        Some(detail) => fault.told(discreet(detail)),
        None => fault,
    }
}

fn of_code(code: &str, detail: Option<&str>) -> Fault {
    use ErrorKind::{Config, Corrupt, Denied, Internal, Overloaded, Unavailable, Unsupported};
    let detail = detail.unwrap_or_default();
    let (turn, kind, what, help) = match code {
        "MOVED" | "ASK" => (
            redirection(code, detail),
            Unavailable,
            "the redis cluster moves slots",
            "try again in a moment",
        ),
        "TRYAGAIN" => (
            Turn::Split,
            Unavailable,
            "the redis cluster moves slots",
            "try again in a moment",
        ),
        "CLUSTERDOWN" => (
            Turn::Reconnect,
            Unavailable,
            "a part of the redis cluster is down",
            "check the cluster with `redis-cli --cluster check`",
        ),
        "LOADING" => (
            Turn::Later,
            Unavailable,
            "redis is loading its data",
            "wait until it has read its files",
        ),
        "MASTERDOWN" | "NOREPLICAS" => (
            Turn::Later,
            Unavailable,
            "redis lost its primary or replicas",
            "check replication",
        ),
        "READONLY" => (
            Turn::Reconnect,
            Unavailable,
            "this redis is a replica and takes no writes",
            "point the store at the primary; with `sentinel` or `cluster` it is found by itself",
        ),
        "MISCONF" => (
            Turn::Later,
            Unavailable,
            "redis cannot save to disk and refuses writes",
            "free disk space on the server, or see its log",
        ),
        "OOM" => (
            Turn::Give,
            Unavailable,
            "redis is out of memory",
            "raise `maxmemory`, or free rows with `larder gc` and `retention:`",
        ),
        "BUSY" => (
            Turn::Later,
            Overloaded,
            "redis is busy with a script",
            "see SLOWLOG on the server",
        ),
        "NOSCRIPT" => (
            Turn::NoScript,
            Unavailable,
            "redis lost the script of this store",
            "try again",
        ),
        "NOAUTH" | "WRONGPASS" => return signing(Some(detail)),
        "NOPERM" => (
            Turn::Give,
            Denied,
            "the redis user may not do this",
            "grant it what the documentation of this store lists under \"Rights\", for the keys of its `prefix`",
        ),
        "WRONGTYPE" => (
            Turn::Give,
            Corrupt,
            "a key of this store holds no row",
            "check that nobody else writes keys with this store's prefix",
        ),
        "CROSSSLOT" => return is_cluster(),
        "ERR" if detail.contains("not allowed in cluster mode") => return is_cluster(),
        "ERR" if detail.contains("cluster support disabled") || lacks(detail, "CLUSTER") => (
            Turn::Give,
            Config,
            "this redis is no cluster",
            "name it with `url:` instead of `cluster:`",
        ),
        "ERR" if lacks(detail, "SENTINEL") => (
            Turn::Give,
            Config,
            "this redis is no sentinel",
            "`sentinel.nodes` are addresses of sentinels, by default with port 26379; name a server itself with `url:`",
        ),
        "ERR" if detail.contains("max number of clients") => (
            Turn::Later,
            Overloaded,
            "redis has too many clients",
            "lower `connections`, or raise `maxclients` on the server",
        ),
        "ERR" if detail.contains("DB index") => (
            Turn::Give,
            Config,
            "redis has no such database",
            "check the database in the URL",
        ),
        "ERR" if detail.contains("unknown command") => (
            Turn::Give,
            Unsupported,
            "this redis lacks a command",
            "use Redis 6 or newer, or Valkey, with its commands enabled",
        ),
        _ => (
            Turn::Give,
            Internal,
            "redis refuses a command",
            "report it with this message",
        ),
    };
    Fault::new(turn, kind, what, help).told(format!("{code} {}", discreet(detail)))
}

fn redirection(code: &str, detail: &str) -> Turn {
    let mut words = detail.split_ascii_whitespace();
    match (
        words.next().and_then(|slot| slot.parse().ok()),
        words.next(),
        code,
    ) {
        (Some(slot), Some(to), "MOVED") => Turn::Moved {
            slot,
            to: to.to_owned(),
        },
        (Some(_), Some(to), _) => Turn::Ask(to.to_owned()),
        _ => Turn::Later,
    }
}

/// Whether the server does not know a command.
fn lacks(detail: &str, command: &str) -> bool {
    let told = discreet(detail);
    told.contains("unknown command") && told.contains(command)
}

/// What the server said, without the arguments that it repeats.
fn discreet(detail: &str) -> &str {
    let end = detail
        .find(", with args")
        .or_else(|| detail.find("args beginning"));
    detail[..end.unwrap_or(detail.len())].trim()
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_base::Error;

    fn of(code: &str, detail: &str) -> Fault {
        of_code(code, Some(detail))
    }

    #[test]
    fn kinds_tell_what_to_do_next() {
        for (code, detail, kind) in [
            (
                "LOADING",
                "Redis is loading the dataset in memory",
                ErrorKind::Unavailable,
            ),
            (
                "READONLY",
                "You can't write against a read only replica.",
                ErrorKind::Unavailable,
            ),
            (
                "OOM",
                "command not allowed when used memory > 'maxmemory'.",
                ErrorKind::Unavailable,
            ),
            ("BUSY", "Redis is busy running a script.", ErrorKind::Overloaded),
            ("ERR", "max number of clients reached", ErrorKind::Overloaded),
            ("ERR", "DB index is out of range", ErrorKind::Config),
            ("WRONGPASS", "invalid username-password pair", ErrorKind::Config),
            ("NOPERM", "this user has no permissions", ErrorKind::Denied),
            ("WRONGTYPE", "Operation against a key", ErrorKind::Corrupt),
            ("CROSSSLOT", "Keys in request", ErrorKind::Config),
            (
                "ERR",
                "This instance has cluster support disabled",
                ErrorKind::Config,
            ),
            (
                "ERR",
                "unknown command 'SENTINEL', with args beginning with: 'x'",
                ErrorKind::Config,
            ),
            ("ERR", "unknown command 'MGET'", ErrorKind::Unsupported),
            ("ERR", "something new", ErrorKind::Internal),
        ] {
            assert_eq!(of(code, detail).kind(), kind, "{code} {detail}");
        }
        assert!(of("LOADING", "").passes() && !of("OOM", "").passes());
    }

    #[test]
    fn redirections_name_their_node() {
        assert_eq!(
            of("MOVED", "3999 127.0.0.1:6381").turn,
            Turn::Moved {
                slot: 3999,
                to: "127.0.0.1:6381".to_owned()
            }
        );
        assert_eq!(of("ASK", "3999 h:1").turn, Turn::Ask("h:1".to_owned()));
        assert_eq!(of("MOVED", "garbage").turn, Turn::Later);
    }

    #[test]
    fn errors_are_one_line_and_discreet() {
        let fault = of(
            "ERR",
            "unknown command 'GETX', with args beginning with: 'secret'",
        )
        .at("h:1");
        let error = Error::from(fault);
        let told = error.chain();
        assert!(
            told.contains("server=h:1") && told.contains("GETX") && !told.contains("secret"),
            "{told}"
        );
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}
