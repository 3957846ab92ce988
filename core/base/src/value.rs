//! One value outside Arrow: in tests, in keys, in JSON, in typed access to a read.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::time::Micros;
use crate::types::{ScalarType, ValueType};

/// One value with its type; `Null` belongs to every type.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// No value.
    Null,
    /// `bool`
    Bool(bool),
    /// `int32`
    Int32(i32),
    /// `int64`
    Int64(i64),
    /// `float32`
    Float32(f32),
    /// `float64`
    Float64(f64),
    /// `string`
    String(Arc<str>),
    /// `bytes`
    Bytes(Arc<[u8]>),
    /// `timestamp`, µs UTC
    Timestamp(Micros),
    /// `date`, days since the Unix epoch
    Date(i32),
    /// `decimal(p,s)`: the unscaled integer and the scale
    Decimal(i128, u8),
    /// `list<T>`
    List(Vec<Value>),
    /// `vector(float32,N)`
    Vector(Arc<[f32]>),
}

impl Value {
    /// A string value.
    pub fn str(text: &str) -> Self {
        Self::String(text.into())
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Whether the value may stand where `of` is declared; null may stand anywhere.
    pub fn fits(&self, of: ValueType) -> bool {
        match (self, of) {
            (Self::Null, _) => true,
            (Self::List(items), ValueType::List(item)) => {
                items.iter().all(|value| value.fits(ValueType::Scalar(item)))
            }
            (Self::Vector(floats), ValueType::Vector(n)) => floats.len() == n as usize,
            (Self::Decimal(number, have), ValueType::Scalar(ScalarType::Decimal { precision, scale })) => {
                *have == scale && number.unsigned_abs() < 10_u128.pow(u32::from(precision))
            }
            (value, ValueType::Scalar(scalar)) => matches!(
                (value, scalar),
                (Self::Bool(_), ScalarType::Bool)
                    | (Self::Int32(_), ScalarType::Int32)
                    | (Self::Int64(_), ScalarType::Int64)
                    | (Self::Float32(_), ScalarType::Float32)
                    | (Self::Float64(_), ScalarType::Float64)
                    | (Self::String(_), ScalarType::String)
                    | (Self::Bytes(_), ScalarType::Bytes)
                    | (Self::Timestamp(_), ScalarType::Timestamp)
                    | (Self::Date(_), ScalarType::Date)
            ),
            _ => false,
        }
    }

    /// Reads a value of a type from what a person types on a command line or in CSV.
    ///
    /// # Errors
    /// `Input` naming the type, never the text, because it may be sensitive.
    pub fn parse(text: &str, of: ValueType) -> Result<Self> {
        let wrong = || Error::input(format!("the text given is not of type {of}"));
        let ValueType::Scalar(scalar) = of else {
            let json: serde_json::Value = serde_json::from_str(text).map_err(|_| wrong())?;
            return Self::from_json(&json, of);
        };
        Ok(match scalar {
            ScalarType::Bool => Self::Bool(text.parse().map_err(|_| wrong())?),
            ScalarType::Int32 => Self::Int32(text.parse().map_err(|_| wrong())?),
            ScalarType::Int64 => Self::Int64(text.parse().map_err(|_| wrong())?),
            ScalarType::Float32 => {
                let fits = |number: &f32| !is_too_large(text, number.is_infinite());
                Self::Float32(text.parse().ok().filter(fits).ok_or_else(wrong)?)
            }
            ScalarType::Float64 => {
                let fits = |number: &f64| !is_too_large(text, number.is_infinite());
                Self::Float64(text.parse().ok().filter(fits).ok_or_else(wrong)?)
            }
            ScalarType::String => Self::str(text),
            ScalarType::Bytes => Self::Bytes(
                from_hex(text)
                    .ok_or_else(|| wrong().help("write hex digits"))?
                    .into(),
            ),
            ScalarType::Timestamp => Self::Timestamp(text.parse()?),
            ScalarType::Date => Self::Date(parse_date(text).ok_or_else(wrong)?),
            ScalarType::Decimal { precision, scale } => {
                Self::Decimal(parse_decimal(text, precision, scale).ok_or_else(wrong)?, scale)
            }
        })
    }

    /// Reads a value of a type from JSON: numbers for numbers, strings for everything textual.
    ///
    /// # Errors
    /// `Input` naming the type and the JSON kind, never the value.
    pub fn from_json(json: &serde_json::Value, of: ValueType) -> Result<Self> {
        use serde_json::Value as Json;
        let wrong = || Error::input(format!("expected {of}, got {}", json_kind(json)));
        Ok(match (json, of) {
            (Json::Null, _) => Self::Null,
            (Json::Array(items), ValueType::List(item)) => Self::List(
                items
                    .iter()
                    .map(|i| Self::from_json(i, ValueType::Scalar(item)))
                    .collect::<Result<_>>()?,
            ),
            (Json::Array(items), ValueType::Vector(n)) if items.len() == n as usize => {
                let floats: Option<Vec<f32>> = items.iter().map(|i| narrow(i.as_f64()?)).collect();
                Self::Vector(floats.ok_or_else(wrong)?.into())
            }
            (Json::Bool(b), ValueType::Scalar(ScalarType::Bool)) => Self::Bool(*b),
            (Json::Number(n), ValueType::Scalar(scalar)) => match scalar {
                ScalarType::Int32 => {
                    Self::Int32(n.as_i64().and_then(|n| i32::try_from(n).ok()).ok_or_else(wrong)?)
                }
                ScalarType::Int64 => Self::Int64(n.as_i64().ok_or_else(wrong)?),
                ScalarType::Float32 => Self::Float32(n.as_f64().and_then(narrow).ok_or_else(wrong)?),
                ScalarType::Float64 => Self::Float64(n.as_f64().ok_or_else(wrong)?),
                ScalarType::Decimal { .. } => Self::parse(&n.to_string(), of)?,
                _ => return Err(wrong()),
            },
            (Json::String(text), ValueType::Scalar(ScalarType::Float64 | ScalarType::Float32)) => {
                // JSON has no NaN or infinities; they travel as strings.
                match text.as_str() {
                    "NaN" | "Infinity" | "-Infinity" => Self::parse(&text.replace("Infinity", "inf"), of)?,
                    _ => return Err(wrong()),
                }
            }
            (
                Json::String(text),
                ValueType::Scalar(
                    ScalarType::String
                    | ScalarType::Bytes
                    | ScalarType::Timestamp
                    | ScalarType::Date
                    | ScalarType::Decimal { .. },
                ),
            ) => Self::parse(text, of)?,
            _ => return Err(wrong()),
        })
    }

    /// The value as JSON: non-finite floats as strings, bytes as hex, decimals as strings.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Self::Null => Json::Null,
            Self::Bool(b) => Json::Bool(*b),
            Self::Int32(n) => Json::from(*n),
            Self::Int64(n) => Json::from(*n),
            // The shortest text that reads back as the same f32, as a JSON number.
            Self::Float32(x) if x.is_finite() => x.to_string().parse::<f64>().map_or(Json::Null, Json::from),
            Self::Float32(x) => Json::String(non_finite(f64::from(*x)).to_owned()),
            Self::Float64(x) if x.is_finite() => Json::from(*x),
            Self::Float64(x) => Json::String(non_finite(*x).to_owned()),
            Self::List(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Self::Vector(floats) => Json::Array(floats.iter().map(|x| Self::Float32(*x).to_json()).collect()),
            other => Json::String(other.to_string()),
        }
    }
}

