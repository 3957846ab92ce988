//! How the contract of an online store is kept on Postgres.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use larder_base::error::{Error, Result};
use larder_base::{
    BuildContext, Clock, FeatureBlock, Generation, Health, LayoutChanges, OnPartial, OnlineCapabilities,
    OnlineDelete, OnlineRead, OnlineScan, OnlineStore, OnlineWrite, PackedRows, ProjectName, ReadFuture,
    ReadOptions, ReclaimReport, RowRef, ScannedRow, StoreIdentity, ViewLayout, WriteOptions, WriteReport,
    WriteRule,
};
use larder_remote::{
    Meters, Sent, TOMBSTONE_RETENTION, all_unavailable, check_keys, check_rows, check_shapes, kept,
    tls_client, within,
};
use parking_lot::Mutex;
use tokio::time::timeout;
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::Instrument;

use crate::config::PostgresConfig;
use crate::connect::Access;
use crate::connect::pool::Pool;
use crate::fault::{self, Fault};
use crate::schema::{self, Want};
use crate::sql::{Statement, Tables, behind, versions_name};
use crate::write::Batch;
use crate::{health, read, sweep, write};

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
    /// Projects whose tables are of a form that is known here.
    pub(crate) known: Mutex<HashSet<ProjectName>>,
}

impl Settings {
    /// The unquoted names of the schema, and of the table of versions in it; and what tables of rows begin with.
    pub(crate) fn names(&self) -> (&str, String, String) {
        (
            &self.schema,
            versions_name(&self.prefix),
            format!("{}online_", self.prefix),
        )
    }

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
            // A server that falls silent uses up a part of the time, and the rest is for its successor.
            writers: Pool::new(access, config.write_connections, checked.write_timeout / 4),
            settings: Settings {
                schema: config.schema.clone(),
                prefix: config.prefix.clone(),
                meters,
                write_timeout: checked.write_timeout,
                reclaim_rate: config.reclaim_rate,
                reads: Mutex::default(),
                known: Mutex::default(),
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
        check_shapes(request, "Postgres")?;
        let partial = options.on_partial == OnPartial::Return;
        let shared = &*self.shared;
        let work = read::read(&shared.readers, &shared.settings, request, out, partial);
        match within(options, work).await {
            // There is one server: nothing of a request can be read without it.
            Err(fault) if partial && fault.is_passing() => {
                all_unavailable(request, out);
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
        check_keys(&batch.layout, &batch.keys)?;
        check_rows(batch, MAX_ROW_BYTES, "Postgres")?;
        let kept = kept(&batch.layout);
        let items = batch.keys.iter().flatten().zip(batch.rows.iter());
        let items = items.map(|(key, row)| {
            let expires = match kept {
                Some(kept) => Some(RowRef::parse(row)?.event().plus(kept).0),
                None => None,
            };
            Ok(Sent { key, row, expires })
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
        check_keys(&batch.layout, &batch.keys)?;
        let mut tombstone = PackedRows::new();
        tombstone.push_tombstone(&batch.layout, batch.at, batch.now);
        // By the clock that decides what has expired.
        let expires = Some(self.shared.clock.now().plus(TOMBSTONE_RETENTION).0);
        let items = batch.keys.iter().flatten().map(|key| Sent {
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
        let health = health::check(
            &shared.writers,
            &shared.settings,
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
