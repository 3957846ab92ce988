//! How a server is reached, and how long anybody waits for it.

pub(crate) mod pool;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use larder_base::ErrorKind;
use larder_remote::{Meters, Pulse, Wire, dial};
use parking_lot::Mutex;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_postgres::config::{Host, TargetSessionAttrs};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, NoTls, Row, Statement as Prepared};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::fault::{self, Fault, Turn};
use crate::sql::Statement;

/// How many periods of silence, each ended by a byte, make a call hopeless.
const PATIENCE: u32 = 60;

/// What is needed to connect.
pub(crate) struct Access {
    pub(crate) client: Config,
    pub(crate) tls: Option<MakeRustlsConnect>,
    pub(crate) connect_timeout: Duration,
    /// Whether statements are prepared and sessions have settings.
    pub(crate) prepared: bool,
    pub(crate) meters: Arc<Meters>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access")
            .field("tls", &self.tls.is_some())
            .field("prepared", &self.prepared)
            .finish_non_exhaustive()
    }
}

impl Access {
    /// Connects to the first host that answers and, of several, takes writes.
    pub(crate) async fn dial(&self, patience: Duration) -> Result<Conn, Fault> {
        let hosts = self.client.get_hosts();
        let mut last = None;
        for (index, host) in hosts.iter().enumerate() {
            let ports = self.client.get_ports();
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
            let name = told(host, port);
            let result = match timeout(self.connect_timeout, self.dial_one(host, port, patience)).await {
                Ok(result) => result,
                Err(_) => Err(Fault::unreachable(
                    "connecting took longer than `connect_timeout`",
                )),
            };
            match result {
                Ok(conn) => {
                    self.meters.connected.increment(1);
                    return Ok(conn);
                }
                Err(fault) => {
                    self.meters.refused.increment(1);
                    self.meters.fault(fault.kind());
                    last = Some(fault.at(name));
                }
            }
        }
        Err(last.unwrap_or_else(|| Fault::unreachable("no host is named")))
    }

    async fn dial_one(&self, host: &Host, port: u16, patience: Duration) -> Result<Conn, Fault> {
        let pulse = Arc::new(Pulse::new());
        let wire = open(host, port, self.meters.clone(), pulse.clone())
            .await
            .map_err(Fault::unreachable)?;
        let mut config = self.client.clone();
        if self.prepared {
            config.options(self.session(patience));
        }
        let (client, driver) = match (&self.tls, host) {
            (Some(tls), Host::Tcp(name)) => {
                let tls = MakeTlsConnect::<Wire>::make_tls_connect(&mut tls.clone(), name)
                    .map_err(Fault::unreachable)?;
                let (client, connection) = config
                    .connect_raw(wire, tls)
                    .await
                    .map_err(|e| fault::of_client(&e))?;
                (client, tokio::spawn(connection).abort_handle())
            }
            _ => {
                // A Unix socket stays on this machine.
                config.ssl_mode(tokio_postgres::config::SslMode::Disable);
                let (client, connection) = config
                    .connect_raw(wire, NoTls)
                    .await
                    .map_err(|e| fault::of_client(&e))?;
                (client, tokio::spawn(connection).abort_handle())
            }
        };
        let conn = Conn {
            client,
            driver,
            pulse,
            name: told(host, port),
            prepared: self.prepared.then(Mutex::default),
        };
        if self.client.get_hosts().len() > 1
            || self.client.get_target_session_attrs() == TargetSessionAttrs::ReadWrite
        {
            conn.check_primary(patience).await?;
        }
        Ok(conn)
    }

    /// Settings of a session. Each lookup is one probe of an index, so nothing is gained by planning anew or by
    /// compiling. The server tells of somebody's lock before patience ends, and gives up a statement that nobody waits
    /// for any more.
    fn session(&self, patience: Duration) -> String {
        let millis = |time: Duration| time.as_millis().clamp(1, 1 << 30);
        let (lock, limit) = (millis(patience / 2), millis(patience * 2));
        let own = format!(
            "-c statement_timeout={limit} -c lock_timeout={lock} -c idle_in_transaction_session_timeout={limit} \
             -c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c jit=off"
        );
        match self.client.get_options() {
            // Later ones win, and those are the user's.
            Some(options) => format!("{own} {options}"),
            None => own,
        }
    }
}

fn told(host: &Host, port: u16) -> String {
    match host {
        Host::Tcp(name) => format!("{name}:{port}"),
        #[cfg(unix)]
        Host::Unix(folder) => format!("{}:{port}", folder.display()),
    }
}

/// One parameter of a statement.
pub(crate) type Parameter<'a> = &'a (dyn ToSql + Sync);

/// One connection, used by one call at a time; dropped, it closes.
pub(crate) struct Conn {
    client: Client,
    driver: AbortHandle,
    pulse: Arc<Pulse>,
    name: String,
    /// Statements that were prepared here; none where a pooler would lose them.
    prepared: Option<Mutex<HashMap<String, Prepared>>>,
}

