//! What does a failure of a backend mean: to the caller, and to whoever decides about another try?

use std::borrow::Cow;

use larder_base::{Error, ErrorKind, ViewName};

/// What a store can do about a failure; each has its own list.
pub trait Turns: Sized {
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
pub struct Fault<T> {
    /// What can be done about it here.
    pub turn: T,
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
    pub fn new(
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
    pub fn told(mut self, told: impl ToString) -> Self {
        self.said.told = Some(told.to_string());
        self
    }

    /// Adds which server it was; the first one named stays.
    #[must_use]
    pub fn at(mut self, server: impl ToString) -> Self {
        self.said.server.get_or_insert_with(|| server.to_string());
        self
    }

    /// Says in other words what the caller can do, where more is known than whoever made the fault knew.
    #[must_use]
    pub fn remedy(mut self, help: impl Into<Cow<'static, str>>) -> Self {
        self.said.help = help.into();
        self
    }

    /// The kind of error that the caller gets.
    pub fn kind(&self) -> ErrorKind {
        self.said.kind
    }

    /// Whether it means "not now", so that a partial answer makes sense.
    pub fn is_passing(&self) -> bool {
        matches!(
            self.said.kind,
            ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Overloaded
        )
    }
}

impl<T: Turns> Fault<T> {
    /// Nothing came in time.
    pub fn silent() -> Self {
        Self::new(
            T::SILENT,
            ErrorKind::Timeout,
            format!("{} did not answer in time", T::BACKEND),
            "check the server's load and the network, or raise `timeout`",
        )
    }

    /// Something comes all the time, and not to an end.
    pub fn slow() -> Self {
        Self::new(
            T::GIVE,
            ErrorKind::Timeout,
            format!("{} answers too slowly", T::BACKEND),
            "ask for less at once, check the network, or raise `timeout`",
        )
    }

    /// One of both sides does not trust the other's certificate, or does not speak TLS as the other does.
    pub fn tls(told: impl ToString) -> Self {
        Self::new(
            T::GIVE,
            ErrorKind::Config,
            format!("{} and this store do not agree about TLS", T::BACKEND),
            "check the server's certificate, the host name in its address, and `tls: { ca, cert, key }`",
        )
        .told(told)
    }

    /// The caller's deadline passed.
    pub fn late() -> Self {
        Self::new(
            T::GIVE,
            ErrorKind::Timeout,
            format!("{} did not answer within the deadline", T::BACKEND),
            "give the call more time, or check the server's load",
        )
    }

    /// No connection could be made.
    pub fn unreachable(told: impl ToString) -> Self {
        let what = format!("{} cannot be reached", T::BACKEND);
        Self::gone(what).told(told)
    }

    /// A connection that was there is no more.
    pub fn broken(told: impl ToString) -> Self {
        let what = format!("the connection to {} broke", T::BACKEND);
        Self::gone(what).told(told)
    }

    /// A server is not there, or not able to serve; `what` says in which way.
    pub fn gone(what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(
            T::RECONNECT,
            ErrorKind::Unavailable,
            what,
            format!("check that {} is running and reachable", T::BACKEND),
        )
    }

    /// A row that was read is no row, or one that this version cannot read.
    pub fn damaged(view: &ViewName, row: usize, error: &Error) -> Self {
        let help = match error.remedy() {
            Some(known) => known.to_owned(),
            None => "write it again: `larder materialize --rebuild`".to_owned(),
        };
        let what = format!("a row in {} is damaged", T::BACKEND);
        Self::new(T::GIVE, ErrorKind::Corrupt, what, help)
            .told(format!("view {view}, row {row}: {}", error.message()))
    }

    /// Whether another try may succeed.
    pub fn passes(&self) -> bool {
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    pub(crate) enum Turn {
        Reconnect,
        Silent,
        Give,
    }

    impl Turns for Turn {
        const BACKEND: &'static str = "thing";
        const RECONNECT: Self = Self::Reconnect;
        const SILENT: Self = Self::Silent;
        const GIVE: Self = Self::Give;

        fn passes(&self) -> bool {
            *self != Self::Give
        }
    }

    pub(crate) type Own = Fault<Turn>;

    #[test]
    fn common_faults_tell_what_to_do_next() {
        for (fault, turn, kind) in [
            (Own::silent(), Turn::Silent, ErrorKind::Timeout),
            (Own::late(), Turn::Give, ErrorKind::Timeout),
            (Own::slow(), Turn::Give, ErrorKind::Timeout),
            (Own::unreachable("no"), Turn::Reconnect, ErrorKind::Unavailable),
            (Own::broken("eof"), Turn::Reconnect, ErrorKind::Unavailable),
        ] {
            assert_eq!((&fault.turn, fault.kind()), (&turn, kind));
            assert_eq!(fault.passes(), turn != Turn::Give);
            assert!(fault.is_passing());
        }
        assert!(!Own::new(Turn::Give, ErrorKind::Config, "x", "y").is_passing());
    }

    #[test]
    fn damage_tells_its_place_and_the_best_remedy_there_is() {
        let view = ViewName::new("v").expect("a name");
        let told = |error| Error::from(Own::damaged(&view, 3, &error)).chain();
        let plain = || Error::new(ErrorKind::Corrupt, "it is too short");
        assert_eq!(
            told(plain()),
            "a row in thing is damaged; write it again: `larder materialize --rebuild`: view v, row 3: it is too short"
        );
        assert!(told(plain().help("upgrade larder")).contains("is damaged; upgrade larder: view v"));
    }

    #[test]
    fn errors_are_one_line_and_name_the_first_server() {
        let error = Error::from(Own::broken("eof").at("h:1").at("other"));
        assert_eq!(
            error.chain(),
            "the connection to thing broke (server=h:1); check that thing is running and reachable: eof"
        );
        let error = Error::from(Own::tls("unknown").remedy("trust it"));
        assert_eq!(
            error.chain(),
            "thing and this store do not agree about TLS; trust it: unknown"
        );
        let error = Error::from(Own::late());
        assert_eq!(
            error.chain(),
            "thing did not answer within the deadline; give the call more time, or check the server's load"
        );
    }
}
