//! What a plan promises for its life: names, types and order of what goes in and comes out.

use std::fmt;

use larder_base::{ColumnName, ValueType};
use serde::{Deserialize, Serialize};

use crate::selection::Resolved;

/// The inputs and outputs of a plan. Store it with your model and demand it when you serve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signature {
    /// Key columns, sorted by name.
    pub keys: Vec<SignatureColumn>,
    /// Output columns in order.
    pub outputs: Vec<SignatureColumn>,
}

/// One column of a signature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignatureColumn {
    /// Name.
    pub name: String,
    /// Type.
    #[serde(rename = "type")]
    pub value_type: ValueType,
    /// What fills `not_found` and `expired`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<serde_json::Value>,
    /// Whether it fills nulls, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub default_null: bool,
}

impl Signature {
    pub(super) fn of(resolved: &Resolved) -> Self {
        let key = |(name, keys): (ColumnName, Vec<larder_base::JoinKey>)| {
            keys.into_iter().map(move |key| SignatureColumn {
                name: name.to_string(),
                value_type: key.value_type,
                default: None,
                default_null: false,
            })
        };
        let output = |output: &crate::selection::Output| SignatureColumn {
            name: output.name.clone(),
            value_type: resolved.feature_of(output).value_type,
            default: output.default.as_ref().map(larder_base::Value::to_json),
            default_null: output.default_null,
        };
        Self {
            keys: resolved.key_columns().into_iter().flat_map(key).collect(),
            outputs: resolved.outputs.iter().map(output).collect(),
        }
    }

    /// A short text that is equal exactly for equal signatures.
    pub fn digest(&self) -> String {
        let text = serde_json::json!([self.keys, self.outputs]).to_string();
        format!("sig1-{:032x}", xxhash_rust::xxh3::xxh3_128(text.as_bytes()))
    }

    /// What differs from another signature, for people.
    pub(super) fn differences(&self, other: &Self) -> String {
        let name = |column: &SignatureColumn| format!("{} {}", column.name, column.value_type);
        let missing = |a: &[SignatureColumn], b: &[SignatureColumn]| -> Vec<String> {
            a.iter().filter(|column| !b.contains(column)).map(name).collect()
        };
        let mut parts = Vec::new();
        for (what, a, b) in [
            ("keys", &self.keys, &other.keys),
            ("outputs", &self.outputs, &other.outputs),
        ] {
            let (gone, new) = (missing(a, b), missing(b, a));
            if !gone.is_empty() {
                parts.push(format!("{what} expected and not there: {}", gone.join(", ")));
            }
            if !new.is_empty() {
                parts.push(format!("{what} there and not expected: {}", new.join(", ")));
            }
        }
        if parts.is_empty() {
            "the order of the columns differs".to_owned()
        } else {
            parts.join("; ")
        }
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.digest())
    }
}
