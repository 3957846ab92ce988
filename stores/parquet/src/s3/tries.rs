//! When a request is repeated, and what its last failure means for the caller.

use std::error::Error as StdError;
use std::future::Future;
use std::time::Duration;

use larder_core::{Error, Result, random};
use object_store::client::{HttpError, HttpErrorKind};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::fault;

/// How patient requests are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    /// Repetitions without progress.
    pub(super) retries: u32,
    /// Time of one attempt.
    pub(super) attempt: Duration,
    /// Time of all attempts and the pauses between them.
    pub(super) total: Duration,
}

/// The first pause, doubled from one to the next.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Why an attempt failed.
#[derive(Debug)]
pub(super) enum Failure {
    Store(object_store::Error),
    /// No answer in time.
    TimedOut,
    /// An answer with fewer or more bytes than were asked for.
    Length {
        got: u64,
        wanted: u64,
    },
    /// The object is another one by now.
    Changed,
}

impl From<object_store::Error> for Failure {
    fn from(error: object_store::Error) -> Self {
        Self::Store(error)
    }
}

/// What a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    NotFound,
    Changed,
    Exists,
    Denied,
    NoCredentials,
    Misconfigured,
    Refused,
    // The rest may go better the next time.
    Overloaded,
    Unavailable,
    TimedOut,
}

impl Meaning {
    fn may_pass(self) -> bool {
        matches!(self, Self::Overloaded | Self::Unavailable | Self::TimedOut)
    }
}

/// The attempts of one request.
#[derive(Debug)]
pub(super) struct Tries<'a> {
    policy: Policy,
    what: &'static str,
    url: &'a str,
    start: Option<Instant>,
    attempts: u32,
    /// Failures since there was progress.
    failures: u32,
}

impl<'a> Tries<'a> {
    /// `what` is what could not be done, for messages.
    pub(super) fn new(policy: Policy, what: &'static str, url: &'a str) -> Self {
        Self {
            policy,
            what,
            url,
            start: None,
            attempts: 0,
            failures: 0,
        }
    }

    /// One attempt, when a place is free.
    pub(super) async fn attempt<T>(
        &mut self,
        permits: &Semaphore,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        // A closed semaphore would mean no limit; it is never closed.
        let _permit = permits.acquire().await.ok();
        let start = *self.start.get_or_insert_with(Instant::now);
        self.attempts += 1;
        let left = self.policy.total.saturating_sub(start.elapsed());
        tokio::time::timeout(self.policy.attempt.min(left), work)
            .await
            .unwrap_or(Err(Failure::TimedOut))
    }

    /// Part of the answer arrived: patience begins anew, though not the time.
    pub(super) fn progress(&mut self) {
        self.failures = 0;
    }

    /// Whether this is a repetition, so that an earlier attempt may have succeeded unheard.
    pub(super) fn is_repeated(&self) -> bool {
        self.attempts > 1
    }

    /// Waits before the next attempt, or tells why there is none.
    pub(super) async fn pause(&mut self, failure: Failure) -> Result<()> {
        let meaning = failure.meaning();
        let elapsed = self.start.map(|start| start.elapsed()).unwrap_or_default();
        let pause = self.next_pause();
        self.failures += 1;
        if !meaning.may_pass() || self.failures > self.policy.retries || elapsed + pause >= self.policy.total
        {
            return Err(self.error(failure));
        }
        tracing::debug!(url = self.url, attempt = self.attempts, %failure, "a request is repeated");
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Twice as long each time, and by chance up to half shorter, so that clients do not come back together.
    fn next_pause(&self) -> Duration {
        let longest = FIRST_PAUSE
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST_PAUSE);
        let share = 0.5 + (random::u64() % 1024) as f64 / 2048.0;
        longest.mul_f64(share)
    }

