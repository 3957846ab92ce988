//! How the contract of an offline store is kept on Parquet files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use larder_core::arrow::datatypes::SchemaRef;
use larder_core::model::Source;
use larder_core::{
    BatchStream, Clock, CompactOptions, CompactReport, Error, Explanation, Health, HistoricalRead,
    JoinedStream, LatestRead, OfflineCapabilities, OfflineOptions, OfflineStore, RangeRead, Result,
    SystemClock, ViewScan,
};

use crate::footer::Footers;
use crate::plan::Context;
use crate::prune::Filter;
use crate::root::Root;
use crate::{append, compact, discover, join, rows, schema, work};

/// An offline store on Parquet files below a folder or an S3 prefix.
#[derive(Debug)]
pub struct ParquetStore {
    root: Root,
    clock: Arc<dyn Clock>,
    footers: Arc<Footers>,
}

impl ParquetStore {
    /// A store whose relative paths start at a folder. Nothing is opened yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self::with_clock(root, Arc::new(SystemClock))
    }

    /// The same with another clock, which names appended files.
    pub fn with_clock(root: impl Into<PathBuf>, clock: Arc<dyn Clock>) -> Self {
        Self::at(Root::folder(root), clock)
    }

    pub(crate) fn at(root: Root, clock: Arc<dyn Clock>) -> Self {
        Self {
            root,
            clock,
            footers: Arc::default(),
        }
    }

    /// Where relative paths start: a folder, or `s3://bucket/prefix`.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    fn context(&self, options: &OfflineOptions) -> Context {
        Context::new(self.footers.clone(), options)
    }
}

/// What the store can do.
pub(crate) fn capabilities() -> OfflineCapabilities {
    let mut capabilities = OfflineCapabilities::default();
    capabilities.ordered_source = true;
    capabilities.append = true;
    capabilities.compact = true;
    capabilities.range = true;
    capabilities.explain = true;
    capabilities.entity_files = true;
    capabilities
}

/// Refuses what would otherwise be answered wrongly.
pub(crate) fn supported(scan: &ViewScan) -> Result<()> {
    if scan.source.filter.is_some() {
        return Err(
            Error::unsupported("the parquet store does not apply a source's `filter` yet")
                .with("source", &scan.source.name)
                .help("write the rows that satisfy it to files of their own"),
        );
    }
    Ok(())
}

#[async_trait]
impl OfflineStore for ParquetStore {
    fn capabilities(&self) -> OfflineCapabilities {
        capabilities()
    }

    async fn schema(&self, source: &Arc<Source>) -> Result<SchemaRef> {
        let context = self.context(&OfflineOptions::default());
        let (root, source) = (self.root.clone(), source.clone());
        work::run(move || schema::schema(&root, &source, &context))
            .await
            .map_err(|error| error.operation("schema"))
    }

    async fn historical(&self, request: HistoricalRead, options: &OfflineOptions) -> Result<JoinedStream> {
        let context = self.context(options);
        join::historical(self.root.clone(), request, options.clone(), context)
            .await
            .map_err(|error| error.operation("historical"))
    }

    async fn latest(&self, request: LatestRead, options: &OfflineOptions) -> Result<BatchStream> {
        supported(&request.scan)?;
        let filter = Filter::of_latest(&request)?;
        let (scan, context) = (request.scan.clone(), self.context(options));
        let takes = move |event, created| request.takes(event, created);
        rows::rows(self.root.clone(), scan, filter, takes, options.clone(), context)
            .await
            .map_err(|error| error.operation("latest"))
    }

    async fn range(&self, request: RangeRead, options: &OfflineOptions) -> Result<BatchStream> {
        supported(&request.scan)?;
        let window = (request.from <= request.until).then_some((request.from.0, request.until.0));
        let filter = Filter::new(&request.scan, window)?;
        let takes = move |event, _| request.from <= event && event <= request.until;
        rows::rows(
            self.root.clone(),
            request.scan,
            filter,
            takes,
            options.clone(),
            self.context(options),
        )
        .await
        .map_err(|error| error.operation("range"))
    }

    async fn append(&self, scan: &ViewScan, rows: BatchStream, options: &OfflineOptions) -> Result<u64> {
        let now = self.clock.now();
        append::append(self.root.clone(), scan.clone(), rows, now, self.context(options))
            .await
            .map_err(|error| error.operation("append"))
    }

    async fn compact(&self, source: &Arc<Source>, options: &CompactOptions) -> Result<CompactReport> {
        let context = self.context(&OfflineOptions::default());
        let _guard = context.cancel.guard();
        let (root, source, options, clock) = (
            self.root.clone(),
            source.clone(),
            options.clone(),
            self.clock.clone(),
        );
        work::run(move || compact::compact(&root, &source, &options, &|| clock.now(), &context))
            .await
            .map_err(|error| error.operation("compact"))
    }

    async fn explain(&self, request: &HistoricalRead, options: &OfflineOptions) -> Result<Explanation> {
        let context = self.context(options);
        join::explain(self.root.clone(), request.clone(), options.clone(), context)
            .await
            .map_err(|error| error.operation("explain"))
    }

    async fn takes_file(&self, source: &Arc<Source>, file: &Path) -> Result<bool> {
        let (root, source, file) = (self.root.clone(), source.clone(), file.to_path_buf());
        work::run(move || discover::takes(&root, &source, &file)).await
    }

    async fn check(&self) -> Result<Health> {
        let root = self.root.clone();
        work::run(move || discover::check(&root))
            .await
            .map_err(|error| error.operation("check"))
    }
}
