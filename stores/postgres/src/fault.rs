//! What a failure of Postgres means: to the caller, and to whoever decides about another try.

use larder_base::{Error, ErrorKind};
use tokio_postgres::error::{DbError, SqlState};

/// One failure, before anybody decided whether to try again.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    /// What can be done about it here.
    pub(crate) turn: Turn,
    kind: ErrorKind,
    what: &'static str,
    help: &'static str,
    /// What the server or the operating system said.
    told: Option<String>,
    node: Option<String>,
}

/// What can be done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The connection is gone, and others of the pool may be: connect again.
    Reconnect,
    /// Nothing came in time.
    Silent,
    /// Not now; the same server may do it in a moment.
    Later,
    /// The project has no table yet, or none any more.
    NoTable,
    /// Nothing here.
    Give,
}

const RUNNING: &str = "check that Postgres is running and reachable";

impl Fault {
    pub(crate) fn new(turn: Turn, kind: ErrorKind, what: &'static str, help: &'static str) -> Self {
        Self {
            turn,
            kind,
            what,
            help,
            told: None,
            node: None,
        }
    }

    /// Nothing came in time.
    pub(crate) fn silent() -> Self {
        Self::new(
            Turn::Silent,
            ErrorKind::Timeout,
            "postgres did not answer in time",
            "check the server's load and the network, or raise `timeout`",
        )
    }

    /// The caller's deadline passed.
    pub(crate) fn late() -> Self {
        Self::new(
            Turn::Give,
            ErrorKind::Timeout,
            "postgres did not answer within the deadline",
            "give the call more time, or check the server's load",
        )
    }

    /// All connections are busy.
    pub(crate) fn busy() -> Self {
        Self::new(
            Turn::Give,
            ErrorKind::Overloaded,
            "all connections to postgres are busy",
            "raise `connections`, or ask for less at once",
        )
    }

    /// A connection could not be made.
    pub(crate) fn unreachable(told: impl ToString) -> Self {
        let fault = Self::new(
            Turn::Reconnect,
            ErrorKind::Unavailable,
            "postgres cannot be reached",
            RUNNING,
        );
        fault.told(told)
    }

    /// An answer of a form that the statement does not have.
    pub(crate) fn odd(what: &'static str) -> Self {
        Self::new(
            Turn::Give,
            ErrorKind::Corrupt,
            what,
            "check that nobody else has tables with this store's prefix",
        )
    }

    /// Adds what the other side said.
    pub(crate) fn told(mut self, told: impl ToString) -> Self {
        self.told = Some(told.to_string());
        self
    }

    /// Adds which server it was; the first one named stays.
    pub(crate) fn at(mut self, node: impl ToString) -> Self {
        self.node.get_or_insert_with(|| node.to_string());
        self
    }

    /// Whether another try may succeed.
    pub(crate) fn passes(&self) -> bool {
        matches!(self.turn, Turn::Reconnect | Turn::Silent | Turn::Later)
    }

    /// Whether the connection is of no more use.
    pub(crate) fn breaks(&self) -> bool {
        matches!(self.turn, Turn::Reconnect | Turn::Silent)
    }

