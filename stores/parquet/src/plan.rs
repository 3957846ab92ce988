//! What a scan has to read: files, row groups and ranges of rows, each with its place in the source's order.

use std::ops::Range;
use std::sync::Arc;

use larder_core::convert::SourceColumns;
use larder_core::{Error, ReadStats, Result, SourceFiles, ViewScan};

use crate::footer::Footers;
use crate::hive;
use crate::live;
use crate::object::{ByteCount, DataFile};
use crate::prune::{Filter, Reason};
use crate::reader::{self, ScanFile};
use crate::root::Root;
use crate::work::{self, Cancel};

/// What a scan has to read.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The resolved path, for messages.
    pub(crate) shown: String,
    /// All files that were found, for the report.
    pub(crate) listed: SourceFiles,
    pub(crate) files: Vec<ScanFile>,
    /// Row groups in the source's order.
    pub(crate) groups: Vec<Group>,
    pub(crate) stats: ReadStats,
    pub(crate) skipped: Vec<(Reason, u64)>,
}

/// A row group to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Group {
    /// Index in [`Plan::files`].
    pub(crate) file: usize,
    /// Number in the file.
    pub(crate) row_group: usize,
    pub(crate) rows: u64,
    /// Position of its first row in the source, counting planned row groups only.
    pub(crate) base: u64,
}

/// What files are opened with.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) footers: Arc<Footers>,
    pub(crate) count: ByteCount,
    pub(crate) threads: usize,
    pub(crate) cancel: Cancel,
}

impl Context {
    /// How many sources are read at a time, and what each is read with. Many are faster one thread each than all threads
    /// on one after the other: nothing is forked and merged, and nobody waits for the others at the end of each.
    pub(crate) fn abreast(&self, sources: usize) -> (usize, Self) {
        if sources < 2 * self.threads {
            return (1, self.clone());
        }
        let alone = Self {
            threads: 1,
            ..self.clone()
        };
        (self.threads, alone)
    }

    /// A context for one call.
    pub(crate) fn new(footers: Arc<Footers>, options: &larder_core::OfflineOptions) -> Self {
        let cancel = Cancel::default();
        Self {
            footers,
            count: Arc::new(crate::object::Reads::new(&cancel, options.memory_limit)),
            threads: work::threads(options),
            cancel,
        }
    }
}

