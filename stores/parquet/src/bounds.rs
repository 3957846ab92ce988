//! Between which values do the rows of a row group or of a page lie?
//!
//! An unknown, odd or unreadable statistic bounds nothing.

use larder_core::arrow::array::{Array, ArrayRef, AsArray, Int64Array, PrimitiveArray};
use larder_core::arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use larder_core::convert::{Zone, coerce};
use larder_core::{Result, ValueType};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::file::metadata::RowGroupMetaData;

use crate::keys::{Key, Keys};
use crate::object::Chunks;
use crate::reader::ScanFile;

/// The smallest and the largest value of each of several sets of rows; null is unknown.
#[derive(Debug)]
pub(crate) enum Bounds {
    Int(Int64Array, Int64Array),
    Bytes(ArrayRef, ArrayRef),
}

impl Bounds {
    /// Of columns in canonical types; `None` for types that are not compared.
    pub(crate) fn new(mins: &ArrayRef, maxes: &ArrayRef) -> Option<Self> {
        if let (Some(mins), Some(maxes)) = (integers(mins), integers(maxes)) {
            return Some(Self::Int(mins, maxes));
        }
        let is_bytes = matches!(mins.data_type(), DataType::Utf8 | DataType::Binary);
        (is_bytes && mins.data_type() == maxes.data_type()).then(|| Self::Bytes(mins.clone(), maxes.clone()))
    }

    /// How many sets there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Int(mins, _) => mins.len(),
            Self::Bytes(mins, _) => mins.len(),
        }
    }

    /// Whether a set may have a value between two others, both inclusive.
    pub(crate) fn overlaps(&self, set: usize, (from, to): (i64, i64)) -> bool {
        let Self::Int(mins, maxes) = self else { return true };
        known(mins, set).is_none_or(|min| min <= to) && known(maxes, set).is_none_or(|max| max >= from)
    }

    /// Whether a set may have one of these keys.
    pub(crate) fn meets(&self, set: usize, keys: &Keys) -> bool {
        match &keys.few {
            Some(few) => few.iter().any(|key| self.may_hold(set, key)),
            None => match &keys.range {
                Some((from, to)) => self.crosses(set, from, to),
                None => !keys.known,
            },
        }
    }

    fn may_hold(&self, set: usize, key: &Key) -> bool {
        self.crosses(set, key, key)
    }

    fn crosses(&self, set: usize, from: &Key, to: &Key) -> bool {
        match (from, to, self) {
            (Key::Int(from), Key::Int(to), _) => self.overlaps(set, (*from, *to)),
            (Key::Bytes(from), Key::Bytes(to), Self::Bytes(mins, maxes)) => {
                byte_at(mins, set).is_none_or(|min| min <= to.as_slice())
                    && byte_at(maxes, set).is_none_or(|max| max >= from.as_slice())
            }
            _ => true,
        }
    }

    /// The largest value of a set, where it is known and a number.
    pub(crate) fn max(&self, set: usize) -> Option<i64> {
        match self {
            Self::Int(_, maxes) => known(maxes, set),
            Self::Bytes(..) => None,
        }
    }
}

fn known(values: &Int64Array, set: usize) -> Option<i64> {
    values.is_valid(set).then(|| values.value(set))
}

/// A column of integers, dates or times as plain integers.
pub(crate) fn integers(array: &ArrayRef) -> Option<Int64Array> {
    fn widen<T: ArrowPrimitiveType<Native = i32>>(array: &PrimitiveArray<T>) -> Int64Array {
        array.unary(i64::from)
    }
    Some(match array.data_type() {
        DataType::Int32 => widen(array.as_primitive::<Int32Type>()),
        DataType::Date32 => widen(array.as_primitive::<Date32Type>()),
        DataType::Int64 => array.as_primitive::<Int64Type>().clone(),
        DataType::Timestamp(TimeUnit::Microsecond, _) => array
            .as_primitive::<TimestampMicrosecondType>()
            .reinterpret_cast(),
        _ => return None,
    })
}

/// The values of a string or bytes column without nulls.
pub(crate) fn byte_rows(array: &ArrayRef) -> Option<Box<dyn Iterator<Item = &[u8]> + '_>> {
    Some(match array.data_type() {
        DataType::Utf8 => Box::new(array.as_string::<i32>().iter().flatten().map(str::as_bytes)),
        DataType::Binary => Box::new(array.as_binary::<i32>().iter().flatten()),
        _ => return None,
    })
}

fn byte_at(array: &ArrayRef, row: usize) -> Option<&[u8]> {
    if array.is_null(row) {
        return None;
    }
    match array.data_type() {
        DataType::Utf8 => Some(array.as_string::<i32>().value(row).as_bytes()),
        DataType::Binary => Some(array.as_binary::<i32>().value(row)),
        _ => None,
    }
}

/// Local time is nowhere further from UTC than this, not even where a zone once changed sides of the date line.
const WIDEST_OFFSET: i64 = 26 * 3_600_000_000;

