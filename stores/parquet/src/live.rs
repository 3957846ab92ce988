//! Which of the files that were found count: a compacted file stands for those that it names.
//!
//! Many files cannot be exchanged for one at once, neither in a folder nor in a bucket. So a compacted file says itself,
//! in its footer, whose rows it holds, and those files count no more from the moment at which it appears. They are
//! removed later; until then other readers find their rows twice, this one never.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use larder_core::{CompactOptions, Error, ErrorKind, Micros, Result, SourceFile, model::Source};
use parquet::file::metadata::ParquetMetaData;
use serde::{Deserialize, Serialize};

use crate::discover::{self, Found};
use crate::object::DataFile;
use crate::plan::{self, Context};
use crate::root::Root;

/// Under what the footer of a compacted file says what it stands for.
pub(crate) const KEY: &str = "larder.compacted";

/// What parts the name of a compacted file from its beginning; 16 hexadecimal digits follow.
pub(crate) const MARK: &str = "~c";

/// Extension of files that this store writes.
pub(crate) const EXTENSION: &str = ".parquet";

/// What a compacted file stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    /// One more than those of the compacted files among its members; one where there are none.
    pub(crate) generation: u32,
    /// The files that were merged, in their order.
    pub(crate) members: Vec<String>,
    /// These, and those that they stand for in turn: when each was first replaced, µs UTC. All in the same folder.
    pub(crate) replaces: HashMap<String, i64>,
    /// When it was made, µs UTC.
    pub(crate) at: i64,
    /// The names in `replaces`, to be shared with reports.
    #[serde(skip)]
    pub(crate) names: Arc<[String]>,
}

impl Note {
    /// What a footer says; nothing where it is of an ordinary file.
    ///
    /// # Errors
    /// `Corrupt` for a note that cannot be read: taken for an ordinary file, its rows would count twice.
    pub(crate) fn of(footer: &ParquetMetaData) -> Result<Option<Self>> {
        let metadata = footer.file_metadata().key_value_metadata();
        let pair = metadata.and_then(|pairs| pairs.iter().find(|pair| pair.key == KEY));
        pair.map(|pair| Self::parse(pair.value.as_deref().unwrap_or_default()))
            .transpose()
    }

    fn parse(text: &str) -> Result<Self> {
        let mut note: Self = serde_json::from_str(text).map_err(|cause| {
            Error::new(
                ErrorKind::Corrupt,
                "a compacted file does not say what it replaces",
            )
            .help("upgrade larder, if a newer one wrote it")
            .source(cause)
        })?;
        note.names = note.replaces.keys().cloned().collect();
        Ok(note)
    }
}

/// Whether a name is that of a compacted file; only its footer knows for certain.
pub(crate) fn is_compacted(name: &str) -> bool {
    name.strip_suffix(EXTENSION)
        .and_then(|stem| stem.rsplit_once(MARK))
        .is_some_and(|(_, digits)| digits.len() == 16 && digits.bytes().all(|c| c.is_ascii_hexdigit()))
}

/// The files of a source, those that count apart from the others.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// The resolved path, for messages.
    pub(crate) shown: String,
    /// Those that count, sorted by path.
    pub(crate) files: Vec<DataFile>,
    /// Those that others stand for.
    pub(crate) replaced: Vec<Replaced>,
    /// What the compacted ones among those that count stand for.
    pub(crate) notes: HashMap<PathBuf, Arc<Note>>,
    /// The last of all in order, replaced ones included.
    pub(crate) last: Option<PathBuf>,
}

/// A file whose rows are elsewhere.
#[derive(Debug)]
pub(crate) struct Replaced {
    pub(crate) file: DataFile,
    /// Since when nobody who begins reads it.
    pub(crate) since: Micros,
    /// Whether it is a compacted file that was made while another one was; it goes before those that both name.
    pub(crate) superfluous: bool,
}

impl Live {
    /// The files that count, for a report.
    pub(crate) fn told(&self) -> Vec<SourceFile> {
        let told = |file: &DataFile| match self.notes.get(&file.path) {
            Some(note) => file.told().with_replaces(note.names.clone()),
            None => file.told(),
        };
        self.files.iter().map(told).collect()
    }
}

/// Finds the files of a source that count.
pub(crate) fn all(root: &Root, source: &Source, context: &Context) -> Result<Live> {
    let began = Instant::now();
    let found = discover::find(root, source)?;
    // A listing is no snapshot. Within the least grace no file disappears whose successor it could have missed.
    if began.elapsed() > CompactOptions::LEAST_GRACE.to_std() {
        return Err(
            Error::unavailable("the source's files took so long to list that they may have changed")
                .with("source", &source.name)
                .help("run again; a source of fewer, larger files is listed faster"),
        );
    }
    sort_out(found, context).map_err(|error| error.with("source", &source.name))
}

