//! How is the contract of an online store kept on DynamoDB?

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use larder_base::error::{Error, Result};
use larder_base::{
    BuildContext, Clock, FeatureBlock, Generation, Health, LayoutChanges, OnlineCapabilities, OnlineDelete,
    OnlineRead, OnlineScan, OnlineStore, OnlineWrite, PackedRows, ProjectName, ReadFuture, ReadOptions,
    ReclaimReport, RowRef, StoreIdentity, ViewLayout, WriteOptions, WriteReport, WriteRule,
};
use larder_remote::{Meters, Sent, TOMBSTONE_RETENTION, check_keys, check_rows, check_shapes, kept};
use metrics::{Counter, counter};
use tokio::time::timeout;
use tracing::Instrument;

use crate::call::{Capacity, Gate};
use crate::config::{Billing, DynamoDbConfig, WriteMode};
use crate::connect::{Connection, connect};
use crate::fault::Fault;
use crate::layout::{self, MAX_ROW_BYTES};
use crate::write::Batch;
use crate::{health, read, sweep, table, write};

/// DynamoDB as an online store.
///
/// Sends its first request when it is first used. Must be used inside a Tokio runtime with time and I/O enabled.
#[derive(Debug)]
pub struct DynamoDbStore {
    settings: Settings,
    clock: Arc<dyn Clock>,
    project: Option<ProjectName>,
}

/// What every flow needs to know.
pub(crate) struct Settings {
    pub(crate) connection: Connection,
    pub(crate) endpoint: Option<String>,
    pub(crate) meters: Arc<Meters>,
    /// Units that requests cost, by what they do.
    pub(crate) read_units: Capacity,
    pub(crate) write_units: Capacity,
    /// Keys and items that DynamoDB left over.
    pub(crate) left_over: Counter,
    pub(crate) reads: Gate,
    pub(crate) writes: Gate,
    pub(crate) timeout: Duration,
    pub(crate) write_timeout: Duration,
    /// How long one request of a write may take, so that another try fits into the time of the write.
    pub(crate) write_attempt: Duration,
    pub(crate) consistent_reads: bool,
    pub(crate) write_mode: WriteMode,
    pub(crate) billing: Billing,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) reclaim_rate: u32,
    template: String,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("region", &self.connection.region)
            .field("endpoint", &self.endpoint)
            .field("table", &self.template)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// The table of a project.
    pub(crate) fn table(&self, project: &ProjectName) -> String {
        layout::table(&self.template, project)
    }

    pub(crate) fn client(&self) -> &Client {
        &self.connection.client
    }
}

impl DynamoDbStore {
    /// A store by its configuration. Looks for region and credentials where the configuration names none; asks
    /// DynamoDB nothing yet.
    ///
    /// # Errors
    /// `Config` where an option is wrong, there is no region, or a certificate cannot be read.
    pub async fn new(config: &DynamoDbConfig, cx: &BuildContext) -> Result<Self> {
        config.check()?;
        let store = cx.store.as_str();
        let meters = Arc::new(Meters::new("dynamodb", store));
        let units = |operation: &'static str| {
            Capacity::new(
                counter!("larder_dynamodb_capacity_units_total", "store" => store.to_owned(), "operation" => operation),
            )
        };
        let write_timeout = config.write_timeout.to_std();
        let settings = Settings {
            connection: connect(config, cx, meters.clone()).await?,
            endpoint: config.endpoint.clone(),
            meters,
            read_units: units("read"),
            write_units: units("write"),
            left_over: counter!("larder_dynamodb_left_over_total", "store" => store.to_owned()),
            reads: Gate::new(config.connections),
            writes: Gate::new(config.write_connections),
            timeout: config.timeout.to_std(),
            write_timeout,
            write_attempt: write_timeout / 3,
            consistent_reads: config.consistent_reads,
            write_mode: config.write_mode,
            billing: config.billing,
            tags: config.tags.clone(),
            reclaim_rate: config.reclaim_rate,
            template: config.table.clone(),
        };
        Ok(Self {
            settings,
            clock: cx.clock.clone(),
            project: cx.project.clone(),
        })
    }

    async fn read_all(
        &self,
        request: &OnlineRead,
        options: &ReadOptions,
        out: &mut FeatureBlock,
    ) -> Result<()> {
        out.reset(request);
        check_shapes(request, "DynamoDB")?;
        Ok(read::read(&self.settings, request, options, out).await?)
    }

    /// When a row of a view may go; none where the view keeps its rows.
    fn expires(&self, layout: &ViewLayout, row: &[u8]) -> Result<Option<i64>> {
        let Some(kept) = kept(layout) else {
            return Ok(None);
        };
        let at = RowRef::parse(row)?.event().plus(kept);
        Ok(Some(layout::expires(at, self.clock.now())))
    }
}

