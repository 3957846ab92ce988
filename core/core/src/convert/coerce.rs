//! Which column types may stand for which declared types, and how they are turned into them.
//!
//! One table for all offline stores: lossless integer widening; every encoding of text and bytes;
//! timestamps of any unit to µs by floor; anything lossy is an error.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use arrow_array::{
    Array, ArrayRef, Date64Array, FixedSizeListArray, PrimitiveArray, TimestampMicrosecondArray,
    new_null_array,
};
use arrow_buffer::NullBuffer;
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Field, TimeUnit};
use larder_base::{Error, Result, ScalarType, ValueType};

use super::{Zone, arrow_type};

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Whether a column of an Arrow type may stand for a declared type; `zoned` says whether the
/// zone of naive timestamps is declared.
///
/// # Errors
/// `Input` that says why not and what would help.
pub fn accepts(from: &DataType, to: ValueType, zoned: bool) -> Result<()> {
    let refuse = || {
        Err(Error::input(format!(
            "a column of type {from} cannot be read as {to}"
        )))
    };
    let ok = match (from, to) {
        (DataType::Null, _) => true,
        (DataType::Dictionary(_, values), _) => return accepts(values, to, zoned),
        (DataType::RunEndEncoded(_, values), _) => return accepts(values.data_type(), to, zoned),
        (_, ValueType::Scalar(scalar)) => match scalar {
            ScalarType::Bool => *from == DataType::Boolean,
            ScalarType::Int32 => is_integer(from) && width(from) <= 32 && *from != DataType::UInt32,
            ScalarType::Int64 => is_integer(from) && *from != DataType::UInt64,
            ScalarType::Float32 => matches!(from, DataType::Float16 | DataType::Float32),
            ScalarType::Float64 => matches!(from, DataType::Float16 | DataType::Float32 | DataType::Float64),
            ScalarType::String => matches!(from, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View),
            ScalarType::Bytes => matches!(
                from,
                DataType::Binary
                    | DataType::LargeBinary
                    | DataType::BinaryView
                    | DataType::FixedSizeBinary(_)
            ),
            ScalarType::Timestamp => match from {
                DataType::Timestamp(_, Some(_)) => true,
                DataType::Timestamp(_, None) | DataType::Date32 | DataType::Date64 if zoned => true,
                DataType::Timestamp(_, None) | DataType::Date32 | DataType::Date64 => {
                    return Err(Error::input("the timestamps have no zone").help(
                        "declare it: `timezone: UTC` on the source, `--timezone UTC` for entity rows",
                    ));
                }
                _ => false,
            },
            ScalarType::Date => matches!(from, DataType::Date32 | DataType::Date64),
            ScalarType::Decimal { precision, scale } => match from {
                DataType::Decimal32(p, s)
                | DataType::Decimal64(p, s)
                | DataType::Decimal128(p, s)
                | DataType::Decimal256(p, s) => {
                    // Digits before the point must fit, and no digit behind it may be lost.
                    *s <= scale as i8
                        && i16::from(*p) - i16::from(*s) <= i16::from(precision) - i16::from(scale)
                }
                _ => false,
            },
            _ => false,
        },
        (
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _),
            ValueType::List(scalar),
        ) => {
            return accepts(item.data_type(), ValueType::Scalar(scalar), zoned)
                .map_err(|e| e.with("in", "list items"));
        }
        (DataType::FixedSizeList(item, size), ValueType::Vector(n)) => {
            matches!(item.data_type(), DataType::Float32 | DataType::Float16)
                && i64::from(*size) == i64::from(n)
        }
        (DataType::List(item) | DataType::LargeList(item), ValueType::Vector(_)) => {
            matches!(item.data_type(), DataType::Float32 | DataType::Float16)
        }
        _ => false,
    };
    if ok { Ok(()) } else { refuse() }
}

fn is_integer(of: &DataType) -> bool {
    of.is_integer()
}

