//! How an entity is named in bytes: canonical, typed, prefix-free, versioned.
//!
//! The format is published in `docs/spec/entity-key.md` with golden vectors. In short: a version
//! byte, a mode byte, then for each join key in the order of the key *names* a type tag and the
//! value; integers are sign-flipped big-endian, text and bytes carry a 16-bit length in front.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::names::ColumnName;
use crate::time::Micros;
use crate::types::{ScalarType, ValueType};
use crate::value::Value;

/// Longest canonical key in bytes.
pub const MAX_KEY_BYTES: usize = 1024;

const VERSION: u8 = 1;
const MODE_PLAIN: u8 = 0;

/// One join key of a view: its name and declared type.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct JoinKey {
    /// Name of the key, which is the column of entity rows unless a role renames it.
    pub name: ColumnName,
    /// Declared type; decides the bytes, whatever type the caller's column has.
    #[serde(rename = "type")]
    pub value_type: ValueType,
}

/// Canonical entity keys of a batch of rows: one flat buffer, reusable without allocation.
///
/// A row whose key holds a null has no bytes; such a row matches nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntityKeys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl EntityKeys {
    /// No keys yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Removes all rows, keeping the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The canonical bytes of a row; `None` where the key holds a null.
    #[inline]
    pub fn get(&self, row: usize) -> Option<&[u8]> {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        let key = &self.bytes[start..self.ends[row]];
        (!key.is_empty()).then_some(key)
    }

    /// All rows in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Option<&[u8]>> {
        (0..self.len()).map(|row| self.get(row))
    }

    /// Appends canonical bytes that were encoded before; no bytes stand for a null.
    pub fn push(&mut self, key: &[u8]) {
        self.start();
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
    }

    /// Appends a row whose key holds a null.
    pub fn push_null(&mut self) {
        let start = self.start();
        self.ends.push(start);
    }

    /// Appends the key made of keys of single columns, in the order of their names; a null in any
    /// of them makes the whole key null.
    ///
    /// # Errors
    /// `Input` when the key is longer than [`MAX_KEY_BYTES`]; the row is then not appended.
    #[inline]
    pub fn push_joined<'a>(&mut self, parts: impl Iterator<Item = Option<&'a [u8]>>) -> Result<()> {
        let writer = self.begin();
        for part in parts {
            match part {
                Some(part) => {
                    // Every key starts with the same version and mode, which the whole has once.
                    let values = part
                        .strip_prefix(&[VERSION, MODE_PLAIN])
                        .ok_or_else(|| Error::internal("a part of an entity key is no key"))?;
                    writer.keys.bytes.extend_from_slice(values);
                }
                None => {
                    writer.null();
                    return Ok(());
                }
            }
        }
        writer.finish()
    }

    /// Removes the last row.
    pub fn pop(&mut self) {
        self.ends.pop();
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
    }

    /// Starts a row to be written with a [`KeyWriter`].
    pub fn begin(&mut self) -> KeyWriter<'_> {
        let start = self.start();
        self.bytes.extend_from_slice(&[VERSION, MODE_PLAIN]);
        KeyWriter { keys: self, start }
    }

    /// Appends a row from values in the order of `join_keys`, which is sorted by name.
    ///
    /// # Errors
    /// `Input` when a value does not fit its declared type, there are not as many values as join
    /// keys, or the key is longer than [`MAX_KEY_BYTES`]; the message names the row and the key,
    /// never the value.
    pub fn push_values(&mut self, join_keys: &[JoinKey], values: &[Value]) -> Result<()> {
        let row = self.len();
        if join_keys.len() != values.len() {
            return Err(Error::input(format!(
                "{} values for {} join keys",
                values.len(),
                join_keys.len()
            ))
            .with("row", row));
        }
        let mut writer = self.begin();
        for (key, value) in join_keys.iter().zip(values) {
            if let Err(error) = writer.value(key, value) {
                writer.abandon();
                return Err(error.with("row", row));
            }
        }
        if values.iter().any(Value::is_null) {
            writer.null();
            return Ok(());
        }
        writer.finish()
    }

    /// Where the next key starts. A writer that was dropped before its end leaves nothing behind.
    #[inline]
    fn start(&mut self) -> usize {
        let start = self.ends.last().copied().unwrap_or(0);
        self.bytes.truncate(start);
        start
    }
}

