//! Why does a row answer, or not? Pure: the times of an entity's rows and the rule in, a verdict for each out.
//!
//! Written after the rule in SEMANTICS and without the join's code, so that each can catch the other.

use larder_base::model::Knowledge;
use larder_base::{Micros, Span};
use serde::Serialize;

/// Why a row answers, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// It answers.
    Winner,
    /// A row with a newer event time answers.
    Older,
    /// Another row with its event time was created later.
    LostByCreated,
    /// Another row with its times has larger tie-break columns.
    LostByTieBreak,
    /// Another row is equal in all of these; the last in the source's order answers.
    LostByOrder,
    /// Older than the time to live.
    Expired,
    /// Its event is after the time asked for.
    Future,
    /// Its event is not after that time, but it was not available yet (`available_after`).
    NotYetAvailable,
    /// It was written after that time, and `as_of` counts that.
    CreatedLater,
    /// It was not visible at the instant of `known_until`.
    NotVisible,
}

impl Verdict {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Winner => "winner",
            Self::Older => "older",
            Self::LostByCreated => "lost the tie by created time",
            Self::LostByTieBreak => "lost the tie by tie_break",
            Self::LostByOrder => "lost the tie by order",
            Self::Expired => "expired by ttl",
            Self::Future => "future",
            Self::NotYetAvailable => "not yet available",
            Self::CreatedLater => "created later (as_of)",
            Self::NotVisible => "not visible yet (known_until)",
        }
    }
}

/// The times of a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Times {
    pub(super) event: Micros,
    pub(super) created: Option<Micros>,
    /// Tie-break columns as bytes that compare like they do.
    pub(super) tie: Option<Vec<u8>>,
}

/// What decides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    pub(super) at: Micros,
    pub(super) available_after: Span,
    pub(super) ttl: Option<Span>,
    pub(super) knowledge: Knowledge,
    pub(super) trusted_from: Option<Micros>,
    pub(super) known_until: Option<Micros>,
}

impl Rule {
    /// Why a row is no candidate, whatever the others; the ttl is not asked yet.
    fn excluded(&self, row: &Times) -> Option<Verdict> {
        let available = row.event.0.checked_add(self.available_after.0);
        let trusted = row
            .created
            .filter(|created| self.trusted_from.is_none_or(|from| *created >= from));
        if row.event > self.at {
            return Some(Verdict::Future);
        }
        let Some(available) = available.filter(|available| *available <= self.at.0) else {
            return Some(Verdict::NotYetAvailable);
        };
        if let Some(until) = self.known_until
            && (available > until.0 || trusted.is_some_and(|created| created > until))
        {
            return Some(Verdict::NotVisible);
        }
        let later = trusted.is_some_and(|created| created > self.at);
        (self.knowledge == Knowledge::AsOf && later).then_some(Verdict::CreatedLater)
    }

    fn is_expired(&self, event: Micros) -> bool {
        // A bound that does not fit is below every event time.
        let oldest = self.ttl.and_then(|ttl| self.at.0.checked_sub(ttl.0));
        oldest.is_some_and(|oldest| event.0 < oldest)
    }
}

/// The verdict on each row. Of rows that are equal in everything, all are winners here: only the
/// store knows their order.
pub(super) fn judge(rows: &[Times], rule: &Rule) -> Vec<Verdict> {
    let excluded: Vec<Option<Verdict>> = rows.iter().map(|row| rule.excluded(row)).collect();
    let candidates = rows
        .iter()
        .zip(&excluded)
        .filter(|(_, excluded)| excluded.is_none());
    // Absent created times and tie-breaks are smallest, as Option orders them.
    let best = candidates.map(|(row, _)| row).max();
    let judge = |(row, excluded): (&Times, &Option<Verdict>)| match (excluded, best) {
        (Some(verdict), _) => *verdict,
        (None, _) if rule.is_expired(row.event) => Verdict::Expired,
        (None, Some(best)) if row.event < best.event => Verdict::Older,
        (None, Some(best)) if row.created < best.created => Verdict::LostByCreated,
        (None, Some(best)) if row.tie < best.tie => Verdict::LostByTieBreak,
        (None, _) => Verdict::Winner,
    };
    rows.iter().zip(&excluded).map(judge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(event: i64, created: Option<i64>, tie: Option<u8>) -> Times {
        Times {
            event: Micros(event),
            created: created.map(Micros),
            tie: tie.map(|tie| vec![tie]),
        }
    }

    fn rule() -> Rule {
        Rule {
            at: Micros(100),
            available_after: Span(10),
            ttl: Some(Span(50)),
            knowledge: Knowledge::TieBreak,
            trusted_from: None,
            known_until: None,
        }
    }

    #[test]
    fn every_verdict() {
        use Verdict::*;
        let rows = [
            row(101, None, None),
            row(95, None, None),
            row(90, Some(120), Some(1)),
            row(90, Some(120), Some(2)),
            row(90, Some(119), Some(9)),
            row(90, None, Some(9)),
            row(60, None, None),
            row(49, None, None),
        ];
        assert_eq!(
            judge(&rows, &rule()),
            [
                Future,
                NotYetAvailable,
                LostByTieBreak,
                Winner,
                LostByCreated,
                LostByCreated,
                Older,
                Expired
            ]
        );
        let as_of = Rule {
            knowledge: Knowledge::AsOf,
            ..rule()
        };
        assert_eq!(
            judge(&rows, &as_of)[2..6],
            [CreatedLater, CreatedLater, CreatedLater, Winner]
        );
        let untrusted = Rule {
            trusted_from: Some(Micros(120)),
            ..as_of
        };
        assert_eq!(judge(&rows, &untrusted)[4], Winner);
        let then = Rule {
            known_until: Some(Micros(119)),
            ..rule()
        };
        assert_eq!(judge(&rows, &then)[3..5], [NotVisible, Winner]);
        let then = Rule {
            known_until: Some(Micros(70)),
            ..rule()
        };
        assert_eq!(judge(&rows, &then)[5..7], [NotVisible, Winner]);
    }

    #[test]
    fn the_ends_belong_to_it() {
        let rows = [row(90, None, None), row(50, None, None), row(49, None, None)];
        assert_eq!(judge(&rows[..1], &rule()), [Verdict::Winner]);
        assert_eq!(judge(&rows[1..2], &rule()), [Verdict::Winner]);
        assert_eq!(judge(&rows[2..], &rule()), [Verdict::Expired]);
        let extreme = Rule {
            at: Micros::MIN,
            ..rule()
        };
        assert_eq!(judge(&[row(i64::MAX, None, None)], &extreme), [Verdict::Future]);
    }
}
