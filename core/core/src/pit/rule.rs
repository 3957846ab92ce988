//! Under which rule does a source row become known, and for how long is it valid?

use super::{PitError, SpineIndex};

/// How one view is joined in time. Durations are µs, times µs since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ViewRule {
    /// A row is known from `event + available_after` on.
    pub available_after: i64,
    /// A winner older than this at the spine row's time is expired (`event >= T - ttl` is not).
    pub ttl: Option<i64>,
    /// What the created time means.
    pub knowledge: Knowledge,
    /// Created times before this mean nothing for knowledge; they still break ties.
    pub trusted_from: Option<i64>,
    /// The source has tie-break columns; every batch must bring them.
    pub tie_break: bool,
    /// Source rows that became visible after this instant take no part: those not available by then, or with a
    /// trusted created time after it.
    pub known_until: Option<i64>,
    /// Leave source rows outside [`EventBounds`] unread. Winners do not change, but a spine row whose only
    /// candidates lie before the bounds then counts as unmatched rather than expired. A caller that prunes
    /// files and pages by the bounds sets this, so that its counts do not depend on the layout of the source.
    pub within_bounds: bool,
}

/// What the created time of a source row means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Knowledge {
    /// It only decides among rows with equal event times.
    #[default]
    TieBreak,
    /// A row is also unknown before its created time.
    AsOf,
}

/// The event times that can matter to a whole spine, both ends inclusive; what lies outside need not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventBounds {
    /// Smallest event time that is not expired everywhere, µs.
    pub min: i64,
    /// Largest event time that is known somewhere, µs.
    pub max: i64,
}

impl ViewRule {
    /// The rule without delay, without ttl, in tie-break mode.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the delay after which a row is known, µs.
    #[must_use]
    pub fn with_available_after(mut self, micros: i64) -> Self {
        self.available_after = micros;
        self
    }

    /// Sets the ttl, µs.
    #[must_use]
    pub fn with_ttl(mut self, micros: Option<i64>) -> Self {
        self.ttl = micros;
        self
    }

    /// Sets the meaning of the created time.
    #[must_use]
    pub fn with_knowledge(mut self, knowledge: Knowledge) -> Self {
        self.knowledge = knowledge;
        self
    }

    /// Sets the time from which on created times are trusted, µs.
    #[must_use]
    pub fn with_trusted_from(mut self, time: Option<i64>) -> Self {
        self.trusted_from = time;
        self
    }

    /// Announces tie-break columns.
    #[must_use]
    pub fn with_tie_break(mut self, has: bool) -> Self {
        self.tie_break = has;
        self
    }

    /// Leaves out rows that became visible after an instant, µs.
    #[must_use]
    pub fn with_known_until(mut self, time: Option<i64>) -> Self {
        self.known_until = time;
        self
    }

    /// Leaves rows outside the event bounds unread.
    #[must_use]
    pub fn with_within_bounds(mut self, only: bool) -> Self {
        self.within_bounds = only;
        self
    }

    /// The event times worth reading for this spine; `None` when nothing can match at all.
    pub fn bounds(&self, spine: &SpineIndex) -> Option<EventBounds> {
        self.bounds_between(spine.time_bounds()?)
    }

    /// The same for a spine whose first and last time are these, both µs.
    pub fn bounds_between(&self, (first, last): (i64, i64)) -> Option<EventBounds> {
        let max = self.last_known_until(last)?;
        let min = self
            .ttl
            .and_then(|ttl| first.checked_sub(ttl))
            .unwrap_or(i64::MIN);
        (min <= max).then_some(EventBounds { min, max })
    }

    /// The largest event time that is known to any spine row, fresh or not; `None` when no event can be.
    pub(super) fn last_known(&self, spine: &SpineIndex) -> Option<i64> {
        self.last_known_until(spine.time_bounds()?.1)
    }

    fn last_known_until(&self, last: i64) -> Option<i64> {
        let last = self.known_until.map_or(last, |until| last.min(until));
        // What lies below the smallest time is no time at all.
        last.checked_sub(self.available_after)
    }

    /// Whether a created time does not exclude a row under [`ViewRule::known_until`].
    pub(super) fn was_written(&self, created: i64) -> bool {
        self.known_until
            .is_none_or(|until| created <= until || !self.trusts(created))
    }

    pub(super) fn check(&self) -> Result<(), PitError> {
        if self.available_after < 0 {
            return Err(PitError::Negative("available_after"));
        }
        if self.ttl.is_some_and(|ttl| ttl < 0) {
            return Err(PitError::Negative("ttl"));
        }
        Ok(())
    }

    /// Whether a created time says anything about knowledge.
    pub(super) fn trusts(&self, created: i64) -> bool {
        self.trusted_from.is_none_or(|from| created >= from)
    }

    /// Whether a winner with this event time is still valid at `time`.
    pub(super) fn is_fresh(&self, event: i64, time: i64) -> bool {
        // A lower bound that does not fit is below every event time.
        self.ttl
            .and_then(|ttl| time.checked_sub(ttl))
            .is_none_or(|oldest| event >= oldest)
    }
}