/// Writes the canonical key of one row, join key by join key in the order of their names.
///
/// Dropped without [`KeyWriter::finish`] or [`KeyWriter::null`], it appends nothing.
#[derive(Debug)]
pub struct KeyWriter<'a> {
    keys: &'a mut EntityKeys,
    start: usize,
}

impl KeyWriter<'_> {
    #[inline]
    fn put<const N: usize>(&mut self, tag: u8, bytes: [u8; N]) {
        self.keys.bytes.push(tag);
        self.keys.bytes.extend_from_slice(&bytes);
    }

    /// A `bool` key.
    pub fn bool(&mut self, value: bool) {
        self.put(tag(ScalarType::Bool), [u8::from(value)]);
    }

    /// An `int32` key.
    #[inline]
    pub fn int32(&mut self, value: i32) {
        self.put(tag(ScalarType::Int32), flip32(value));
    }

    /// An `int64` key.
    #[inline]
    pub fn int64(&mut self, value: i64) {
        self.put(tag(ScalarType::Int64), flip64(value));
    }

    /// A `string` key.
    pub fn string(&mut self, value: &str) {
        self.text(tag(ScalarType::String), value.as_bytes());
    }

    /// A `bytes` key.
    pub fn bytes(&mut self, value: &[u8]) {
        self.text(tag(ScalarType::Bytes), value);
    }

    /// A `timestamp` key.
    pub fn timestamp(&mut self, value: Micros) {
        self.put(tag(ScalarType::Timestamp), flip64(value.0));
    }

    /// A `date` key, days since the epoch.
    pub fn date(&mut self, value: i32) {
        self.put(tag(ScalarType::Date), flip32(value));
    }

    /// A `decimal` key: the unscaled integer at the declared scale.
    pub fn decimal(&mut self, value: i128, scale: u8) {
        self.keys
            .bytes
            .push(tag(ScalarType::Decimal { precision: 38, scale }));
        self.keys.bytes.push(scale);
        let flipped = (value as u128) ^ (1 << 127);
        self.keys.bytes.extend_from_slice(&flipped.to_be_bytes());
    }

    fn text(&mut self, tag: u8, text: &[u8]) {
        // A longer text saturates the length; `finish` refuses the row for its size in any case.
        self.put(tag, u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
        self.keys.bytes.extend_from_slice(text);
    }

    /// A key given as a value; a null writes nothing, the caller then ends with [`KeyWriter::null`].
    ///
    /// # Errors
    /// `Input` when the value is of another type than declared.
    pub fn value(&mut self, key: &JoinKey, value: &Value) -> Result<()> {
        match (value, key.value_type) {
            (Value::Null, _) => {}
            (Value::Bool(v), ValueType::BOOL) => self.bool(*v),
            (Value::Int32(v), ValueType::INT32) => self.int32(*v),
            (Value::Int64(v), ValueType::INT64) => self.int64(*v),
            // Integers of the other width are the same key when they fit.
            (Value::Int32(v), ValueType::INT64) => self.int64(i64::from(*v)),
            (Value::Int64(v), ValueType::INT32) if i32::try_from(*v).is_ok() => self.int32(*v as i32),
            (Value::String(v), ValueType::STRING) => self.string(v),
            (Value::Bytes(v), ValueType::BYTES) => self.bytes(v),
            (Value::Timestamp(v), ValueType::TIMESTAMP) => self.timestamp(*v),
            (Value::Date(v), ValueType::DATE) => self.date(*v),
            (Value::Decimal(v, have), ValueType::Scalar(ScalarType::Decimal { scale, .. }))
                if *have == scale && value.fits(key.value_type) =>
            {
                self.decimal(*v, scale);
            }
            _ => {
                return Err(Error::input(format!(
                    "join key `{}` is declared {}, the value given is of another type",
                    key.name, key.value_type
                )));
            }
        }
        Ok(())
    }

    /// Ends the row.
    ///
    /// # Errors
    /// `Input` when the key is longer than [`MAX_KEY_BYTES`]; the row is then not appended.
    #[inline]
    pub fn finish(self) -> Result<()> {
        let length = self.keys.bytes.len() - self.start;
        if length > MAX_KEY_BYTES {
            return Err(self.too_long(length));
        }
        self.keys.ends.push(self.keys.bytes.len());
        Ok(())
    }

    #[cold]
    fn too_long(self, length: usize) -> Error {
        let row = self.keys.len();
        self.abandon();
        Error::input(format!(
            "the entity key has {length} bytes, at most {MAX_KEY_BYTES} are allowed"
        ))
        .with("row", row)
    }

    /// Ends the row as one whose key holds a null.
    pub fn null(self) {
        self.keys.push_null();
    }

    /// Gives the row up; nothing is appended.
    pub fn abandon(self) {
        self.keys.bytes.truncate(self.start);
    }
}

