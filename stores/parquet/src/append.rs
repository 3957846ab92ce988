//! How rows are added to a source: one new file, whole and durable or not there at all.

use std::path::PathBuf;
use std::sync::Arc;

use futures::channel::mpsc;
use futures::executor::block_on;
use futures::{SinkExt, StreamExt, TryStreamExt};
use larder_core::arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, RecordBatch, new_null_array};
use larder_core::arrow::cast::{CastOptions, cast_with_options};
use larder_core::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType};
use larder_core::convert::{Zone, coerce};
use larder_core::model::Source;
use larder_core::{BatchStream, Error, ErrorKind, Micros, Result, ValueType, ViewScan, random};
use parquet::arrow::ArrowWriter;

use crate::discover::{self, Place, show};
use crate::fault;
use crate::live::{self, Live};
use crate::plan::{self, Context};
use crate::reader;
use crate::root::{Root, Spot};
use crate::sink::{self, Failure, Sink, failed};
use crate::work;

/// Appends the rows of a stream; returns how many there were.
pub(crate) async fn append(
    root: Root,
    scan: ViewScan,
    mut rows: BatchStream,
    now: Micros,
    context: Context,
) -> Result<u64> {
    let (mut send, receive) = mpsc::channel(1);
    let writing = work::run(move || {
        // A file that was looked at may be one that a compaction has just removed.
        let mut tries = 0;
        let target = loop {
            match Target::new(&root, &scan, now, &context) {
                Err(error) if error.kind() == ErrorKind::Conflict && tries < TRIES => tries += 1,
                target => break target?,
            }
        };
        sink::sweep(&target.place, now);
        write(&target, &root, &scan, receive)
    });
    let sending = async move {
        while let Some(batch) = rows.try_next().await? {
            if send.send(Message::Rows(batch)).await.is_err() {
                // The writer has failed and says why.
                return Ok(());
            }
        }
        // Without this last word, as when the caller goes away, nothing is kept.
        let _ = send.send(Message::Finish).await;
        Ok::<(), Error>(())
    };
    let (written, sent) = futures::join!(writing, sending);
    sent.and(written)
}

/// How often the files of a source are looked at again that change meanwhile.
const TRIES: usize = 10;

enum Message {
    Rows(RecordBatch),
    Finish,
}

/// Where the new file goes and what it looks like.
#[derive(Debug)]
struct Target {
    place: Spot,
    folder: PathBuf,
    name: String,
    /// Columns of the files that are there, and the first of those files.
    like: Option<(SchemaRef, String)>,
    zone: Option<Zone>,
}

impl Target {
    fn new(root: &Root, scan: &ViewScan, now: Micros, context: &Context) -> Result<Self> {
        let source = &*scan.source;
        let here = |error: Error| error.with("source", &source.name);
        let refuse = |what: &str, path: String| {
            here(Error::unsupported(format!("rows cannot be appended to {what}")))
                .with("path", path)
                .help("let the source's `path` name a folder without `k=v` folders")
        };
        let folder = match discover::place(root, source).map_err(here)? {
            Place::Folder(folder) => folder,
            Place::File(path) => return Err(refuse("a single file", show(&path))),
            Place::Glob(folder, pattern) => return Err(refuse("a pattern", show(&folder.join(pattern)))),
        };
        let found = match live::all(root, source, context) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => Live::default(),
            Err(error) => return Err(error),
        };
        let files = found.files;
        if files.iter().any(|file| !file.partitions.is_empty()) {
            return Err(refuse("a partitioned folder", show(&folder)));
        }
        // Replaced files count here: the new name is the last of all.
        let last = found.last.and_then(|last| {
            let below = last.strip_prefix(&folder).ok()?;
            below
                .components()
                .next()
                .map(|c| c.as_os_str().to_string_lossy().into_owned())
        });
        let first = files
            .into_iter()
            .next()
            .map(|file| (Arc::new(file), Arc::default()));
        let like = plan::open(first.into_iter().collect(), context)?
            .first()
            .map(|file| (file.footer.schema().clone(), file.file.shown.clone()));
        Ok(Self {
            place: discover::spot(root, source)?,
            folder,
            name: file_name(now, last.as_deref()),
            like,
            zone: source.timezone.as_deref().map(Zone::new).transpose()?,
        })
    }

    /// Rows as the files that are there have them.
    fn conform(&self, batch: &RecordBatch, scan: &ViewScan) -> Result<RecordBatch> {
        let Some((schema, like)) = &self.like else {
            return Ok(batch.clone());
        };
        let source: &Source = &scan.source;
        let here = |error: Error, column: &str| {
            error
                .with("source", &source.name)
                .with("column", column)
                .with("like", like)
        };
        for field in batch.schema_ref().fields() {
            if schema.field_with_name(field.name()).is_err() {
                return Err(here(
                    Error::input("the files of the source do not have a column that is to be appended"),
                    field.name(),
                )
                .help("write the existing files again with this column, or append to another folder"));
            }
        }
        let wanted = reader::wanted(scan);
        let mut fields = Vec::new();
        let mut columns = Vec::new();
        for field in schema.fields() {
            let of = wanted
                .iter()
                .find(|(name, _)| name == field.name())
                .map(|(_, of)| *of);
            let column = match (batch.column_by_name(field.name()), of) {
                (Some(column), Some(of)) => self
                    .column(column, of, field.data_type())
                    .map_err(|error| here(error, field.name()))?,
                _ => new_null_array(field.data_type(), batch.num_rows()),
            };
            fields.push(Field::new(field.name(), field.data_type().clone(), true));
            columns.push(column);
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(fault::arrow)
    }

    /// A column in another type, provided that it reads back as it is.
    fn column(&self, column: &ArrayRef, of: ValueType, to: &DataType) -> Result<ArrayRef> {
        if column.data_type() == to {
            return Ok(column.clone());
        }
        let refuse = || {
            Error::input(format!(
                "a value of type {of} cannot be written as {to} without loss"
            ))
            .help("write the existing files again with a wider type")
        };
        let local = of == ValueType::TIMESTAMP
            && match to {
                DataType::Timestamp(_, zone) => zone.is_none(),
                to => matches!(to, DataType::Date32 | DataType::Date64),
            };
        let options = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let column_as_local: ArrayRef;
        let from = if local {
            let Some(zone) = &self.zone else {
                return Err(Error::input("the existing files have timestamps without a zone")
                    .help("declare it on the source, such as `timezone: UTC`"));
            };
            let times = column.as_primitive::<TimestampMicrosecondType>();
            let times: PrimitiveArray<TimestampMicrosecondType> = times
                .try_unary(|time| zone.to_local(time).ok_or(()))
                .map_err(|()| refuse())?;
            column_as_local = Arc::new(times.with_timezone_opt::<Arc<str>>(None));
            &column_as_local
        } else {
            column
        };
        let written = cast_with_options(from, to, &options).map_err(|_| refuse())?;
        let back = coerce(&written, of, self.zone.as_ref())?;
        if back.as_ref() == column.as_ref() {
            Ok(written)
        } else {
            Err(refuse())
        }
    }
}

