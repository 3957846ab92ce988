//! What the footer of a data file says, read once and kept while the file stays the same.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use larder_core::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use larder_core::{Error, Result};
use parking_lot::Mutex;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::basic::Type as Physical;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};

use crate::fault;
use crate::live::Note;
use crate::object::{ByteCount, Chunks, DataFile, Version};

/// The footer of one file.
#[derive(Debug)]
pub(crate) struct Footer {
    plain: ArrowReaderMetadata,
    indexed: OnceLock<ArrowReaderMetadata>,
    note: OnceLock<Option<Arc<Note>>>,
}

impl Footer {
    fn read(file: &DataFile, chunks: &Chunks) -> Result<Self> {
        if file.version.size == 0 {
            return Err(Error::corrupt("a data file is empty")
                .with("file", &file.shown)
                .help("a Parquet file has at least a footer; write it again or remove it"));
        }
        // The metadata, and most often the page index, lie within the last few KiB: one request brings both.
        let tail = file.version.size.saturating_sub(TAIL)..file.version.size;
        let chunks = &chunks.holding(|| vec![tail])?;
        let metadata = fault::decoding(|| {
            let metadata = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Skip);
            reader(Arc::new(metadata.parse_and_finish(chunks)?))
        })
        .map_err(|error| fault::reading(chunks, error, &file.shown))?;
        // The rows of a damaged footer would lead to absurd allocations.
        let groups = metadata.metadata().row_groups();
        if groups.iter().any(|group| group.num_rows() < 0) {
            return Err(fault::parquet(
                ParquetError::General("a negative row count".into()),
                &file.shown,
            ));
        }
        let footer = Self {
            plain: metadata,
            indexed: OnceLock::new(),
            note: OnceLock::new(),
        };
        if index_range(footer.metadata()).is_some_and(|range| chunks.holds(&range)) {
            footer.indexed(file, chunks)?;
        }
        Ok(footer)
    }

    /// The columns of the file.
    pub(crate) fn schema(&self) -> &SchemaRef {
        self.plain.schema()
    }

    pub(crate) fn metadata(&self) -> &Arc<ParquetMetaData> {
        self.plain.metadata()
    }

    pub(crate) fn plain(&self) -> &ArrowReaderMetadata {
        &self.plain
    }

    /// What a compacted file says of itself; nothing where it is an ordinary one.
    ///
    /// # Errors
    /// As [`Note::of`].
    pub(crate) fn note(&self) -> Result<Option<Arc<Note>>> {
        if let Some(note) = self.note.get() {
            return Ok(note.clone());
        }
        let note = Note::of(self.metadata())?.map(Arc::new);
        Ok(self.note.get_or_init(|| note).clone())
    }

    /// Whether the file tells where its pages are.
    pub(crate) fn has_pages(&self) -> bool {
        let mut groups = self.metadata().row_groups().iter();
        groups.all(|group| {
            let mut columns = group.columns().iter();
            columns.all(|column| column.offset_index_offset().is_some())
        })
    }

    /// With the page index, where the file has one.
    pub(crate) fn indexed(&self, file: &DataFile, chunks: &Chunks) -> Result<&ArrowReaderMetadata> {
        if let Some(indexed) = self.indexed.get() {
            return Ok(indexed);
        }
        let metadata = self.metadata().as_ref().clone();
        let indexed = fault::decoding(|| {
            let mut index = ParquetMetaDataReader::new_with_metadata(metadata)
                .with_page_index_policy(PageIndexPolicy::Optional);
            index.read_page_indexes(chunks)?;
            reader(Arc::new(index.finish()?))
        })
        .map_err(|error| fault::reading(chunks, error, &file.shown))?;
        Ok(self.indexed.get_or_init(|| indexed))
    }
}

/// Bytes at the end of a file that are fetched at once where requests are slow.
const TAIL: u64 = 128 << 10;

/// Where the page index lies, if there is one.
fn index_range(metadata: &ParquetMetaData) -> Option<Range<u64>> {
    let columns = metadata.row_groups().iter().flat_map(|group| group.columns());
    let parts = columns.flat_map(|column| {
        [
            (column.column_index_offset(), column.column_index_length()),
            (column.offset_index_offset(), column.offset_index_length()),
        ]
    });
    parts
        .filter_map(|(offset, length)| {
            let start = u64::try_from(offset?).ok()?;
            Some(start..start.checked_add(u64::try_from(length?).ok()?)?)
        })
        .reduce(|a, b| a.start.min(b.start)..a.end.max(b.end))
}

/// The reader's view of a footer, with 96-bit timestamps as microseconds: as nanoseconds they would wrap outside of
/// the years 1677 to 2262, which old systems like to use for "never".
fn reader(metadata: Arc<ParquetMetaData>) -> Result<ArrowReaderMetadata, ParquetError> {
    let read = ArrowReaderMetadata::try_new(metadata.clone(), ArrowReaderOptions::new())?;
    let parquet = metadata.file_metadata().schema_descr();
    let is_int96 = |root: usize| {
        (0..parquet.num_columns()).any(|leaf| {
            parquet.get_column_root_idx(leaf) == root
                && parquet.column(leaf).physical_type() == Physical::INT96
        })
    };
    if parquet
        .columns()
        .iter()
        .all(|column| column.physical_type() != Physical::INT96)
    {
        return Ok(read);
    }
    let fields: Vec<Field> = read
        .schema()
        .fields()
        .iter()
        .enumerate()
        .map(|(root, field)| match (field.data_type(), is_int96(root)) {
            (DataType::Timestamp(TimeUnit::Nanosecond, zone), true) => field
                .as_ref()
                .clone()
                .with_data_type(DataType::Timestamp(TimeUnit::Microsecond, zone.clone())),
            _ => field.as_ref().clone(),
        })
        .collect();
    let schema = Schema::new_with_metadata(fields, read.schema().metadata().clone());
    ArrowReaderMetadata::try_new(metadata, ArrowReaderOptions::new().with_schema(Arc::new(schema)))
}

/// Footers of files that did not change since.
#[derive(Debug, Default)]
pub(crate) struct Footers {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    footers: HashMap<PathBuf, (Version, Arc<Footer>)>,
    bytes: usize,
}

/// Memory for footers; a page index that is read later may double it.
const LIMIT: usize = 128 << 20;

impl Footers {
    /// The footer of a file as it was found.
    pub(crate) fn get(&self, file: &DataFile, count: &ByteCount) -> Result<Arc<Footer>> {
        if let Some((version, footer)) = self.kept.lock().footers.get(&file.path)
            && *version == file.version
        {
            return Ok(footer.clone());
        }
        let chunks = file.open(count)?;
        let footer = Arc::new(Footer::read(file, &chunks)?);
        file.verify(&chunks)?;
        let bytes = footer.metadata().memory_size();
        let mut kept = self.kept.lock();
        if kept.bytes + bytes > LIMIT {
            // Runs in progress hold what they use; the rest is read again when it is needed.
            *kept = Kept::default();
        }
        kept.bytes += bytes;
        kept.footers
            .insert(file.path.clone(), (file.version.clone(), footer.clone()));
        Ok(footer)
    }
}
