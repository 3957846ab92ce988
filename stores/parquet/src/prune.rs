//! Which files, row groups and pages cannot hold a row that matters.
//!
//! Only what statistics prove is left out: an unknown, odd or unreadable statistic keeps the rows.

use std::ops::Range;

use larder_core::arrow::array::{Array, ArrayRef};
use larder_core::convert::Zone;
use larder_core::{LatestRead, Result, ValueType, ViewScan, model::Knowledge};

use crate::bloom;
use crate::bounds::{Bounds, bounds, leaf, page_starts};
use crate::keys::Keys;
use crate::object::ByteCount;
use crate::reader::ScanFile;

/// Why something is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    EventTime,
    Keys,
    Bloom,
    Seen,
    Partition,
}

impl Reason {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::EventTime => "row groups outside of the event time window",
            Self::Keys => "row groups outside of the entity rows' keys",
            Self::Bloom => "row groups whose Bloom filters know none of the entity rows' keys",
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
    keys: Vec<(String, ValueType, Keys)>,
    /// Rows must be visible after this: `(instant, available_after)`.
    after: Option<(i64, i64)>,
}

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

    /// Only rows with these keys, which stand in the order of the scan's keys.
    pub(crate) fn with_keys(mut self, scan: &ViewScan, wanted: &[Keys]) -> Self {
        let keys = scan.keys.iter().zip(wanted);
        self.keys = keys
            .map(|(key, wanted)| (key.column.clone(), key.key.value_type, wanted.clone()))
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
        for (name, of, keys) in &self.keys {
            if let Some(one) = find(name)
                && *one.data_type() == larder_core::convert::arrow_type(*of)
                && (one.is_null(0) || !Bounds::new(one, one).is_none_or(|bounds| bounds.meets(0, keys)))
            {
                return Some(Reason::Partition);
            }
        }
        let event = find(&self.event_column)?;
        let times = Bounds::new(event, event)?;
        let outside = event.is_null(0) || self.event.is_none_or(|window| !times.overlaps(0, window));
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
        if let Some(event) = &event {
            rule_out(Reason::EventTime, &|group| event.overlaps(group, window));
        }
        for (name, of, keys) in &self.keys {
            if let Some(bounds) = bounds(file, name, *of, self.zone.as_ref(), None) {
                rule_out(Reason::Keys, &|group| bounds.meets(group, keys));
            }
        }
        if let Some((after, delay)) = self.after {
            let known = |bounds: &Option<Bounds>, group: usize| bounds.as_ref()?.max(group);
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

    /// Whether the Bloom filters of a row group, where it has some, let one of the keys pass.
    pub(crate) fn passes_blooms(&self, file: &ScanFile, count: &ByteCount, group: usize) -> Result<bool> {
        let asked = self
            .keys
            .iter()
            .filter(|(name, _, keys)| bloom::is_there(file, group, name, keys));
        let mut open = None;
        for (name, _, keys) in asked {
            let chunks = match &open {
                Some(chunks) => chunks,
                None => open.insert(file.file.open(count)?),
            };
            if !bloom::may_hold(file, chunks, group, name, keys)? {
                return Ok(false);
            }
        }
        Ok(true)
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
            let pages = bounds(file, column, of, self.zone.as_ref(), Some((chunks, group)));
            let starts = page_starts(file, chunks, column, group)?;
            let (Some(pages), Some(starts)) = (pages, starts) else {
                continue;
            };
            if starts.len() != pages.len() {
                continue;
            }
            let keep = |page: usize| match place {
                0 => pages.overlaps(page, window),
                place => pages.meets(page, &self.keys[place - 1].2),
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
    use super::*;

    #[test]
    fn ranges_meet() {
        assert_eq!(join([0..2, 2..3, 5..6].into_iter()), [0..3, 5..6]);
        assert_eq!(intersect(&[0..4, 6..9], &[2..7]), [2..4, 6..7]);
    }
}
