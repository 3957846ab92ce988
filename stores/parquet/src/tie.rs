//! How the tie-break columns of files with different types are compared.

use larder_core::arrow::array::{Array, ArrayRef};
use larder_core::arrow::cast::{CastOptions, cast_with_options};
use larder_core::arrow::datatypes::{DataType, TimeUnit};
use larder_core::arrow::row::{RowConverter, Rows, SortField};
use larder_core::{Error, Result, model::Source};

use crate::fault;
use crate::plan::Plan;

/// One type for each tie-break column, in which all files are compared.
#[derive(Debug)]
pub(crate) struct TieBreak {
    types: Vec<DataType>,
}

impl TieBreak {
    /// Finds the types that can hold the values of all files of a plan.
    pub(crate) fn new(source: &Source, plan: &Plan) -> Result<Self> {
        let mut types: Vec<(DataType, &str)> = Vec::new();
        for file in &plan.files {
            let schema = file.schema();
            for (at, name) in source.tie_break.iter().enumerate() {
                // Whether the column is there was checked when the plan was made.
                let Ok(field) = schema.field_with_name(name) else {
                    continue;
                };
                let class = class(field.data_type());
                match types.get_mut(at) {
                    None => types.push((class, &file.file.shown)),
                    Some((known, place)) => {
                        *known = common(known, &class).ok_or_else(|| {
                            Error::input("the files' types of a `tie_break` column cannot be compared")
                                .with("source", &source.name)
                                .with("column", name)
                                .with("file", &file.file.shown)
                                .with("unlike", &**place)
                        })?;
                    }
                }
            }
        }
        Ok(Self {
            types: types.into_iter().map(|(of, _)| of).collect(),
        })
    }

    /// A converter of columns to rows that compare like them. All converters of one [`TieBreak`] agree.
    pub(crate) fn converter(&self) -> Result<Option<RowConverter>> {
        if self.types.is_empty() {
            return Ok(None);
        }
        let fields = self.types.iter().map(|of| SortField::new(of.clone())).collect();
        RowConverter::new(fields).map(Some).map_err(|error| {
            Error::definition("a `tie_break` column is of a type that has no order").source(error)
        })
    }

    /// The rows of one batch.
    pub(crate) fn rows(&self, converter: &RowConverter, columns: &[ArrayRef], place: &str) -> Result<Rows> {
        let options = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let columns = columns
            .iter()
            .zip(&self.types)
            .map(|(column, of)| {
                if column.data_type() == of {
                    return Ok(column.clone());
                }
                cast_with_options(column, of, &options).map_err(|_| {
                    Error::input(format!("a `tie_break` value cannot be compared as {of}"))
                        .with("file", place)
                })
            })
            .collect::<Result<Vec<_>>>()?;
        converter.convert_columns(&columns).map_err(fault::arrow)
    }
}

/// The widest type of the same kind, so that most files agree at once.
fn class(of: &DataType) -> DataType {
    match of {
        DataType::Dictionary(_, values) => class(values),
        DataType::RunEndEncoded(_, values) => class(values.data_type()),
        DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32 => DataType::Int64,
        DataType::Float16 | DataType::Float32 => DataType::Float64,
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => DataType::Binary,
        // The zone says how to show an instant, not which one it is.
        DataType::Timestamp(unit, Some(_)) => DataType::Timestamp(*unit, Some("UTC".into())),
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => DataType::Decimal128(*p, *s),
        other => other.clone(),
    }
}

/// A type that holds both, exactly.
fn common(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType::{Date32, Date64, Decimal128, Int64, Null, Timestamp, UInt64};
    if a == b {
        return Some(a.clone());
    }
    Some(match (a, b) {
        (Null, other) | (other, Null) => other.clone(),
        (Int64, UInt64) | (UInt64, Int64) => Decimal128(20, 0),
        (Decimal128(20, 0), Int64 | UInt64) | (Int64 | UInt64, Decimal128(20, 0)) => Decimal128(20, 0),
        (Date32, Date64) | (Date64, Date32) => Date64,
        (Timestamp(one, zone), Timestamp(two, other)) if zone == other => {
            Timestamp(finer(*one, *two), zone.clone())
        }
        (Decimal128(p, s), Decimal128(q, t)) => {
            let scale = *s.max(t);
            let whole = (i16::from(*p) - i16::from(*s)).max(i16::from(*q) - i16::from(*t));
            let precision = u8::try_from(whole + i16::from(scale)).ok().filter(|p| *p <= 38)?;
            Decimal128(precision, scale)
        }
        _ => return None,
    })
}

fn finer(a: TimeUnit, b: TimeUnit) -> TimeUnit {
    a.max(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_types() {
        assert_eq!(
            finer(TimeUnit::Second, TimeUnit::Nanosecond),
            TimeUnit::Nanosecond
        );
        assert_eq!(class(&DataType::Int8), DataType::Int64);
        assert_eq!(
            common(&DataType::Decimal128(5, 2), &DataType::Decimal128(6, 4)),
            Some(DataType::Decimal128(7, 4))
        );
        assert_eq!(
            common(&DataType::Int64, &DataType::UInt64),
            Some(DataType::Decimal128(20, 0))
        );
        assert_eq!(common(&DataType::Int64, &DataType::Utf8), None);
    }
}
