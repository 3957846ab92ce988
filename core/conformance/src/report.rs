//! What a run of the suite found.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The result of one run of a suite on one store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// `online`, `registry` or `offline`.
    pub suite: String,
    /// Version of this crate.
    pub suite_version: String,
    /// The fixture's name.
    pub store: String,
    /// What the store declares.
    pub capabilities: Vec<String>,
    /// One entry per case, in the order they ran.
    pub cases: Vec<CaseReport>,
}

/// The result of one case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CaseReport {
    /// Such as `online.order.newest-wins`.
    pub id: String,
    /// The rule it tests, one line.
    pub about: String,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// How long it took, in milliseconds.
    pub millis: u64,
}

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The store keeps the rule.
    Passed,
    /// It does not.
    Failed {
        /// What was expected, and what happened.
        message: String,
    },
    /// The case does not apply.
    Skipped {
        /// Why not.
        reason: String,
    },
}

impl Report {
    pub(crate) fn new(suite: &str, store: String, capabilities: &[&str]) -> Self {
        Self {
            suite: suite.to_owned(),
            suite_version: crate::SUITE_VERSION.to_owned(),
            store,
            capabilities: capabilities.iter().map(|name| (*name).to_owned()).collect(),
            cases: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, id: &str, about: &str, outcome: Outcome, millis: u64) {
        self.cases.push(CaseReport {
            id: id.to_owned(),
            about: about.to_owned(),
            outcome,
            millis,
        });
    }

    /// Cases that failed, with their messages.
    pub fn failures(&self) -> impl Iterator<Item = (&CaseReport, &str)> {
        self.cases.iter().filter_map(|case| match &case.outcome {
            Outcome::Failed { message } => Some((case, message.as_str())),
            _ => None,
        })
    }

    /// Cases that did not apply, with the reasons.
    pub fn skipped(&self) -> impl Iterator<Item = (&CaseReport, &str)> {
        self.cases.iter().filter_map(|case| match &case.outcome {
            Outcome::Skipped { reason } => Some((case, reason.as_str())),
            _ => None,
        })
    }

    /// Number of cases that passed.
    pub fn passed(&self) -> usize {
        let passed = |case: &&CaseReport| case.outcome == Outcome::Passed;
        self.cases.iter().filter(passed).count()
    }

    /// Panics with all failures unless every case passed or was skipped.
    ///
    /// # Panics
    /// When a case failed, or none ran at all.
    #[track_caller]
    pub fn assert_passed(&self) {
        assert!(!self.cases.is_empty(), "no case of the {} suite ran", self.suite);
        let failures: Vec<String> = self
            .failures()
            .map(|(case, message)| format!("  {}: {message}\n    rule: {}", case.id, case.about))
            .collect();
        assert!(
            failures.is_empty(),
            "`{}` breaks {} of {} cases of the {} suite:\n{}",
            self.store,
            failures.len(),
            self.cases.len(),
            self.suite,
            failures.join("\n")
        );
    }

    /// The report for machines.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl fmt::Display for Report {
    /// The report for people: one line per case, then the numbers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} suite {} on `{}` ({})",
            self.suite,
            self.suite_version,
            self.store,
            self.capabilities.join(", ")
        )?;
        let width = self.cases.iter().map(|case| case.id.len()).max().unwrap_or(0);
        for case in &self.cases {
            let (word, text) = match &case.outcome {
                Outcome::Passed => ("ok", ""),
                Outcome::Failed { message } => ("FAILED", message.as_str()),
                Outcome::Skipped { reason } => ("skipped", reason.as_str()),
            };
            let line = format!("{:width$}  {word:7} {:>6} ms  {text}", case.id, case.millis);
            writeln!(f, "{}", line.trim_end())?;
        }
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed(),
            self.failures().count(),
            self.skipped().count()
        )
    }
}
