//! Which files, row groups and pages cannot hold a row that matters.
//!
//! Only what statistics prove is left out: an unknown, odd or unreadable statistic keeps the rows.

use std::ops::Range;

use larder_core::arrow::array::{Array, ArrayRef, AsArray, Int64Array, PrimitiveArray};
use larder_core::arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use larder_core::convert::{Zone, coerce};
use larder_core::{LatestRead, Result, ValueType, ViewScan, model::Knowledge};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;

use crate::object::{ByteCount, Chunks};
use crate::reader::ScanFile;

/// Why something is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    EventTime,
    Keys,
    Seen,
    Partition,
}

impl Reason {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::EventTime => "row groups outside of the event time window",
            Self::Keys => "row groups outside of the entity rows' keys",
            Self::Seen => "row groups seen before",
            Self::Partition => "files of other partitions",
        }
    }
}

/// What rows must be like to matter.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    zone: Option<Zone>,
    event_column: String,
    created_column: Option<String>,
    /// Event times, µs UTC, both ends inclusive; `None` when no row can matter.
    event: Option<(i64, i64)>,
    keys: Vec<(String, ValueType, KeyRange)>,
    /// Rows must be visible after this: `(instant, available_after)`.
    after: Option<(i64, i64)>,
}

/// The smallest and largest of the keys that are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyRange {
    Any,
    Nothing,
    Int(i64, i64),
    Bytes(Vec<u8>, Vec<u8>),
}

impl KeyRange {
    /// Of a key column of the entity rows.
    pub(crate) fn of(keys: &ArrayRef) -> Self {
        if keys.null_count() == keys.len() {
            return Self::Nothing;
        }
        if let Some(keys) = integers(keys) {
            let bounds = keys
                .iter()
                .flatten()
                .fold((i64::MAX, i64::MIN), |(min, max), key| {
                    (min.min(key), max.max(key))
                });
            return Self::Int(bounds.0, bounds.1);
        }
        let Some(mut keys) = byte_rows(keys) else {
            return Self::Any;
        };
        let Some(first) = keys.next() else {
            return Self::Nothing;
        };
        let (min, max) = keys.fold((first, first), |(min, max), key| (min.min(key), max.max(key)));
        Self::Bytes(min.to_vec(), max.to_vec())
    }

    /// Whether a key between two bounds may be one of these. Unknown bounds bound nothing.
    fn meets(&self, mins: &ArrayRef, maxes: &ArrayRef, row: usize) -> bool {
        match self {
            Self::Any => true,
            Self::Nothing => false,
            Self::Int(from, to) => overlaps(
                integers(mins).as_ref(),
                integers(maxes).as_ref(),
                row,
                (*from, *to),
            ),
            Self::Bytes(from, to) => {
                byte_at(mins, row).is_none_or(|min| min <= to.as_slice())
                    && byte_at(maxes, row).is_none_or(|max| max >= from.as_slice())
            }
        }
    }
}

fn overlaps(
    mins: Option<&Int64Array>,
    maxes: Option<&Int64Array>,
    row: usize,
    (from, to): (i64, i64),
) -> bool {
    let known = |array: Option<&Int64Array>| array.filter(|a| a.is_valid(row)).map(|a| a.value(row));
    known(mins).is_none_or(|min| min <= to) && known(maxes).is_none_or(|max| max >= from)
}

/// A column of integers, dates or times as plain integers.
fn integers(array: &ArrayRef) -> Option<Int64Array> {
    fn widen<T: ArrowPrimitiveType<Native = i32>>(array: &PrimitiveArray<T>) -> Int64Array {
        array.unary(i64::from)
    }
    Some(match array.data_type() {
        DataType::Int32 => widen(array.as_primitive::<Int32Type>()),
        DataType::Date32 => widen(array.as_primitive::<Date32Type>()),
        DataType::Int64 => array.as_primitive::<Int64Type>().clone(),
        DataType::Timestamp(larder_core::arrow::datatypes::TimeUnit::Microsecond, _) => array
            .as_primitive::<TimestampMicrosecondType>()
            .reinterpret_cast(),
        _ => return None,
    })
}

/// The values of a string or bytes column without nulls.
fn byte_rows(array: &ArrayRef) -> Option<Box<dyn Iterator<Item = &[u8]> + '_>> {
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

impl Filter {
    /// Rows of a scan with an event time in an interval, both ends inclusive.
    pub(crate) fn new(scan: &ViewScan, event: Option<(i64, i64)>) -> Result<Self> {
        let source = &*scan.source;
        Ok(Self {
            zone: source.timezone.as_deref().map(Zone::new).transpose()?,
            event_column: source.event_time.clone(),
            created_column: source.created_time.as_ref().map(|created| created.column.clone()),
            event,
            keys: Vec::new(),
            after: None,
        })
    }

