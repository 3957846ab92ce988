//! How a store signs in to a server and asks it something without ever hanging.

pub(crate) mod address;
pub(crate) mod link;
pub(crate) mod node;
pub(crate) mod sentinel;
pub(crate) mod wire;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use larder_base::{ErrorKind, Secret};
use larder_remote::{Meters, Pulse, tls_refusal};
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, IntoConnectionInfo, Pipeline, RedisConnectionInfo, RedisResult, ServerError,
    Value,
};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::fault::{self, Fault, Turn};
use address::Endpoint;

/// Requests that may wait for a connection's driver.
const QUEUE: usize = 1_024;
/// Bytes that are collected before they are written to the socket.
const WRITE_BUFFER: usize = 256 << 10;
/// How often a request may be late while bytes keep coming, before it is given up in any case.
const PATIENCE: u32 = 10;

/// How to reach the servers of a store.
pub(crate) struct Access {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret<String>>,
    pub(crate) database: i64,
    pub(crate) tls: Option<TlsConnector>,
    pub(crate) allow_plaintext: bool,
    pub(crate) connect_timeout: Duration,
    /// Whether each server holds its data by itself: it is neither a node of a cluster nor a sentinel.
    pub(crate) alone: bool,
    pub(crate) meters: Arc<Meters>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access")
            .field("username", &self.username)
            .field("database", &self.database)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

impl Access {
    /// Connects to a server and signs in, within the time for connecting.
    pub(crate) async fn connect(&self, endpoint: &Endpoint) -> Result<Conn, Fault> {
        if self.tls.is_none() && !self.allow_plaintext && !endpoint.is_local() {
            let refused = Fault::new(
                Turn::Give,
                ErrorKind::Config,
                "features would travel to Redis without TLS",
                "use rediss:// (or `tls: {}`), or set `allow_plaintext: true` where the network is trusted",
            );
            return Err(refused.at(endpoint));
        }
        let result = timeout(self.connect_timeout, self.open(endpoint))
            .await
            .unwrap_or_else(|_| {
                // A server without TLS waits for the end of what it takes for a command.
                Err(Fault::unreachable(match self.tls {
                    Some(_) => "no connection in time; does this port speak TLS?",
                    None => "no connection in time",
                }))
            })
            .map_err(|fault| fault.at(endpoint));
        match &result {
            Ok(_) => self.meters.connected.increment(1),
            Err(fault) => {
                self.meters.refused.increment(1);
                self.meters.fault(fault.kind());
                tracing::debug!(%endpoint, fault = ?fault.turn, "no connection to redis");
            }
        }
        result
    }

    async fn open(&self, endpoint: &Endpoint) -> Result<Conn, Fault> {
        let pulse = Arc::new(Pulse::new());
        let wire = wire::open(endpoint, self.tls.as_ref(), self.meters.clone(), pulse.clone())
            .await
            .map_err(|error| match tls_refusal(&error) {
                Some(told) => Fault::tls(told),
                None => Fault::unreachable(error),
            })?;
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_connection_timeout(None)
            .set_pipeline_buffer_size(QUEUE)
            .set_write_backpressure_boundary(WRITE_BUFFER);
        let (mux, driver) = MultiplexedConnection::new_with_config(&self.info()?, wire, config)
            .await
            .map_err(|error| fault::of_client(&error))?;
        let driver = tokio::spawn(driver).abort_handle();
        let conn = Conn {
            mux,
            driver,
            pulse,
            endpoint: endpoint.clone(),
            alone: self.alone,
        };
        if self.alone {
            conn.check_alone(self.connect_timeout).await?;
        }
        Ok(conn)
    }

    fn info(&self) -> Result<RedisConnectionInfo, Fault> {
        // The only way to a default one that the client offers.
        let info = "redis://localhost"
            .into_connection_info()
            .map_err(|error| fault::of_client(&error))?;
        let mut info = info.redis_settings().clone().set_db(self.database);
        if let Some(username) = &self.username {
            info = info.set_username(username);
        }
        if let Some(password) = &self.password {
            info = info.set_password(password.reveal());
        }
        Ok(info.set_lib_name("larder", env!("CARGO_PKG_VERSION")))
    }
}

/// One multiplexed connection; dropped, it closes.
pub(crate) struct Conn {
    mux: MultiplexedConnection,
    driver: AbortHandle,
    pulse: Arc<Pulse>,
    endpoint: Endpoint,
    alone: bool,
}

impl Conn {
    /// Whether the connection still has somebody who drives it, and somebody at the other end.
    pub(crate) fn is_alive(&self) -> bool {
        !self.driver.is_finished() && !self.pulse.is_silent()
    }

    /// Who is at the other end.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends one command. An error of the server is a fault.
    pub(crate) async fn command(&self, command: &Cmd, limit: Duration) -> Result<Value, Fault> {
        let mut mux = self.mux.clone();
        match self.patient(limit, mux.send_packed_command(command)).await? {
            Value::ServerError(error) => Err(self.refusal(&error)),
            value => Ok(value),
        }
    }

    /// What an error of this server means.
    pub(crate) fn refusal(&self, error: &ServerError) -> Fault {
        let fault = fault::of_server(error);
        let fault = match fault.turn {
            Turn::Moved { .. } | Turn::Ask(_) | Turn::Split if self.alone => fault::is_cluster(),
            _ => fault,
        };
        fault.at(&self.endpoint)
    }

    /// Refuses a server of another kind. One that does not tell its kind is taken for what it should be.
    async fn check_alone(&self, limit: Duration) -> Result<(), Fault> {
        match self.command(&redis::cmd("HELLO"), limit).await {
            Ok(told) => match mode(&told) {
                Some(b"cluster") => Err(fault::is_cluster().at(&self.endpoint)),
                Some(b"sentinel") => Err(fault::is_sentinel().at(&self.endpoint)),
                _ => Ok(()),
            },
            Err(fault) if matches!(fault.turn, Turn::Reconnect | Turn::Silent) => Err(fault),
            // Older than the question.
            Err(_) => Ok(()),
        }
    }

    /// Sends commands at once and takes one answer for each; errors of the server are among them.
    pub(crate) async fn pipeline(&self, commands: &Pipeline, limit: Duration) -> Result<Vec<Value>, Fault> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let mut mux = self.mux.clone();
        let answers = self
            .patient(limit, mux.send_packed_commands(commands, 0, commands.len()))
            .await?;
        if answers.len() == commands.len() {
            Ok(answers)
        } else {
            Err(
                fault::odd("redis gave another number of answers than there were commands")
                    .at(&self.endpoint),
            )
        }
    }

    /// Waits as long as the server gives signs of life.
    async fn patient<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, Fault> {
        let answer = self.pulse.patient(limit, PATIENCE, call).await;
        let answer = answer.and_then(|answer| answer.map_err(|error| fault::of_client(&error)));
        answer.map_err(|fault| fault.at(&self.endpoint))
    }
}

/// What a server says it is, among names and values: `standalone`, `cluster` or `sentinel`.
fn mode(told: &Value) -> Option<&[u8]> {
    let Value::Array(parts) = told else { return None };
    let mut pairs = parts.chunks_exact(2);
    pairs.find_map(|pair| match pair {
        [Value::BulkString(name), Value::BulkString(value)] if name == b"mode" => Some(value.as_slice()),
        _ => None,
    })
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Conn({})", self.endpoint)
    }
}
