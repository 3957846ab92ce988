//! What time is: signed 64-bit microseconds since the Unix epoch, UTC; and how people write it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::{Error, Result};

/// An instant: µs since the Unix epoch, UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Micros(pub i64);

impl Micros {
    /// The earliest instant there is; stands for "from the first event".
    pub const MIN: Self = Self(i64::MIN);
    /// The latest instant there is.
    pub const MAX: Self = Self(i64::MAX);

    /// The instant `span` later, at most [`Micros::MAX`].
    #[must_use]
    pub fn plus(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// The instant `span` earlier, at least [`Micros::MIN`].
    #[must_use]
    pub fn minus(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }

    /// How long after `earlier`; negative when it is before.
    pub fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }

    /// Parses RFC 3339 with a zone, `now`, `now-7d` or `now+5m`; `now` is the caller's clock.
    ///
    /// # Errors
    /// `Input` when the text is none of these, or has no zone.
    pub fn parse(text: &str, now: Self) -> Result<Self> {
        let trimmed = text.trim();
        if let Some(rest) = trimmed.strip_prefix("now") {
            return match rest.chars().next() {
                None => Ok(now),
                Some('-') => Ok(now.minus(rest[1..].parse()?)),
                Some('+') => Ok(now.plus(rest[1..].parse()?)),
                Some(_) => Err(not_an_instant(text)),
            };
        }
        trimmed.parse()
    }
}

fn not_an_instant(text: &str) -> Error {
    Error::input(format!("`{text}` is not an instant"))
        .help("write RFC 3339 with a zone such as 2026-05-01T00:00:00Z, or now, or now-7d")
}

impl FromStr for Micros {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Ok(timestamp) = text.parse::<jiff::Timestamp>() {
            return Ok(Self(timestamp.as_microsecond()));
        }
        // A plain date means its first instant in UTC: unambiguous, and common in `trusted_from`.
        if let Ok(date) = text.parse::<jiff::civil::Date>()
            && text.len() == 10
        {
            let zoned = date
                .to_zoned(jiff::tz::TimeZone::UTC)
                .map_err(|_| not_an_instant(text))?;
            return Ok(Self(zoned.timestamp().as_microsecond()));
        }
        let mut error = not_an_instant(text);
        if text.parse::<jiff::civil::DateTime>().is_ok() {
            error = Error::input(format!("`{text}` has no zone"))
                .help(format!("write `{text}Z` for UTC or add an offset such as +02:00"));
        }
        Err(error)
    }
}

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(timestamp) => write!(f, "{timestamp}"),
            // Outside the calendar (years −9999..9999) the number itself is the clearest form.
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl fmt::Debug for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Micros {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Micros {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Micros;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an instant such as 2026-05-01T00:00:00Z")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Micros, E> {
                if let Some(number) = text.strip_suffix("us").and_then(|n| n.parse().ok()) {
                    return Ok(Micros(number));
                }
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// A duration in µs, never negative when parsed; written `500us 10ms 30s 15m 24h 7d 2w`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(pub i64);

const UNITS: [(&str, i64); 7] = [
    ("w", 604_800_000_000),
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// A span of whole seconds.
    pub const fn seconds(n: i64) -> Self {
        Self(n * 1_000_000)
    }

    /// A span of whole minutes.
    pub const fn minutes(n: i64) -> Self {
        Self(n * 60_000_000)
    }

    /// A span of whole hours.
    pub const fn hours(n: i64) -> Self {
        Self(n * 3_600_000_000)
    }

    /// A span of 24-hour days.
    pub const fn days(n: i64) -> Self {
        Self(n * 86_400_000_000)
    }

    /// For people who want to see how long it is at a glance, not exactly: `350 ms`, `2.5 h`, `40 d`.
    pub fn about(self) -> String {
        let sign = if self.0 < 0 { "-" } else { "" };
        let micros = self.0.unsigned_abs();
        let units = [
            (86_400_000_000_u64, "d"),
            (3_600_000_000, "h"),
            (60_000_000, "min"),
            (1_000_000, "s"),
            (1_000, "ms"),
        ];
        match units.iter().find(|(unit, _)| micros >= *unit) {
            None => format!("{sign}{micros} µs"),
            Some((unit, name)) => match micros as f64 / *unit as f64 {
                // Nobody needs tenths of many.
                many if many >= 10.0 => format!("{sign}{many:.0} {name}"),
                few => format!("{sign}{few:.1} {name}"),
            },
        }
    }

    /// As the standard library's duration; negative spans become zero.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_micros(u64::try_from(self.0).unwrap_or(0))
    }
}

impl FromStr for Span {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::input(format!("`{text}` is not a duration"))
                .help("write a number and a unit: 500us 10ms 30s 15m 24h 7d 2w")
        };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: i64 = number.parse().map_err(|_| wrong())?;
        if unit.is_empty() && number == 0 {
            return Ok(Self::ZERO);
        }
        let (_, size) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        number.checked_mul(*size).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        // The largest unit that divides it, but days rather than weeks: people think in days.
        for (name, size) in UNITS.iter().skip(1) {
            if self.0 % size == 0 {
                return write!(f, "{}{name}", self.0 / size);
            }
        }
        unreachable!("every span is a multiple of one microsecond")
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Span;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as 30s, 24h or 7d")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, micros) in [
            ("500us", 500),
            ("10ms", 10_000),
            ("15m", 900_000_000),
            ("2w", 1_209_600_000_000),
        ] {
            assert_eq!(text.parse::<Span>().unwrap().0, micros, "{text}");
        }
        assert_eq!("2w".parse::<Span>().unwrap().to_string(), "14d");
        assert_eq!("0".parse::<Span>().unwrap(), Span::ZERO);
        assert_eq!(Span(12).about(), "12 µs");
        assert_eq!(Span(9_000_000_000).about(), "2.5 h");
        assert_eq!(Span::days(-40).about(), "-40 d");
        for wrong in ["", "7", "d", "7 d", "-7d", "7days", "99999999999999w"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn instants() {
        let now = Micros(1_000_000_000_000_000);
        assert_eq!(Micros::parse("now", now).unwrap(), now);
        assert_eq!(Micros::parse("now-7d", now).unwrap().0, now.0 - 604_800_000_000);
        assert_eq!(
            Micros::parse("1970-01-01T00:00:01Z", now).unwrap(),
            Micros(1_000_000)
        );
        assert_eq!(
            Micros::parse("1970-01-01T02:00:00+02:00", now).unwrap(),
            Micros(0)
        );
        assert_eq!(Micros::parse("1970-01-02", now).unwrap(), Micros(86_400_000_000));
        let error = Micros::parse("2026-05-01T00:00:00", now).unwrap_err().to_string();
        assert!(error.contains("has no zone"), "{error}");
        assert!(Micros::parse("yesterday", now).is_err());
    }

    #[test]
    fn extremes_survive_serde() {
        for micros in [Micros::MIN, Micros::MAX, Micros(0), Micros(-1)] {
            let text = serde_json::to_string(&micros).unwrap();
            assert_eq!(serde_json::from_str::<Micros>(&text).unwrap(), micros, "{text}");
        }
    }
}