fn sort_out(found: Found, context: &Context) -> Result<Live> {
    let mut live = Live {
        shown: found.shown,
        last: found.files.last().map(|file| file.path.clone()),
        ..Live::default()
    };
    let (marked, mut files): (Vec<_>, Vec<_>) = found
        .files
        .into_iter()
        .partition(|file| is_compacted(&name_of(&file.path)));
    if marked.is_empty() {
        live.files = files;
        return Ok(live);
    }
    let kept = marked.into_iter().map(|file| (Arc::new(file), Arc::default()));
    let opened = plan::open(kept.collect(), context)?;
    let mut notes: HashMap<PathBuf, Arc<Note>> = HashMap::new();
    for scanned in opened {
        let path = &scanned.file.path;
        let note = scanned
            .footer
            .note()
            .map_err(|error| error.with("path", path.display()))?;
        if let Some(note) = note {
            notes.insert(scanned.file.path.clone(), note);
        }
        // Nobody else holds it any more.
        files.extend(Arc::into_inner(scanned.file));
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut by_folder: HashMap<PathBuf, Vec<(String, Option<&Note>)>> = HashMap::new();
    for file in &files {
        let entry = (name_of(&file.path), notes.get(&file.path).map(Arc::as_ref));
        by_folder.entry(folder_of(&file.path)).or_default().push(entry);
    }
    let mut gone: HashMap<PathBuf, Gone> = HashMap::new();
    for (folder, entries) in &by_folder {
        let found = judge(entries).into_iter();
        gone.extend(found.map(|(name, why)| (folder.join(name), why)));
    }
    for file in files {
        match gone.get(&file.path) {
            None => live.files.push(file),
            Some(why) => live.replaced.push(Replaced {
                since: Micros(why.since),
                superfluous: why.superfluous,
                file,
            }),
        }
    }
    notes.retain(|path, _| !gone.contains_key(path));
    live.notes = notes;
    Ok(live)
}

/// Why a file does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Gone {
    since: i64,
    superfluous: bool,
}

/// Which files of one folder do not count. Every row of theirs is in a file that does.
///
/// Where two compactions were at work on the same files, the compacted file that comes second is superfluous as long as
/// everything in it is elsewhere; so all readers agree on one of them.
fn judge(entries: &[(String, Option<&Note>)]) -> HashMap<String, Gone> {
    let present: HashSet<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
    let mut compacted: Vec<(&str, &Note)> = entries
        .iter()
        .filter_map(|(name, note)| Some((name.as_str(), (*note)?)))
        .collect();
    // Those that were made of others come before these.
    compacted.sort_by(|a, b| b.1.generation.cmp(&a.1.generation).then(a.0.cmp(b.0)));
    // By name when each file was first replaced, and when its successor was made.
    let mut covered: HashMap<&str, (i64, i64)> = HashMap::new();
    let mut gone = HashMap::new();
    for (name, note) in compacted {
        if covered.contains_key(name) {
            continue;
        }
        let rivals = note.replaces.keys().filter_map(|name| covered.get(name.as_str()));
        let rival = rivals.map(|(_, made)| *made).max();
        let is_elsewhere =
            |name: &String| covered.contains_key(name.as_str()) || present.contains(name.as_str());
        if let Some(made) = rival
            && note.members.iter().all(is_elsewhere)
        {
            let since = made.max(note.at);
            gone.insert(
                name.to_owned(),
                Gone {
                    since,
                    superfluous: true,
                },
            );
            continue;
        }
        for (name, since) in &note.replaces {
            covered.entry(name).or_insert((*since, note.at));
        }
    }
    for (name, (since, _)) in covered.into_iter().filter(|(name, _)| present.contains(name)) {
        gone.entry(name.to_owned()).or_insert(Gone {
            since,
            superfluous: false,
        });
    }
    gone
}

