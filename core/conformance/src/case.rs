//! How cases are run: one after another, each on its own, whatever the one before did.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use larder_core::Error;

use crate::report::{Outcome, Report};

/// What a run of a suite does.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Only cases whose id contains this text.
    pub only: Option<String>,
    /// Seeds of each generated case: more of them find more, and take longer.
    pub seeds: u64,
    /// How long one case may take before it counts as failed.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            only: None,
            seeds: 8,
            timeout: Duration::from_secs(180),
        }
    }
}

impl Options {
    /// All cases with eight seeds each, three minutes per case.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs only cases whose id contains a text.
    #[must_use]
    pub fn only(mut self, text: impl Into<String>) -> Self {
        self.only = Some(text.into());
        self
    }

    /// Sets the number of seeds of each generated case.
    #[must_use]
    pub fn seeds(mut self, seeds: u64) -> Self {
        self.seeds = seeds;
        self
    }

    /// Sets how long one case may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

/// Id and rule of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaseInfo {
    /// Such as `online.order.newest-wins`; never changes its meaning.
    pub id: &'static str,
    /// The rule, one line.
    pub about: &'static str,
}

/// Why a case ended before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    Failed(String),
    Skipped(String),
}

/// How a case ends.
pub(crate) type Verdict<T = ()> = std::result::Result<T, Stop>;

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(format!("{} error: {}", error.kind(), error.chain()))
    }
}

impl Stop {
    /// The same with what was being done in front.
    pub(crate) fn during(self, what: impl std::fmt::Display) -> Self {
        match self {
            Self::Failed(message) => Self::Failed(format!("{what}: {message}")),
            skipped => skipped,
        }
    }
}

/// One case: `C` is what it works on.
pub(crate) struct Case<C> {
    pub(crate) id: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: for<'a> fn(&'a C) -> BoxFuture<'a, Verdict>,
}

/// A list of cases: `"id": "rule" => function`.
macro_rules! cases {
    ($($id:literal: $about:literal => $function:path),* $(,)?) => {
        vec![$(crate::case::Case { id: $id, about: $about, run: |cx| Box::pin($function(cx)) }),*]
    };
}
pub(crate) use cases;

pub(crate) fn infos<C>(cases: Vec<Case<C>>) -> Vec<CaseInfo> {
    cases
        .into_iter()
        .map(|case| CaseInfo {
            id: case.id,
            about: case.about,
        })
        .collect()
}

pub(crate) async fn run<C: Sync>(report: &mut Report, cases: Vec<Case<C>>, cx: &C, options: &Options) {
    for case in cases {
        if options.only.as_deref().is_none_or(|only| case.id.contains(only)) {
            let started = Instant::now();
            let outcome = outcome((case.run)(cx), options.timeout).await;
            let millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            report.push(case.id, case.about, outcome, millis);
        }
    }
}

/// Runs one case; a panic and an answer that never comes are failures, too.
pub(crate) async fn outcome(case: BoxFuture<'_, Verdict>, timeout: Duration) -> Outcome {
    let caught = tokio::time::timeout(timeout, AssertUnwindSafe(case).catch_unwind()).await;
    match caught {
        Ok(Ok(Ok(()))) => Outcome::Passed,
        Ok(Ok(Err(Stop::Skipped(reason)))) => Outcome::Skipped { reason },
        Ok(Ok(Err(Stop::Failed(message)))) => Outcome::Failed { message },
        Ok(Err(panic)) => Outcome::Failed {
            message: format!("panicked: {}", crate::check::panic_text(&*panic)),
        },
        Err(_) => Outcome::Failed {
            message: format!("no end after {} s", timeout.as_secs()),
        },
    }
}