fn non_finite(x: f64) -> &'static str {
    if x.is_nan() {
        "NaN"
    } else if x > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

fn json_kind(json: &serde_json::Value) -> &'static str {
    match json {
        serde_json::Value::Null => "null",
        serde_json::Value::Bool(_) => "a bool",
        serde_json::Value::Number(_) => "a number that does not fit",
        serde_json::Value::String(_) => "a string",
        serde_json::Value::Array(_) => "an array of another shape",
        serde_json::Value::Object(_) => "an object",
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(b) => b.fmt(f),
            Self::Int32(n) => n.fmt(f),
            Self::Int64(n) => n.fmt(f),
            Self::Float32(x) => x.fmt(f),
            Self::Float64(x) => x.fmt(f),
            Self::String(text) => f.write_str(text),
            Self::Bytes(bytes) => bytes.iter().try_for_each(|b| write!(f, "{b:02x}")),
            Self::Timestamp(micros) => micros.fmt(f),
            Self::Date(days) => match civil_date(*days) {
                Some(date) => write!(f, "{date}"),
                None => write!(f, "{days}d"),
            },
            Self::Decimal(number, 0) => number.fmt(f),
            Self::Decimal(number, scale) => {
                let digits = format!(
                    "{:0width$}",
                    number.unsigned_abs(),
                    width = usize::from(*scale) + 1
                );
                let (whole, fraction) = digits.split_at(digits.len() - usize::from(*scale));
                let sign = if *number < 0 { "-" } else { "" };
                write!(f, "{sign}{whole}.{fraction}")
            }
            Self::List(_) | Self::Vector(_) => self.to_json().fmt(f),
        }
    }
}