/// Writes what comes, and keeps it only if all of it came.
fn write(
    target: &Target,
    root: &Root,
    scan: &ViewScan,
    mut messages: mpsc::Receiver<Message>,
) -> Result<u64> {
    let shown = show(&target.folder.join(&target.name));
    let mut open: Option<(ArrowWriter<Sink>, Failure)> = None;
    let mut rows = 0;
    loop {
        let batch = match block_on(messages.next()) {
            Some(Message::Rows(batch)) => batch,
            Some(Message::Finish) => break,
            None => return Err(work::stopped()),
        };
        if batch.num_rows() == 0 {
            continue;
        }
        let batch = target.conform(&scan.to_source(&batch)?, scan)?;
        let (mut writer, failure) = match open.take() {
            Some(open) => open,
            None => {
                let failure = Failure::default();
                let sink = Sink::new(&target.place, &target.name, root, &failure)?;
                let writer = ArrowWriter::try_new(sink, batch.schema(), Some(sink::properties().build()))
                    .map_err(|error| failed(error, &failure, &shown))?;
                (writer, failure)
            }
        };
        writer
            .write(&batch)
            .map_err(|error| failed(error, &failure, &shown))?;
        rows += batch.num_rows() as u64;
        open = Some((writer, failure));
    }
    let Some((writer, failure)) = open else {
        return Ok(0);
    };
    let sink = writer
        .into_inner()
        .map_err(|error| failed(error, &failure, &shown))?;
    sink.keep()?;
    Ok(rows)
}

/// Digits of a time in µs.
const DIGITS: usize = 20;

/// A name that sorts after all others in the folder, since among equal rows the last one wins.
fn file_name(now: Micros, last: Option<&str>) -> String {
    let name = |prefix: &str, time: i64| {
        format!(
            "{prefix}part-{:0DIGITS$}-{:016x}.parquet",
            time.max(0),
            random::u64()
        )
    };
    let first = name("", now.0);
    let Some(last) = last.filter(|last| first.as_str() <= *last) else {
        return first;
    };
    // Ours, from a clock that went ahead, or with a prefix.
    if let Some((prefix, rest)) = last.rsplit_once("part-")
        && let Some(time) = rest.get(..DIGITS).and_then(|digits| digits.parse::<i64>().ok())
    {
        return name(prefix, now.0.max(time.saturating_add(1)));
    }
    // A longer name sorts after its beginning, and a tilde after what can follow in the other name.
    let stem = last.rsplit_once('.').map_or(last, |(stem, _)| stem);
    name(&format!("{stem}~"), now.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_names_sort_last() {
        let mut last: Option<String> = None;
        for now in [5, 5, 3, 1_700_000_000_000_000] {
            let name = file_name(Micros(now), last.as_deref());
            assert!(
                last.as_ref().is_none_or(|last| *last < name),
                "{name} after {last:?}"
            );
            last = Some(name);
        }
        for other in [
            "part-00000-abc.snappy.parquet",
            "zzz.parquet",
            "z~",
            "éa.pq",
            "sub",
            "part-99.parquet",
        ] {
            let name = file_name(Micros(1_700_000_000_000_000), Some(other));
            assert!(name.as_str() > other, "{name} after {other}");
            let next = file_name(Micros(1_700_000_000_000_001), Some(&name));
            assert!(next > name, "{next} after {name}");
            assert!(next.len() < name.len() + 3, "names do not grow: {next}");
        }
    }
}
