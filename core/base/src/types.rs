//! Which types a feature or key may have, and how they are spelled.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::{Error, Result, suggest};

/// The type of a feature, a request field or a join key. The same as Arrow's of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ValueType {
    /// A scalar.
    Scalar(ScalarType),
    /// `list<T>`: any number of scalars, each of which may be null.
    List(ScalarType),
    /// `vector(float32,N)`: exactly N non-null floats.
    Vector(u32),
}

/// A scalar type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ScalarType {
    /// `bool`
    Bool,
    /// `int32`
    Int32,
    /// `int64`
    Int64,
    /// `float32`
    Float32,
    /// `float64`
    Float64,
    /// `string`: UTF-8.
    String,
    /// `bytes`
    Bytes,
    /// `timestamp`: µs since the Unix epoch, UTC.
    Timestamp,
    /// `date`: days since the Unix epoch.
    Date,
    /// `decimal(p,s)`: an integer of at most `precision` ≤ 38 digits, divided by 10^scale.
    Decimal {
        /// Digits in all, 1 to 38.
        precision: u8,
        /// Digits after the point, 0 to `precision`.
        scale: u8,
    },
}

impl ScalarType {
    /// Bytes in the fixed region of a packed row; `None` where the value lives in the variable region.
    pub fn fixed_width(self) -> Option<usize> {
        match self {
            Self::Bool => Some(1),
            Self::Int32 | Self::Float32 | Self::Date => Some(4),
            Self::Int64 | Self::Float64 | Self::Timestamp => Some(8),
            Self::Decimal { .. } => Some(16),
            Self::String | Self::Bytes => None,
        }
    }

    /// Whether values of this type may be (part of) an entity key.
    pub fn is_key(self) -> bool {
        !matches!(self, Self::Float32 | Self::Float64)
    }
}

impl ValueType {
    /// `bool`
    pub const BOOL: Self = Self::Scalar(ScalarType::Bool);
    /// `int32`
    pub const INT32: Self = Self::Scalar(ScalarType::Int32);
    /// `int64`
    pub const INT64: Self = Self::Scalar(ScalarType::Int64);
    /// `float32`
    pub const FLOAT32: Self = Self::Scalar(ScalarType::Float32);
    /// `float64`
    pub const FLOAT64: Self = Self::Scalar(ScalarType::Float64);
    /// `string`
    pub const STRING: Self = Self::Scalar(ScalarType::String);
    /// `bytes`
    pub const BYTES: Self = Self::Scalar(ScalarType::Bytes);
    /// `timestamp`
    pub const TIMESTAMP: Self = Self::Scalar(ScalarType::Timestamp);
    /// `date`
    pub const DATE: Self = Self::Scalar(ScalarType::Date);

    /// Bytes in the fixed region of a packed row: the value itself, or an 8-byte pointer.
    pub fn slot_width(self) -> usize {
        match self {
            Self::Scalar(scalar) => scalar.fixed_width().unwrap_or(8),
            Self::List(_) | Self::Vector(_) => 8,
        }
    }

    /// Whether values of this type may be (part of) an entity key.
    pub fn is_key(self) -> bool {
        matches!(self, Self::Scalar(scalar) if scalar.is_key())
    }

    /// Whether a value can be one cell of an `f32` tensor.
    pub fn is_numeric(self) -> bool {
        matches!(
            self,
            Self::Scalar(
                ScalarType::Bool
                    | ScalarType::Int32
                    | ScalarType::Int64
                    | ScalarType::Float32
                    | ScalarType::Float64
                    | ScalarType::Decimal { .. }
            )
        )
    }
}

const SPELLINGS: [&str; 12] = [
    "bool",
    "int32",
    "int64",
    "float32",
    "float64",
    "string",
    "bytes",
    "timestamp",
    "date",
    "decimal(10,2)",
    "list<string>",
    "vector(float32,384)",
];

