//! What the `k=v` components of a path say about every row of a file.

use std::path::{Component, Path};
use std::sync::Arc;

use larder_core::arrow::array::{Array, ArrayRef, AsArray, StringArray};
use larder_core::arrow::cast::cast;
use larder_core::arrow::datatypes::{DataType, TimeUnit};
use larder_core::convert::{self, Zone};
use larder_core::{Error, Micros, Result, Value, ValueType};

/// How Hive writes null.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// The `k=v` components of the folders of a path, in order.
pub(crate) fn partitions(path: &Path) -> Vec<(String, Option<String>)> {
    let mut found: Vec<(String, Option<String>)> = Vec::new();
    let folders = path.parent().into_iter().flat_map(Path::components);
    for component in folders {
        let Component::Normal(name) = component else {
            continue;
        };
        let Some((key, value)) = name.to_str().and_then(|name| name.split_once('=')) else {
            continue;
        };
        let key = percent_decode(key);
        // The same key twice: the inner one is nearer to the rows.
        found.retain(|(known, _)| *known != key);
        found.push((key, (value != NULL).then(|| percent_decode(value))));
    }
    found
}

/// The value as one row of the canonical type of a declared type.
pub(crate) fn value(text: Option<&str>, of: ValueType, zone: Option<&Zone>) -> Result<ArrayRef> {
    let Some(text) = text else {
        return Ok(convert::null_array(of, 1));
    };
    let wrong = || Error::input(format!("the partition's value cannot be read as {of}"));
    if of == ValueType::TIMESTAMP {
        // Text with a zone is an instant; without one it is a naive time, and the source says in which zone.
        if text.len() > 10
            && let Ok(instant) = text.parse::<Micros>()
        {
            return convert::array_of(&[Value::Timestamp(instant)], of);
        }
        let naive = cast(
            &StringArray::from(vec![text]),
            &DataType::Timestamp(TimeUnit::Microsecond, None),
        )
        .ok()
        .filter(|naive| naive.is_valid(0))
        .ok_or_else(wrong)?;
        return convert::coerce(&naive, of, zone);
    }
    let value = match of {
        ValueType::BYTES => Value::Bytes(text.as_bytes().into()),
        ValueType::Scalar(_) => Value::parse(text, of).map_err(|_| wrong())?,
        _ => return Err(wrong()),
    };
    convert::array_of(&[value], of)
}

/// The type that fits all values of a partition column: integer, date, or else string.
pub(crate) fn infer<'a>(values: impl Iterator<Item = Option<&'a str>> + Clone) -> ValueType {
    let all = |of: ValueType| {
        values
            .clone()
            .flatten()
            .all(|text| Value::parse(text, of).is_ok_and(|value| value.to_string() == text))
    };
    [ValueType::INT64, ValueType::DATE]
        .into_iter()
        .find(|of| all(*of))
        .unwrap_or(ValueType::STRING)
}

/// One row repeated.
pub(crate) fn repeat(one: &ArrayRef, rows: usize) -> Result<ArrayRef> {
    if one.is_null(0) {
        return Ok(larder_core::arrow::array::new_null_array(one.data_type(), rows));
    }
    if *one.data_type() == DataType::Int64 {
        let value = one
            .as_primitive::<larder_core::arrow::datatypes::Int64Type>()
            .value(0);
        return Ok(Arc::new(larder_core::arrow::array::Int64Array::from_value(
            value, rows,
        )));
    }
    let zeros = larder_core::arrow::array::UInt32Array::from_value(0, rows);
    larder_core::arrow::compute::take::take(one, &zeros, None).map_err(crate::fault::arrow)
}

/// Text with `%20` and the like replaced; what is no such escape stays.
fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components() {
        let path =
            Path::new("events/dt=2024-01-01/city=S%C3%A3o%20Paulo/x=__HIVE_DEFAULT_PARTITION__/a=b.parquet");
        assert_eq!(
            partitions(path),
            [
                ("dt".to_owned(), Some("2024-01-01".to_owned())),
                ("city".to_owned(), Some("São Paulo".to_owned())),
                ("x".to_owned(), None),
            ]
        );
        assert_eq!(percent_decode("100%"), "100%");
        assert_eq!(percent_decode("%ff"), "%ff");
    }

    #[test]
    fn values_are_typed_by_need() {
        let one = |text, of: &str| value(Some(text), of.parse().unwrap(), None);
        assert!(one("7", "int32").is_ok());
        assert!(one("007", "string").is_ok());
        assert!(one("2024-01-01", "date").is_ok());
        assert!(one("7.50", "decimal(5,2)").is_ok());
        assert!(one("x", "int64").is_err());
        assert!(one("7", "list<int64>").is_err());
        assert!(one("2024-01-01T00:00:00Z", "timestamp").is_ok());
        let error = one("2024-01-01", "timestamp").unwrap_err().to_string();
        assert!(error.contains("no zone"), "{error}");
        let zone = Zone::new("+02:00").unwrap();
        let at = value(Some("1970-01-01 02:00:00"), ValueType::TIMESTAMP, Some(&zone)).unwrap();
        let at = at.as_primitive::<larder_core::arrow::datatypes::TimestampMicrosecondType>();
        assert_eq!(at.value(0), 0);
    }

    #[test]
    fn types_are_inferred() {
        let infer = |values: &[&'static str]| infer(values.iter().map(|text| Some(*text)));
        assert_eq!(infer(&["1", "-2"]), ValueType::INT64);
        assert_eq!(infer(&["01", "2"]), ValueType::STRING);
        assert_eq!(infer(&["2024-01-01"]), ValueType::DATE);
        assert_eq!(infer(&["2024-01-01", "x"]), ValueType::STRING);
    }
}
