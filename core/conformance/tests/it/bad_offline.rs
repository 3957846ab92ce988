//! Offline stores that each break one rule.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use larder_conformance::{Loaded, OfflineFixture, SourceTable};
use larder_core::arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt32Array,
};
use larder_core::arrow::cast::cast;
use larder_core::arrow::compute::concat::concat_batches;
use larder_core::arrow::compute::take::{take, take_record_batch};
use larder_core::arrow::datatypes::{
    DataType, Field, Int64Type, Schema, SchemaRef, TimestampMicrosecondType,
};
use larder_core::async_trait::async_trait;
use larder_core::convert::null_array;
use larder_core::memory::MemoryOffline;
use larder_core::model::{Knowledge, Source};
use larder_core::{
    BatchStream, CompactOptions, CompactReport, EntityRows, Error, Explanation, Health, HistoricalRead,
    JoinReport, JoinedBatch, JoinedStream, JoinedView, LatestRead, Micros, OfflineCapabilities,
    OfflineOptions, OfflineStore, RangeRead, Result, Span, ValueType, ViewScan,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    TtlExclusive,
    TtlIgnored,
    TtlFromKnown,
    SeesTheFuture,
    SeesTheWholeDay,
    FutureExclusive,
    DelayIgnored,
    DelayExclusive,
    AsOfIgnored,
    AlwaysAsOf,
    OverrideIgnored,
    TrustedFromIgnored,
    TrustedFromExclusive,
    CreatedIgnored,
    TieBreakIgnored,
    TieBreakSwapped,
    FirstOfTies,
    NullKeysMatch,
    NullEventsAreEpoch,
    FillsNulls,
    DropsUnmatched,
    DropsDuplicates,
    SortsByTime,
    IgnoresBatchRows,
    RolesShareKeys,
    FirstViewForAll,
    CountsExpiredAsUnmatched,
    CountsNoNullKeys,
    ForgetsKnownLater,
    ForgetsFullTies,
    MissingColumnsAreNull,
    NaiveIsUtc,
    ZoneIgnored,
    LargeText,
    LosesCreated,
    LatestAfterInclusive,
    LatestUntilExclusive,
    LatestFloorIgnored,
    LatestIgnoresLateRows,
    LatestTakesCreatedLater,
    LatestOldestOnly,
    LatestKeepsNullKeys,
    RangeExclusive,
    RangeTwice,
    RangeUndeclared,
    AppendsPart,
    AppendCountsBatches,
    AppendUndeclared,
    AppendForgets,
    CompactUndeclared,
    CompactsInDryRuns,
    CompactsTwice,
    CompactsBackwards,
    ExplainsNothing,
    ExplainUndeclared,
    SchemaLowercase,
    EntityFilesAreEmpty,
    NamelessBackend,
}

pub(crate) struct Fixture(pub(crate) How);

#[async_trait]
impl OfflineFixture for Fixture {
    fn name(&self) -> String {
        format!("{:?}", self.0)
    }

    async fn load(&self, mut tables: Vec<SourceTable>) -> Result<Loaded> {
        for table in &mut tables {
            table.batches = table
                .batches
                .iter()
                .map(|batch| self.stored(&table.source, batch))
                .collect();
            if self.0 == How::FirstOfTies {
                table.batches.reverse();
            }
        }
        let (inner, sources) = crate::fixtures::memory(tables);
        Ok(Loaded {
            store: Arc::new(Bad { inner, how: self.0 }),
            sources,
        })
    }
}

