//! Which rows of a file are set aside, why, and where do they go?
//!
//! They are written as they are found, as they stand in the file, under a temporary name; the file gets its own when
//! the good rows are where they belong.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use arrow_select::filter::filter_record_batch;
use larder::{Error, Judged, Result};

use super::csv::Wrong;
use super::write::RowsFile;

/// Bad rows that are named besides being written.
const NAMED: usize = 1_000;

/// The bad rows of a file, on their way to another.
pub(crate) struct Aside {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Batches whose good rows are being judged, as they stand in the file.
    read: VecDeque<Sifted>,
    rows: u64,
    bad: u64,
    named: Vec<(u64, String)>,
    file: Option<RowsFile>,
}

/// Rows as text, and those of them with a cell that cannot be typed.
pub(super) struct Sifted {
    texts: RecordBatch,
    bad: BTreeMap<usize, String>,
}

impl std::fmt::Debug for Aside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aside")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Aside {
    /// Bad rows will go to a file; none is made where there are none.
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Rows in the file.
    pub(crate) fn rows(&self) -> u64 {
        self.state().rows
    }

    /// How many are bad.
    pub(crate) fn bad(&self) -> u64 {
        self.state().bad
    }

    /// The first bad rows, from 0, with their reasons.
    pub(crate) fn named(&self) -> Vec<(u64, String)> {
        self.state().named.clone()
    }

    /// Remembers a batch of which only some rows can be judged.
    pub(super) fn read(&self, sifted: Sifted) {
        self.state().read.push_back(sifted);
    }

    /// Takes the verdict on the good rows of the next batch.
    ///
    /// # Errors
    /// `Unavailable` when bad rows cannot be written.
    pub(crate) fn judged(&self, judged: &Judged<'_>) -> Result<()> {
        let mut state = self.state();
        let first = state.rows;
        let (dead, bad) = match state.read.pop_front() {
            Some(sifted) => sifted.judged(judged)?,
            None => {
                let bad = judged.refused.iter();
                let bad = bad.map(|bad| (bad.row - judged.first_row as usize, bad.reason.clone()));
                (
                    judged.dead.cloned(),
                    Rest {
                        rows: judged.rows,
                        bad: bad.collect(),
                    },
                )
            }
        };
        state.rows += bad.rows;
        state.bad += bad.bad.len() as u64;
        let room = NAMED.saturating_sub(state.named.len());
        let named = bad.bad.into_iter().take(room);
        state
            .named
            .extend(named.map(|(row, why)| (first + row as u64, why)));
        let Some(dead) = dead else { return Ok(()) };
        let file = match &mut state.file {
            Some(file) => file,
            none => none.insert(RowsFile::create(&self.path, &dead.schema())?),
        };
        file.write(&dead)
    }

    /// Gives the file its name, if there were bad rows.
    ///
    /// # Errors
    /// `Unavailable` when that fails.
    pub(crate) fn finish(&self) -> Result<()> {
        let file = self.state().file.take();
        file.map_or(Ok(()), |file| file.finish().map(drop))
    }
}

/// The bad rows of a batch by their place in it.
struct Rest {
    rows: u64,
    bad: BTreeMap<usize, String>,
}

impl Sifted {
    /// The rows with a wrong cell, by their place among these, with their reasons.
    pub(super) fn wrong(&self) -> &BTreeMap<usize, String> {
        &self.bad
    }

    /// The bad rows, with those among the good ones that were refused.
    fn judged(mut self, judged: &Judged<'_>) -> Result<(Option<RecordBatch>, Rest)> {
        let rows = self.texts.num_rows();
        let good: Vec<usize> = (0..rows).filter(|row| !self.bad.contains_key(row)).collect();
        if good.len() as u64 != judged.rows {
            return Err(Error::internal("rows were judged that were not read"));
        }
        for refused in judged.refused {
            let row = refused.row - judged.first_row as usize;
            self.bad.insert(good[row], refused.reason.clone());
        }
        let rest = |bad| Rest {
            rows: rows as u64,
            bad,
        };
        if self.bad.is_empty() {
            return Ok((None, rest(self.bad)));
        }
        let bad: BooleanArray = (0..rows).map(|row| Some(self.bad.contains_key(&row))).collect();
        let (schema, mut columns, _) = filter_record_batch(&self.texts, &bad)
            .map_err(broken)?
            .into_parts();
        let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new("reason", DataType::Utf8, false)));
        columns.push(Arc::new(self.bad.values().map(Some).collect::<StringArray>()));
        let dead = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(broken)?;
        Ok((Some(dead), rest(self.bad)))
    }
}

/// The rows of a batch of text all of whose cells can be typed, and what there was of others.
pub(super) fn sift(
    texts: RecordBatch,
    names: &[String],
    typed: impl Fn(usize, &StringArray) -> Result<ArrayRef, Wrong>,
) -> Result<(RecordBatch, Sifted)> {
    let mut good = vec![true; texts.num_rows()];
    let mut bad = BTreeMap::new();
    for (i, name) in names.iter().enumerate() {
        let cells = texts.column(i).as_string::<i32>();
        // One look at the whole column; only where it has a wrong cell, row by row.
        if typed(i, cells).is_ok() {
            continue;
        }
        for (row, good) in good.iter_mut().enumerate() {
            if let Err(wrong) = typed(i, &cells.slice(row, 1)) {
                *good = false;
                bad.entry(row)
                    .or_insert_with(|| format!("column `{name}`: {}", wrong.what));
            }
        }
    }
    let kept = filter_record_batch(&texts, &BooleanArray::from(good)).map_err(broken)?;
    Ok((kept, Sifted { texts, bad }))
}

fn broken(cause: ArrowError) -> Error {
    Error::internal("rows could not be set aside").source(cause)
}