fn width(of: &DataType) -> usize {
    of.primitive_width().unwrap_or(8) * 8
}

/// Turns a column into the canonical Arrow type of a declared type.
///
/// # Errors
/// `Input` when the type is not accepted, or a value would lose something; the message has the
/// row within the column, never the value.
pub fn coerce(column: &ArrayRef, to: ValueType, zone: Option<&Zone>) -> Result<ArrayRef> {
    let target = arrow_type(to);
    if *column.data_type() == target {
        return Ok(column.clone());
    }
    accepts(column.data_type(), to, zone.is_some())?;
    match (column.data_type(), to) {
        (DataType::Null, _) => Ok(new_null_array(&target, column.len())),
        (DataType::Dictionary(_, values), _) => coerce(&cast(column, values)?, to, zone),
        (DataType::RunEndEncoded(_, values), _) => coerce(&cast(column, values.data_type())?, to, zone),
        (_, ValueType::TIMESTAMP) => timestamps(column, zone),
        (DataType::Date64, ValueType::DATE) => whole_days(column.as_primitive()),
        (_, ValueType::List(item)) => list(column, item, zone),
        (_, ValueType::Vector(n)) => vectors(column, n),
        _ => cast(column, &target),
    }
}

fn cast(column: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(column, target, &options).map_err(|_| {
        Error::input(format!(
            "a value of type {} does not fit {target}",
            column.data_type()
        ))
    })
}

fn overflow(row: usize) -> Error {
    Error::input("a timestamp lies outside of the range of 64-bit microseconds").with("row", row)
}

/// Counts the wall-clock times of a column that a clock change of the zone skips or repeats; the first row of the column
/// has the given number. Columns with a zone, or of other types, have none.
pub fn unclear_times(column: &ArrayRef, zone: &Zone, first: u64) -> UnclearTimes {
    let mut found = UnclearTimes::default();
    let plain = match column.data_type() {
        DataType::Dictionary(_, values) if values.is_temporal() => cast(column, values).ok(),
        of if of.is_temporal() && zone.has_changes() => Some(column.clone()),
        _ => None,
    };
    let is_time = |column: &ArrayRef| {
        matches!(
            column.data_type(),
            DataType::Timestamp(_, None) | DataType::Date32 | DataType::Date64
        )
    };
    let Some(Ok((micros, true))) = plain.filter(is_time).map(|column| in_micros(&column)) else {
        return found;
    };
    let mut last = None;
    for row in 0..micros.len() {
        if micros.is_null(row) {
            continue;
        }
        let time = micros.value(row);
        // Rows are often in the order of their times, or repeat them.
        let unclear = match last {
            Some((known, unclear)) if known == time => unclear,
            _ => zone.is_unclear(time),
        };
        last = Some((time, unclear));
        if unclear {
            found.add(first + row as u64);
        }
    }
    found
}

/// Wall-clock times that a clock change skips or repeats, so that they name no instant or two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UnclearTimes {
    /// How many.
    pub count: u64,
    /// The number of the first row that has one.
    pub first: Option<u64>,
}

impl UnclearTimes {
    /// Counts one more.
    pub fn add(&mut self, row: u64) {
        self.count += 1;
        self.first = Some(self.first.map_or(row, |first| first.min(row)));
    }

    /// Adds what was found in other rows.
    pub fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.first = match (self.first, other.first) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}

fn timestamps(column: &ArrayRef, zone: Option<&Zone>) -> Result<ArrayRef> {
    let (micros, naive) = in_micros(column)?;
    let utc = match zone {
        Some(zone) if naive => in_zone(&micros, zone)?,
        _ => micros,
    };
    Ok(Arc::new(utc.with_timezone("UTC")))
}