impl Plan {
    /// Finds, opens, checks and prunes the files of a scan.
    pub(crate) fn new(root: &Root, scan: &ViewScan, filter: &Filter, context: &Context) -> Result<Self> {
        let found = live::all(root, &scan.source, context)?;
        let mut skipped: Vec<(Reason, u64)> = Vec::new();
        let mut skip = |reason: Reason| match skipped.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, n)) => *n += 1,
            None => skipped.push((reason, 1)),
        };
        let mut stats = ReadStats::default();
        stats.files = found.files.len() as u64;

        let listed = SourceFiles::new(scan.source.name.as_str(), found.told());
        let inferred = partition_types(&found.files);
        let wanted = reader::wanted(scan);
        let mut kept = Vec::new();
        for file in found.files {
            let constants = reader::constants(&file, &wanted, &inferred, filter.zone())
                .map_err(|error| error.with("source", &scan.source.name))?;
            match filter.file(&constants) {
                Some(reason) => skip(reason),
                None => kept.push((Arc::new(file), Arc::new(constants))),
            }
        }
        let files = open(kept, context)?;
        check(scan, &files)?;

        let reasons = reasons(&files, filter, context)?;
        let mut groups = Vec::new();
        let mut base = 0;
        for ((at, file), reasons) in files.iter().enumerate().zip(reasons) {
            let before = groups.len();
            let total = reasons.len() as u64;
            for (row_group, reason) in reasons.into_iter().enumerate() {
                let rows = file.rows(row_group);
                match reason {
                    Some(reason) => skip(reason),
                    None if rows == 0 => {}
                    None => {
                        groups.push(Group {
                            file: at,
                            row_group,
                            rows,
                            base,
                        });
                        base += rows;
                    }
                }
            }
            if groups.len() > before {
                stats.files_read += 1;
                stats.row_groups += total;
            }
        }
        stats.row_groups_read = groups.len() as u64;
        Ok(Self {
            shown: found.shown,
            listed,
            files,
            groups,
            stats,
            skipped,
        })
    }

    /// Adds the files of the source to those of a report, unless another plan of it has.
    pub(crate) fn list(&self, sources: &mut Vec<SourceFiles>) {
        if sources.iter().all(|known| known.source != self.listed.source) {
            sources.push(self.listed.clone());
        }
    }

    /// Rows of a piece.
    pub(crate) fn rows_of(&self, piece: &Piece) -> u64 {
        match &piece.ranges {
            None => self.groups[piece.group].rows,
            Some(ranges) => ranges.iter().map(|range| range.len() as u64).sum(),
        }
    }

    /// Rows of all row groups that are planned; positions lie below it.
    pub(crate) fn rows(&self) -> u64 {
        self.groups.last().map_or(0, |group| group.base + group.rows)
    }

    /// Splits the row groups into pieces: by pages that matter, and so that all threads have something to do.
    pub(crate) fn pieces(&self, filter: &Filter, context: &Context) -> Result<Vec<Piece>> {
        self.index(filter, context)?;
        let mut kept: Vec<Option<Vec<Range<usize>>>> = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            context.cancel.check()?;
            let file = &self.files[group.file];
            kept.push(filter.pages(file, &context.count, group.row_group)?);
        }
        let rows = |at: usize| {
            kept[at].as_ref().map_or(self.groups[at].rows, |ranges| {
                ranges.iter().map(|range| range.len() as u64).sum()
            })
        };
        let total: u64 = (0..kept.len()).map(rows).sum();
        // Four pieces for each thread even out what differs between them. Smaller ones at the end let all end together;
        // pages on their borders are read twice, which is cheap on a disk.
        let threads = context.threads as u64;
        let (share, mut left) = (total.div_ceil(4 * threads), total);
        let mut pieces = Vec::new();
        for (at, ranges) in kept.iter().enumerate() {
            let file = &self.files[self.groups[at].file];
            // Without an index of its pages, each part of a remote row group would fetch all of it.
            let whole = context.threads == 1 || file.file.is_remote() && !file.footer.has_pages();
            let last = if file.file.is_remote() {
                share
            } else {
                left / (2 * threads)
            };
            let share = share.min(last).max(SMALLEST_PIECE);
            left -= rows(at);
            let parts = if whole { 1 } else { rows(at).div_ceil(share).max(1) };
            match ranges {
                None if parts == 1 => pieces.push(Piece {
                    group: at,
                    ranges: None,
                }),
                None => {
                    let whole = 0..self.groups[at].rows as usize;
                    pieces.extend(split(std::slice::from_ref(&whole), parts, at));
                }
                Some(ranges) if ranges.is_empty() => {}
                Some(ranges) => pieces.extend(split(ranges, parts, at)),
            }
        }
        Ok(pieces)
    }
}

impl Plan {
    /// Reads the page indexes of remote files that will be asked for, several at a time.
    fn index(&self, filter: &Filter, context: &Context) -> Result<()> {
        let mut asked: Vec<usize> = self.groups.iter().map(|group| group.file).collect();
        asked.dedup();
        asked.retain(|file| {
            let file = &self.files[*file];
            file.file.is_remote() && !filter.is_nothing() && file.footer.has_pages()
        });
        let threads = REMOTE_THREADS.min(asked.len()).max(1);
        work::each(vec![(); threads], asked.len(), &context.cancel, |(), at| {
            let file = &self.files[asked[at]];
            let chunks = file.file.open(&context.count)?;
            file.footer.indexed(&file.file, &chunks).map(drop)
        })
        .map(drop)
    }
}

/// Threads that wait for small answers of an object store, most of their time.
const REMOTE_THREADS: usize = 16;

/// Threads that read a little of each of so many files.
fn openers(remote: bool, files: usize, context: &Context) -> usize {
    match remote {
        true => REMOTE_THREADS.min(files).max(1),
        false => context.threads.min(files.div_ceil(4)).max(1),
    }
}

/// A part of a row group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Index in [`Plan::groups`].
    pub(crate) group: usize,
    /// Ascending ranges of rows; all when absent.
    pub(crate) ranges: Option<Vec<Range<usize>>>,
}

/// Rows below which a piece costs more to set up than it saves.
const SMALLEST_PIECE: u64 = 65_536;

