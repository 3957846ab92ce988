//! Single values to and from Arrow arrays: for tests, defaults and output to people.

use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, Decimal128Builder, FixedSizeListBuilder, Float32Builder, PrimitiveBuilder,
    StringBuilder,
};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, PrimitiveArray, new_null_array};
use arrow_schema::{DataType, Field};
use larder_base::{Error, Micros, Result, ScalarType, Value, ValueType};

use super::arrow_type;

/// The value of a row of a column in a canonical Arrow type.
///
/// # Panics
/// When the column is not of [`arrow_type`]`(of)`, or the row lies outside.
pub fn value_at(column: &dyn Array, row: usize, of: ValueType) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match of {
        ValueType::Scalar(scalar) => match scalar {
            ScalarType::Bool => Value::Bool(column.as_boolean().value(row)),
            ScalarType::Int32 => Value::Int32(column.as_primitive::<Int32Type>().value(row)),
            ScalarType::Int64 => Value::Int64(column.as_primitive::<Int64Type>().value(row)),
            ScalarType::Float32 => Value::Float32(column.as_primitive::<Float32Type>().value(row)),
            ScalarType::Float64 => Value::Float64(column.as_primitive::<Float64Type>().value(row)),
            ScalarType::String => Value::str(column.as_string::<i32>().value(row)),
            ScalarType::Timestamp => Value::Timestamp(Micros(
                column.as_primitive::<TimestampMicrosecondType>().value(row),
            )),
            ScalarType::Date => Value::Date(column.as_primitive::<Date32Type>().value(row)),
            ScalarType::Decimal { scale, .. } => {
                Value::Decimal(column.as_primitive::<Decimal128Type>().value(row), scale)
            }
            _ => Value::Bytes(column.as_binary::<i32>().value(row).into()),
        },
        ValueType::List(item) => {
            let items = column.as_list::<i32>().value(row);
            Value::List(
                (0..items.len())
                    .map(|i| value_at(&items, i, ValueType::Scalar(item)))
                    .collect(),
            )
        }
        ValueType::Vector(_) => {
            let floats = column.as_fixed_size_list().value(row);
            Value::Vector(floats.as_primitive::<Float32Type>().values().as_ref().into())
        }
        _ => Value::Null,
    }
}

/// A column of nulls in the canonical Arrow type.
pub fn null_array(of: ValueType, rows: usize) -> ArrayRef {
    new_null_array(&arrow_type(of), rows)
}

/// A column in the canonical Arrow type from values.
///
/// # Errors
/// `Input` with the row of the first value that does not fit.
pub fn array_of(values: &[Value], of: ValueType) -> Result<ArrayRef> {
    if let Some(row) = values.iter().position(|value| !value.fits(of)) {
        return Err(Error::input(format!("a value is not a {of}")).with("row", row));
    }
    Ok(match of {
        ValueType::Scalar(scalar) => scalars(values, scalar)?,
        ValueType::List(item) => {
            // Items are built flat, then cut at the lists' ends.
            let flat: Vec<Value> = values.iter().flat_map(items).cloned().collect();
            let field = Arc::new(Field::new_list_field(arrow_type(ValueType::Scalar(item)), true));
            let lengths = values.iter().map(|value| items(value).len());
            let nulls: arrow_buffer::NullBuffer = values.iter().map(|value| !value.is_null()).collect();
            let offsets = arrow_buffer::OffsetBuffer::from_lengths(lengths);
            let list = arrow_array::ListArray::new(field, offsets, scalars(&flat, item)?, Some(nulls));
            Arc::new(list)
        }
        ValueType::Vector(n) => {
            let mut builder =
                FixedSizeListBuilder::new(Float32Builder::new(), i32::try_from(n).unwrap_or(i32::MAX))
                    .with_field(Field::new_list_field(DataType::Float32, false));
            for value in values {
                match value {
                    Value::Vector(floats) => builder.values().append_slice(floats),
                    _ => builder.values().append_slice(&vec![0.0; n as usize]),
                }
                builder.append(!value.is_null());
            }
            Arc::new(builder.finish())
        }
        _ => {
            return Err(Error::unsupported(format!(
                "this build cannot make columns of {of}"
            )));
        }
    })
}