/// Times in µs, and whether they are wall-clock times.
fn in_micros(column: &ArrayRef) -> Result<(TimestampMicrosecondArray, bool)> {
    Ok(match column.data_type() {
        DataType::Timestamp(unit, zone) => {
            let scaled = match unit {
                TimeUnit::Second => scale(column.as_primitive::<TimestampSecondType>(), 1_000_000)?,
                TimeUnit::Millisecond => scale(column.as_primitive::<TimestampMillisecondType>(), 1_000)?,
                TimeUnit::Microsecond => column
                    .as_primitive::<TimestampMicrosecondType>()
                    .clone()
                    .with_timezone_opt::<Arc<str>>(None),
                // Towards −∞ and not towards zero, so that times before 1970 keep their order.
                TimeUnit::Nanosecond => column
                    .as_primitive::<TimestampNanosecondType>()
                    .unary(|t| t.div_euclid(1_000)),
            };
            (scaled, zone.is_none())
        }
        DataType::Date32 => {
            let days = column.as_primitive::<arrow_array::types::Date32Type>();
            let micros = days.try_unary(|d| i64::from(d).checked_mul(MICROS_PER_DAY).ok_or(()));
            let row = || {
                (0..days.len()).find(|i| {
                    days.is_valid(*i) && i64::from(days.value(*i)).checked_mul(MICROS_PER_DAY).is_none()
                })
            };
            (micros.map_err(|()| overflow(row().unwrap_or(0)))?, true)
        }
        _ => (
            scale(column.as_primitive::<arrow_array::types::Date64Type>(), 1_000)?,
            true,
        ),
    })
}

fn scale<T: arrow_array::ArrowPrimitiveType<Native = i64>>(
    column: &PrimitiveArray<T>,
    factor: i64,
) -> Result<TimestampMicrosecondArray> {
    // `try_unary` visits valid values only; the row of an overflow is looked for when it happened.
    let scaled = column.try_unary(|t| t.checked_mul(factor).ok_or(()));
    scaled.map_err(|()| {
        let bad =
            (0..column.len()).find(|i| column.is_valid(*i) && column.value(*i).checked_mul(factor).is_none());
        overflow(bad.unwrap_or(0))
    })
}

fn in_zone(micros: &TimestampMicrosecondArray, zone: &Zone) -> Result<TimestampMicrosecondArray> {
    // Rows of one source repeat times a lot; asking the zone again for the same one is waste.
    let last = std::cell::Cell::new((0, zone.to_utc(0)));
    let convert = |t: i64| {
        if last.get().0 != t {
            last.set((t, zone.to_utc(t)));
        }
        last.get().1.ok_or(())
    };
    micros.try_unary(convert).map_err(|()| {
        let bad = (0..micros.len()).find(|i| micros.is_valid(*i) && zone.to_utc(micros.value(*i)).is_none());
        overflow(bad.unwrap_or(0))
    })
}

fn whole_days(column: &Date64Array) -> Result<ArrayRef> {
    const MILLIS_PER_DAY: i64 = 86_400_000;
    let days = column.try_unary::<_, arrow_array::types::Date32Type, ()>(|t| {
        if t % MILLIS_PER_DAY == 0 {
            i32::try_from(t / MILLIS_PER_DAY).map_err(drop)
        } else {
            Err(())
        }
    });
    Ok(Arc::new(days.map_err(|()| {
        Error::input("a date has a time of day; declare it as timestamp")
    })?))
}

fn list(column: &ArrayRef, item: ScalarType, zone: Option<&Zone>) -> Result<ArrayRef> {
    let field = Arc::new(Field::new_list_field(
        column_item(column.data_type()).clone(),
        true,
    ));
    let plain = cast(column, &DataType::List(field))?;
    let plain = plain.as_list::<i32>();
    let values = coerce(plain.values(), ValueType::Scalar(item), zone)?;
    let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    let list = arrow_array::ListArray::new(field, plain.offsets().clone(), values, plain.nulls().cloned());
    Ok(Arc::new(list))
}