impl Fixture {
    /// A batch as the saboteur stores it.
    fn stored(&self, source: &Source, batch: &RecordBatch) -> RecordBatch {
        let rows = 0..batch.num_rows() as u32;
        match self.0 {
            How::FirstOfTies => pick(batch, rows.rev()),
            How::FillsNulls => {
                let name = |at: usize| batch.schema_ref().field(at).name().clone();
                let whole = |row: &u32| {
                    (0..batch.num_columns())
                        .filter(|at| ["n", "a", "s", "x"].contains(&name(*at).as_str()))
                        .all(|at| batch.column(at).is_valid(*row as usize))
                };
                pick(batch, rows.filter(whole))
            }
            How::NullEventsAreEpoch => {
                let at = batch.schema_ref().index_of(&source.event_time).unwrap();
                let DataType::Timestamp(_, zone) = batch.column(at).data_type().clone() else {
                    return batch.clone();
                };
                let Some(times) = batch.column(at).as_primitive_opt::<TimestampMicrosecondType>() else {
                    return batch.clone();
                };
                let filled: Vec<i64> = times.iter().map(|time| time.unwrap_or(0)).collect();
                let filled = TimestampMicrosecondArray::from(filled).with_timezone_opt(zone);
                let mut columns = batch.columns().to_vec();
                columns[at] = Arc::new(filled);
                RecordBatch::try_new(batch.schema(), columns).unwrap()
            }
            How::NullKeysMatch | How::LatestKeepsNullKeys => {
                let Some((at, _)) = batch.schema_ref().column_with_name("user") else {
                    return batch.clone();
                };
                let mut columns = batch.columns().to_vec();
                columns[at] = without_nulls(&columns[at]);
                RecordBatch::try_new(batch.schema(), columns).unwrap()
            }
            _ => batch.clone(),
        }
    }
}

fn pick(batch: &RecordBatch, rows: impl Iterator<Item = u32>) -> RecordBatch {
    take_record_batch(batch, &rows.collect::<UInt32Array>()).unwrap()
}

fn without_nulls(column: &ArrayRef) -> ArrayRef {
    match column.as_primitive_opt::<Int64Type>() {
        Some(numbers) => Arc::new(numbers.iter().map(|n| n.or(Some(1))).collect::<Int64Array>()),
        None => column.clone(),
    }
}

#[derive(Debug)]
struct Bad {
    inner: Arc<MemoryOffline>,
    how: How,
}

impl Bad {
    fn source(&self, source: &Arc<Source>) -> Arc<Source> {
        let mut changed = (**source).clone();
        match self.how {
            How::DelayIgnored => changed.available_after = Span::ZERO,
            How::DelayExclusive if changed.available_after > Span::ZERO => changed.available_after.0 += 1,
            How::TrustedFromIgnored | How::TrustedFromExclusive => {
                if let Some(created) = &mut changed.created_time {
                    created.trusted_from = match self.how {
                        How::TrustedFromExclusive => created.trusted_from.map(|t| t.plus(Span(1))),
                        _ => None,
                    };
                }
            }
            How::CreatedIgnored => changed.created_time = None,
            How::TieBreakIgnored => changed.tie_break.clear(),
            How::TieBreakSwapped => changed.tie_break.reverse(),
            How::NaiveIsUtc => changed.timezone = changed.timezone.or_else(|| Some("UTC".to_owned())),
            How::ZoneIgnored => changed.timezone = changed.timezone.map(|_| "UTC".to_owned()),
            _ => {}
        }
        Arc::new(changed)
    }

    fn scan(&self, scan: &ViewScan) -> ViewScan {
        ViewScan {
            source: self.source(&scan.source),
            ..scan.clone()
        }
    }