fn items(value: &Value) -> &[Value] {
    match value {
        Value::List(items) => items,
        _ => &[],
    }
}

fn primitives<T: ArrowPrimitiveType>(
    values: &[Value],
    get: impl Fn(&Value) -> Option<T::Native>,
) -> PrimitiveArray<T> {
    let mut builder = PrimitiveBuilder::<T>::with_capacity(values.len());
    values.iter().for_each(|value| builder.append_option(get(value)));
    builder.finish()
}

fn scalars(values: &[Value], scalar: ScalarType) -> Result<ArrayRef> {
    macro_rules! column {
        ($type:ty, $variant:ident) => {
            Arc::new(primitives::<$type>(values, |v| match v {
                Value::$variant(x) => Some(*x),
                _ => None,
            }))
        };
    }
    Ok(match scalar {
        ScalarType::Bool => {
            let mut builder = BooleanBuilder::new();
            values
                .iter()
                .for_each(|v| builder.append_option(if let Value::Bool(b) = v { Some(*b) } else { None }));
            Arc::new(builder.finish())
        }
        ScalarType::Int32 => column!(Int32Type, Int32),
        ScalarType::Int64 => column!(Int64Type, Int64),
        ScalarType::Float32 => column!(Float32Type, Float32),
        ScalarType::Float64 => column!(Float64Type, Float64),
        ScalarType::Date => column!(Date32Type, Date),
        ScalarType::Timestamp => {
            let micros = primitives::<TimestampMicrosecondType>(values, |v| match v {
                Value::Timestamp(t) => Some(t.0),
                _ => None,
            });
            Arc::new(micros.with_timezone("UTC"))
        }
        ScalarType::Decimal { precision, scale } => {
            let mut builder = Decimal128Builder::new();
            values.iter().for_each(|v| {
                builder.append_option(if let Value::Decimal(n, _) = v {
                    Some(*n)
                } else {
                    None
                })
            });
            let column = builder.finish().with_precision_and_scale(precision, scale as i8);
            Arc::new(column.map_err(|e| Error::internal("a decimal type that Arrow refuses").source(e))?)
        }
        ScalarType::String => {
            let mut builder = StringBuilder::new();
            values.iter().for_each(|v| {
                builder.append_option(if let Value::String(s) = v {
                    Some(&**s)
                } else {
                    None
                })
            });
            Arc::new(builder.finish())
        }
        _ => {
            let mut builder = BinaryBuilder::new();
            values
                .iter()
                .for_each(|v| builder.append_option(if let Value::Bytes(b) = v { Some(&**b) } else { None }));
            Arc::new(builder.finish())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for (of, texts) in [
            ("bool", vec!["true", "false"]),
            ("int32", vec!["-1", "2"]),
            ("float64", vec!["0.5"]),
            ("string", vec!["", "a"]),
            ("bytes", vec!["", "00ff"]),
            ("timestamp", vec!["1969-12-31T23:59:59.999999Z"]),
            ("date", vec!["2026-05-01"]),
            ("decimal(6,2)", vec!["-12.50"]),
            ("list<string>", vec!["[]", r#"["a",null]"#]),
            ("list<timestamp>", vec![r#"["2026-05-01T00:00:00Z"]"#]),
            ("vector(float32,3)", vec!["[1.0,2.0,3.0]"]),
        ] {
            let of: ValueType = of.parse().unwrap();
            let mut values: Vec<Value> = texts.iter().map(|text| Value::parse(text, of).unwrap()).collect();
            values.push(Value::Null);
            let column = array_of(&values, of).unwrap();
            assert_eq!(*column.data_type(), arrow_type(of));
            let back: Vec<Value> = (0..values.len()).map(|row| value_at(&column, row, of)).collect();
            assert_eq!(back, values, "{of}");
        }
        let error = array_of(&[Value::Null, Value::Int64(1)], ValueType::STRING)
            .unwrap_err()
            .to_string();
        assert!(error.contains("row=1"), "{error}");
    }
}
