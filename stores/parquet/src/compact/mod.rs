//! How small files that appends left become few: groups are merged, what they replace is removed when its grace is over.
//!
//! The moment at which a merged file gets its name is the moment at which it counts and those that it names do not
//! (`live`). So whatever is killed, and whoever reads meanwhile, finds every row once. Nothing is removed before its
//! grace is over, counted from its replacement: reads that began before may be at it.

mod merge;
mod plan;

use std::collections::{HashMap, HashSet};
use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use larder_core::convert::Zone;
use larder_core::model::Source;
use larder_core::{CompactOptions, CompactReport, Error, Micros, Result, Span};

use crate::discover::{self, Place, show};
use crate::live::{self, Live, Note, Replaced, name_of};
use crate::plan::{Context, open};
use crate::reader::ScanFile;
use crate::root::{Root, Spot};
use crate::sink;
use merge::Merge;
use plan::Candidate;

/// The file that one compaction at a time keeps locked, where the file system has locks.
const LOCK: &str = ".larder-compact.lock";

/// How old a listing may be when a merged file gets its name; then files are listed anew.
const STALE: Duration = Duration::from_secs(5 * 60);

/// Names that a merged file still knows although those files are gone.
const REMEMBERED: usize = 2_000;

/// Merges the small files of a source.
pub(crate) fn compact(
    root: &Root,
    source: &Source,
    options: &CompactOptions,
    clock: &dyn Fn() -> Micros,
    context: &Context,
) -> Result<CompactReport> {
    let here = |error: Error| error.with("source", &source.name);
    check(options).map_err(here)?;
    let Place::Folder(folder) = discover::place(root, source).map_err(here)? else {
        return Err(here(Error::unsupported(
            "a file or pattern takes no rows, so there is nothing to compact",
        ))
        .help("compact sources whose `path` names a folder"));
    };
    let work = Work {
        root,
        source,
        options,
        clock,
        context,
        spot: discover::spot(root, source).map_err(here)?,
        zone: source
            .timezone
            .as_deref()
            .map(Zone::new)
            .transpose()
            .map_err(here)?,
        folder,
    };
    let _lock = work.lock().map_err(here)?;
    work.run().map_err(here)
}

fn check(options: &CompactOptions) -> Result<()> {
    if options.grace != Span::ZERO && options.grace < CompactOptions::LEAST_GRACE {
        return Err(Error::input(format!(
            "a grace of {} is too short for reads that have begun",
            options.grace
        ))
        .help("give at least 10m; or none at all where nothing reads the source meanwhile"));
    }
    if options.target.0 == 0 || options.memory.0 == 0 {
        return Err(Error::input("files of no bytes cannot be made"));
    }
    Ok(())
}

struct Work<'a> {
    root: &'a Root,
    source: &'a Source,
    options: &'a CompactOptions,
    clock: &'a dyn Fn() -> Micros,
    context: &'a Context,
    folder: PathBuf,
    spot: Spot,
    zone: Option<Zone>,
}