    fn request(&self, request: &HistoricalRead) -> HistoricalRead {
        let mut changed = request.clone();
        if let EntityRows::Batches { keys, times } = &mut changed.rows {
            let later = |by: i64| -> TimestampMicrosecondArray {
                times.unary::<_, TimestampMicrosecondType>(|t| t.saturating_add(by))
            };
            match self.how {
                How::SeesTheFuture => *times = later(1).with_timezone("UTC"),
                How::FutureExclusive => *times = later(-1).with_timezone("UTC"),
                How::SeesTheWholeDay => {
                    let day = 86_400_000_000;
                    let end = |t: i64| (t.div_euclid(day) * day).saturating_add(day - 1).max(t);
                    *times = times
                        .unary::<_, TimestampMicrosecondType>(end)
                        .with_timezone("UTC");
                }
                How::NullKeysMatch => keys.iter_mut().for_each(|key| *key = without_nulls(key)),
                _ => {}
            }
        }
        let first = changed.views.first().cloned();
        for view in &mut changed.views {
            view.scan = self.scan(&view.scan);
            match self.how {
                How::TtlExclusive => view.ttl = view.ttl.map(|ttl| Span((ttl.0 - 1).max(0))),
                How::TtlIgnored => view.ttl = None,
                How::TtlFromKnown => {
                    view.ttl = view
                        .ttl
                        .map(|ttl| Span(ttl.0.saturating_add(view.scan.source.available_after.0)))
                }
                How::AsOfIgnored => view.knowledge = Knowledge::TieBreak,
                How::AlwaysAsOf => view.knowledge = Knowledge::AsOf,
                How::OverrideIgnored => view.knowledge = view.scan.source.knowledge,
                How::RolesShareKeys => {
                    if let Some(first) = &first
                        && first.scan.source.name == view.scan.source.name
                        && first.scan.keys == view.scan.keys
                    {
                        view.spine_keys.clone_from(&first.spine_keys);
                    }
                }
                How::FirstViewForAll => {
                    if let Some(first) = &first
                        && first.scan.source.name == view.scan.source.name
                    {
                        view.ttl = first.ttl;
                    }
                }
                _ => {}
            }
        }
        changed
    }

    /// Which rows of the answer are given out, in which order.
    fn rows_out(&self, request: &HistoricalRead, whole: &JoinedBatch) -> Option<UInt32Array> {
        let EntityRows::Batches { keys, times } = &request.rows else {
            return None;
        };
        let mut rows: Vec<u32> = (0..whole.rows as u32).collect();
        match self.how {
            How::DropsUnmatched => {
                rows.retain(|row| whole.views.iter().any(|view| view.event.is_valid(*row as usize)));
            }
            How::DropsDuplicates => {
                let mut seen = Vec::new();
                rows.retain(|row| {
                    let slices: Vec<ArrayRef> = keys.iter().map(|key| key.slice(*row as usize, 1)).collect();
                    let text = format!("{slices:?} {}", times.value(*row as usize));
                    let new = !seen.contains(&text);
                    seen.push(text);
                    new
                });
            }
            How::SortsByTime => rows.sort_by_key(|row| times.value(*row as usize)),
            _ => return None,
        }
        Some(rows.into())
    }

    fn report(&self, report: &mut JoinReport) {
        for view in &mut report.views {
            match self.how {
                How::CountsExpiredAsUnmatched => {
                    view.unmatched += view.expired;
                    view.expired = 0;
                }
                How::CountsNoNullKeys => {
                    view.unmatched += view.null_keys;
                    view.null_keys = 0;
                }
                How::ForgetsKnownLater => view.known_later = 0,
                How::ForgetsFullTies => view.full_ties = 0,
                _ => {}
            }
        }
    }

    async fn newest_rows(&self, request: LatestRead, options: &OfflineOptions) -> Result<BatchStream> {
        let scan = request.scan.clone();
        let batches: Vec<RecordBatch> = self.inner.latest(request, options).await?.try_collect().await?;
        let whole = concat_batches(&scan.schema(), &batches).map_err(Error::internal_from)?;
        let (keys, event) = (scan.keys.len(), whole.column(scan.keys.len()).clone());
        let event = event.as_primitive::<TimestampMicrosecondType>();
        let mut oldest: BTreeMap<String, u32> = BTreeMap::new();
        for row in 0..whole.num_rows() as u32 {
            let slices: Vec<ArrayRef> = whole.columns()[..keys]
                .iter()
                .map(|key| key.slice(row as usize, 1))
                .collect();
            let best = oldest.entry(format!("{slices:?}")).or_insert(row);
            if event.value(row as usize) < event.value(*best as usize) {
                *best = row;
            }
        }
        let kept = pick(&whole, oldest.into_values());
        Ok(stream::iter([Ok(kept)]).boxed())
    }
}

trait InternalFrom {
    fn internal_from(error: impl std::fmt::Display) -> Error;
}

impl InternalFrom for Error {
    fn internal_from(error: impl std::fmt::Display) -> Error {
        Error::internal(error.to_string())
    }
}

