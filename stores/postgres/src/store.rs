//! How the contract of an online store is kept on Postgres.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use larder_base::error::{Error, Result};
use larder_base::keys::MAX_KEY_BYTES;
use larder_base::{
    BuildContext, Clock, EntityKeys, FeatureBlock, Generation, Health, LayoutChanges, OnPartial,
    OnlineCapabilities, OnlineDelete, OnlineRead, OnlineScan, OnlineStore, OnlineWrite, PackedRows,
    ProjectName, ReadFuture, ReadOptions, ReclaimReport, RowRef, ScannedRow, Span, StoreIdentity, ViewLayout,
    WriteOptions, WriteReport, WriteRule,
};
use larder_remote::{Meters, tls_client};
use parking_lot::Mutex;
use tokio::time::timeout;
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::Instrument;

use crate::batch::Item;
use crate::config::PostgresConfig;
use crate::connect::Access;
use crate::connect::pool::Pool;
use crate::fault::{self, Fault};
use crate::schema::{self, Want};
use crate::sql::{Statement, Tables, behind, quote};
use crate::write::Batch;
use crate::{health, read, sweep, write};

/// How long a tombstone refuses older rows.
const TOMBSTONE_RETENTION: Span = Span::days(7);
/// How much longer than its view's ttl or retention a row is kept.
const GRACE: Span = Span::hours(1);
/// Longest packed row: an answer holds it whole, and Postgres sends at most 1 GiB at once.
const MAX_ROW_BYTES: usize = 256 << 20;
/// How often writers of a project look for expired rows.
const EXPIRE_EVERY: Duration = Duration::from_secs(600);
/// Rows of one page of a scan.
const SCAN_ROWS: usize = 10_000;

/// Postgres as an online store.
///
/// Connects when it is first used. Must be used inside a Tokio runtime with time and I/O enabled.
#[derive(Debug)]
pub struct PostgresStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    readers: Pool,
    writers: Pool,
    settings: Settings,
    clock: Arc<dyn Clock>,
    /// When expired rows of a project were last looked for.
    expired: Mutex<HashMap<ProjectName, Instant>>,
    connections: i64,
}

/// What every flow needs to know.
#[derive(Debug)]
pub(crate) struct Settings {
    schema: String,
    prefix: String,
    pub(crate) meters: Arc<Meters>,
    /// How long a write goes on trying.
    pub(crate) write_timeout: Duration,
    pub(crate) reclaim_rate: u32,
    /// The statement that reads, by project: built once.
    reads: Mutex<HashMap<ProjectName, Arc<Statement>>>,
}

impl Settings {
    /// The tables of a project.
    pub(crate) fn tables(&self, project: &ProjectName) -> Tables {
        Tables::new(&self.schema, &self.prefix, project)
    }

    /// The statement that reads a project's rows.
    pub(crate) fn read_statement(&self, project: &ProjectName) -> Arc<Statement> {
        let mut reads = self.reads.lock();
        if let Some(statement) = reads.get(project) {
            return statement.clone();
        }
        let statement = Arc::new(self.tables(project).read());
        reads.insert(project.clone(), statement.clone());
        statement
    }
}

