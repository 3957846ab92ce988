//! How rows of one row group become batches with the columns that a scan names.

use std::ops::Range;
use std::sync::Arc;

use larder_core::arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use larder_core::arrow::datatypes::{ArrowError, DataType, Field, FieldRef, Schema, SchemaRef};
use larder_core::caught::caught;
use larder_core::convert::arrow_type;
use larder_core::{Result, ValueType, ViewScan};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
    RowSelection, RowSelectionPolicy,
};

use crate::footer::Footer;
use crate::object::{ByteCount, Chunks, DataFile};
use crate::{fault, hive, ranges};

/// A file that is part of a scan.
#[derive(Debug, Clone)]
pub(crate) struct ScanFile {
    pub(crate) file: Arc<DataFile>,
    pub(crate) footer: Arc<Footer>,
    /// Columns that the path gives, one row each.
    pub(crate) constants: Arc<Vec<(String, ArrayRef)>>,
}

impl ScanFile {
    /// The columns of the file and of its path. The path wins where both have one, as it does in other readers.
    pub(crate) fn schema(&self) -> SchemaRef {
        if self.constants.is_empty() {
            return self.footer.schema().clone();
        }
        let own = self.footer.schema().fields().iter();
        let mut fields: Vec<FieldRef> = own
            .filter(|field| self.constant(field.name()).is_none())
            .cloned()
            .collect();
        fields.extend(
            self.constants
                .iter()
                .map(|(name, one)| Arc::new(Field::new(name, one.data_type().clone(), true))),
        );
        Arc::new(Schema::new(fields))
    }

    pub(crate) fn constant(&self, name: &str) -> Option<&ArrayRef> {
        let found = self.constants.iter().find(|(known, _)| known == name);
        found.map(|(_, one)| one)
    }

    pub(crate) fn rows(&self, row_group: usize) -> u64 {
        let group = self.footer.metadata().row_group(row_group);
        u64::try_from(group.num_rows()).unwrap_or(0)
    }

    /// Reads the named columns of a row group, or of some ranges of its rows, in ascending order. Text and bytes come
    /// as views into the pages, because most of their rows will not be kept.
    pub(crate) fn read<'a>(
        &'a self,
        chunks: &Chunks,
        row_group: usize,
        ranges: Option<&[Range<usize>]>,
        names: &[&str],
        batch_rows: usize,
    ) -> Result<Batches<'a>> {
        self.read_as(chunks, row_group, ranges, names, batch_rows, views)
    }

    /// Reads a row group as the file has it.
    pub(crate) fn read_whole<'a>(
        &'a self,
        chunks: &Chunks,
        row_group: usize,
        batch_rows: usize,
    ) -> Result<Batches<'a>> {
        let fields = self.footer.schema().fields().iter();
        let names: Vec<&str> = fields.map(|field| field.name().as_str()).collect();
        self.read_as(chunks, row_group, None, &names, batch_rows, |_, _| None)
    }

    fn read_as<'a>(
        &'a self,
        chunks: &Chunks,
        row_group: usize,
        ranges: Option<&[Range<usize>]>,
        names: &[&str],
        batch_rows: usize,
        read_as: impl FnOnce(&ArrowReaderMetadata, &[&str]) -> Option<ArrowReaderMetadata>,
    ) -> Result<Batches<'a>> {
        let want = self.want(chunks, row_group, ranges, names)?;
        let constants = names
            .iter()
            .filter_map(|name| {
                let one = self.constant(name)?;
                let field = Field::new(*name, one.data_type().clone(), true);
                Some((Arc::new(field), one.clone()))
            })
            .collect();
        let chunks = chunks.holding(|| want.bytes(row_group))?;
        let metadata = read_as(want.metadata, names).unwrap_or_else(|| want.metadata.clone());
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(chunks.clone(), metadata)
            .with_row_groups(vec![row_group])
            .with_projection(want.mask)
            .with_batch_size(batch_rows.max(1));
        if let Some(selection) = want.selection {
            builder = builder
                .with_row_selection(selection)
                // Ranges are long; a mask would decode what lies between them.
                .with_row_selection_policy(RowSelectionPolicy::Selectors);
        }
        let reader = fault::decoding(|| builder.build())
            .map_err(|error| fault::reading(&chunks, error, &self.file.shown))?;
        Ok(Batches {
            reader,
            chunks,
            file: self,
            constants,
        })
    }

    /// Begins to fetch what [`Self::read`] will need. Whether there was room for it; a part that cannot be fetched
    /// fails when it is read.
    pub(crate) fn expect(
        &self,
        count: &ByteCount,
        row_group: usize,
        ranges: Option<&[Range<usize>]>,
        names: &[&str],
    ) -> bool {
        if !self.file.is_remote() {
            return true;
        }
        let want = self
            .file
            .open(count)
            .and_then(|chunks| self.want(&chunks, row_group, ranges, names));
        want.is_ok_and(|want| self.file.expect(count, want.bytes(row_group)))
    }

    /// What the named columns of a row group are read with.
    fn want(
        &self,
        chunks: &Chunks,
        row_group: usize,
        ranges: Option<&[Range<usize>]>,
        names: &[&str],
    ) -> Result<Want<'_>> {
        let metadata = match ranges {
            Some(_) => self.footer.indexed(&self.file, chunks)?,
            None => self.footer.plain(),
        };
        let fields = metadata.schema().fields();
        let roots: Vec<usize> = names
            .iter()
            .filter(|name| self.constant(name).is_none())
            .filter_map(|name| fields.iter().position(|field| field.name() == *name))
            .collect();
        let rows = self.rows(row_group) as usize;
        let select =
            |ranges: &[Range<usize>]| RowSelection::from_consecutive_ranges(ranges.iter().cloned(), rows);
        Ok(Want {
            mask: ProjectionMask::roots(metadata.parquet_schema(), roots),
            selection: ranges.map(select),
            metadata,
        })
    }

    /// Compressed bytes of the named columns in a row group.
    pub(crate) fn bytes(&self, row_group: usize, names: &[&str]) -> u64 {
        let group = self.footer.metadata().row_group(row_group);
        let schema = self.footer.metadata().file_metadata().schema_descr();
        let fields = self.footer.schema().fields();
        (0..group.num_columns())
            .filter(|leaf| {
                let root = fields.get(schema.get_column_root_idx(*leaf));
                root.is_some_and(|field| {
                    names.contains(&field.name().as_str()) && self.constant(field.name()).is_none()
                })
            })
            .map(|leaf| u64::try_from(group.column(leaf).compressed_size()).unwrap_or(0))
            .sum()
    }
}

