//! How are the values of the golden files written? Plainly, so that any language can read them.
//!
//! Integers, timestamps (µs) and dates (days) are JSON numbers; decimals are their unscaled integer in a string;
//! bytes are hex; floats are numbers, or `NaN`, `Infinity`, `-Infinity`, or `bits:` and the hex of their bits.

use larder_base::{Micros, ScalarType, Value, ValueType};
use serde_json::Value as Json;

pub(crate) fn value(json: &Json, of: ValueType) -> Value {
    if json.is_null() {
        return Value::Null;
    }
    let items = || json.as_array().expect("an array").iter();
    match of {
        ValueType::Scalar(of) => scalar(json, of),
        ValueType::List(item) => Value::List(items().map(|i| value(i, ValueType::Scalar(item))).collect()),
        ValueType::Vector(_) => {
            let float = |json| match scalar(json, ScalarType::Float32) {
                Value::Float32(x) => x,
                other => panic!("{other} is no float"),
            };
            Value::Vector(items().map(float).collect())
        }
        other => panic!("golden files know no {other}"),
    }
}

fn scalar(json: &Json, of: ScalarType) -> Value {
    let text = || json.as_str().expect("a string");
    let int = || json.as_i64().expect("an integer");
    match of {
        ScalarType::Bool => Value::Bool(json.as_bool().expect("a bool")),
        ScalarType::Int32 => Value::Int32(int().try_into().expect("an int32")),
        ScalarType::Int64 => Value::Int64(int()),
        ScalarType::Date => Value::Date(int().try_into().expect("a date")),
        ScalarType::Timestamp => Value::Timestamp(Micros(int())),
        ScalarType::String => Value::str(text()),
        ScalarType::Bytes => Value::Bytes(hex(text()).into()),
        ScalarType::Decimal { scale, .. } => Value::Decimal(text().parse().expect("an integer"), scale),
        ScalarType::Float32 => {
            Value::Float32(match json.as_str().and_then(|text| text.strip_prefix("bits:")) {
                Some(bits) => f32::from_bits(u32::from_str_radix(bits, 16).expect("hex")),
                None => float(json) as f32,
            })
        }
        ScalarType::Float64 => {
            Value::Float64(match json.as_str().and_then(|text| text.strip_prefix("bits:")) {
                Some(bits) => f64::from_bits(u64::from_str_radix(bits, 16).expect("hex")),
                None => float(json),
            })
        }
        other => panic!("golden files know no {other}"),
    }
}

fn float(json: &Json) -> f64 {
    match json.as_str() {
        Some("NaN") => f64::NAN,
        Some("Infinity") => f64::INFINITY,
        Some("-Infinity") => f64::NEG_INFINITY,
        Some(other) => panic!("{other} is no float"),
        None => json.as_f64().expect("a number"),
    }
}

pub(crate) fn hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "hex digits come in pairs");
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex digits");
    (0..text.len()).step_by(2).map(byte).collect()
}