impl Work<'_> {
    fn run(&self) -> Result<CompactReport> {
        let mut report = CompactReport::default();
        let mut live = live::all(self.root, self.source, self.context)?;
        report.files = live.files.len() as u64;
        if self.options.dry_run {
            return self.planned(live, report);
        }
        sink::sweep(&self.spot, (self.clock)());
        self.remove(&mut live, &mut report)?;
        report.bytes_made = Some(0);
        loop {
            let began = Instant::now();
            let groups = self.groups(&live)?;
            let all = groups.len();
            let mut done = 0;
            for files in groups.iter().take_while(|_| began.elapsed() < STALE) {
                self.merge(files, &live, &mut report)?;
                done += 1;
            }
            if all > 0 {
                live = live::all(self.root, self.source, self.context)?;
            }
            if done == all {
                break;
            }
        }
        if self.options.grace == Span::ZERO {
            self.remove(&mut live, &mut report)?;
        }
        report.waiting = live.replaced.len() as u64;
        Ok(report)
    }

    fn planned(&self, live: Live, mut report: CompactReport) -> Result<CompactReport> {
        let groups = self.groups(&live)?;
        for files in &groups {
            report.merged += files.len() as u64;
            report.bytes_merged += files.iter().map(|file| file.file.version.size).sum::<u64>();
            report.rows += files.iter().map(rows_of).sum::<u64>();
        }
        report.made = groups.len() as u64;
        let due = live
            .replaced
            .iter()
            .filter(|replaced| self.is_due(replaced))
            .count();
        report.removed = due as u64;
        report.waiting = (live.replaced.len() - due) as u64;
        Ok(report)
    }

    /// The files to be merged with one another.
    fn groups(&self, live: &Live) -> Result<Vec<Vec<ScanFile>>> {
        let kept = live
            .files
            .iter()
            .map(|file| (Arc::new(file.clone()), Arc::default()));
        let files = open(kept.collect(), self.context)?;
        let mut schemas = Vec::new();
        let candidates: Vec<Candidate> = files
            .iter()
            .map(|file| {
                let fields = file.footer.schema().fields();
                let schema = schemas
                    .iter()
                    .position(|known| *known == fields)
                    .unwrap_or_else(|| {
                        schemas.push(fields);
                        schemas.len() - 1
                    });
                Candidate {
                    own: self.is_own(file, live),
                    bytes: file.file.version.size,
                    memory: merge::memory(&file.footer),
                    schema,
                }
            })
            .collect();
        let groups = plan::groups(&candidates, self.options.target.0, self.options.memory.0);
        if let Some(progress) = &self.options.progress {
            let rows = groups.iter().flat_map(|range| &files[range.clone()]).map(rows_of);
            progress.expect(rows.sum());
        }
        Ok(groups.into_iter().map(|range| files[range].to_vec()).collect())
    }

    fn is_own(&self, file: &ScanFile, live: &Live) -> bool {
        let path = &file.file.path;
        let written_here = live.notes.contains_key(path)
            || plan::is_appended(
                &name_of(path),
                file.footer.metadata().file_metadata().created_by(),
            );
        let has_time = file
            .footer
            .schema()
            .field_with_name(&self.source.event_time)
            .is_ok();
        written_here && has_time && path.parent() == Some(self.folder.as_path())
    }

    fn merge(&self, files: &[ScanFile], live: &Live, report: &mut CompactReport) -> Result<()> {
        let note = self.note(files, live);
        let name = plan::name_after(&note.members[0]);
        let merge = Merge {
            files,
            event: &self.source.event_time,
            zone: self.zone.as_ref(),
            root: self.root,
            folder: &self.spot,
            name: &name,
            note: &note,
            progress: self.options.progress.as_ref(),
            context: self.context,
        };
        let (rows, bytes) = merge.run()?;
        report.merged += files.len() as u64;
        report.made += 1;
        report.rows += rows;
        report.bytes_merged += files.iter().map(|file| file.file.version.size).sum::<u64>();
        *report.bytes_made.get_or_insert(0) += bytes;
        Ok(())
    }

    /// What the merged file says of itself.
    fn note(&self, files: &[ScanFile], live: &Live) -> Note {
        let now = (self.clock)().0;
        let members: Vec<String> = files.iter().map(|file| name_of(&file.file.path)).collect();
        let known: Vec<&Arc<Note>> = files
            .iter()
            .filter_map(|file| live.notes.get(&file.file.path))
            .collect();
        let replaced = live.replaced.iter().map(|replaced| &replaced.file.path);
        let beside = replaced.filter(|path| path.parent() == Some(self.folder.as_path()));
        let present: HashSet<String> = beside.map(|path| name_of(path)).collect();
        let there = |name: &String| present.contains(name);
        let mut former: Vec<(&String, i64)> = known
            .iter()
            .flat_map(|note| note.replaces.iter().map(|(name, at)| (name, *at)))
            .collect();
        // Those that are still there must be named; of the others the latest, in case somebody merges from an old listing.
        former.sort_by_key(|(name, at)| (!there(name), -*at));
        let must = former.iter().filter(|(name, _)| there(name)).count();
        former.truncate(must.max(REMEMBERED));
        let mut replaces: HashMap<String, i64> =
            former.into_iter().map(|(name, at)| (name.clone(), at)).collect();
        replaces.extend(members.iter().map(|name| (name.clone(), now)));
        Note {
            generation: known.iter().map(|note| note.generation).max().unwrap_or(0) + 1,
            members,
            replaces,
            at: now,
            names: Arc::default(),
        }
    }

    fn is_due(&self, replaced: &Replaced) -> bool {
        (self.clock)() >= replaced.since.plus(self.options.grace)
    }

    /// Removes what was replaced long enough ago; what is superfluous first, or it could count again.
    fn remove(&self, live: &mut Live, report: &mut CompactReport) -> Result<()> {
        let (mut due, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut live.replaced)
            .into_iter()
            .partition(|replaced| self.is_due(replaced));
        live.replaced = waiting;
        // What both of two rivals name stays until the superfluous one can go.
        if live.replaced.iter().any(|replaced| replaced.superfluous) {
            live.replaced
                .extend(due.extract_if(.., |replaced| !replaced.superfluous));
        }
        due.sort_by_key(|replaced| !replaced.superfluous);
        for replaced in &due {
            self.context.cancel.check()?;
            replaced.file.remove()?;
        }
        report.removed += due.len() as u64;
        if let (Spot::Disk(folder), false) = (&self.spot, due.is_empty()) {
            sink::sync_folder(folder).map_err(|error| sink::unwritten(error, folder))?;
        }
        Ok(())
    }

    /// Keeps other compactions of the folder off until it is dropped. Where there are no locks, and on object stores,
    /// several may be at work: then what the slower one made is superfluous.
    fn lock(&self) -> Result<Option<File>> {
        let Spot::Disk(folder) = &self.spot else {
            return Ok(None);
        };
        if self.options.dry_run || !folder.is_dir() {
            return Ok(None);
        }
        let path = folder.join(LOCK);
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| sink::unwritten(error, &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => {
                Err(Error::conflict("another compaction of the source is under way")
                    .with("path", show(folder))
                    .help("wait for it to end; what is left is done by the next one"))
            }
            Err(TryLockError::Error(_)) => Ok(None),
        }
    }
}

fn rows_of(file: &ScanFile) -> u64 {
    (0..file.footer.metadata().num_row_groups())
        .map(|group| file.rows(group))
        .sum()
}