impl PostgresStore {
    /// A store by its configuration. Connects to nobody yet.
    ///
    /// # Errors
    /// `Config` where an option is wrong or a certificate cannot be read.
    pub fn new(config: &PostgresConfig, cx: &BuildContext) -> Result<Self> {
        let checked = config.checked()?;
        let meters = Arc::new(Meters::new("postgres", cx.store.as_str()));
        let tls = match &checked.tls {
            Some(tls) => {
                let client = tls_client(tls, |path| cx.resolve(path))?;
                Some(MakeRustlsConnect::new((*client).clone()))
            }
            None => None,
        };
        let access = Arc::new(Access {
            client: checked.client,
            tls,
            connect_timeout: checked.connect_timeout,
            prepared: config.prepared_statements,
            meters: meters.clone(),
        });
        let shared = Shared {
            readers: Pool::new(access.clone(), config.connections, checked.timeout),
            writers: Pool::new(access, config.write_connections, checked.write_timeout),
            settings: Settings {
                schema: config.schema.clone(),
                prefix: config.prefix.clone(),
                meters,
                write_timeout: checked.write_timeout,
                reclaim_rate: config.reclaim_rate,
                reads: Mutex::default(),
            },
            clock: cx.clock.clone(),
            expired: Mutex::default(),
            connections: i64::from(config.connections) + i64::from(config.write_connections),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    async fn read_all(
        &self,
        request: &OnlineRead,
        options: &ReadOptions,
        out: &mut FeatureBlock,
    ) -> Result<()> {
        out.reset(request);
        read::check_shapes(request)?;
        let partial = options.on_partial == OnPartial::Return;
        let shared = &*self.shared;
        let work = read::read(&shared.readers, &shared.settings, request, out, partial);
        match within(options, partial, work).await {
            // There is one server: nothing of a request can be read without it.
            Err(fault) if partial && fault.is_passing() => {
                read::all_unavailable(request, out);
                Ok(())
            }
            result => result.map_err(Error::from),
        }
    }

    async fn store(&self, batch: Batch<'_>, options: &WriteOptions) -> Result<WriteReport> {
        let shared = &*self.shared;
        let expires = batch.items.iter().any(|item| item.expires.is_some());
        let project = batch.project;
        let work = write::write(&shared.writers, &shared.settings, batch);
        let result = match options.timeout {
            None => work.await,
            Some(limit) => timeout(limit, work).await.unwrap_or_else(|_| Err(Fault::late())),
        };
        if expires && result.is_ok() {
            self.expire_sometimes(project);
        }
        result.map_err(Error::from)
    }

    /// Frees expired rows in the background, if nobody of this process did so lately.
    fn expire_sometimes(&self, project: &ProjectName) {
        {
            let mut expired = self.shared.expired.lock();
            if expired
                .get(project)
                .is_some_and(|last| last.elapsed() < EXPIRE_EVERY)
            {
                return;
            }
            expired.insert(project.clone(), Instant::now());
        }
        let (shared, project) = (self.shared.clone(), project.clone());
        tokio::spawn(async move {
            let now = shared.clock.now();
            match sweep::expire(&shared.writers, &shared.settings, &project, now).await {
                Ok(rows) => tracing::debug!(rows, "removed expired rows from postgres"),
                Err(fault) => {
                    let error = Error::from(fault);
                    tracing::debug!(error = %error.chain(), "expired rows stay in postgres until the next sweep");
                }
            }
        });
    }
}

/// Runs a read within its deadline.
///
/// Where partial answers are welcome it ends a little earlier, so that there is time to give them.
async fn within(
    options: &ReadOptions,
    partial: bool,
    read: impl Future<Output = Result<(), Fault>>,
) -> Result<(), Fault> {
    let Some(limit) = options.timeout else {
        return read.await;
    };
    let limit = match partial {
        true => limit - (limit / 10).min(Duration::from_millis(5)),
        false => limit,
    };
    timeout(limit, read).await.unwrap_or_else(|_| Err(Fault::late()))
}

#[async_trait]
impl OnlineStore for PostgresStore {
    fn capabilities(&self) -> OnlineCapabilities {
        let mut can = OnlineCapabilities::default();
        can.newest_wins = true;
        can.overwrite = true;
        can.durable = true;
        can.shared = true;
        can.scan = true;
        can.native_expiry = true;
        can
    }

    fn read<'a>(
        &'a self,
        request: &'a OnlineRead,
        options: &'a ReadOptions,
        out: &'a mut FeatureBlock,
    ) -> ReadFuture<'a> {
        let span = tracing::debug_span!("postgres.read", groups = request.groups.len());
        ReadFuture::Pending(Box::pin(self.read_all(request, options, out).instrument(span)))
    }

    async fn write(&self, batch: &OnlineWrite, options: &WriteOptions) -> Result<WriteReport> {
        let newest_wins = match batch.rule {
            WriteRule::NewestWins => true,
            WriteRule::Overwrite => false,
            _ => {
                return Err(Error::unsupported(
                    "the Postgres store does not know this write rule",
                ));
            }
        };
        check_rows(batch)?;
        let keys = checked_keys(&batch.layout, &batch.keys)?;
        let kept = kept(&batch.layout);
        let items = keys.into_iter().zip(batch.rows.iter()).map(|(key, row)| {
            let expires = match kept {
                Some(kept) => Some(RowRef::parse(row)?.event().plus(kept).0),
                None => None,
            };
            Ok(Item { key, row, expires })
        });
        let span =
            tracing::debug_span!("postgres.write", view = %batch.layout.view(), rows = batch.rows.len());
        let batch = Batch {
            project: batch.layout.project(),
            generation: batch.layout.generation(),
            items: items.collect::<Result<_>>()?,
            newest_wins,
        };
        self.store(batch, options).instrument(span).await
    }

    async fn delete(&self, batch: &OnlineDelete, options: &WriteOptions) -> Result<WriteReport> {
        let keys = checked_keys(&batch.layout, &batch.keys)?;
        let mut tombstone = PackedRows::new();
        tombstone.push_tombstone(&batch.layout, batch.at, batch.now);
        // By the clock that decides what has expired.
        let expires = Some(self.shared.clock.now().plus(TOMBSTONE_RETENTION).0);
        let items = keys.into_iter().map(|key| Item {
            key,
            row: tombstone.get(0),
            expires,
        });
        let span =
            tracing::debug_span!("postgres.delete", view = %batch.layout.view(), rows = batch.keys.len());
        let batch = Batch {
            project: batch.layout.project(),
            generation: batch.layout.generation(),
            items: items.collect(),
            newest_wins: true,
        };
        self.store(batch, options).instrument(span).await
    }

