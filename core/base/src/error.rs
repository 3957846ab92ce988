//! What went wrong, told by what the caller does next.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

/// The result of every fallible operation of larder.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed, chosen by what the caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// `larder.yaml` or a store's options are wrong: fix the configuration.
    Config,
    /// Definitions are wrong: fix the YAML.
    Definition,
    /// The data or arguments of this call are wrong: fix the call.
    Input,
    /// A named thing does not exist: fix the name or create it.
    NotFound,
    /// Somebody else changed it meanwhile: reload and decide again.
    Conflict,
    /// This backend or build cannot do it: choose another way.
    Unsupported,
    /// The principal may not do this.
    Denied,
    /// The backend cannot be reached now: retry later.
    Unavailable,
    /// Too much work in flight: retry with less.
    Overloaded,
    /// The deadline passed.
    Timeout,
    /// Stored bytes are not what they should be: restore or rebuild.
    Corrupt,
    /// A defect of larder or of a dependency: report it.
    Internal,
}

impl ErrorKind {
    /// The name in machine-readable output, such as `not_found`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Definition => "definition",
            Self::Input => "input",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Unsupported => "unsupported",
            Self::Denied => "denied",
            Self::Unavailable => "unavailable",
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::Corrupt => "corrupt",
            Self::Internal => "internal",
        }
    }

    /// Whether the same call may succeed later without a change by the caller.
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Unavailable | Self::Overloaded | Self::Timeout | Self::Conflict
        )
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A place in a file, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Path of the file as the user would type it.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One of several findings that an error carries: what, where, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where, when it is known.
    pub place: Option<Place>,
    /// What is wrong, one lowercase line.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A finding without a place.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            place: None,
            message: message.into(),
            help: None,
        }
    }

    /// The same finding at a place.
    #[must_use]
    pub fn at(mut self, place: Option<Place>) -> Self {
        self.place = place;
        self
    }

    /// The same finding with a remedy.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(help) = &self.help {
            write!(f, "; {help}")?;
        }
        Ok(())
    }
}

/// The one error type of larder: a word on the stack, everything else behind it.
///
/// `Display` is one lowercase line without the source; [`StdError::source`] is the chain.
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    help: Option<String>,
    operation: Option<&'static str>,
    context: Vec<(&'static str, String)>,
    diagnostics: Vec<Diagnostic>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What stands between what several findings are about and the first of them.
const FIRST: &str = "; the first: ";

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident;)*) => {
        $($(#[$doc])* pub fn $name(message: impl Into<Cow<'static, str>>) -> Self {
            Self::new(ErrorKind::$kind, message)
        })*
    };
}