    /// Only rows with keys within these ranges, which stand in the order of the scan's keys.
    pub(crate) fn with_keys(mut self, scan: &ViewScan, ranges: &[KeyRange]) -> Self {
        let keys = scan.keys.iter().zip(ranges);
        self.keys = keys
            .map(|(key, range)| (key.column.clone(), key.key.value_type, range.clone()))
            .collect();
        self
    }

    /// The rows of a window of visibility; see [`LatestRead::takes`].
    pub(crate) fn of_latest(request: &LatestRead) -> Result<Self> {
        let delay = request.scan.source.available_after.0;
        // What is available by `until` happened before; nothing at all when that lies below all times.
        let last = request.until.0.checked_sub(delay);
        let event = last
            .map(|last| (request.floor.0, last))
            .filter(|(first, last)| first <= last);
        let mut filter = Self::new(&request.scan, event)?;
        if request.after.0 != i64::MIN {
            filter.after = Some((request.after.0, delay));
        }
        debug_assert!(matches!(
            request.scan.source.knowledge,
            Knowledge::TieBreak | Knowledge::AsOf
        ));
        Ok(filter)
    }

    pub(crate) fn zone(&self) -> Option<&Zone> {
        self.zone.as_ref()
    }

    /// Whether no row of any file can matter.
    pub(crate) fn is_nothing(&self) -> bool {
        self.event.is_none()
    }

    /// Why a file does not matter, from the columns that its path gives.
    pub(crate) fn file(&self, constants: &[(String, ArrayRef)]) -> Option<Reason> {
        let find = |name: &str| {
            constants
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, one)| one)
        };
        for (name, of, range) in &self.keys {
            if let Some(one) = find(name)
                && *one.data_type() == larder_core::convert::arrow_type(*of)
                && (one.is_null(0) || !range.meets(one, one, 0))
            {
                return Some(Reason::Partition);
            }
        }
        let event = find(&self.event_column)?;
        let times = integers(event)?;
        let outside = event.is_null(0)
            || self
                .event
                .is_none_or(|window| !overlaps(Some(&times), Some(&times), 0, window));
        outside.then_some(Reason::Partition)
    }

    /// For every row group of a file, why it does not matter.
    pub(crate) fn row_groups(&self, file: &ScanFile) -> Vec<Option<Reason>> {
        let groups = file.footer.metadata().num_row_groups();
        let mut reasons = vec![None; groups];
        let mut rule_out = |reason: Reason, keep: &dyn Fn(usize) -> bool| {
            for (group, known) in reasons.iter_mut().enumerate() {
                if known.is_none() && !keep(group) {
                    *known = Some(reason);
                }
            }
        };
        let event = bounds(
            file,
            &self.event_column,
            ValueType::TIMESTAMP,
            self.zone.as_ref(),
            None,
        );
        let Some(window) = self.event else {
            rule_out(Reason::EventTime, &|_| false);
            return reasons;
        };
        if let Some((mins, maxes)) = &event {
            rule_out(Reason::EventTime, &|group| {
                overlaps(integers(mins).as_ref(), integers(maxes).as_ref(), group, window)
            });
        }
        for (name, of, range) in &self.keys {
            if let Some((mins, maxes)) = bounds(file, name, *of, self.zone.as_ref(), None) {
                rule_out(Reason::Keys, &|group| range.meets(&mins, &maxes, group));
            }
        }
        if let Some((after, delay)) = self.after {
            let known = |bounds: &Option<(ArrayRef, ArrayRef)>, group: usize| {
                let (_, maxes) = bounds.as_ref()?;
                let maxes = integers(maxes)?;
                maxes.is_valid(group).then(|| maxes.value(group))
            };
            let created = self
                .created_column
                .as_ref()
                .map(|name| bounds(file, name, ValueType::TIMESTAMP, self.zone.as_ref(), None));
            rule_out(Reason::Seen, &|group| {
                let available = known(&event, group).map(|event| event.saturating_add(delay));
                let available_later = available.is_none_or(|available| available > after);
                let created_later = created
                    .as_ref()
                    .is_some_and(|created| known(created, group).is_none_or(|created| created > after));
                available_later || created_later
            });
        }
        reasons
    }

    /// The ranges of rows of a row group that may matter, by its pages; `None` is all of them.
    pub(crate) fn pages(
        &self,
        file: &ScanFile,
        count: &ByteCount,
        group: usize,
    ) -> Result<Option<Vec<Range<usize>>>> {
        let has_index = |column: &str| {
            leaf(file, column).is_some_and(|leaf| {
                let column = file.footer.metadata().row_group(group).column(leaf);
                column.column_index_offset().is_some() && column.offset_index_offset().is_some()
            })
        };
        let columns =
            std::iter::once(self.event_column.as_str()).chain(self.keys.iter().map(|key| key.0.as_str()));
        if !columns.clone().any(has_index) {
            return Ok(None);
        }
        let chunks = &file.file.open(count)?;
        file.footer.indexed(&file.file, chunks)?;
        let rows = file.rows(group) as usize;
        let mut kept: Option<Vec<Range<usize>>> = None;
        let Some(window) = self.event else { return Ok(None) };
        for (place, column) in columns.enumerate() {
            let of = match place {
                0 => ValueType::TIMESTAMP,
                place => self.keys[place - 1].1,
            };
            let Some((mins, maxes)) = bounds(file, column, of, self.zone.as_ref(), Some((chunks, group)))
            else {
                continue;
            };
            let Some(starts) =
                page_starts(file, chunks, column, group)?.filter(|starts| starts.len() == mins.len())
            else {
                continue;
            };
            let (min_times, max_times) = (integers(&mins), integers(&maxes));
            let keep = |page: usize| match place {
                0 => overlaps(min_times.as_ref(), max_times.as_ref(), page, window),
                place => self.keys[place - 1].2.meets(&mins, &maxes, page),
            };
            let ends = starts.iter().skip(1).copied().chain([rows]);
            let ranges = starts.iter().copied().zip(ends).enumerate();
            let ranges = ranges.filter(|(page, (start, end))| keep(*page) && start < end);
            let ranges = join(ranges.map(|(_, (start, end))| start..end));
            kept = Some(match kept {
                None => ranges,
                Some(kept) => intersect(&kept, &ranges),
            });
        }
        Ok(kept.filter(|kept| kept.iter().map(Range::len).sum::<usize>() < rows))
    }
}