    async fn prepare(&self, changes: &LayoutChanges) -> Result<StoreIdentity> {
        let shared = &*self.shared;
        let identity = schema::prepare(
            &shared.writers,
            &shared.settings,
            &changes.project,
            Want::Identity,
        );
        let identity = identity.await?;
        identity.ok_or_else(|| {
            Error::conflict("the table of the Postgres store was emptied meanwhile").help("try again")
        })
    }

    async fn identity(&self, project: &ProjectName) -> Result<Option<StoreIdentity>> {
        let shared = &*self.shared;
        Ok(schema::identity(&shared.writers, &shared.settings, project).await?)
    }

    async fn reclaim(&self, project: &ProjectName, retired: &[Generation]) -> Result<ReclaimReport> {
        let shared = &*self.shared;
        let span = tracing::debug_span!("postgres.reclaim", generations = retired.len());
        let work = async {
            let report = sweep::reclaim(&shared.writers, &shared.settings, project, retired).await?;
            sweep::expire(&shared.writers, &shared.settings, project, shared.clock.now()).await?;
            Ok(report)
        };
        work.instrument(span).await.map_err(|fault: Fault| fault.into())
    }

    async fn check(&self) -> Result<Health> {
        let shared = &*self.shared;
        let schema = quote(&shared.settings.schema);
        let health = health::check(
            &shared.writers,
            &shared.settings,
            &schema,
            shared.connections,
            shared.clock.now(),
        );
        Ok(health.await?)
    }

    fn scan(&self) -> Option<&dyn OnlineScan> {
        Some(self)
    }
}

#[async_trait]
impl OnlineScan for PostgresStore {
    async fn page(
        &self,
        layout: &Arc<ViewLayout>,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<ScannedRow>> {
        let shared = &*self.shared;
        let statement = shared.settings.tables(layout.project()).scan();
        let generation = i64::from(layout.generation().0);
        let from = after.map(behind).unwrap_or_default();
        let limit = limit.min(SCAN_ROWS) as i64;
        let lease = shared.writers.take().await?;
        let rows = lease
            .conn
            .query(&statement, &[&generation, &from, &limit], shared.writers.patience)
            .await;
        let rows = match lease.settle(rows) {
            Err(fault) if fault.turn == crate::fault::Turn::NoTable => Vec::new(),
            result => result?,
        };
        let scanned = |row: &tokio_postgres::Row| {
            Ok(ScannedRow {
                key: row.try_get(0)?,
                row: row.try_get(1)?,
            })
        };
        rows.iter()
            .map(scanned)
            .collect::<Result<_, tokio_postgres::Error>>()
            .map_err(|error| {
                fault::odd("postgres answered something else than rows")
                    .told(error)
                    .into()
            })
    }
}

/// How long after its event a row of a view is kept; none where the view keeps its rows.
fn kept(layout: &ViewLayout) -> Option<Span> {
    let retention = layout.retention()?;
    let longest = retention.max(layout.ttl().unwrap_or(Span::ZERO));
    Some(Span(longest.0.saturating_add(GRACE.0)))
}

fn checked_keys<'a>(layout: &ViewLayout, keys: &'a EntityKeys) -> Result<Vec<&'a [u8]>> {
    let check = |(row, key): (usize, Option<&'a [u8]>)| {
        let what = match key {
            None => "a row to write has a null in its key",
            Some(key) if key.len() > MAX_KEY_BYTES => "the entity key is too long",
            Some(key) => return Ok(key),
        };
        Err(Error::input(what).with("view", layout.view()).with("row", row))
    };
    keys.iter().enumerate().map(check).collect()
}

fn check_rows(batch: &OnlineWrite) -> Result<()> {
    if batch.keys.len() != batch.rows.len() {
        return Err(Error::input("a write needs as many rows as keys")
            .with("keys", batch.keys.len())
            .with("rows", batch.rows.len()));
    }
    for (row, bytes) in batch.rows.iter().enumerate() {
        let packed = RowRef::parse(bytes).map_err(|error| error.with("row", row))?;
        if packed.generation() != batch.layout.generation() {
            return Err(Error::input("a row was packed for another generation of the view").with("row", row));
        }
        if bytes.len() > MAX_ROW_BYTES {
            return Err(Error::input("a row is too long for the Postgres store")
                .with("row", row)
                .with("bytes", bytes.len()));
        }
    }
    Ok(())
}