/// Cuts ranges into parts of nearly the same number of rows.
fn split(ranges: &[Range<usize>], parts: u64, group: usize) -> Vec<Piece> {
    let total: usize = ranges.iter().map(Range::len).sum();
    let share = total.div_ceil(parts.max(1) as usize).max(1);
    let mut pieces = Vec::new();
    let mut part: Vec<Range<usize>> = Vec::new();
    let mut room = share;
    for range in ranges {
        let mut rest = range.clone();
        while !rest.is_empty() {
            let end = rest.end.min(rest.start + room);
            part.push(rest.start..end);
            room -= end - rest.start;
            rest.start = end;
            if room == 0 {
                pieces.push(std::mem::take(&mut part));
                room = share;
            }
        }
    }
    if !part.is_empty() {
        pieces.push(part);
    }
    let piece = |ranges| Piece {
        group,
        ranges: Some(ranges),
    };
    pieces.into_iter().map(piece).collect()
}

/// The types of the partition columns, by what their values look like.
pub(crate) fn partition_types(files: &[DataFile]) -> Vec<(String, larder_core::ValueType)> {
    let mut names: Vec<&String> = Vec::new();
    for (name, _) in files.iter().flat_map(|file| &file.partitions) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let values = |wanted: &String| {
        let all = files.iter().flat_map(|file| &file.partitions);
        let wanted = wanted.clone();
        hive::infer(
            all.filter(move |(name, _)| *name == wanted)
                .map(|(_, value)| value.as_deref()),
        )
    };
    names
        .into_iter()
        .map(|name| (name.clone(), values(name)))
        .collect()
}

type Kept = (
    Arc<DataFile>,
    Arc<Vec<(String, larder_core::arrow::array::ArrayRef)>>,
);

/// Reads the footers of files, several at a time.
pub(crate) fn open(files: Vec<Kept>, context: &Context) -> Result<Vec<ScanFile>> {
    let remote = files.iter().any(|(file, _)| file.is_remote());
    let threads = openers(remote, files.len(), context);
    let opened = work::each(
        vec![Vec::new(); threads],
        files.len(),
        &context.cancel,
        |opened, at| {
            let (file, constants) = &files[at];
            let footer = context.footers.get(file, &context.count)?;
            opened.push((
                at,
                ScanFile {
                    file: file.clone(),
                    footer,
                    constants: constants.clone(),
                },
            ));
            Ok(())
        },
    )?;
    let mut opened: Vec<_> = opened.into_iter().flatten().collect();
    opened.sort_by_key(|(at, _)| *at);
    Ok(opened.into_iter().map(|(_, file)| file).collect())
}

/// For every row group of every file, why it does not matter; several files at a time, because a Bloom filter is read.
fn reasons(files: &[ScanFile], filter: &Filter, context: &Context) -> Result<Vec<Vec<Option<Reason>>>> {
    let remote = files.iter().any(|file| file.file.is_remote());
    let threads = openers(remote, files.len(), context);
    let found = work::each(
        vec![Vec::new(); threads],
        files.len(),
        &context.cancel,
        |found, at| {
            let file = &files[at];
            let mut reasons = filter.row_groups(file);
            for (group, reason) in reasons
                .iter_mut()
                .enumerate()
                .filter(|(_, reason)| reason.is_none())
            {
                if !filter.passes_blooms(file, &context.count, group)? {
                    *reason = Some(Reason::Bloom);
                }
            }
            found.push((at, reasons));
            Ok(())
        },
    )?;
    let mut found: Vec<_> = found.into_iter().flatten().collect();
    found.sort_by_key(|(at, _)| *at);
    Ok(found.into_iter().map(|(_, reasons)| reasons).collect())
}

/// Checks that every file has what a scan wants.
fn check(scan: &ViewScan, files: &[ScanFile]) -> Result<()> {
    let columns = SourceColumns::new(scan)?;
    let mut good: Option<&str> = None;
    let mut bad: Option<Error> = None;
    for file in files {
        match columns.check(&file.schema(), &file.file.shown) {
            Ok(()) => good = good.or(Some(&file.file.shown)),
            Err(error) => bad = bad.or(Some(error)),
        }
        if good.is_some() && bad.is_some() {
            break;
        }
    }
    match (bad, good) {
        (Some(error), Some(good)) => Err(error.with("unlike", good)),
        (Some(error), None) => Err(error),
        (None, _) => Ok(()),
    }
}

#[cfg(test)]
#[expect(
    clippy::single_range_in_vec_init,
    reason = "lists of ranges are what is tested"
)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_every_row_once() {
        let pieces = split(&[0..10, 20..25], 4, 7);
        let ranges: Vec<Vec<Range<usize>>> = pieces.into_iter().filter_map(|piece| piece.ranges).collect();
        assert_eq!(
            ranges,
            [vec![0..4], vec![4..8], vec![8..10, 20..22], vec![22..25]]
        );
    }
}