impl fmt::Display for ScalarType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Bool => "bool",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Timestamp => "timestamp",
            Self::Date => "date",
            Self::Decimal { precision, scale } => return write!(f, "decimal({precision},{scale})"),
        };
        f.write_str(text)
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(scalar) => scalar.fmt(f),
            Self::List(item) => write!(f, "list<{item}>"),
            Self::Vector(n) => write!(f, "vector(float32,{n})"),
        }
    }
}

impl FromStr for ScalarType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        Ok(match compact.as_str() {
            "bool" => Self::Bool,
            "int32" => Self::Int32,
            "int64" => Self::Int64,
            "float32" => Self::Float32,
            "float64" => Self::Float64,
            "string" => Self::String,
            "bytes" => Self::Bytes,
            "timestamp" => Self::Timestamp,
            "date" => Self::Date,
            _ => return decimal(&compact).unwrap_or_else(|| Err(unknown(text))),
        })
    }
}

fn decimal(compact: &str) -> Option<Result<ScalarType>> {
    let (precision, scale) = compact
        .strip_prefix("decimal(")?
        .strip_suffix(')')?
        .split_once(',')?;
    let parsed = (precision.parse::<u8>(), scale.parse::<u8>());
    Some(match parsed {
        (Ok(precision @ 1..=38), Ok(scale)) if scale <= precision => {
            Ok(ScalarType::Decimal { precision, scale })
        }
        _ => Err(Error::definition(format!("`{compact}` is not a decimal type"))
            .help("decimal(p,s) needs 1 <= p <= 38 and 0 <= s <= p")),
    })
}

fn unknown(text: &str) -> Error {
    // Spellings of other tools are common enough to be answered by name.
    let meant = match text.to_ascii_lowercase().as_str() {
        "int" | "integer" | "long" | "bigint" => Some("int64"),
        "float" | "double" => Some("float64"),
        "str" | "text" | "varchar" => Some("string"),
        "boolean" => Some("bool"),
        "datetime" | "unix_timestamp" => Some("timestamp"),
        "binary" => Some("bytes"),
        _ => None,
    };
    Error::definition(format!("`{text}` is not a type")).help(match meant {
        Some(name) => format!("did you mean `{name}`?"),
        None => suggest(text, SPELLINGS),
    })
}

impl FromStr for ValueType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        if let Some(item) = compact
            .strip_prefix("list<")
            .and_then(|rest| rest.strip_suffix('>'))
        {
            return item.parse().map(Self::List);
        }
        if let Some(size) = compact
            .strip_prefix("vector(float32,")
            .and_then(|rest| rest.strip_suffix(')'))
        {
            return match size.parse() {
                Ok(n @ 1..=65_536) => Ok(Self::Vector(n)),
                _ => Err(Error::definition(format!("`{text}` is not a vector type"))
                    .help("vector(float32,N) needs 1 <= N <= 65536")),
            };
        }
        text.parse().map(Self::Scalar)
    }
}

impl Serialize for ValueType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ValueType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = ValueType;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a type such as int64 or list<string>")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<ValueType, E> {
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
    fn spellings_round_trip() {
        for text in SPELLINGS {
            assert_eq!(text.parse::<ValueType>().unwrap().to_string(), text);
        }
        assert_eq!(
            "decimal( 10 , 2 )".parse::<ValueType>().unwrap().to_string(),
            "decimal(10,2)"
        );
    }

    #[test]
    fn wrong_types_say_what_is_right() {
        let error = |text: &str| text.parse::<ValueType>().unwrap_err().to_string();
        assert_eq!(error("int46"), "`int46` is not a type; did you mean `int64`?");
        assert_eq!(error("double"), "`double` is not a type; did you mean `float64`?");
        assert!(error("decimal(40,2)").contains("p <= 38"));
        assert!(error("vector(float32,0)").contains("N"));
        assert!(error("list<list<int32>>").contains("not a type"));
    }
}