impl Conn {
    /// Whether somebody is still at the other end, as far as is known.
    pub(crate) fn is_alive(&self) -> bool {
        !self.client.is_closed() && !self.driver.is_finished()
    }

    /// Runs one statement and answers its rows.
    pub(crate) async fn query(
        &self,
        statement: &Statement,
        parameters: &[Parameter<'_>],
        limit: Duration,
    ) -> Result<Vec<Row>, Fault> {
        self.ready(statement, limit).await?.query(parameters).await
    }

    /// Runs one statement and answers how many rows it touched.
    pub(crate) async fn execute(
        &self,
        statement: &Statement,
        parameters: &[Parameter<'_>],
        limit: Duration,
    ) -> Result<u64, Fault> {
        self.ready(statement, limit).await?.execute(parameters).await
    }

    /// Runs text of our own without parameters, such as `BEGIN`.
    pub(crate) async fn batch(&self, text: &str, limit: Duration) -> Result<(), Fault> {
        self.patient(limit, self.client.batch_execute(text)).await
    }

    /// A statement to be run any number of times, also at once: the answers come in order.
    pub(crate) async fn ready<'a>(
        &'a self,
        statement: &'a Statement,
        limit: Duration,
    ) -> Result<Ready<'a>, Fault> {
        let Some(known) = &self.prepared else {
            return Ok(Ready {
                conn: self,
                statement,
                prepared: None,
                limit,
            });
        };
        let found = known.lock().get(&statement.text).cloned();
        let prepared = match found {
            Some(prepared) => prepared,
            None => {
                let prepare = self.client.prepare_typed(&statement.text, &statement.types);
                let prepared = self.patient(limit, prepare).await?;
                known.lock().insert(statement.text.clone(), prepared.clone());
                prepared
            }
        };
        Ok(Ready {
            conn: self,
            statement,
            prepared: Some(prepared),
            limit,
        })
    }

    async fn check_primary(&self, limit: Duration) -> Result<(), Fault> {
        let statement = Statement::new("SELECT pg_is_in_recovery()".to_owned(), &[]);
        let rows = self.query(&statement, &[], limit).await?;
        match rows.first().and_then(|row| row.try_get::<_, bool>(0).ok()) {
            Some(false) => Ok(()),
            _ => Err(Fault::new(
                Turn::Reconnect,
                ErrorKind::Unavailable,
                "this postgres is a standby",
                "check which of the hosts in `url` is the primary",
            )),
        }
    }

    /// Waits as long as the server gives signs of life.
    async fn patient<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Fault> {
        let answer = self.pulse.patient(limit, PATIENCE, call).await;
        let answer = answer.and_then(|answer| answer.map_err(|error| fault::of_client(&error)));
        answer.map_err(|fault| fault.at(&self.name))
    }
}

/// A statement that one connection knows.
pub(crate) struct Ready<'a> {
    conn: &'a Conn,
    statement: &'a Statement,
    prepared: Option<Prepared>,
    limit: Duration,
}

impl Ready<'_> {
    pub(crate) async fn query(&self, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Fault> {
        let client = &self.conn.client;
        match &self.prepared {
            Some(prepared) => {
                let call = client.query(prepared, parameters);
                self.conn.patient(self.limit, call).await
            }
            None => {
                let typed = self.typed(parameters);
                let call = client.query_typed(&self.statement.text, &typed);
                self.conn.patient(self.limit, call).await
            }
        }
    }

    pub(crate) async fn execute(&self, parameters: &[Parameter<'_>]) -> Result<u64, Fault> {
        let client = &self.conn.client;
        match &self.prepared {
            Some(prepared) => {
                let call = client.execute(prepared, parameters);
                self.conn.patient(self.limit, call).await
            }
            None => {
                let typed = self.typed(parameters);
                let call = client.execute_typed(&self.statement.text, &typed);
                self.conn.patient(self.limit, call).await
            }
        }
    }

    fn typed<'p>(&self, parameters: &[Parameter<'p>]) -> Vec<(Parameter<'p>, Type)> {
        let types = self.statement.types.iter().cloned();
        parameters.iter().copied().zip(types).collect()
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Conn({})", self.name)
    }
}

/// Reaches a host; `pulse` is told of signs of life.
async fn open(host: &Host, port: u16, meters: Arc<Meters>, pulse: Arc<Pulse>) -> io::Result<Wire> {
    let wire = match host {
        Host::Tcp(host) => Wire::new(dial(host, port).await?, meters, pulse),
        #[cfg(unix)]
        Host::Unix(folder) => {
            let socket = folder.join(format!(".s.PGSQL.{port}"));
            Wire::new(UnixStream::connect(socket).await?, meters, pulse)
        }
    };
    Ok(wire)
}