fn column_item(of: &DataType) -> &DataType {
    match of {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            item.data_type()
        }
        other => other,
    }
}

fn vectors(column: &ArrayRef, n: u32) -> Result<ArrayRef> {
    let width = n as usize;
    let field = Arc::new(Field::new_list_field(
        column_item(column.data_type()).clone(),
        true,
    ));
    let plain = cast(column, &DataType::List(field))?;
    let plain = plain.as_list::<i32>();
    let floats = cast(plain.values(), &DataType::Float32)?;
    let floats = floats.as_primitive::<Float32Type>();
    let mut out = Vec::with_capacity(plain.len() * width);
    for row in 0..plain.len() {
        if plain.is_null(row) {
            out.resize(out.len() + width, 0.0);
            continue;
        }
        let (start, end) = (
            plain.value_offsets()[row] as usize,
            plain.value_offsets()[row + 1] as usize,
        );
        if end - start != width {
            return Err(
                Error::input(format!("a vector has {} floats, {n} are declared", end - start))
                    .with("row", row),
            );
        }
        if floats.null_count() > 0 && (start..end).any(|i| floats.is_null(i)) {
            return Err(Error::input("a vector holds a null").with("row", row));
        }
        out.extend_from_slice(&floats.values()[start..end]);
    }
    let nulls: Option<NullBuffer> = plain.nulls().cloned();
    let DataType::FixedSizeList(field, size) = arrow_type(ValueType::Vector(n)) else {
        return Err(Error::internal("a vector is a fixed-size list"));
    };
    let values: ArrayRef = Arc::new(arrow_array::Float32Array::from(out));
    let array = FixedSizeListArray::try_new(field, size, values, nulls);
    Ok(Arc::new(array.map_err(|e| {
        Error::internal("a vector column could not be built").source(e)
    })?))
}

#[cfg(test)]
mod tests {
    use arrow_array::*;

    use super::*;

    fn read(column: impl Array + 'static, to: &str, zone: Option<&str>) -> Result<ArrayRef> {
        let zone = zone.map(|name| Zone::new(name).unwrap());
        coerce(
            &(Arc::new(column) as ArrayRef),
            to.parse().unwrap(),
            zone.as_ref(),
        )
    }

    #[test]
    fn integers_widen_and_nothing_else() {
        let read_i64 = |a: ArrayRef| coerce(&a, ValueType::INT64, None);
        for column in [
            Arc::new(Int8Array::from(vec![Some(-1), None])) as ArrayRef,
            Arc::new(Int32Array::from(vec![Some(-1), None])),
        ] {
            assert_eq!(
                &*read_i64(column).unwrap(),
                &Int64Array::from(vec![Some(-1), None])
            );
        }
        assert!(read(UInt32Array::from(vec![u32::MAX]), "int64", None).is_ok());
        for (column, to) in [
            (Arc::new(Int64Array::from(vec![1])) as ArrayRef, "int32"),
            (Arc::new(UInt32Array::from(vec![1])), "int32"),
            (Arc::new(UInt64Array::from(vec![1])), "int64"),
            (Arc::new(Int32Array::from(vec![1])), "float64"),
            (Arc::new(Float64Array::from(vec![1.0])), "int64"),
            (Arc::new(Float64Array::from(vec![1.0])), "float32"),
            (Arc::new(StringArray::from(vec!["1"])), "int64"),
            (Arc::new(BooleanArray::from(vec![true])), "int32"),
        ] {
            let error = coerce(&column, to.parse().unwrap(), None)
                .unwrap_err()
                .to_string();
            assert!(error.contains(to), "{error}");
        }
    }