    /// The kind of error that the caller gets.
    pub(crate) fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether a failure means "not now", so that a partial answer makes sense.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Overloaded
        )
    }

    /// What the client said.
    pub(crate) fn of_client(error: &tokio_postgres::Error) -> Self {
        if let Some(db) = error.as_db_error() {
            return Self::of_server(db);
        }
        let cause = std::error::Error::source(error).map(ToString::to_string);
        let told = match &cause {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        };
        // The client tells these apart by their text only.
        let starts = |head: &str| told.starts_with(head);
        if starts("error performing TLS handshake") {
            let broken = cause.as_deref().is_none_or(|cause| {
                cause.contains("eof") || cause.contains("reset") || cause.contains("closed")
            });
            return match broken {
                true => Self::unreachable(told),
                false => Self::tls(told),
            };
        }
        if starts("authentication error") || starts("invalid configuration") {
            return Self::signing(told);
        }
        if error.is_closed() || starts("error communicating") || starts("error connecting") {
            return Self::new(
                Turn::Reconnect,
                ErrorKind::Unavailable,
                "the connection to postgres broke",
                RUNNING,
            )
            .told(told);
        }
        Self::new(
            Turn::Give,
            ErrorKind::Internal,
            "the postgres client failed",
            "report it with this message",
        )
        .told(told)
    }

    fn tls(told: String) -> Self {
        Self::new(
            Turn::Give,
            ErrorKind::Config,
            "postgres and this store do not agree about TLS",
            "check the server's certificate, the host name in `url` and `tls: { ca }`",
        )
        .told(told)
    }

    fn signing(told: String) -> Self {
        Self::new(
            Turn::Give,
            ErrorKind::Config,
            "postgres refuses to sign in",
            "check user and password in `url`, and pg_hba.conf on the server",
        )
        .told(told)
    }

    /// What the server said.
    fn of_server(error: &DbError) -> Self {
        let code = error.code();
        // Messages about data repeat it.
        let message = match code.code().get(..2) {
            Some("22" | "23") => "",
            _ => error.message(),
        };
        Self::of_code(code.code(), message).told(format!("{} {message}", code.code()).trim())
    }

    fn of_code(code: &str, message: &str) -> Self {
        use ErrorKind::{
            Config, Conflict, Corrupt, Denied, Input, Internal, Overloaded, Timeout, Unavailable, Unsupported,
        };
        let state = SqlState::from_code(code);
        let (turn, kind, what, help) = match state {
            SqlState::UNDEFINED_TABLE | SqlState::INVALID_SCHEMA_NAME => (
                Turn::NoTable,
                Config,
                "postgres has no table for this project",
                "run `larder apply`",
            ),
            SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN | SqlState::CANNOT_CONNECT_NOW => (
                Turn::Reconnect,
                Unavailable,
                "postgres is going down or coming up",
                RUNNING,
            ),
            SqlState::READ_ONLY_SQL_TRANSACTION => (
                Turn::Reconnect,
                Unavailable,
                "this postgres is a standby or read-only",
                "name the primary in `url`",
            ),
            SqlState::TOO_MANY_CONNECTIONS => (
                Turn::Later,
                Overloaded,
                "postgres has too many connections",
                "lower `connections`, raise `max_connections` on the server, or use a pooler",
            ),
            SqlState::OUT_OF_MEMORY => (
                Turn::Later,
                Overloaded,
                "postgres is out of memory",
                "see its log",
            ),
            SqlState::DISK_FULL => (
                Turn::Give,
                Unavailable,
                "the disk of postgres is full",
                "make room on it",
            ),
            SqlState::QUERY_CANCELED => return Self::silent(),
            SqlState::LOCK_NOT_AVAILABLE => (
                Turn::Later,
                Timeout,
                "postgres waits for somebody's lock",
                "see pg_locks on the server for who holds it",
            ),
            SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => (
                Turn::Later,
                Conflict,
                "writers got into each other's way",
                "try again",
            ),
            SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
                return Self::signing(message.to_owned());
            }
            SqlState::INVALID_CATALOG_NAME => (
                Turn::Give,
                Config,
                "postgres has no such database",
                "create it, or check `url`",
            ),
            SqlState::INSUFFICIENT_PRIVILEGE => (
                Turn::Give,
                Denied,
                "the postgres user may not do this",
                "grant it what the documentation of this store lists under \"Rights\"",
            ),
            SqlState::UNDEFINED_COLUMN
            | SqlState::INVALID_COLUMN_REFERENCE
            | SqlState::DATATYPE_MISMATCH
            | SqlState::WRONG_OBJECT_TYPE => (
                Turn::Give,
                Corrupt,
                "a table of this store has another form",
                "check that nobody else has tables with this store's prefix",
            ),
            SqlState::INVALID_SQL_STATEMENT_NAME | SqlState::DUPLICATE_PSTATEMENT => (
                Turn::Give,
                Config,
                "a pooler between this store and postgres loses prepared statements",
                "set `prepared_statements: false`",
            ),
            SqlState::PROTOCOL_VIOLATION if message.contains("startup parameter") => (
                Turn::Give,
                Config,
                "a pooler between this store and postgres refuses settings of the session",
                "set `prepared_statements: false`",
            ),
            SqlState::PROGRAM_LIMIT_EXCEEDED => (
                Turn::Give,
                Input,
                "this is too large for postgres",
                "write smaller rows or keys",
            ),
            SqlState::SYNTAX_ERROR | SqlState::UNDEFINED_FUNCTION | SqlState::FEATURE_NOT_SUPPORTED => (
                Turn::Give,
                Unsupported,
                "this postgres lacks something",
                "use PostgreSQL 12 or newer",
            ),
            _ if code.starts_with("08") => (
                Turn::Reconnect,
                Unavailable,
                "the connection to postgres broke",
                RUNNING,
            ),
            _ if code.starts_with("53") => {
                (Turn::Later, Overloaded, "postgres lacks resources", "see its log")
            }
            _ if code.starts_with("58") || code.starts_with("XX") => (
                Turn::Give,
                Corrupt,
                "postgres reports damage or a failing disk",
                "see its log",
            ),
            _ => (
                Turn::Give,
                Internal,
                "postgres refuses a statement",
                "report it with this message",
            ),
        };
        Self::new(turn, kind, what, help)
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let error = Error::new(fault.kind, fault.what).help(fault.help);
        let error = match fault.node {
            Some(node) => error.with("server", node),
            None => error,
        };
        match fault.told {
            Some(told) => error.source(told),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_tell_what_to_do_next() {
        for (code, kind, passes) in [
            ("57P01", ErrorKind::Unavailable, true),
            ("57P03", ErrorKind::Unavailable, true),
            ("25006", ErrorKind::Unavailable, true),
            ("08006", ErrorKind::Unavailable, true),
            ("53300", ErrorKind::Overloaded, true),
            ("53100", ErrorKind::Unavailable, false),
            ("57014", ErrorKind::Timeout, true),
            ("40P01", ErrorKind::Conflict, true),
            ("28P01", ErrorKind::Config, false),
            ("3D000", ErrorKind::Config, false),
            ("42501", ErrorKind::Denied, false),
            ("42703", ErrorKind::Corrupt, false),
            ("26000", ErrorKind::Config, false),
            ("54000", ErrorKind::Input, false),
            ("P0001", ErrorKind::Internal, false),
        ] {
            let fault = Fault::of_code(code, "");
            assert_eq!((fault.kind(), fault.passes()), (kind, passes), "{code}");
        }
        assert_eq!(Fault::of_code("42P01", "").turn, Turn::NoTable);
    }

    #[test]
    fn errors_are_one_line_with_a_remedy() {
        let error = Error::from(Fault::unreachable("refused").at("h:5432").at("other"));
        assert_eq!(
            error.chain(),
            "postgres cannot be reached (server=h:5432); check that Postgres is running and reachable: refused"
        );
    }
}