/// Columns and rows of a row group.
struct Want<'a> {
    metadata: &'a ArrowReaderMetadata,
    mask: ProjectionMask,
    selection: Option<RowSelection>,
}

impl Want<'_> {
    fn bytes(&self, row_group: usize) -> Vec<Range<u64>> {
        ranges::wanted(
            self.metadata.metadata(),
            row_group,
            &self.mask,
            self.selection.as_ref(),
        )
    }
}

/// The metadata with text and bytes among some columns as views; `None` where there are none of these.
fn views(metadata: &ArrowReaderMetadata, names: &[&str]) -> Option<ArrowReaderMetadata> {
    let view = |of: &DataType| match of {
        DataType::Utf8 => Some(DataType::Utf8View),
        DataType::Binary => Some(DataType::BinaryView),
        _ => None,
    };
    let schema = metadata.schema();
    let is_wanted = |field: &FieldRef| names.contains(&field.name().as_str());
    let mut fields = schema.fields().iter();
    if !fields.any(|field| is_wanted(field) && view(field.data_type()).is_some()) {
        return None;
    }
    let fields = schema.fields().iter().map(|field| {
        let of = view(field.data_type()).filter(|_| is_wanted(field));
        of.map_or_else(
            || field.clone(),
            |of| Arc::new(field.as_ref().clone().with_data_type(of)),
        )
    });
    let schema = Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone());
    let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
    // A reader that cannot make views makes strings as it would have anyway.
    ArrowReaderMetadata::try_new(metadata.metadata().clone(), options).ok()
}

/// The columns that the path of a file gives, in the types that a scan declares for them.
pub(crate) fn constants(
    file: &DataFile,
    wanted: &[(&str, ValueType)],
    inferred: &[(String, ValueType)],
    zone: Option<&larder_core::convert::Zone>,
) -> Result<Vec<(String, ArrayRef)>> {
    let typed = |(name, text): &(String, Option<String>)| {
        let declared = wanted
            .iter()
            .find(|(wanted, _)| wanted == name)
            .map(|(_, of)| *of);
        let guess = || {
            inferred
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, of)| *of)
        };
        let of = declared.or_else(guess).unwrap_or(ValueType::STRING);
        let one = hive::value(text.as_deref(), of, zone)
            .map_err(|error| error.with("file", &file.shown).with("column", name))?;
        debug_assert_eq!(*one.data_type(), arrow_type(of));
        Ok((name.clone(), one))
    };
    file.partitions.iter().map(typed).collect()
}

/// The columns of the source that a scan reads with a declared type.
pub(crate) fn wanted(scan: &ViewScan) -> Vec<(&str, ValueType)> {
    let source = &*scan.source;
    let keys = scan
        .keys
        .iter()
        .map(|key| (key.column.as_str(), key.key.value_type));
    let times = std::iter::once(source.event_time.as_str())
        .chain(source.created_time.iter().map(|created| created.column.as_str()))
        .map(|name| (name, ValueType::TIMESTAMP));
    let features = scan
        .features
        .iter()
        .map(|feature| (feature.column.as_str(), feature.value_type));
    keys.chain(times).chain(features).collect()
}

/// Batches of a row group.
pub(crate) struct Batches<'a> {
    reader: ParquetRecordBatchReader,
    chunks: Chunks,
    file: &'a ScanFile,
    constants: Vec<(FieldRef, ArrayRef)>,
}

impl Batches<'_> {
    fn complete(&self, batch: RecordBatch) -> Result<RecordBatch> {
        if self.constants.is_empty() {
            return Ok(batch);
        }
        let rows = batch.num_rows();
        let mut fields: Vec<FieldRef> = batch.schema_ref().fields().iter().cloned().collect();
        let mut columns = batch.columns().to_vec();
        for (field, one) in &self.constants {
            fields.push(field.clone());
            columns.push(hive::repeat(one, rows)?);
        }
        RecordBatch::try_new_with_options(
            Arc::new(Schema::new(fields)),
            columns,
            &RecordBatchOptions::new().with_row_count(Some(rows)),
        )
        .map_err(fault::arrow)
    }
}

impl Iterator for Batches<'_> {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = caught(|| self.reader.next())
            .unwrap_or_else(|panic| Some(Err(ArrowError::ParquetError(panic))))?;
        Some(
            batch
                .map_err(|error| {
                    let why = self.chunks.failure();
                    why.unwrap_or_else(|| fault::decode(error, &self.file.file.shown))
                })
                .and_then(|batch| self.complete(batch)),
        )
    }
}