impl Error {
    /// An error of a kind with a one-line lowercase message.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            inner: Box::new(Inner {
                kind,
                message: message.into(),
                help: None,
                operation: None,
                context: Vec::new(),
                diagnostics: Vec::new(),
                source: None,
            }),
        }
    }

    constructors! {
        /// A [`ErrorKind::Config`] error.
        config => Config;
        /// A [`ErrorKind::Definition`] error.
        definition => Definition;
        /// A [`ErrorKind::Input`] error.
        input => Input;
        /// A [`ErrorKind::NotFound`] error.
        not_found => NotFound;
        /// A [`ErrorKind::Conflict`] error.
        conflict => Conflict;
        /// A [`ErrorKind::Unsupported`] error.
        unsupported => Unsupported;
        /// A [`ErrorKind::Denied`] error.
        denied => Denied;
        /// A [`ErrorKind::Unavailable`] error.
        unavailable => Unavailable;
        /// A [`ErrorKind::Overloaded`] error.
        overloaded => Overloaded;
        /// A [`ErrorKind::Timeout`] error.
        timeout => Timeout;
        /// A [`ErrorKind::Corrupt`] error.
        corrupt => Corrupt;
        /// A [`ErrorKind::Internal`] error.
        internal => Internal;
    }

    /// Many findings as one error; with exactly one finding the error reads like it.
    pub fn from_diagnostics(kind: ErrorKind, what: &str, diagnostics: Vec<Diagnostic>) -> Self {
        let message = match diagnostics.as_slice() {
            [one] => one.to_string(),
            many => {
                let first = many.first().map(ToString::to_string).unwrap_or_default();
                format!("{} problems in {what}{FIRST}{first}", many.len())
            }
        };
        let mut error = Self::new(kind, message);
        error.inner.diagnostics = diagnostics;
        error
    }

    /// The message without the first finding, for those who tell all findings beside it.
    pub fn headline(&self) -> &str {
        let message = self.message();
        match self.diagnostics() {
            [first, _, ..] => message
                .strip_suffix(&first.to_string())
                .and_then(|head| head.strip_suffix(FIRST))
                .unwrap_or(message),
            _ => message,
        }
    }

    /// Adds what would be right.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.inner.help = Some(help.into());
        self
    }

    /// Names the operation that failed; the innermost name stays.
    #[must_use]
    pub fn operation(mut self, operation: &'static str) -> Self {
        self.inner.operation.get_or_insert(operation);
        self
    }

    /// Adds `key=value` to the message; what stands there already is not said twice.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        let pair = (key, value.to_string());
        if !self.inner.context.contains(&pair) {
            self.inner.context.push(pair);
        }
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Whether the same call may succeed later without a change by the caller.
    pub fn is_retryable(&self) -> bool {
        self.inner.kind.is_retryable()
    }

    /// What would be right, when it is known.
    pub fn remedy(&self) -> Option<&str> {
        self.inner.help.as_deref()
    }

    /// Takes what would be right out of the error, for those who tell it beside the message.
    pub fn take_remedy(&mut self) -> Option<String> {
        self.inner.help.take()
    }

    /// The single findings, when there are several or when places are known.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.inner.diagnostics
    }

    /// The message without operation, context and remedy.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// The message and every cause behind it, joined by `: `.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = StdError::source(self);
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.inner;
        f.write_str(&inner.message)?;
        for (i, (key, value)) in inner.context.iter().enumerate() {
            write!(f, "{}{key}={value}", if i == 0 { " (" } else { ", " })?;
        }
        if !inner.context.is_empty() {
            f.write_str(")")?;
        }
        if let Some(help) = &inner.help {
            write!(f, "; {help}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.inner;
        write!(f, "{} error: {self}", inner.kind)?;
        if let Some(operation) = inner.operation {
            write!(f, " [{operation}]")?;
        }
        let mut next = StdError::source(self);
        while let Some(cause) = next {
            write!(f, "\n  caused by: {cause}")?;
            next = cause.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner
            .source
            .as_ref()
            .map(|source| &**source as &(dyn StdError + 'static))
    }
}

/// The known name nearest to a misspelt one, when one is near enough to be meant.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (wrong.chars().count() / 3).clamp(1, 4);
    let wrong = wrong.to_lowercase();
    known
        .into_iter()
        .map(|name| (edit_distance(&wrong, &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name)
}

/// `did you mean …` or the list of what is known, for error messages.
pub fn suggest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(name) = nearest(wrong, known.clone()) {
        return format!("did you mean `{name}`?");
    }
    let mut names: Vec<&str> = known.into_iter().collect();
    names.sort_unstable();
    let total = names.len();
    names.truncate(12);
    match total {
        0 => "there are none".to_owned(),
        n if n > names.len() => format!("known: {}, … ({n} in all)", names.join(", ")),
        _ => format!("known: {}", names.join(", ")),
    }
}

/// Edits between two words: insert, delete, replace, or swap neighbours (optimal string alignment).
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_and_one_line() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
        let error = Error::not_found("no view `a`")
            .with("project", "p")
            .help("known: b");
        assert_eq!(error.to_string(), "no view `a` (project=p); known: b");
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn nothing_is_said_twice() {
        let mut error = Error::conflict("busy")
            .with("source", "s")
            .with("source", "s")
            .with("view", "s");
        error = error.help("wait");
        assert_eq!(error.to_string(), "busy (source=s, view=s); wait");
        assert_eq!(error.take_remedy().as_deref(), Some("wait"));
        assert_eq!(
            (error.to_string().as_str(), error.remedy()),
            ("busy (source=s, view=s)", None)
        );
    }

    #[test]
    fn of_several_findings_the_head_tells_what_they_are_about() {
        let some = |count: usize| {
            let findings = ["a; the first: b", "c"].map(|text| Diagnostic::new(text).help("mend"));
            let findings = findings[..count].to_vec();
            Error::from_diagnostics(ErrorKind::Input, "the rows", findings).help("again")
        };
        assert_eq!(some(2).headline(), "2 problems in the rows");
        assert_eq!(
            some(2).message(),
            "2 problems in the rows; the first: a; the first: b; mend"
        );
        assert_eq!(some(1).headline(), "a; the first: b; mend");
        assert_eq!(Error::input("no rows").headline(), "no rows");
    }

    #[test]
    fn display_leaves_the_source_to_the_chain() {
        let error = Error::unavailable("cannot open").source(std::io::Error::other("disk gone"));
        assert_eq!(error.to_string(), "cannot open");
        assert_eq!(error.chain(), "cannot open: disk gone");
        assert!(error.is_retryable());
    }

    #[test]
    fn nearest_names() {
        assert_eq!(
            nearest("evnt_time", ["event_time", "created_time"]),
            Some("event_time")
        );
        assert_eq!(nearest("usre", ["user", "product"]), Some("user"));
        assert_eq!(nearest("zzz", ["user", "product"]), None);
        assert_eq!(suggest("zzz", ["user", "product"]), "known: product, user");
    }
}
