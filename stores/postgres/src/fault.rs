//! What a failure of Postgres means: to the caller, and to whoever decides about another try.

use larder_base::ErrorKind;
use larder_remote::{Turns, tls_refusal};
use tokio_postgres::error::{DbError, SqlState};

/// One failure, before anybody decided whether to try again.
pub(crate) type Fault = larder_remote::Fault<Turn>;

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

impl Turns for Turn {
    const BACKEND: &'static str = "postgres";
    const RECONNECT: Self = Self::Reconnect;
    const SILENT: Self = Self::Silent;
    const GIVE: Self = Self::Give;

    fn passes(&self) -> bool {
        matches!(self, Self::Reconnect | Self::Silent | Self::Later)
    }
}

impl Turn {
    /// Whether the connection is of no more use.
    pub(crate) fn breaks(self) -> bool {
        matches!(self, Self::Reconnect | Self::Silent)
    }
}

const RUNNING: &str = "check that postgres is running and reachable";

/// All connections are busy.
pub(crate) fn busy() -> Fault {
    Fault::new(
        Turn::Later,
        ErrorKind::Overloaded,
        "all connections to postgres are busy",
        "raise `connections`, or ask for less at once",
    )
}

/// Names the rights that something needs, where one is missing.
pub(crate) fn needs(rights: impl FnOnce() -> String) -> impl FnOnce(Fault) -> Fault {
    move |fault| match fault.kind() {
        ErrorKind::Denied => fault.remedy(rights()),
        _ => fault,
    }
}

/// An answer of a form that the statement does not have.
pub(crate) fn odd(what: &'static str) -> Fault {
    Fault::new(
        Turn::Give,
        ErrorKind::Corrupt,
        what,
        "check that nobody else has tables with this store's prefix",
    )
}

/// What the client said.
pub(crate) fn of_client(error: &tokio_postgres::Error) -> Fault {
    if let Some(db) = error.as_db_error() {
        return of_server(db);
    }
    if let Some(told) = tls_refusal(error) {
        return Fault::tls(told);
    }
    let cause = std::error::Error::source(error).map(ToString::to_string);
    let told = match &cause {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    };
    // The client tells these apart by their text only.
    let starts = |head: &str| told.starts_with(head);
    if starts("error performing TLS handshake") {
        let broken = cause
            .as_deref()
            .is_none_or(|cause| cause.contains("eof") || cause.contains("reset") || cause.contains("closed"));
        return match broken {
            true => Fault::unreachable(told),
            false => Fault::tls(told),
        };
    }
    if starts("authentication error") || starts("invalid configuration") {
        return signing(told);
    }
    if error.is_closed() || starts("error communicating") || starts("error connecting") {
        return Fault::broken(told);
    }
    Fault::new(
        Turn::Give,
        ErrorKind::Internal,
        "the postgres client failed",
        "report it with this message",
    )
    .told(told)
}

fn signing(told: String) -> Fault {
    Fault::new(
        Turn::Give,
        ErrorKind::Config,
        "postgres refuses to sign in",
        "check user and password in `url`, and pg_hba.conf on the server",
    )
    .told(told)
}

/// What the server said.
fn of_server(error: &DbError) -> Fault {
    let code = error.code();
    // Messages about data repeat it. Names of what refuses it are none.
    let message = match code.code().get(..2) {
        Some("22" | "23") => "",
        _ => error.message(),
    };
    let names = [
        ("table", error.table()),
        ("column", error.column()),
        ("constraint", error.constraint()),
    ];
    let names = names
        .iter()
        .filter_map(|(what, name)| name.map(|name| format!(" {what} {name}")));
    let names: String = if message.is_empty() {
        names.collect()
    } else {
        String::new()
    };
    of_code(code.code(), message).told(format!("{} {message}{names}", code.code()).trim())
}

fn of_code(code: &str, message: &str) -> Fault {
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
        SqlState::QUERY_CANCELED => (
            Turn::Later,
            Timeout,
            "postgres cancelled the statement",
            "check the server's load and its `statement_timeout`, or raise `timeout` or `write_timeout`",
        ),
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
            return signing(message.to_owned());
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
        _ if code.starts_with("53") => (Turn::Later, Overloaded, "postgres lacks resources", "see its log"),
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
    Fault::new(turn, kind, what, help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_base::Error;

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
            let fault = of_code(code, "");
            assert_eq!((fault.kind(), fault.passes()), (kind, passes), "{code}");
        }
        assert_eq!(of_code("42P01", "").turn, Turn::NoTable);
    }

    #[test]
    fn errors_are_one_line_with_a_remedy() {
        let error = Error::from(Fault::unreachable("refused").at("h:5432").at("other"));
        assert_eq!(
            error.chain(),
            "postgres cannot be reached (server=h:5432); check that postgres is running and reachable: refused"
        );
    }
}