/// The values behind canonical bytes, in the order of `join_keys`.
///
/// What is accepted is exactly what encoding these values gives: one entity has one key.
///
/// # Errors
/// `Corrupt` when the bytes are not a key of these join keys.
pub fn decode_key(join_keys: &[JoinKey], key: &[u8]) -> Result<Vec<Value>> {
    let corrupt = || Error::corrupt("the bytes are not an entity key of these join keys");
    let mut rest = key.strip_prefix(&[VERSION, MODE_PLAIN]).ok_or_else(corrupt)?;
    let mut take = |n: usize| -> Result<&[u8]> {
        let (head, tail) = rest.split_at_checked(n).ok_or_else(corrupt)?;
        rest = tail;
        Ok(head)
    };
    if key.len() > MAX_KEY_BYTES {
        return Err(corrupt());
    }
    let mut values = Vec::with_capacity(join_keys.len());
    for join_key in join_keys {
        let ValueType::Scalar(scalar) = join_key.value_type else {
            return Err(corrupt());
        };
        if take(1)? != [tag(scalar)] {
            return Err(corrupt());
        }
        let be32 = |b: &[u8]| (u32::from_be_bytes([b[0], b[1], b[2], b[3]]) ^ (1 << 31)) as i32;
        let be64 = |b: &[u8]| {
            let mut word = [0; 8];
            word.copy_from_slice(b);
            (u64::from_be_bytes(word) ^ (1 << 63)) as i64
        };
        let value = match scalar {
            ScalarType::Bool => match take(1)?[0] {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                _ => return Err(corrupt()),
            },
            ScalarType::Int32 => Value::Int32(be32(take(4)?)),
            ScalarType::Date => Value::Date(be32(take(4)?)),
            ScalarType::Int64 => Value::Int64(be64(take(8)?)),
            ScalarType::Timestamp => Value::Timestamp(Micros(be64(take(8)?))),
            ScalarType::String | ScalarType::Bytes => {
                let length = take(2)?;
                let text = take(usize::from(u16::from_be_bytes([length[0], length[1]])))?;
                if scalar == ScalarType::Bytes {
                    Value::Bytes(text.into())
                } else {
                    Value::str(std::str::from_utf8(text).map_err(|_| corrupt())?)
                }
            }
            ScalarType::Decimal { scale, .. } => {
                if take(1)? != [scale] {
                    return Err(corrupt());
                }
                let mut word = [0; 16];
                word.copy_from_slice(take(16)?);
                Value::Decimal((u128::from_be_bytes(word) ^ (1 << 127)) as i128, scale)
            }
            ScalarType::Float32 | ScalarType::Float64 => return Err(corrupt()),
        };
        // Only a decimal of too many digits is of the type's form and not of the type.
        if !value.fits(join_key.value_type) {
            return Err(corrupt());
        }
        values.push(value);
    }
    if rest.is_empty() {
        Ok(values)
    } else {
        Err(corrupt())
    }
}