fn taken(whole: &JoinedBatch, rows: &UInt32Array) -> JoinedBatch {
    let times = |column: &TimestampMicrosecondArray| take(column, rows, None).unwrap().as_primitive().clone();
    let view = |view: &JoinedView| JoinedView {
        features: view
            .features
            .iter()
            .map(|feature| take(feature, rows, None).unwrap())
            .collect(),
        event: times(&view.event),
        created: times(&view.created),
    };
    JoinedBatch {
        rows: rows.len(),
        views: whole.views.iter().map(view).collect(),
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl OfflineStore for Bad {
    fn capabilities(&self) -> OfflineCapabilities {
        let mut can = self.inner.capabilities();
        match self.how {
            How::RangeUndeclared => can.range = false,
            How::AppendUndeclared => can.append = false,
            How::ExplainUndeclared => can.explain = false,
            How::CompactUndeclared => can.compact = false,
            _ => {}
        }
        can
    }

    async fn schema(&self, source: &Arc<Source>) -> Result<SchemaRef> {
        let schema = self.inner.schema(source).await?;
        if self.how != How::SchemaLowercase {
            return Ok(schema);
        }
        let lower = |field: &Arc<Field>| field.as_ref().clone().with_name(field.name().to_lowercase());
        Ok(Arc::new(Schema::new(
            schema.fields().iter().map(lower).collect::<Vec<_>>(),
        )))
    }

    async fn historical(&self, request: HistoricalRead, options: &OfflineOptions) -> Result<JoinedStream> {
        let mut options = options.clone();
        if self.how == How::IgnoresBatchRows {
            options.batch_rows = None;
        }
        let mut changed = self.request(&request);
        if self.how == How::EntityFilesAreEmpty && !matches!(request.rows, EntityRows::Batches { .. }) {
            return Ok(JoinedStream {
                batches: stream::empty().boxed(),
                report: Arc::default(),
            });
        }
        if self.how == How::MissingColumnsAreNull {
            for view in &mut changed.views {
                let schema = self.inner.schema(&view.scan.source).await?;
                let key = view.scan.source.event_time.clone();
                for feature in &mut view.scan.features {
                    if schema.field_with_name(&feature.column).is_err() {
                        feature.column.clone_from(&key);
                        feature.value_type = ValueType::TIMESTAMP;
                    }
                }
            }
        }
        let whole_options = OfflineOptions::default().with_batch_rows(usize::MAX);
        let rearranges = matches!(
            self.how,
            How::DropsUnmatched | How::DropsDuplicates | How::SortsByTime
        );
        let joined = self
            .inner
            .historical(changed, if rearranges { &whole_options } else { &options })
            .await?;
        self.report(&mut joined.report.lock());
        let how = self.how;
        let mut batches: Vec<JoinedBatch> = joined.batches.try_collect().await?;
        for batch in &mut batches {
            if rearranges && let Some(rows) = self.rows_out(&request, batch) {
                *batch = taken(batch, &rows);
            }
            for view in &mut batch.views {
                match how {
                    How::LosesCreated => {
                        let nulls = null_array(ValueType::TIMESTAMP, batch.rows);
                        view.created = nulls.as_primitive().clone();
                    }
                    How::LargeText => {
                        for feature in &mut view.features {
                            if *feature.data_type() == DataType::Utf8 {
                                *feature = cast(feature, &DataType::LargeUtf8).unwrap();
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(JoinedStream {
            batches: stream::iter(batches.into_iter().map(Ok)).boxed(),
            report: joined.report,
        })
    }

    async fn latest(&self, request: LatestRead, options: &OfflineOptions) -> Result<BatchStream> {
        let mut request = request;
        request.scan = self.scan(&request.scan);
        match self.how {
            How::LatestAfterInclusive => request.after = Micros(request.after.0.saturating_sub(1)),
            How::LatestUntilExclusive => request.until = Micros(request.until.0.saturating_sub(1)),
            How::LatestFloorIgnored => request.floor = Micros::MIN,
            How::LatestIgnoresLateRows | How::LatestTakesCreatedLater => {
                let all = LatestRead {
                    after: Micros::MIN,
                    until: Micros::MAX,
                    ..request.clone()
                };
                let batches: Vec<RecordBatch> = self.inner.latest(all, options).await?.try_collect().await?;
                let mut plain = (*request.scan.source).clone();
                let how = self.how;
                if how == How::LatestTakesCreatedLater {
                    plain.knowledge = Knowledge::TieBreak;
                }
                let at = request.scan.keys.len();
                request.scan.source = Arc::new(plain);
                let kept = batches.into_iter().map(move |batch| {
                    let event = batch
                        .column(at)
                        .as_primitive::<TimestampMicrosecondType>()
                        .clone();
                    let created = batch
                        .column(at + 1)
                        .as_primitive::<TimestampMicrosecondType>()
                        .clone();
                    let takes = |row: &u32| {
                        let row = *row as usize;
                        let late = how == How::LatestTakesCreatedLater && created.is_valid(row);
                        request.takes(Micros(event.value(row)), late.then(|| Micros(created.value(row))))
                    };
                    Ok(pick(&batch, (0..batch.num_rows() as u32).filter(takes)))
                });
                return Ok(stream::iter(kept.collect::<Vec<_>>()).boxed());
            }
            How::LatestOldestOnly => return self.newest_rows(request, options).await,
            _ => {}
        }
        self.inner.latest(request, options).await
    }

    async fn range(&self, request: RangeRead, options: &OfflineOptions) -> Result<BatchStream> {
        let mut request = request;
        request.scan = self.scan(&request.scan);
        if self.how == How::RangeExclusive {
            request.until = Micros(request.until.0.saturating_sub(1));
        }
        let once = self.inner.range(request.clone(), options).await?;
        if self.how != How::RangeTwice {
            return Ok(once);
        }
        Ok(once.chain(self.inner.range(request, options).await?).boxed())
    }

    async fn append(&self, scan: &ViewScan, mut rows: BatchStream, options: &OfflineOptions) -> Result<u64> {
        match self.how {
            How::AppendsPart => {
                let mut count = 0;
                while let Some(batch) = rows.try_next().await? {
                    count += self
                        .inner
                        .append(scan, stream::iter([Ok(batch)]).boxed(), options)
                        .await?;
                }
                Ok(count)
            }
            How::AppendCountsBatches => self
                .inner
                .append(scan, rows, options)
                .await
                .map(|rows| rows.min(1)),
            How::AppendForgets => {
                rows.try_fold(0, |sum, batch| async move { Ok(sum + batch.num_rows() as u64) })
                    .await
            }
            _ => self.inner.append(scan, rows, options).await,
        }
    }

    async fn compact(&self, source: &Arc<Source>, options: &CompactOptions) -> Result<CompactReport> {
        let mut options = options.clone();
        if self.how == How::CompactsInDryRuns {
            options.dry_run = false;
        }
        let report = self.inner.compact(source, &options).await?;
        if options.dry_run {
            return Ok(report);
        }
        match self.how {
            How::CompactsTwice => {
                let whole = self.inner.whole(source.name.as_str()).unwrap();
                self.inner.insert(source.name.as_str(), whole);
            }
            How::CompactsBackwards => {
                let whole = self.inner.whole(source.name.as_str()).unwrap();
                let rows = (0..whole.num_rows() as u32).rev();
                self.inner.replace(source.name.as_str(), pick(&whole, rows));
            }
            _ => {}
        }
        Ok(report)
    }

    async fn explain(&self, request: &HistoricalRead, options: &OfflineOptions) -> Result<Explanation> {
        if self.how == How::ExplainsNothing {
            return Ok(Explanation::default());
        }
        self.inner.explain(request, options).await
    }

    async fn takes_file(&self, source: &Arc<Source>, file: &Path) -> Result<bool> {
        self.inner.takes_file(source, file).await
    }

    async fn check(&self) -> Result<Health> {
        let mut health = self.inner.check().await?;
        if self.how == How::NamelessBackend {
            health.backend.clear();
        }
        Ok(health)
    }
}
