//! How rows of a window stream out, for `latest` and `range`: pruned, decoded on several threads, filtered.

use std::sync::Arc;

use futures::channel::mpsc;
use futures::executor::block_on;
use futures::{SinkExt, StreamExt};
use larder_core::arrow::array::{Array, BinaryArray, BooleanArray, RecordBatch};
use larder_core::arrow::compute::concat::concat_batches;
use larder_core::arrow::compute::filter::filter_record_batch;
use larder_core::arrow::row::RowConverter;
use larder_core::convert::SourceColumns;
use larder_core::{BatchStream, Micros, OfflineOptions, Progress, Result, ViewScan};

use crate::ahead;
use crate::fault;
use crate::plan::{Context, Piece, Plan};
use crate::prune::Filter;
use crate::root::Root;
use crate::tie::TieBreak;
use crate::work;

/// Rows per batch, unless the caller says.
const BATCH_ROWS: usize = 16_384;

/// Starts to read the rows of a scan whose event and created time satisfy a condition. The filter must not leave out
/// more than the condition does.
pub(crate) async fn rows(
    root: Root,
    scan: ViewScan,
    filter: Filter,
    takes: impl Fn(Micros, Option<Micros>) -> bool + Send + Sync + 'static,
    options: OfflineOptions,
    context: Context,
) -> Result<BatchStream> {
    let guard = context.cancel.guard();
    let prepared = {
        let (scan, context) = (scan.clone(), context.clone());
        work::run(move || {
            let plan = Plan::new(&root, &scan, &filter, &context)?;
            let tie = TieBreak::new(&scan.source, &plan)?;
            let pieces = match filter.is_nothing() {
                true => Vec::new(),
                false => plan.pieces(&filter, &context)?,
            };
            Ok((plan, tie, pieces))
        })
        .await?
    };
    let (plan, tie, pieces) = prepared;
    let (send, receive) = mpsc::channel(1);
    work::spawn(move || {
        let reading = Reading {
            plan: &plan,
            tie: &tie,
            pieces: &pieces,
            scan: &scan,
            takes: &takes,
            batch_rows: options.batch_rows.unwrap_or(BATCH_ROWS).max(1),
            progress: options.progress.as_ref(),
            context: &context,
        };
        reading.run(send);
    })?;
    let batches = receive.map(move |batch| {
        let _ = &guard;
        batch
    });
    Ok(batches.boxed())
}

type Sender = mpsc::Sender<Result<RecordBatch>>;

struct Reading<'a, F> {
    plan: &'a Plan,
    tie: &'a TieBreak,
    pieces: &'a [Piece],
    scan: &'a ViewScan,
    takes: &'a F,
    batch_rows: usize,
    progress: Option<&'a Progress>,
    context: &'a Context,
}

impl<F: Fn(Micros, Option<Micros>) -> bool + Sync> Reading<'_, F> {
    fn run(&self, mut send: Sender) {
        if let Some(progress) = self.progress {
            progress.expect(self.pieces.iter().map(|piece| self.plan.rows_of(piece)).sum());
        }
        let threads = self.context.threads.min(self.pieces.len()).max(1);
        // Each clone may have one batch on its way: that bounds what is in memory.
        let senders = vec![send.clone(); threads];
        let done = work::caught(|| {
            let columns = SourceColumns::new(self.scan)?;
            let mut names = columns.probe_names();
            names.extend(columns.feature_names());
            let upcoming = ahead::pieces(self.plan, self.pieces, names, &self.context.count);
            work::each(senders, self.pieces.len(), &self.context.cancel, |send, at| {
                upcoming.begun(at);
                self.piece(&self.pieces[at], send)
            })
        });
        if let Err(error) = done
            && !self.context.cancel.is_set()
        {
            let _ = block_on(send.send(Err(error)));
        }
    }

    fn piece(&self, piece: &Piece, send: &mut Sender) -> Result<()> {
        let group = &self.plan.groups[piece.group];
        let file = &self.plan.files[group.file];
        let place = file.file.shown.as_str();
        let chunks = file.file.open(&self.context.count)?;
        let columns = SourceColumns::new(self.scan)?;
        let converter = self.tie.converter()?;
        let mut names = columns.probe_names();
        names.extend(columns.feature_names());

        let mut kept: Vec<RecordBatch> = Vec::new();
        let mut rows = 0;
        for batch in file.read(
            &chunks,
            group.row_group,
            piece.ranges.as_deref(),
            &names,
            self.batch_rows,
        )? {
            self.context.cancel.check()?;
            let batch = batch?;
            rows += batch.num_rows() as u64;
            if let Some(progress) = self.progress {
                progress.advance(batch.num_rows() as u64);
            }
            let found = self.select(&columns, converter.as_ref(), &batch, place)?;
            if found.num_rows() == 0 {
                continue;
            }
            // Few rows of each batch make few batches.
            let waiting: usize = kept.iter().map(RecordBatch::num_rows).sum();
            if waiting + found.num_rows() > self.batch_rows {
                self.flush(&mut kept, send)?;
            }
            kept.push(found);
        }
        file.file.verify(&chunks)?;
        if rows != self.plan.rows_of(piece) {
            return Err(larder_core::Error::corrupt(
                "a row group has another number of rows than its footer says",
            )
            .with("file", place));
        }
        self.flush(&mut kept, send)
    }

    fn flush(&self, kept: &mut Vec<RecordBatch>, send: &mut Sender) -> Result<()> {
        let batch = match kept.as_slice() {
            [] => return Ok(()),
            [one] => one.clone(),
            many => concat_batches(many[0].schema_ref(), many).map_err(fault::arrow)?,
        };
        kept.clear();
        block_on(send.send(Ok(batch))).map_err(|_| work::stopped())
    }

    /// The rows of a batch that are wanted.
    fn select(
        &self,
        columns: &SourceColumns<'_>,
        converter: Option<&RowConverter>,
        raw: &RecordBatch,
        place: &str,
    ) -> Result<RecordBatch> {
        let mut batch = columns.batch(raw, place)?;
        if let Some(converter) = converter {
            // The bytes of all files must compare, whatever types they have the columns in.
            let rows = self.tie.rows(converter, &columns.tie_break(raw, place)?, place)?;
            let bytes: BinaryArray = rows.iter().map(|row| Some(row.data().to_vec())).collect();
            let mut all = batch.columns().to_vec();
            all.pop();
            all.push(Arc::new(bytes));
            batch = RecordBatch::try_new(batch.schema(), all).map_err(fault::arrow)?;
        }
        let keys = self.scan.keys.len();
        let times = |column: usize| {
            use larder_core::arrow::array::AsArray;
            batch
                .column(column)
                .as_primitive::<larder_core::arrow::datatypes::TimestampMicrosecondType>()
        };
        let (event, created) = (times(keys), times(keys + 1));
        let takes = |row: usize| {
            let created = created.is_valid(row).then(|| Micros(created.value(row)));
            event.is_valid(row)
                && batch.columns()[..keys].iter().all(|key| key.is_valid(row))
                && (self.takes)(Micros(event.value(row)), created)
        };
        let mask: BooleanArray = (0..batch.num_rows()).map(|row| Some(takes(row))).collect();
        if mask.true_count() == batch.num_rows() {
            return Ok(batch);
        }
        filter_record_batch(&batch, &mask).map_err(fault::arrow)
    }
}
