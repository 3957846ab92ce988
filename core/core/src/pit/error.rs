//! How can the point-in-time kernel be misused?

use arrow_schema::DataType;
use std::fmt;

/// Misuse of the kernel: shapes, types or rules that do not fit together. Data values are never part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PitError {
    /// The type of a key column cannot be a join key, or must be cast first.
    KeyType {
        /// Place of the column among the keys.
        column: usize,
        /// Its type.
        found: DataType,
    },
    /// The source's key column has another type than the spine's.
    KeyMismatch {
        /// Place of the column among the keys.
        column: usize,
        /// The type of the source's column.
        found: DataType,
    },
    /// The source has another number of key columns than the spine.
    KeyCount {
        /// Key columns of the spine.
        expected: usize,
        /// Key columns of the source.
        found: usize,
    },
    /// A column has another number of rows than the batch.
    Length {
        /// Which column.
        what: &'static str,
        /// Rows of the batch.
        expected: usize,
        /// Rows of the column.
        found: usize,
    },
    /// The spine has more than `u32::MAX` rows; split it.
    TooManyRows(usize),
    /// A duration of the rule is negative.
    Negative(&'static str),
    /// Tie-break rows were passed without the rule asking for them, or the other way round.
    TieBreak {
        /// Whether the rule asks for tie-break columns.
        expected: bool,
    },
    /// A source position is `u64::MAX` or beyond.
    Position,
    /// Two accumulators with different indexes or rules cannot be merged.
    Merge,
}

impl fmt::Display for PitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyType { column, found } => {
                write!(
                    f,
                    "key column {column} has type {found}, which cannot be joined on; cast it to a key type"
                )
            }
            Self::KeyMismatch { column, found } => {
                write!(
                    f,
                    "key column {column} of the source has type {found}, not the spine's; cast it first"
                )
            }
            Self::KeyCount { expected, found } => {
                write!(f, "the source has {found} key columns, the spine has {expected}")
            }
            Self::Length {
                what,
                expected,
                found,
            } => {
                write!(f, "{what} has {found} rows where the batch has {expected}")
            }
            Self::TooManyRows(rows) => {
                write!(f, "a spine of {rows} rows is too large for one index; split it")
            }
            Self::Negative(what) => write!(f, "{what} is negative; give a duration of zero or more"),
            Self::TieBreak { expected: true } => {
                f.write_str("the rule has tie-break columns but the batch has none")
            }
            Self::TieBreak { expected: false } => {
                f.write_str("the batch has tie-break columns but the rule has none")
            }
            Self::Position => write!(f, "source positions must be below {}", u64::MAX),
            Self::Merge => f.write_str("only accumulators of the same index and rule can be merged"),
        }
    }
}

impl std::error::Error for PitError {}