    fn error(&self, failure: Failure) -> Error {
        let what = self.what;
        let error = match failure.meaning() {
            Meaning::NotFound => Error::not_found(format!("{what}: it does not exist"))
                .help("correct the bucket and the path, or write data there"),
            Meaning::Changed => return fault::changed(self.url),
            Meaning::Exists => Error::conflict(format!("{what}: there is one of this name already")),
            Meaning::Denied => Error::denied(format!("{what}: access is denied")).help(
                "check the credentials and the policies of bucket and principal: listing, reading and, for appends, \
                 writing objects",
            ),
            Meaning::NoCredentials => Error::denied(format!("{what}: there are no credentials")).help(
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or the store's `access_key_id` and \
                 `secret_access_key`, run with a role, or say `anonymous: true`",
            ),
            Meaning::Misconfigured => {
                Error::config(format!("{what}: the bucket lives elsewhere")).help("correct `region` or `endpoint` of the store")
            }
            Meaning::Refused => Error::unavailable(format!("{what}: the request was refused")),
            Meaning::Overloaded => Error::overloaded(format!("{what}: the server asks to slow down"))
                .help("run again later, or lower `concurrency` of the store"),
            Meaning::Unavailable => Error::unavailable(format!("{what}: the server does not answer well"))
                .help("check `endpoint` and the network, and run again"),
            Meaning::TimedOut => Error::timeout(format!("{what}: the answer did not come in time"))
                .help("run again, or raise `request_timeout` and `retry_timeout` of the store"),
        };
        error
            .with("path", self.url)
            .with("attempts", self.attempts)
            .source(failure.to_string())
    }
}

impl Failure {
    pub(super) fn meaning(&self) -> Meaning {
        let error = match self {
            Self::TimedOut => return Meaning::TimedOut,
            Self::Length { .. } => return Meaning::Unavailable,
            Self::Changed => return Meaning::Changed,
            Self::Store(error) => error,
        };
        match error {
            object_store::Error::NotFound { .. } => Meaning::NotFound,
            object_store::Error::Precondition { .. } | object_store::Error::NotModified { .. } => {
                Meaning::Changed
            }
            object_store::Error::AlreadyExists { .. } => Meaning::Exists,
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                Meaning::Denied
            }
            object_store::Error::Generic { .. } => generic(error),
            _ => Meaning::Refused,
        }
    }
}

/// The cause of a request's failure: the library has types for it that it does not show.
fn generic(error: &(dyn StdError + 'static)) -> Meaning {
    let text = chain(error);
    if text.contains("169.254.") || text.contains("latest/api/token") || text.contains("Missing AccessKeyId")
    {
        return Meaning::NoCredentials;
    }
    if let Some(status) = status(&text) {
        return match status {
            // Not every request tells these by the library's own types.
            401 | 403 => Meaning::Denied,
            404 => Meaning::NotFound,
            412 => Meaning::Changed,
            429 | 503 => Meaning::Overloaded,
            301 | 307 | 308 => Meaning::Misconfigured,
            400 if text.contains("ExpiredToken") || text.contains("InvalidToken") => Meaning::Denied,
            400 if text.contains("AuthorizationHeaderMalformed") => Meaning::Misconfigured,
            416 => Meaning::Changed,
            408 | 500..=599 => Meaning::Unavailable,
            _ => Meaning::Refused,
        };
    }
    if text.contains("redirect without LOCATION") {
        return Meaning::Misconfigured;
    }
    if text.contains("SlowDown") {
        return Meaning::Overloaded;
    }
    match cause(error) {
        Some(HttpErrorKind::Timeout) => Meaning::TimedOut,
        _ => Meaning::Unavailable,
    }
}

fn cause(error: &(dyn StdError + 'static)) -> Option<HttpErrorKind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(http) = error.downcast_ref::<HttpError>() {
            return Some(http.kind());
        }
        next = error.source();
    }
    None
}

/// The HTTP status in a message.
fn status(text: &str) -> Option<u16> {
    let (_, after) = text.split_once("status code: ")?;
    after.get(..3)?.parse().ok()
}

impl std::fmt::Display for Failure {
    /// One line without what the server echoes, since that names key ids and signatures.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let error = match self {
            Self::TimedOut => return f.write_str("no answer in time"),
            Self::Length { got, wanted } => {
                return write!(f, "an answer of {got} bytes where {wanted} were asked for");
            }
            Self::Changed => return f.write_str("the object has another ETag or size"),
            Self::Store(error) => error,
        };
        let text = chain(error);
        let code = text
            .split_once("<Code>")
            .and_then(|(_, rest)| rest.split_once("</Code>"))
            .map(|(code, _)| code);
        match (status(&text), code) {
            (Some(status), Some(code)) => write!(f, "status {status}, {code}"),
            (Some(status), None) => write!(f, "status {status}"),
            (None, Some(code)) => f.write_str(code),
            (None, None) => f.write_str(text.lines().next().unwrap_or_default()),
        }
    }
}