    #[test]
    fn text_of_every_encoding() {
        let want = StringArray::from(vec![Some("a"), None, Some("a")]);
        let dictionary: DictionaryArray<types::Int8Type> =
            vec![Some("a"), None, Some("a")].into_iter().collect();
        for column in [
            Arc::new(LargeStringArray::from(vec![Some("a"), None, Some("a")])) as ArrayRef,
            Arc::new(StringViewArray::from(vec![Some("a"), None, Some("a")])),
            Arc::new(dictionary),
        ] {
            assert_eq!(&*coerce(&column, ValueType::STRING, None).unwrap(), &want);
        }
    }

    #[test]
    fn timestamps_by_floor_and_zone() {
        let micros = |a: &ArrayRef| a.as_primitive::<TimestampMicrosecondType>().value(0);
        let nanos = read(
            TimestampNanosecondArray::from(vec![-1]).with_timezone("UTC"),
            "timestamp",
            None,
        )
        .unwrap();
        assert_eq!(micros(&nanos), -1);
        let naive = TimestampMillisecondArray::from(vec![3_600_000]);
        let error = read(naive.clone(), "timestamp", None).unwrap_err().to_string();
        assert!(error.contains("no zone"), "{error}");
        assert_eq!(
            micros(&read(naive, "timestamp", Some("Europe/Stockholm")).unwrap()),
            0
        );
        // A column with a zone is an instant whatever its zone is.
        let zoned = TimestampSecondArray::from(vec![5]).with_timezone("America/New_York");
        assert_eq!(
            micros(&read(zoned, "timestamp", Some("Europe/Stockholm")).unwrap()),
            5_000_000
        );
        let error = read(
            TimestampSecondArray::from(vec![0, i64::MAX]).with_timezone("UTC"),
            "timestamp",
            None,
        );
        assert!(error.unwrap_err().to_string().contains("row=1"));
        // Overflow under a null is no overflow.
        let null = TimestampSecondArray::new(vec![i64::MAX].into(), Some(vec![false].into()));
        assert!(read(null, "timestamp", Some("UTC")).is_ok());
    }

    #[test]
    fn decimals_lists_vectors() {
        let decimal = Decimal128Array::from(vec![Some(12_345)])
            .with_precision_and_scale(10, 2)
            .unwrap();
        let read_decimal = read(decimal.clone(), "decimal(12,4)", None).unwrap();
        assert_eq!(
            read_decimal.as_primitive::<types::Decimal128Type>().value(0),
            1_234_500
        );
        assert!(read(decimal.clone(), "decimal(10,1)", None).is_err());
        assert!(read(decimal, "decimal(9,2)", None).is_err());

        let list =
            LargeListArray::from_iter_primitive::<types::Int32Type, _, _>([Some(vec![Some(1), None]), None]);
        let read_list = read(list, "list<int64>", None).unwrap();
        assert_eq!(
            read_list
                .as_list::<i32>()
                .value(0)
                .as_primitive::<types::Int64Type>()
                .value(0),
            1
        );
        assert!(read_list.is_null(1));

        let vectors =
            ListArray::from_iter_primitive::<Float32Type, _, _>([Some(vec![Some(1.0), Some(2.0)]), None]);
        assert!(
            read(vectors.clone(), "vector(float32,2)", None)
                .unwrap()
                .is_null(1)
        );
        assert!(
            read(vectors, "vector(float32,3)", None)
                .unwrap_err()
                .to_string()
                .contains("row=0")
        );
    }

    #[test]
    fn dates() {
        assert!(read(Date64Array::from(vec![86_400_000]), "date", None).is_ok());
        assert!(read(Date64Array::from(vec![1]), "date", None).is_err());
        assert!(read(Date32Array::from(vec![1]), "timestamp", None).is_err());
        assert!(read(Date32Array::from(vec![1]), "timestamp", Some("UTC")).is_ok());
        let never = read(Date32Array::from(vec![1, i32::MAX]), "timestamp", Some("UTC"));
        assert!(never.unwrap_err().to_string().contains("row=1"));
        assert!(read(NullArray::new(3), "date", None).is_ok());
    }
}
