//! What is fetched while something else is decoded: the next parts of a pass, as far as there is room.

use std::ops::Range;

use parking_lot::Mutex;

use crate::object::ByteCount;
use crate::plan::{Piece, Plan};
use crate::reader::ScanFile;

/// A part of a pass, as [`ScanFile::read`] will be asked for it.
pub(crate) struct Part<'a> {
    pub(crate) file: &'a ScanFile,
    pub(crate) row_group: usize,
    pub(crate) ranges: Option<Vec<Range<usize>>>,
    pub(crate) names: Vec<&'a str>,
}

/// The parts of a pass in the order in which threads take them.
pub(crate) struct Upcoming<'a, F> {
    count: &'a ByteCount,
    /// Nothing is fetched ahead from disks: they have caches of their own.
    parts: usize,
    next: Mutex<usize>,
    part: F,
}

/// Pieces of a plan, of which the named columns are read.
pub(crate) fn pieces<'a>(
    plan: &'a Plan,
    pieces: &'a [Piece],
    names: Vec<&'a str>,
    count: &'a ByteCount,
) -> Upcoming<'a, impl Fn(usize) -> Part<'a>> {
    Upcoming::new(plan, count, pieces.len(), move |at| {
        let group = &plan.groups[pieces[at].group];
        Part {
            file: &plan.files[group.file],
            row_group: group.row_group,
            ranges: pieces[at].ranges.clone(),
            names: names.clone(),
        }
    })
}

impl<'a, F: Fn(usize) -> Part<'a>> Upcoming<'a, F> {
    pub(crate) fn new(plan: &Plan, count: &'a ByteCount, parts: usize, part: F) -> Self {
        let remote = plan.files.iter().any(|file| file.file.is_remote());
        Self {
            count,
            parts: if remote { parts } else { 0 },
            next: Mutex::new(0),
            part,
        }
    }

    /// A thread begins with a part: it is fetched, and what comes after it as far as there is room.
    pub(crate) fn begun(&self, part: usize) {
        if part >= self.parts {
            return;
        }
        // Others wait here, or they would fetch their part a second time.
        let mut next = self.next.lock();
        *next = (*next).max(part);
        while *next < self.parts {
            let Part {
                file,
                row_group,
                ranges,
                names,
            } = (self.part)(*next);
            if !file.expect(self.count, row_group, ranges.as_deref(), &names) {
                return;
            }
            *next += 1;
        }
    }
}