/// The smallest and largest values of a column, per row group or per page of one row group, in the canonical type.
fn bounds(
    file: &ScanFile,
    column: &str,
    of: ValueType,
    zone: Option<&Zone>,
    pages: Option<(&Chunks, usize)>,
) -> Option<(ArrayRef, ArrayRef)> {
    let leaf = leaf(file, column)?;
    let metadata = match pages {
        Some((chunks, _)) => file.footer.indexed(&file.file, chunks).ok()?,
        None => file.footer.plain(),
    };
    let field = file.footer.schema().field_with_name(column).ok()?;
    let groups = metadata.metadata().row_groups();
    // Old writers compared everything as signed numbers.
    let signed = field.data_type().is_signed_integer() || field.data_type().is_temporal();
    let deprecated = |group: &parquet::file::metadata::RowGroupMetaData| {
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
    canonical(&mins, &maxes, of, zone)
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
fn leaf(file: &ScanFile, column: &str) -> Option<usize> {
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
fn page_starts(file: &ScanFile, chunks: &Chunks, column: &str, group: usize) -> Result<Option<Vec<usize>>> {
    let metadata = file.footer.indexed(&file.file, chunks)?.metadata();
    let pages = leaf(file, column).and_then(|leaf| metadata.offset_index()?.get(group)?.get(leaf));
    Ok(pages.map(|pages| {
        let starts = pages.page_locations().iter();
        starts
            .map(|page| usize::try_from(page.first_row_index).unwrap_or(0))
            .collect()
    }))
}

/// Neighbouring ranges as one.
fn join(ranges: impl Iterator<Item = Range<usize>>) -> Vec<Range<usize>> {
    let mut joined: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => joined.push(range),
        }
    }
    joined
}

fn intersect(a: &[Range<usize>], b: &[Range<usize>]) -> Vec<Range<usize>> {
    let (mut i, mut j) = (0, 0);
    let mut both = Vec::new();
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        let range = x.start.max(y.start)..x.end.min(y.end);
        if range.start < range.end {
            both.push(range);
        }
        if x.end < y.end { i += 1 } else { j += 1 }
    }
    both
}

#[cfg(test)]
#[expect(
    clippy::single_range_in_vec_init,
    reason = "lists of ranges are what is tested"
)]
mod tests {
    use std::sync::Arc;

    use larder_core::arrow::array::{StringArray, TimestampMicrosecondArray};

    use super::*;

    #[test]
    fn ranges_of_keys() {
        let ints: ArrayRef = Arc::new(Int64Array::from(vec![Some(5), None, Some(-2)]));
        assert_eq!(KeyRange::of(&ints), KeyRange::Int(-2, 5));
        let nulls: ArrayRef = Arc::new(Int64Array::from(vec![None, None]));
        assert_eq!(KeyRange::of(&nulls), KeyRange::Nothing);
        let text: ArrayRef = Arc::new(StringArray::from(vec!["b", "ä", "a"]));
        assert_eq!(
            KeyRange::of(&text),
            KeyRange::Bytes(b"a".to_vec(), "ä".as_bytes().to_vec())
        );
        let unknown: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>]));
        assert!(KeyRange::of(&text).meets(&unknown, &unknown, 0));
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

    #[test]
    fn ranges_meet() {
        assert_eq!(join([0..2, 2..3, 5..6].into_iter()), [0..3, 5..6]);
        assert_eq!(intersect(&[0..4, 6..9], &[2..7]), [2..4, 6..7]);
    }
}