async fn within(
    options: &WriteOptions,
    work: impl Future<Output = Result<WriteReport, Fault>>,
) -> Result<WriteReport> {
    let result = match options.timeout {
        None => work.await,
        Some(limit) => timeout(limit, work).await.unwrap_or_else(|_| Err(Fault::late())),
    };
    Ok(result?)
}

#[async_trait]
impl OnlineStore for DynamoDbStore {
    fn capabilities(&self) -> OnlineCapabilities {
        let mut can = OnlineCapabilities::default();
        can.newest_wins = self.settings.write_mode == WriteMode::NewestWins;
        can.overwrite = true;
        can.durable = true;
        can.shared = true;
        can.native_expiry = true;
        can.max_row_bytes = Some(MAX_ROW_BYTES as u32);
        can
    }

    fn read<'a>(
        &'a self,
        request: &'a OnlineRead,
        options: &'a ReadOptions,
        out: &'a mut FeatureBlock,
    ) -> ReadFuture<'a> {
        let span = tracing::debug_span!("dynamodb.read", groups = request.groups.len());
        ReadFuture::Pending(Box::pin(self.read_all(request, options, out).instrument(span)))
    }

    async fn write(&self, batch: &OnlineWrite, options: &WriteOptions) -> Result<WriteReport> {
        let newest_wins = match (batch.rule, self.settings.write_mode) {
            (WriteRule::NewestWins, WriteMode::NewestWins) => true,
            (WriteRule::Overwrite, _) => false,
            (WriteRule::NewestWins, WriteMode::Overwrite) => {
                return Err(
                    Error::unsupported("this DynamoDB store overwrites: it does not compare times")
                        .help("set `write_mode: newest_wins` for the store"),
                );
            }
            _ => {
                return Err(Error::unsupported(
                    "the DynamoDB store does not know this write rule",
                ));
            }
        };
        check_rows(batch, MAX_ROW_BYTES, "DynamoDB, whose items have at most 400 KB")?;
        check_keys(&batch.layout, &batch.keys)?;
        let rows = batch
            .keys
            .iter()
            .flatten()
            .zip(batch.rows.iter())
            .map(|(key, row)| {
                let expires = self.expires(&batch.layout, row)?;
                Ok(Sent { key, row, expires })
            });
        let span =
            tracing::debug_span!("dynamodb.write", view = %batch.layout.view(), rows = batch.rows.len());
        let batch = Batch {
            project: batch.layout.project(),
            generation: batch.layout.generation(),
            rows: rows.collect::<Result<_>>()?,
        };
        match newest_wins {
            true => {
                within(options, write::newest_wins(&self.settings, batch))
                    .instrument(span)
                    .await
            }
            false => {
                within(options, write::overwrite(&self.settings, batch))
                    .instrument(span)
                    .await
            }
        }
    }

    async fn delete(&self, batch: &OnlineDelete, options: &WriteOptions) -> Result<WriteReport> {
        check_keys(&batch.layout, &batch.keys)?;
        let mut tombstone = PackedRows::new();
        tombstone.push_tombstone(&batch.layout, batch.at, batch.now);
        // By the clock that decides what has expired.
        let now = self.clock.now();
        let expires = Some(layout::expires(now.plus(TOMBSTONE_RETENTION), now));
        let row = tombstone.get(0);
        let rows = batch.keys.iter().flatten().map(|key| Sent { key, row, expires });
        let span =
            tracing::debug_span!("dynamodb.delete", view = %batch.layout.view(), rows = batch.keys.len());
        let batch = Batch {
            project: batch.layout.project(),
            generation: batch.layout.generation(),
            rows: rows.collect(),
        };
        within(options, write::newest_wins(&self.settings, batch))
            .instrument(span)
            .await
    }

    async fn prepare(&self, changes: &LayoutChanges) -> Result<StoreIdentity> {
        Ok(table::prepare(&self.settings, &changes.project).await?)
    }

    async fn identity(&self, project: &ProjectName) -> Result<Option<StoreIdentity>> {
        Ok(table::identity(&self.settings, project).await?)
    }

    async fn reclaim(&self, project: &ProjectName, retired: &[Generation]) -> Result<ReclaimReport> {
        let span = tracing::debug_span!("dynamodb.reclaim", generations = retired.len());
        let work = sweep::reclaim(&self.settings, project, retired, || self.clock.now());
        Ok(work.instrument(span).await?)
    }

    async fn check(&self) -> Result<Health> {
        let project = self.project.as_ref();
        health::check(&self.settings, project, || self.clock.now()).await
    }

    fn scan(&self) -> Option<&dyn OnlineScan> {
        // Partition keys have no order.
        None
    }
}