/// The smallest and largest values of a column, per row group or per page of one row group, in the canonical type.
pub(crate) fn bounds(
    file: &ScanFile,
    column: &str,
    of: ValueType,
    zone: Option<&Zone>,
    pages: Option<(&Chunks, usize)>,
) -> Option<Bounds> {
    let leaf = leaf(file, column)?;
    let metadata = match pages {
        Some((chunks, _)) => file.footer.indexed(&file.file, chunks).ok()?,
        None => file.footer.plain(),
    };
    let field = file.footer.schema().field_with_name(column).ok()?;
    let groups = metadata.metadata().row_groups();
    // Old writers compared everything as signed numbers.
    let signed = field.data_type().is_signed_integer() || field.data_type().is_temporal();
    let deprecated = |group: &RowGroupMetaData| {
        let statistics = group.column(leaf).statistics();
        statistics.is_some_and(|statistics| statistics.is_min_max_deprecated())
    };
    if !signed && groups.iter().any(deprecated) {
        return None;
    }
    let converter =
        StatisticsConverter::try_new(column, file.footer.schema(), metadata.parquet_schema()).ok()?;
    let (mins, maxes) = match pages {
        None => (
            converter.row_group_mins(groups).ok()?,
            converter.row_group_maxes(groups).ok()?,
        ),
        Some((_, group)) => {
            let (columns, offsets) = (
                metadata.metadata().column_index()?,
                metadata.metadata().offset_index()?,
            );
            columns.get(group)?.get(leaf)?;
            offsets.get(group)?.get(leaf)?;
            (
                converter.data_page_mins(columns, offsets, [&group]).ok()?,
                converter.data_page_maxes(columns, offsets, [&group]).ok()?,
            )
        }
    };
    let (mins, maxes) = canonical(&mins, &maxes, of, zone)?;
    Bounds::new(&mins, &maxes)
}

/// Bounds in the canonical type; those of local times are widened instead of shifted, because a zone's clock changes
/// may reverse the order of two local times.
fn canonical(
    mins: &ArrayRef,
    maxes: &ArrayRef,
    of: ValueType,
    zone: Option<&Zone>,
) -> Option<(ArrayRef, ArrayRef)> {
    let is_local = |of: &DataType| match of {
        DataType::Timestamp(_, zone) => zone.is_none(),
        of => matches!(of, DataType::Date32 | DataType::Date64),
    };
    let local = of == ValueType::TIMESTAMP
        && is_local(mins.data_type())
        && zone.is_some_and(|zone| zone.name() != "UTC");
    if !local {
        return Some((coerce(mins, of, zone).ok()?, coerce(maxes, of, zone).ok()?));
    }
    let utc = Zone::new("UTC").ok()?;
    let moved = |bounds: &ArrayRef, by: i64| -> Option<ArrayRef> {
        let times = coerce(bounds, of, Some(&utc)).ok()?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let moved: PrimitiveArray<TimestampMicrosecondType> = times.unary(|time| time.saturating_add(by));
        Some(std::sync::Arc::new(moved.with_timezone("UTC")))
    };
    Some((moved(mins, -WIDEST_OFFSET)?, moved(maxes, WIDEST_OFFSET)?))
}

/// The leaf of a column that is not nested.
pub(crate) fn leaf(file: &ScanFile, column: &str) -> Option<usize> {
    if file.constant(column).is_some() {
        return None;
    }
    let (root, field) = file.footer.schema().fields().find(column)?;
    if field.data_type().is_nested() {
        return None;
    }
    let parquet = file.footer.metadata().file_metadata().schema_descr();
    (0..parquet.num_columns()).find(|leaf| parquet.get_column_root_idx(*leaf) == root)
}

/// The first row of every page of a column.
pub(crate) fn page_starts(
    file: &ScanFile,
    chunks: &Chunks,
    column: &str,
    group: usize,
) -> Result<Option<Vec<usize>>> {
    let metadata = file.footer.indexed(&file.file, chunks)?.metadata();
    let pages = leaf(file, column).and_then(|leaf| metadata.offset_index()?.get(group)?.get(leaf));
    Ok(pages.map(|pages| {
        let starts = pages.page_locations().iter();
        starts
            .map(|page| usize::try_from(page.first_row_index).unwrap_or(0))
            .collect()
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use larder_core::arrow::array::{StringArray, TimestampMicrosecondArray};

    use super::*;

    #[test]
    fn keys_meet_sets_that_may_hold_them() {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["b", "ä", "a"]));
        let few = Keys::of(&text);
        let many = Keys {
            few: None,
            ..few.clone()
        };
        let mins: ArrayRef = Arc::new(StringArray::from(vec![None, Some("c"), Some("ö")]));
        let maxes: ArrayRef = Arc::new(StringArray::from(vec![None, Some("d"), None]));
        let bounds = Bounds::new(&mins, &maxes).unwrap();
        let met =
            |keys: &Keys| -> Vec<bool> { (0..bounds.len()).map(|set| bounds.meets(set, keys)).collect() };
        // Between the smallest and the largest, and none of the three.
        assert_eq!(met(&many), [true, true, false]);
        assert_eq!(met(&few), [true, false, false]);
        assert_eq!(met(&Keys::none()), [false, false, false]);
        assert_eq!(bounds.max(1), None);
    }

    #[test]
    fn local_times_are_widened_not_shifted() {
        let hour = 3_600_000_000;
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![0]));
        let zone = Zone::new("America/New_York").unwrap();
        let (mins, maxes) = canonical(&times, &times, ValueType::TIMESTAMP, Some(&zone)).unwrap();
        assert_eq!(integers(&mins).unwrap().value(0), -26 * hour);
        assert_eq!(integers(&maxes).unwrap().value(0), 26 * hour);
        let utc = Zone::new("UTC").unwrap();
        let (mins, _) = canonical(&times, &times, ValueType::TIMESTAMP, Some(&utc)).unwrap();
        assert_eq!(integers(&mins).unwrap().value(0), 0);
    }
}
