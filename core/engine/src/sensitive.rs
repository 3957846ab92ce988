//! May a value be shown to somebody who only looks? Keys and features say how sensitive they are.

use std::sync::Arc;

use larder_base::Value;
use larder_core::arrow::array::{Array, ArrayRef, StringArray};
use serde::{Serialize, Serializer};

/// What stands in place of a value that is not shown.
const HIDDEN: &str = "***";

/// Whether sensitive values are shown to whoever looks at single rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sensitive {
    /// `***` stands in their place; nulls stay nulls.
    #[default]
    Masked,
    /// They are shown.
    Shown,
}

/// A value for somebody who looks.
#[derive(Debug, Clone, PartialEq)]
pub enum ShownValue {
    /// The value.
    Value(Value),
    /// There is one, and it is sensitive.
    Masked,
}

impl ShownValue {
    pub(crate) fn new(value: Value, masked: bool) -> Self {
        match masked && !value.is_null() {
            true => Self::Masked,
            false => Self::Value(value),
        }
    }
}

impl std::fmt::Display for ShownValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Value(value) => value.fmt(f),
            Self::Masked => f.write_str(HIDDEN),
        }
    }
}

impl Serialize for ShownValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Value(value) => value.to_json().serialize(serializer),
            Self::Masked => serializer.serialize_str(HIDDEN),
        }
    }
}

/// A column with its values masked.
pub(crate) fn masked(column: &ArrayRef) -> ArrayRef {
    let texts = (0..column.len()).map(|row| column.is_valid(row).then_some(HIDDEN));
    Arc::new(texts.collect::<StringArray>())
}