const fn tag(scalar: ScalarType) -> u8 {
    match scalar {
        ScalarType::Bool => 1,
        ScalarType::Int32 => 2,
        ScalarType::Int64 => 3,
        ScalarType::String => 4,
        ScalarType::Bytes => 5,
        ScalarType::Timestamp => 6,
        ScalarType::Date => 7,
        ScalarType::Decimal { .. } => 8,
        // Never written: floats are no keys. Named so that a new scalar must choose.
        ScalarType::Float32 | ScalarType::Float64 => 0,
    }
}

#[inline]
fn flip32(value: i32) -> [u8; 4] {
    ((value as u32) ^ (1 << 31)).to_be_bytes()
}

#[inline]
fn flip64(value: i64) -> [u8; 8] {
    ((value as u64) ^ (1 << 63)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn join_keys(types: &[&str]) -> Vec<JoinKey> {
        let key = |(i, text): (usize, &&str)| JoinKey {
            name: ColumnName::new(format!("k{i}")).unwrap(),
            value_type: text.parse().unwrap(),
        };
        types.iter().enumerate().map(key).collect()
    }

    fn encode(types: &[&str], values: &[Value]) -> Vec<u8> {
        let mut keys = EntityKeys::new();
        keys.push_values(&join_keys(types), values).unwrap();
        keys.get(0).unwrap().to_vec()
    }

    #[test]
    fn typed_and_prefix_free() {
        assert_ne!(
            encode(&["int64"], &[Value::Int64(1)]),
            encode(&["string"], &[Value::str("1")])
        );
        assert_ne!(
            encode(&["string", "string"], &[Value::str("a"), Value::str("bc")]),
            encode(&["string", "string"], &[Value::str("ab"), Value::str("c")])
        );
        assert_eq!(
            encode(&["int64"], &[Value::Int32(7)]),
            encode(&["int64"], &[Value::Int64(7)])
        );
        assert_eq!(encode(&[], &[]), [1, 0]);
    }

    #[test]
    fn null_and_too_long() {
        let mut keys = EntityKeys::new();
        let types = join_keys(&["int64", "string"]);
        keys.push_values(&types, &[Value::Int64(1), Value::Null]).unwrap();
        assert_eq!(keys.get(0), None);
        let long = "x".repeat(MAX_KEY_BYTES);
        let error = keys
            .push_values(&types, &[Value::Int64(1), Value::str(&long)])
            .unwrap_err();
        assert!(error.to_string().contains("row=1"), "{error}");
        assert_eq!(keys.len(), 1);
        let error = keys
            .push_values(&types, &[Value::str("x"), Value::str("secret")])
            .unwrap_err();
        assert!(
            error.to_string().contains("`k0` is declared int64") && !error.to_string().contains("secret")
        );
        keys.push_values(&types, &[Value::Int64(1), Value::str("")])
            .unwrap();
        assert!(keys.get(1).is_some());
    }

    proptest! {
        #[test]
        fn decodes_what_it_encodes(a: i64, b: i32, c: bool, d in ".{0,40}", e: Vec<u8>, f: i64, g: i32, h: i128) {
            let types = ["int64", "int32", "bool", "string", "bytes", "timestamp", "date", "decimal(38,4)"];
            let h = h % 10_i128.pow(38);
            let values = [
                Value::Int64(a), Value::Int32(b), Value::Bool(c), Value::str(&d), Value::Bytes(e.into()),
                Value::Timestamp(Micros(f)), Value::Date(g), Value::Decimal(h, 4),
            ];
            let bytes = encode(&types, &values);
            prop_assert_eq!(decode_key(&join_keys(&types), &bytes).unwrap(), values.to_vec());
            // No key is a prefix of another: every cut is refused.
            for cut in 0..bytes.len() {
                prop_assert!(decode_key(&join_keys(&types), &bytes[..cut]).is_err());
            }
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let _ = decode_key(&join_keys(&["int64", "string", "decimal(5,2)"]), &bytes);
        }

        #[test]
        fn integers_sort_as_bytes(a: i64, b: i64) {
            let (x, y) = (encode(&["int64"], &[Value::Int64(a)]), encode(&["int64"], &[Value::Int64(b)]));
            prop_assert_eq!(a.cmp(&b), x.cmp(&y));
        }
    }
}