fn epoch() -> jiff::civil::Date {
    jiff::civil::Date::constant(1970, 1, 1)
}

fn civil_date(days: i32) -> Option<jiff::civil::Date> {
    epoch().checked_add(jiff::Span::new().try_days(days).ok()?).ok()
}

/// Whether what was read as an infinity says a number that its type cannot hold, and not `inf`.
fn is_too_large(text: &str, infinite: bool) -> bool {
    infinite && text.bytes().any(|byte| byte.is_ascii_digit())
}

/// The nearest `f32`, where there is one.
fn narrow(number: f64) -> Option<f32> {
    let near = number as f32;
    near.is_finite().then_some(near)
}

fn parse_date(text: &str) -> Option<i32> {
    let date: jiff::civil::Date = text.parse().ok()?;
    Some(epoch().until(date).ok()?.get_days())
}

fn parse_decimal(text: &str, precision: u8, scale: u8) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if fraction.len() > usize::from(scale) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let all = format!("{whole}{fraction:0<width$}", width = usize::from(scale));
    if !all.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: i128 = all.parse().ok()?;
    (number < 10_i128.checked_pow(u32::from(precision))?).then_some(sign * number)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let bytes = text.strip_prefix("0x").unwrap_or(text).as_bytes();
    if !bytes.len().is_multiple_of(2) {
        return None;
    }
    let digit = |b: u8| (b as char).to_digit(16);
    bytes
        .chunks(2)
        .map(|pair| Some((digit(pair[0])? * 16 + digit(pair[1])?) as u8))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for (of, text) in [
            ("bool", "true"),
            ("int64", "-9223372036854775808"),
            ("string", "a b"),
            ("bytes", "00ff"),
            ("timestamp", "2026-05-01T00:00:00Z"),
            ("date", "1969-12-31"),
            ("decimal(5,2)", "-0.05"),
            ("decimal(5,0)", "99999"),
            ("list<int32>", "[1,null,2]"),
            ("vector(float32,2)", "[0.5,1.25]"),
        ] {
            let of: ValueType = of.parse().unwrap();
            let value = Value::parse(text, of).unwrap();
            assert!(value.fits(of), "{of}");
            assert_eq!(value.to_string(), text, "{of}");
            assert_eq!(Value::from_json(&value.to_json(), of).unwrap(), value, "{of}");
        }
    }

    #[test]
    fn refused_without_naming_the_value() {
        for (of, text) in [
            ("int32", "2147483648"),
            ("decimal(3,1)", "100.0"),
            ("date", "2026-13-01"),
            ("bytes", "abc"),
            ("float32", "1e300"),
            ("float32", "-3.5e38"),
            ("float64", "1e400"),
            ("list<float32>", "[1, 1e300]"),
            ("list<float64>", "[-1e400]"),
            ("vector(float32,1)", "[1e300]"),
        ] {
            let error = Value::parse(text, of.parse().unwrap()).unwrap_err().to_string();
            assert!(!error.contains(text), "{error}");
        }
        assert!(Value::from_json(&serde_json::json!(1.5), ValueType::INT64).is_err());
        assert!(Value::from_json(&serde_json::json!(1e300), ValueType::FLOAT32).is_err());
        assert!(Value::from_json(&serde_json::json!("1"), ValueType::INT64).is_err());
    }

    #[test]
    fn infinities_that_are_written_as_such() {
        for text in ["inf", "-inf", "Infinity"] {
            let value = Value::parse(text, ValueType::FLOAT32).unwrap();
            assert!(matches!(value, Value::Float32(x) if x.is_infinite()), "{text}");
        }
        let json = serde_json::json!("-Infinity");
        let value = Value::from_json(&json, ValueType::FLOAT64).unwrap();
        assert_eq!(value, Value::Float64(f64::NEG_INFINITY));
    }

    #[test]
    fn dates_far_from_the_epoch() {
        for days in [-700_000, -1, 0, 19_000, 2_000_000] {
            let text = Value::Date(days).to_string();
            assert_eq!(parse_date(&text), Some(days));
        }
    }
}
