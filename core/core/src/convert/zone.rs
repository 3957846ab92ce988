//! Which instant a naive timestamp means.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use larder_base::{Error, Result};

/// A declared time zone for naive timestamps.
#[derive(Debug, Clone)]
pub struct Zone {
    name: String,
    zone: TimeZone,
    utc: bool,
}

impl Zone {
    /// A zone by its IANA name or as a fixed offset such as `+02:00`.
    ///
    /// # Errors
    /// `Definition` when there is no such zone.
    pub fn new(name: &str) -> Result<Self> {
        let unknown = || {
            Error::definition(format!("there is no time zone `{name}`"))
                .help("write UTC, an IANA name such as Europe/Stockholm, or an offset such as +02:00")
        };
        let zone = match name.bytes().next() {
            Some(b'+' | b'-') => {
                let text = format!("2000-01-01T00:00:00{name}");
                let pieces = jiff::fmt::temporal::DateTimeParser::new()
                    .parse_pieces(&text)
                    .map_err(|_| unknown())?;
                TimeZone::fixed(pieces.to_numeric_offset().ok_or_else(unknown)?)
            }
            _ => TimeZone::get(name).map_err(|_| unknown())?,
        };
        let utc = matches!(name, "UTC" | "Etc/UTC" | "Z" | "Zulu" | "+00:00" | "-00:00");
        Ok(Self {
            name: name.to_owned(),
            zone,
            utc,
        })
    }

    /// The name it was declared by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The instant, in µs UTC, of a wall-clock time given as µs since 1970-01-01T00:00 local.
    ///
    /// Times that a clock change skips or repeats are read like RFC 5545 says: the offset before
    /// the gap, the first of the two. `None` outside of years −9999 to 9999.
    pub fn to_utc(&self, local: i64) -> Option<i64> {
        if self.utc {
            return Some(local);
        }
        let civil: DateTime = TimeZone::UTC.to_datetime(jiff::Timestamp::from_microsecond(local).ok()?);
        let instant = self.zone.to_ambiguous_timestamp(civil).compatible().ok()?;
        Some(instant.as_microsecond())
    }

    /// Whether a wall-clock time, as [`Zone::to_utc`] takes it, is one that a clock change skips or repeats.
    pub fn is_unclear(&self, local: i64) -> bool {
        if !self.has_changes() {
            return false;
        }
        let civil = jiff::Timestamp::from_microsecond(local).map(|local| TimeZone::UTC.to_datetime(local));
        civil.is_ok_and(|civil| self.zone.to_ambiguous_timestamp(civil).is_ambiguous())
    }

    /// Whether its clocks are ever changed.
    pub(super) fn has_changes(&self) -> bool {
        !self.utc && self.zone.to_fixed_offset().is_err()
    }

    /// The wall-clock time, as µs since 1970-01-01T00:00 local, of an instant in µs UTC; for writing naive columns.
    ///
    /// Two instants may have the same one where a clock is set back: only [`Zone::to_utc`] of the result tells whether
    /// it means this instant. `None` outside of years −9999 to 9999.
    pub fn to_local(&self, utc: i64) -> Option<i64> {
        if self.utc {
            return Some(utc);
        }
        let civil = self
            .zone
            .to_datetime(jiff::Timestamp::from_microsecond(utc).ok()?);
        Some(TimeZone::UTC.to_timestamp(civil).ok()?.as_microsecond())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn naive_times() {
        let utc = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_microsecond();
        let stockholm = Zone::new("Europe/Stockholm").unwrap();
        assert_eq!(
            stockholm.to_utc(utc("2026-01-01T01:00:00Z")),
            Some(utc("2026-01-01T00:00:00Z"))
        );
        assert_eq!(
            stockholm.to_utc(utc("2026-07-01T02:00:00Z")),
            Some(utc("2026-07-01T00:00:00Z"))
        );
        // 02:30 does not exist on the last Sunday of March: the offset before the gap holds.
        assert_eq!(
            stockholm.to_utc(utc("2026-03-29T02:30:00Z")),
            Some(utc("2026-03-29T01:30:00Z"))
        );
        // 02:30 exists twice on the last Sunday of October: the first one.
        assert_eq!(
            stockholm.to_utc(utc("2026-10-25T02:30:00Z")),
            Some(utc("2026-10-25T00:30:00Z"))
        );
        assert_eq!(Zone::new("+02:00").unwrap().to_utc(7_200_000_000), Some(0));
        assert_eq!(Zone::new("UTC").unwrap().to_utc(i64::MIN), Some(i64::MIN));
        for instant in [
            "2026-01-01T00:00:00Z",
            "2026-07-01T00:00:00Z",
            "2026-10-25T00:30:00Z",
        ] {
            let local = stockholm.to_local(utc(instant)).unwrap();
            assert_eq!(stockholm.to_utc(local), Some(utc(instant)), "{instant}");
        }
        assert!(Zone::new("Mars/Olympus").is_err());
        for (local, unclear) in [
            ("2026-03-29T01:59:59Z", false),
            ("2026-03-29T02:00:00Z", true),
            ("2026-03-29T02:59:59Z", true),
            ("2026-03-29T03:00:00Z", false),
            ("2026-10-25T02:00:00Z", true),
            ("2026-10-25T03:00:00Z", false),
        ] {
            assert_eq!(stockholm.is_unclear(utc(local)), unclear, "{local}");
        }
        assert!(
            !Zone::new("+02:00")
                .unwrap()
                .is_unclear(utc("2026-03-29T02:30:00Z"))
        );
    }
}
