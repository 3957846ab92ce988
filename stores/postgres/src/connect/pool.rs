//! Who may use which connection: a few at a time, kept for the next call, given up when anything is wrong with them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::{Access, Conn};
use crate::fault::{self, Fault};

/// Connections for one purpose.
#[derive(Debug)]
pub(crate) struct Pool {
    access: Arc<Access>,
    permits: Semaphore,
    /// The one used last is taken first, so that the others may be closed by servers that close idle ones.
    idle: Mutex<Vec<Conn>>,
    /// How long a call waits for a connection, and for bytes on it.
    pub(crate) patience: Duration,
}

impl Pool {
    pub(crate) fn new(access: Arc<Access>, size: u16, patience: Duration) -> Self {
        Self {
            access,
            permits: Semaphore::new(usize::from(size)),
            idle: Mutex::default(),
            patience,
        }
    }

    /// A connection of the caller's own, for a while.
    pub(crate) async fn take(&self) -> Result<Lease<'_>, Fault> {
        let start = Instant::now();
        let permit = match self.permits.try_acquire() {
            Ok(permit) => permit,
            Err(_) => match timeout(self.patience, self.permits.acquire()).await {
                Ok(Ok(permit)) => permit,
                Ok(Err(_)) | Err(_) => {
                    self.access.meters.wait.record(start.elapsed());
                    return Err(fault::busy());
                }
            },
        };
        let idle = {
            let mut idle = self.idle.lock();
            idle.retain(Conn::is_alive);
            idle.pop()
        };
        let conn = match idle {
            Some(conn) => conn,
            None => self.access.dial(self.patience).await?,
        };
        self.access.meters.wait.record(start.elapsed());
        Ok(Lease {
            pool: self,
            conn,
            _permit: permit,
        })
    }

    /// Closes idle connections: one that broke is rarely alone.
    pub(crate) fn forget(&self) {
        self.idle.lock().clear();
    }
}

/// A connection in use. Dropped, it closes: nobody knows what a call that was given up left on it.
#[derive(Debug)]
pub(crate) struct Lease<'a> {
    pool: &'a Pool,
    pub(crate) conn: Conn,
    _permit: SemaphorePermit<'a>,
}

impl Lease<'_> {
    /// Gives the connection back for the next call.
    pub(crate) fn done(self) {
        self.pool.idle.lock().push(self.conn);
    }

    /// Gives it back or up, as the outcome of a call says.
    pub(crate) fn settle<T>(self, outcome: Result<T, Fault>) -> Result<T, Fault> {
        match &outcome {
            Err(fault) if fault.turn.breaks() => self.pool.forget(),
            _ => {}
        }
        if let Err(fault) = &outcome {
            self.pool.access.meters.fault(fault.kind());
        }
        // After an error of one statement another one sent with it may still be running.
        if outcome.is_ok() {
            self.done();
        }
        outcome
    }
}
