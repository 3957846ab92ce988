//! How do record batches get into and out of Parquet files?

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use larder::arrow::array::RecordBatch;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::Result;

/// A Parquet file that appears under its name when it is complete.
pub(crate) struct Writer {
    path: std::path::PathBuf,
    part: std::path::PathBuf,
    group_rows: usize,
    inner: Option<ArrowWriter<File>>,
}

impl Writer {
    pub(crate) fn new(path: &Path, group_rows: usize) -> Self {
        Self {
            path: path.to_path_buf(),
            part: path.with_extension("part"),
            group_rows,
            inner: None,
        }
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let writer = match &mut self.inner {
            Some(writer) => writer,
            None => {
                if let Some(folder) = self.path.parent() {
                    std::fs::create_dir_all(folder)?;
                }
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .set_max_row_group_row_count(Some(self.group_rows))
                    .build();
                let file = File::create(&self.part)?;
                self.inner
                    .insert(ArrowWriter::try_new(file, batch.schema(), Some(properties))?)
            }
        };
        Ok(writer.write(batch)?)
    }

    pub(crate) fn finish(self) -> Result<()> {
        if let Some(writer) = self.inner {
            writer.close()?;
            std::fs::rename(&self.part, &self.path)?;
        }
        Ok(())
    }
}

/// Batches of a file; all columns where none is named.
pub(crate) fn read(path: &Path, columns: Option<&[String]>) -> Result<ParquetRecordBatchReader> {
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
    let mask = match columns {
        None => ProjectionMask::all(),
        Some(names) => {
            let schema = builder.schema();
            let roots: Vec<usize> = names
                .iter()
                .map(|n| schema.index_of(n))
                .collect::<Result<_, _>>()?;
            ProjectionMask::roots(builder.parquet_schema(), roots)
        }
    };
    Ok(builder.with_batch_size(16_384).with_projection(mask).build()?)
}

/// All batches of a file in order, decoded by row group on all cores.
pub(crate) fn read_whole(path: &Path) -> Result<Vec<RecordBatch>> {
    let groups = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?
        .metadata()
        .num_row_groups();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let decode = || -> Result<Vec<(usize, Vec<RecordBatch>)>, String> {
        let mut decoded = Vec::new();
        loop {
            let group = next.fetch_add(1, Ordering::Relaxed);
            if group >= groups {
                return Ok(decoded);
            }
            let batches = read_group(path, group).map_err(|error| error.to_string())?;
            decoded.push((group, batches));
        }
    };
    let mut all = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(decode)).collect();
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.join().map_err(|_| "a decoding thread panicked")??);
        }
        Ok::<_, Box<dyn std::error::Error>>(all)
    })?;
    all.sort_by_key(|(group, _)| *group);
    Ok(all.into_iter().flat_map(|(_, batches)| batches).collect())
}

fn read_group(path: &Path, group: usize) -> Result<Vec<RecordBatch>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?
        .with_row_groups(vec![group])
        .with_batch_size(65_536)
        .build()?;
    Ok(reader.collect::<Result<_, _>>()?)
}

/// Names of a file's columns.
pub(crate) fn names(path: &Path) -> Result<Vec<String>> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?;
    Ok(builder
        .schema()
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .collect())
}
