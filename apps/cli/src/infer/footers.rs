//! How many rows and nulls do local Parquet files have? Answered by their footers.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use larder::{Error, Result};
use parquet::file::reader::{FileReader, SerializedFileReader};

/// Counts over all files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Footers {
    /// Files; 0 where they were not looked at.
    pub(super) files: usize,
    /// Rows.
    pub(super) rows: u64,
    /// Nulls by column, of columns whose files all count them.
    pub(super) nulls: BTreeMap<String, u64>,
}

/// Counts a file, or all Parquet files below a folder.
pub(super) fn count(path: &Path) -> Result<Footers> {
    let mut files = Vec::new();
    collect(path, &mut files, 0)?;
    let mut footers = Footers::default();
    let mut unknown: Vec<String> = Vec::new();
    for path in files {
        let damaged = |cause: parquet::errors::ParquetError| {
            Error::corrupt(format!("`{}` cannot be read as Parquet", path.display())).source(cause)
        };
        let file = File::open(&path).map_err(|cause| {
            Error::unavailable(format!("`{}` cannot be opened", path.display())).source(cause)
        })?;
        let reader = SerializedFileReader::new(file).map_err(damaged)?;
        footers.files += 1;
        for group in reader.metadata().row_groups() {
            footers.rows += u64::try_from(group.num_rows()).unwrap_or(0);
            for column in group.columns() {
                let parts = column.column_path().parts();
                let [name] = parts else { continue };
                match column.statistics().and_then(|s| s.null_count_opt()) {
                    Some(nulls) => *footers.nulls.entry(name.clone()).or_default() += nulls,
                    None => unknown.push(name.clone()),
                }
            }
        }
    }
    footers.nulls.retain(|name, _| !unknown.contains(name));
    Ok(footers)
}

fn collect(path: &Path, files: &mut Vec<PathBuf>, depth: usize) -> Result<()> {
    if path.is_file() {
        files.push(path.to_owned());
        return Ok(());
    }
    if depth > 32 || !path.is_dir() {
        return Ok(());
    }
    let cannot = |cause| Error::unavailable(format!("`{}` cannot be listed", path.display())).source(cause);
    let mut below = Vec::new();
    for entry in std::fs::read_dir(path).map_err(cannot)? {
        below.push(entry.map_err(cannot)?.path());
    }
    below.sort();
    for path in below {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        // Writers of other systems leave `_SUCCESS` and hidden files beside the data.
        if name.starts_with(['_', '.']) {
            continue;
        }
        if path.is_dir() || name.ends_with(".parquet") {
            collect(&path, files, depth + 1)?;
        }
    }
    Ok(())
}