pub(crate) fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(generation: u32, at: i64, members: &[&str], formerly: &[&str]) -> Note {
        let names = members.iter().map(|name| ((*name).to_owned(), at));
        let former = formerly.iter().map(|name| ((*name).to_owned(), at - 1));
        Note {
            generation,
            members: members.iter().map(|name| (*name).to_owned()).collect(),
            replaces: names.chain(former).collect(),
            at,
            names: Arc::default(),
        }
    }

    /// Names that count, and those that are superfluous.
    fn judged(plain: &[&str], compacted: &[(&str, Note)]) -> (Vec<String>, Vec<String>) {
        let mut entries: Vec<(String, Option<&Note>)> =
            plain.iter().map(|name| ((*name).to_owned(), None)).collect();
        entries.extend(
            compacted
                .iter()
                .map(|(name, note)| ((*name).to_owned(), Some(note))),
        );
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        let gone = judge(&entries);
        let names = entries.iter().map(|(name, _)| name.clone());
        let live = names.filter(|name| !gone.contains_key(name)).collect();
        let mut superfluous: Vec<String> = gone
            .iter()
            .filter(|(_, gone)| gone.superfluous)
            .map(|(name, _)| name.clone())
            .collect();
        superfluous.sort();
        (live, superfluous)
    }

    #[test]
    fn a_compacted_file_stands_for_those_it_names() {
        let x = || ("x", note(1, 10, &["a", "b"], &[]));
        assert_eq!(judged(&["a", "b", "c"], &[x()]).0, ["c", "x"]);
        // Removed in any order.
        assert_eq!(judged(&["b", "c"], &[x()]).0, ["c", "x"]);
        assert_eq!(judged(&["c"], &[x()]).0, ["c", "x"]);
        // And one that was made of it.
        let y = ("y", note(2, 20, &["x", "c"], &["a", "b"]));
        assert_eq!(judged(&["a", "b", "c", "d"], &[x(), y.clone()]).0, ["d", "y"]);
        assert_eq!(judged(&["b", "d"], std::slice::from_ref(&y)).0, ["d", "y"]);
        let early = ("0", y.1.clone());
        assert_eq!(judged(&["a", "c"], &[x(), early]).0, ["0"]);
    }

    #[test]
    fn of_two_compactions_at_once_one_counts() {
        let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let x = ("x", note(1, 10, &["a", "b", "c"], &[]));
        let y = ("y", note(1, 11, &["b", "c", "d"], &[]));
        let both = [x.clone(), y.clone()];
        let all = judged(&["a", "b", "c", "d"], &both);
        assert_eq!(all, (own(&["d", "x"]), own(&["y"])));
        // While what the first names is removed.
        for left in [&["b", "c", "d"][..], &["c", "d"], &["d"]] {
            assert_eq!(judged(left, &both), (own(&["d", "x"]), own(&["y"])));
        }
        // The same files, or some of them.
        let z = ("z", note(1, 12, &["b", "c"], &[]));
        assert_eq!(
            judged(&["b"], &[x.clone(), z.clone()]),
            (own(&["x"]), own(&["z"]))
        );
        // Made from an old listing, when those files are long gone and the compacted one was merged again.
        let w = ("w", note(2, 30, &["x", "e"], &["a", "b", "c"]));
        let late = ("v", note(1, 40, &["b", "c"], &[]));
        assert_eq!(judged(&[], &[w, late]), (own(&["w"]), own(&["v"])));
        // Never lost: what is nowhere else counts, even if other rows then count twice.
        assert_eq!(judged(&[], &both).0, own(&["x", "y"]));
    }

    #[test]
    fn grace_runs_from_the_first_replacement() {
        let y = note(2, 20, &["x", "c"], &["a"]);
        let entries: Vec<(String, Option<&Note>)> = vec![
            ("a".to_owned(), None),
            ("c".to_owned(), None),
            ("y".to_owned(), Some(&y)),
        ];
        let gone = judge(&entries);
        assert_eq!((gone["a"].since, gone["c"].since), (19, 20));
    }

    #[test]
    fn a_note_that_cannot_be_read_is_no_ordinary_file() {
        let text = serde_json::to_string(&note(1, 10, &["a"], &[])).unwrap();
        assert_eq!(Note::parse(&text).unwrap().names.as_ref(), ["a".to_owned()]);
        for wrong in ["", "{}", &text[1..]] {
            assert_eq!(
                Note::parse(wrong).unwrap_err().kind(),
                ErrorKind::Corrupt,
                "{wrong}"
            );
        }
    }

    #[test]
    fn names_of_compacted_files() {
        assert!(is_compacted("part-1~c0123456789abcdef.parquet"));
        for name in [
            "part-1.parquet",
            "a~c.parquet",
            "a~c0123456789abcdeg.parquet",
            "a~c0123456789abcdef.pq",
        ] {
            assert!(!is_compacted(name), "{name}");
        }
    }
}