/// All messages of a chain, each once: some repeat what lies beneath them.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(text: &str) -> Failure {
        Failure::Store(object_store::Error::Generic {
            store: "S3",
            source: text.to_owned().into(),
        })
    }

    #[test]
    fn answers_have_meanings() {
        let of = |text: &str| answered(text).meaning();
        let status = |status: &str| {
            of(&format!(
                "Server returned non-2xx status code: {status}: <Error/>"
            ))
        };
        assert_eq!(status("503 Service Unavailable"), Meaning::Overloaded);
        assert_eq!(status("429 Too Many Requests"), Meaning::Overloaded);
        assert_eq!(status("500 Internal Server Error"), Meaning::Unavailable);
        assert_eq!(status("416 Range Not Satisfiable"), Meaning::Changed);
        assert_eq!(status("301 Moved Permanently"), Meaning::Misconfigured);
        assert_eq!(status("400 Bad Request"), Meaning::Refused);
        assert_eq!(
            of("status code: 400 Bad Request: <Code>ExpiredToken</Code>"),
            Meaning::Denied
        );
        assert_eq!(of("error decoding response body"), Meaning::Unavailable);
        assert_eq!(
            of("Error performing PUT http://169.254.169.254/latest/api/token"),
            Meaning::NoCredentials
        );
        assert!(
            Meaning::Overloaded.may_pass() && !Meaning::Denied.may_pass() && !Meaning::Changed.may_pass()
        );
    }

    #[test]
    fn what_the_server_echoes_is_not_told() {
        let failure = answered(
            "Server returned non-2xx status code: 403 Forbidden: <Error><Code>SignatureDoesNotMatch</Code>\
             <AWSAccessKeyId>AKIA1</AWSAccessKeyId><StringToSign>x</StringToSign></Error>",
        );
        assert_eq!(failure.to_string(), "status 403, SignatureDoesNotMatch");
    }

    #[test]
    fn pauses_grow_and_end() {
        let policy = Policy {
            retries: 3,
            attempt: Duration::from_secs(1),
            total: Duration::from_secs(60),
        };
        let mut tries = Tries::new(policy, "x", "s3://b/k");
        let mut longest = Duration::ZERO;
        for failures in 0..12 {
            tries.failures = failures;
            let pause = tries.next_pause();
            let full = FIRST_PAUSE.saturating_mul(1 << failures).min(LONGEST_PAUSE);
            assert!(full / 2 <= pause && pause <= full, "{failures}: {pause:?}");
            longest = longest.max(pause);
        }
        assert!(longest > LONGEST_PAUSE / 2 && longest <= LONGEST_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_and_progress_renews_it() {
        let policy = Policy {
            retries: 2,
            attempt: Duration::from_secs(1),
            total: Duration::from_secs(60),
        };
        let permits = Semaphore::new(1);
        let mut tries = Tries::new(policy, "an object cannot be read", "s3://b/k");
        let fail = |text: &'static str| async move { Err::<(), _>(answered(text)) };
        for round in 0..5 {
            let failure = tries
                .attempt(&permits, fail("status code: 503 x"))
                .await
                .unwrap_err();
            assert!(tries.pause(failure).await.is_ok(), "{round}");
            tries.progress();
        }
        let mut ended = None;
        for _ in 0..5 {
            let failure = tries
                .attempt(&permits, fail("status code: 503 x"))
                .await
                .unwrap_err();
            if let Err(error) = tries.pause(failure).await {
                ended = Some(error);
                break;
            }
        }
        let error = ended.unwrap();
        assert_eq!(error.kind(), larder_core::ErrorKind::Overloaded);
        assert!(error.to_string().contains("attempts=8"), "{error}");

        let mut tries = Tries::new(policy, "an object cannot be read", "s3://b/k");
        let failure = tries
            .attempt(&permits, std::future::pending::<Result<(), _>>())
            .await
            .unwrap_err();
        assert_eq!(failure.meaning(), Meaning::TimedOut);
        let denied = Failure::Changed;
        assert_eq!(
            tries.pause(denied).await.unwrap_err().kind(),
            larder_core::ErrorKind::Conflict
        );
    }
}
