//! How a store signs in to a server and asks it something without ever hanging.

pub(crate) mod address;
pub(crate) mod link;
pub(crate) mod node;
pub(crate) mod sentinel;
pub(crate) mod wire;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use larder_base::{ErrorKind, Secret};
use larder_remote::Meters;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, IntoConnectionInfo, Pipeline, RedisConnectionInfo, RedisResult, Value,
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
        let moved = Arc::new(AtomicU64::new(0));
        let wire = wire::open(endpoint, self.tls.as_ref(), self.meters.clone(), moved.clone())
            .await
            .map_err(Fault::unreachable)?;
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_connection_timeout(None)
            .set_pipeline_buffer_size(QUEUE)
            .set_write_backpressure_boundary(WRITE_BUFFER);
        let (mux, driver) = MultiplexedConnection::new_with_config(&self.info()?, wire, config)
            .await
            .map_err(|error| fault::of_client(&error))?;
        let driver = tokio::spawn(driver).abort_handle();
        Ok(Conn {
            mux,
            driver,
            moved,
            endpoint: endpoint.clone(),
        })
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
    moved: Arc<AtomicU64>,
    endpoint: Endpoint,
}

impl Conn {
    /// Whether the connection still has somebody who drives it.
    pub(crate) fn is_alive(&self) -> bool {
        !self.driver.is_finished()
    }

    /// Who is at the other end.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends one command. An error of the server is a fault.
    pub(crate) async fn command(&self, command: &Cmd, limit: Duration) -> Result<Value, Fault> {
        let mut mux = self.mux.clone();
        match self.patient(limit, mux.send_packed_command(command)).await? {
            Value::ServerError(error) => Err(fault::of_server(&error).at(&self.endpoint)),
            value => Ok(value),
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

    /// Waits as long as bytes come or go, and gives up when none does for `limit`.
    async fn patient<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, Fault> {
        let mut call = pin!(call);
        let mut seen = self.moved.load(Ordering::Relaxed);
        for _ in 0..PATIENCE {
            match timeout(limit, &mut call).await {
                Ok(result) => return result.map_err(|error| fault::of_client(&error).at(&self.endpoint)),
                Err(_) => {
                    let now = self.moved.load(Ordering::Relaxed);
                    if now == seen {
                        return Err(Fault::silent().at(&self.endpoint));
                    }
                    seen = now;
                }
            }
        }
        let slow = Fault::new(
            Turn::Give,
            ErrorKind::Timeout,
            "redis answers too slowly",
            "ask for less at once, check the network, or raise `timeout`",
        );
        Err(slow.at(&self.endpoint))
    }
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
