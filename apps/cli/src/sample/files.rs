//! Where and how is the sample data written?

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::RecordBatch;
use larder::{Error, Result};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::generate::{RowSeeds, Scale, internal, labels};
use super::table::{Make, SampleView};

/// Rows per row group: several in each file, so that what a join skips can be seen.
const ROW_GROUP: usize = 24_000;

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Files.
    pub(crate) files: usize,
    /// Rows.
    pub(crate) rows: usize,
    /// Bytes.
    pub(crate) bytes: u64,
}

/// Writes the history of all views below a folder, one subfolder per source.
///
/// # Errors
/// `Unavailable` when a file cannot be written.
pub(crate) fn write_views(folder: &Path, views: &[SampleView], scale: &Scale) -> Result<Written> {
    let jobs: Vec<(&SampleView, u64)> = views
        .iter()
        .flat_map(|view| (0..scale.files).map(move |part| (view, part)))
        .collect();
    for view in views {
        let folder = folder.join(view.source);
        fs::create_dir_all(&folder).map_err(|cause| cannot_write(&folder, cause))?;
    }
    let next = AtomicUsize::new(0);
    let outcome: Mutex<Result<Written>> = Mutex::new(Ok(Written::default()));
    let work = || {
        while let Some((view, part)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let path = folder.join(view.source).join(format!("part-{part:03}.parquet"));
            let written =
                file_batch(view, scale, *part).and_then(|batch| write_parquet(&path, &batch, Some(view)));
            let mut outcome = outcome.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match (&mut *outcome, written) {
                (Ok(sum), Ok(file)) => {
                    sum.files += file.files;
                    sum.rows += file.rows;
                    sum.bytes += file.bytes;
                }
                (Ok(_), Err(error)) => *outcome = Err(error),
                (Err(_), _) => return,
            }
        }
    };
    let threads = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(jobs.len());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    outcome
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn file_batch(view: &SampleView, scale: &Scale, part: u64) -> Result<RecordBatch> {
    let seeds = RowSeeds::of_file(view, scale, part);
    let mut columns = seeds.fixed_columns(view);
    for feature in &view.features {
        columns.push((feature.name, seeds.column(feature)?));
    }
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
        .map_err(internal)
}

/// Writes entity rows with a label.
///
/// # Errors
/// `Unavailable` when the file cannot be written.
pub(crate) fn write_labels(path: &Path, scale: &Scale, rows: u64) -> Result<Written> {
    let batch = RecordBatch::try_from_iter(labels(scale, rows)).map_err(internal)?;
    write_parquet(path, &batch, None)
}

fn write_parquet(path: &Path, batch: &RecordBatch, view: Option<&SampleView>) -> Result<Written> {
    // Dictionaries help where values repeat; elsewhere the writer would try and give up.
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_dictionary_enabled(false);
    for feature in view.iter().flat_map(|view| &view.features) {
        if matches!(feature.make, Make::Choice(_)) {
            properties = properties.set_column_dictionary_enabled(feature.name.into(), true);
        }
    }
    let failed = |cause: parquet::errors::ParquetError| cannot_write(path, cause);
    let file = File::create(path).map_err(|cause| cannot_write(path, cause))?;
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties.build())).map_err(failed)?;
    writer.write(batch).map_err(failed)?;
    writer.close().map_err(failed)?;
    let bytes = fs::metadata(path)
        .map_err(|cause| cannot_write(path, cause))?
        .len();
    Ok(Written {
        files: 1,
        rows: batch.num_rows(),
        bytes,
    })
}

fn cannot_write(path: &Path, cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    let path: PathBuf = path.to_owned();
    Error::unavailable(format!("`{}` cannot be written", path.display())).source(cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{demo_views, starter_views};

    #[test]
    fn the_same_seed_gives_the_same_rows() {
        let scale = Scale::starter(larder::Micros(1_700_000_000_000_000));
        for view in starter_views() {
            assert_eq!(
                file_batch(&view, &scale, 1).unwrap(),
                file_batch(&view, &scale, 1).unwrap()
            );
        }
    }

    #[test]
    fn the_demo_has_about_a_million_rows_with_late_rows_duplicates_and_nulls() {
        let scale = Scale::demo(larder::Micros(1_700_000_000_000_000));
        let (mut rows, mut late, mut twice, mut outside) = (0, 0, 0, 0);
        for view in demo_views() {
            for part in 0..scale.files {
                let seeds = RowSeeds::of_file(&view, &scale, part);
                rows += seeds.event.len();
                for i in 0..seeds.event.len() {
                    late += usize::from(seeds.created[i] - seeds.event[i] > 20 * 3_600_000_000);
                    outside += usize::from(
                        seeds.event[i] < scale.start().0
                            || seeds.event[i] > scale.end.0
                            || seeds.created[i] < seeds.event[i],
                    );
                    let same =
                        i > 0 && seeds.event[i] == seeds.event[i - 1] && seeds.first[i] == seeds.first[i - 1];
                    twice += usize::from(same);
                }
            }
        }
        assert!((950_000..1_050_000).contains(&rows), "{rows}");
        assert!((10_000..60_000).contains(&late), "{late}");
        assert!((5_000..20_000).contains(&twice), "{twice}");
        assert_eq!(outside, 0);
        let one = file_batch(&demo_views()[0], &Scale::starter(scale.end), 0).unwrap();
        assert!(one.columns().iter().any(|column| column.null_count() > 0));
    }
}
