//! How do some files become one, sorted by event time?

use std::io::{self, Write};

use larder_core::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use larder_core::arrow::compute::interleave::interleave;
use larder_core::arrow::datatypes::{Schema, SchemaRef, TimestampMicrosecondType};
use larder_core::convert::{Zone, coerce};
use larder_core::{Error, Progress, Result, ValueType};
use parquet::arrow::ArrowWriter;
use parquet::basic::Type as Physical;
use parquet::file::metadata::KeyValue;

use crate::fault;
use crate::footer::Footer;
use crate::live::{KEY, Note};
use crate::plan::Context;
use crate::reader::ScanFile;
use crate::root::{Root, Spot};
use crate::sink::{self, Failure, Sink, failed};

/// Rows of a batch on its way.
const BATCH_ROWS: usize = 8_192;

/// What is merged, and into what.
pub(super) struct Merge<'a> {
    pub(super) files: &'a [ScanFile],
    /// Column of the event time, and the zone of its times where they have none.
    pub(super) event: &'a str,
    pub(super) zone: Option<&'a Zone>,
    pub(super) root: &'a Root,
    pub(super) folder: &'a Spot,
    pub(super) name: &'a str,
    pub(super) note: &'a Note,
    pub(super) progress: Option<&'a Progress>,
    pub(super) context: &'a Context,
}

impl Merge<'_> {
    /// Writes the new file; it has its name when this returns. Answers rows and bytes.
    pub(super) fn run(&self) -> Result<(u64, u64)> {
        let rows = Rows::read(self)?;
        let failure = Failure::default();
        let wrong = |error| failed(error, &failure, self.name);
        let note = serde_json::to_string(self.note)
            .map_err(|error| Error::internal("a note on compacted files cannot be written").source(error))?;
        let properties = sink::properties()
            .set_key_value_metadata(Some(vec![KeyValue::new(KEY.to_owned(), note)]))
            .build();
        let sink = Counted {
            sink: Sink::new(self.folder, self.name, self.root, &failure)?,
            bytes: 0,
        };
        let mut writer = ArrowWriter::try_new(sink, rows.schema.clone(), Some(properties)).map_err(wrong)?;
        for places in rows.order.chunks(BATCH_ROWS) {
            self.context.cancel.check()?;
            let batch = rows.pick(places)?;
            writer.write(&batch).map_err(wrong)?;
            if let Some(progress) = self.progress {
                progress.advance(places.len() as u64);
            }
        }
        let Counted { sink, bytes } = writer.into_inner().map_err(wrong)?;
        // The last moment at which giving up leaves everything as it was.
        self.context.cancel.check()?;
        sink.keep()?;
        Ok((rows.order.len() as u64, bytes))
    }
}

/// A sink that knows how much went into it.
struct Counted {
    sink: Sink,
    bytes: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.sink.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// The rows of some files in memory, and their order by event time; rows of the same time stay as they were.
struct Rows {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    order: Vec<Place>,
}

#[derive(Clone, Copy)]
struct Place {
    event: i64,
    batch: u32,
    row: u32,
}

impl Rows {
    fn read(merge: &Merge<'_>) -> Result<Self> {
        let fields = merge.files[0].footer.schema().fields().clone();
        let mut rows = Self {
            schema: std::sync::Arc::new(Schema::new(fields)),
            batches: Vec::new(),
            order: Vec::new(),
        };
        for file in merge.files {
            let chunks = file.file.open(&merge.context.count)?;
            let (mut expected, before) = (0, rows.order.len());
            for group in 0..file.footer.metadata().num_row_groups() {
                expected += file.rows(group);
                for batch in file.read_whole(&chunks, group, BATCH_ROWS)? {
                    merge.context.cancel.check()?;
                    rows.take(merge, &batch?, &file.file.shown)?;
                }
            }
            file.file.verify(&chunks)?;
            if (rows.order.len() - before) as u64 != expected {
                return Err(
                    Error::corrupt("a file has another number of rows than its footer says")
                        .with("file", &file.file.shown),
                );
            }
        }
        rows.order.sort_by_key(|place| place.event);
        Ok(rows)
    }

    fn take(&mut self, merge: &Merge<'_>, batch: &RecordBatch, shown: &str) -> Result<()> {
        let here = |error: Error| error.with("file", shown).with("column", merge.event);
        let event = batch
            .column_by_name(merge.event)
            .ok_or_else(|| here(Error::internal("a file that is compacted has no event time")))?;
        let event = coerce(event, ValueType::TIMESTAMP, merge.zone).map_err(here)?;
        let event = event.as_primitive::<TimestampMicrosecondType>();
        let number = self.batches.len() as u32;
        let place = |row: usize| Place {
            // Rows without a time match nothing, and are kept all the same.
            event: if event.is_null(row) {
                i64::MIN
            } else {
                event.value(row)
            },
            batch: number,
            row: row as u32,
        };
        self.order.extend((0..batch.num_rows()).map(place));
        self.batches.push(batch.clone());
        Ok(())
    }

    fn pick(&self, places: &[Place]) -> Result<RecordBatch> {
        let indices: Vec<(usize, usize)> = places
            .iter()
            .map(|place| (place.batch as usize, place.row as usize))
            .collect();
        let column = |at: usize| -> Result<ArrayRef> {
            let arrays: Vec<&dyn Array> = self
                .batches
                .iter()
                .map(|batch| batch.column(at).as_ref())
                .collect();
            interleave(&arrays, &indices).map_err(fault::arrow)
        };
        let columns = (0..self.schema.fields().len())
            .map(column)
            .collect::<Result<_>>()?;
        RecordBatch::try_new(self.schema.clone(), columns).map_err(fault::arrow)
    }
}

/// Bytes that the rows of a file take in memory.
pub(super) fn memory(footer: &Footer) -> u64 {
    let groups = footer.metadata().row_groups().iter();
    let columns = groups.flat_map(|group| group.columns());
    columns
        .map(|column| {
            let values = u64::try_from(column.num_values()).unwrap_or(0);
            let width = match column.column_type() {
                Physical::BOOLEAN => 1,
                Physical::INT32 | Physical::FLOAT => 4,
                Physical::INT64 | Physical::DOUBLE => 8,
                Physical::INT96 => 12,
                Physical::FIXED_LEN_BYTE_ARRAY => 16,
                Physical::BYTE_ARRAY => 4,
            };
            let long = column
                .unencoded_byte_array_data_bytes()
                .unwrap_or(column.uncompressed_size());
            let long = match column.column_type() {
                Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY => u64::try_from(long).unwrap_or(0),
                _ => 0,
            };
            values * width + long
        })
        .sum()
}
