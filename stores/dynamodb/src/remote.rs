//! What is the same for every store behind a network: what a failure is, what is counted, and who is this machine?

use std::borrow::Cow;

use larder_base::{Error, ErrorKind};

/// What a store can do about a failure; each has its own list.
pub(crate) trait Turns: Sized {
    /// The backend's name, as errors say it.
    const BACKEND: &'static str;
    /// The connection is gone: connect again.
    const RECONNECT: Self;
    /// Nothing came in time.
    const SILENT: Self;
    /// Nothing can be done here.
    const GIVE: Self;

    /// Whether another try may succeed.
    fn passes(&self) -> bool;
}

/// One failure, before anybody decided whether to try again.
#[derive(Debug, Clone)]
pub(crate) struct Fault<T> {
    /// What can be done about it here.
    pub(crate) turn: T,
    // Boxed: results without a failure stay small.
    said: Box<Said>,
}

#[derive(Debug, Clone)]
struct Said {
    kind: ErrorKind,
    what: Cow<'static, str>,
    help: Cow<'static, str>,
    told: Option<String>,
    server: Option<String>,
}

impl<T> Fault<T> {
    /// A failure: what can be done here, what the caller gets, and what the caller can do.
    pub(crate) fn new(
        turn: T,
        kind: ErrorKind,
        what: impl Into<Cow<'static, str>>,
        help: impl Into<Cow<'static, str>>,
    ) -> Self {
        let said = Said {
            kind,
            what: what.into(),
            help: help.into(),
            told: None,
            server: None,
        };
        Self {
            turn,
            said: Box::new(said),
        }
    }

    /// Adds what the other side said: never data, never secrets.
    #[must_use]
    pub(crate) fn told(mut self, told: impl ToString) -> Self {
        self.said.told = Some(told.to_string());
        self
    }

    /// Adds which server it was; the first one named stays.
    #[must_use]
    pub(crate) fn at(mut self, server: impl ToString) -> Self {
        self.said.server.get_or_insert_with(|| server.to_string());
        self
    }

    /// The kind of error that the caller gets.
    pub(crate) fn kind(&self) -> ErrorKind {
        self.said.kind
    }

    /// Whether it means "not now", so that a partial answer makes sense.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(
            self.said.kind,
            ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Overloaded
        )
    }
}

impl<T: Turns> Fault<T> {
    /// Nothing came in time.
    pub(crate) fn silent() -> Self {
        Self::new(
            T::SILENT,
            ErrorKind::Timeout,
            format!("{} did not answer in time", T::BACKEND),
            "check the server's load and the network, or raise `timeout`",
        )
    }

    /// The caller's deadline passed.
    pub(crate) fn late() -> Self {
        Self::new(
            T::GIVE,
            ErrorKind::Timeout,
            format!("{} did not answer within the deadline", T::BACKEND),
            "give the call more time, or check the server's load",
        )
    }

    /// No connection could be made.
    pub(crate) fn unreachable(told: impl ToString) -> Self {
        let what = format!("{} cannot be reached", T::BACKEND);
        Self::gone(what).told(told)
    }

    /// A connection that was there is no more.
    pub(crate) fn broken(told: impl ToString) -> Self {
        let what = format!("the connection to {} broke", T::BACKEND);
        Self::gone(what).told(told)
    }

    /// A server is not there, or not able to serve; `what` says in which way.
    pub(crate) fn gone(what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(
            T::RECONNECT,
            ErrorKind::Unavailable,
            what,
            format!("check that {} is running and reachable", T::BACKEND),
        )
    }

    /// Whether another try may succeed.
    pub(crate) fn passes(&self) -> bool {
        self.turn.passes()
    }
}

impl<T> From<Fault<T>> for Error {
    fn from(fault: Fault<T>) -> Self {
        let said = *fault.said;
        let error = Error::new(said.kind, said.what).help(said.help);
        let error = match said.server {
            Some(server) => error.with("server", server),
            None => error,
        };
        match said.told {
            Some(told) => error.source(told),
            None => error,
        }
    }
}

use metrics::{Counter, Histogram, counter, histogram};

/// The series of one store, with `BACKEND` standing for the type of the store:
///
/// | name | type | more labels |
/// | --- | --- | --- |
/// | `larder_BACKEND_round_trips_total` | counter | `operation` |
/// | `larder_BACKEND_keys_total` | counter | `operation`: keys that were sent |
/// | `larder_BACKEND_bytes_total` | counter | `direction`: `sent`, `received` |
/// | `larder_BACKEND_retries_total` | counter | `operation`: what was tried again |
/// | `larder_BACKEND_wait_seconds` | histogram | – : how long a call waited for a connection |
/// | `larder_BACKEND_faults_total` | counter | `kind`: failures before any second try |
///
/// Every series has the label `store`. They are looked up once, when the store is built: install the recorder before.
pub(crate) struct Meters {
    /// Rows that are asked for.
    pub(crate) read: Operation,
    /// Rows that are written or deleted.
    pub(crate) write: Operation,
    /// All else: preparing, sweeping, checking.
    pub(crate) admin: Operation,
    /// Bytes to servers.
    pub(crate) sent: Counter,
    /// Bytes from servers.
    pub(crate) received: Counter,
    /// How long calls waited for a connection, in seconds.
    pub(crate) wait: Histogram,
    backend: &'static str,
    store: String,
}

/// The series of one operation.
pub(crate) struct Operation {
    /// Requests that were answered together.
    pub(crate) round_trips: Counter,
    /// Keys that were sent.
    pub(crate) keys: Counter,
    /// Second and later tries.
    pub(crate) retries: Counter,
}

impl Meters {
    /// The series of a store of a type (`redis`), under its name in the project.
    pub(crate) fn new(backend: &'static str, store: &str) -> Self {
        let series = |what: &str, label: &'static str, value: &'static str| counter!(name(backend, what), "store" => store.to_owned(), label => value);
        let operation = |operation: &'static str| Operation {
            round_trips: series("round_trips_total", "operation", operation),
            keys: series("keys_total", "operation", operation),
            retries: series("retries_total", "operation", operation),
        };
        Self {
            read: operation("read"),
            write: operation("write"),
            admin: operation("admin"),
            sent: series("bytes_total", "direction", "sent"),
            received: series("bytes_total", "direction", "received"),
            wait: histogram!(name(backend, "wait_seconds"), "store" => store.to_owned()),
            backend,
            store: store.to_owned(),
        }
    }

    /// Counts a failure. Looked up each time: failures are rare.
    pub(crate) fn fault(&self, kind: ErrorKind) {
        let store = self.store.clone();
        counter!(name(self.backend, "faults_total"), "store" => store, "kind" => kind.as_str()).increment(1);
    }
}

fn name(backend: &str, what: &str) -> String {
    format!("larder_{backend}_{what}")
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meters")
            .field("backend", &self.backend)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}
/// Whether a host is this machine by its form, so that nobody on the way can listen.
pub(crate) fn is_local(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
