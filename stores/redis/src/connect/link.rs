//! A connection that heals itself: made when it is needed, dropped when it broke, made again after a pause.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use larder_base::{ErrorKind, random};
use parking_lot::Mutex;

use super::address::Endpoint;
use super::sentinel::Sentinels;
use super::{Access, Conn};
use crate::fault::{Fault, Turn};

/// The pause after the first failure; it doubles from failure to failure.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Whom a link connects to.
#[derive(Debug, Clone)]
pub(crate) enum Dial {
    /// This server.
    Fixed(Endpoint),
    /// This replica of a cluster, which must be told that old answers are welcome.
    ClusterReplica(Endpoint),
    /// Whoever is primary now.
    Primary(Arc<Sentinels>),
    /// A replica, or the primary where there is none.
    Replica(Arc<Sentinels>),
}

impl Dial {
    async fn connect(&self, access: &Access) -> Result<Conn, Fault> {
        match self {
            Self::Fixed(endpoint) => access.connect(endpoint).await,
            Self::ClusterReplica(endpoint) => {
                let conn = access.connect(endpoint).await?;
                conn.command(&redis::cmd("READONLY"), access.connect_timeout)
                    .await?;
                Ok(conn)
            }
            Self::Primary(sentinels) => sentinels.connect_primary(access).await,
            Self::Replica(sentinels) => sentinels.connect_replica(access).await,
        }
    }
}

/// A connection that heals itself.
///
/// Connecting goes on in a task of its own: a caller with little time gives up waiting, not the connection.
pub(crate) struct Link {
    access: Arc<Access>,
    dial: Dial,
    state: Arc<Mutex<State>>,
}

type Attempt = Shared<BoxFuture<'static, Result<Arc<Conn>, Fault>>>;

enum State {
    Down,
    /// The last try failed; nobody tries before the instant.
    Failed {
        until: Instant,
        times: u32,
        fault: Fault,
    },
    Connecting(Attempt),
    Up(Arc<Conn>),
}

impl Link {
    /// A link that connects when it is asked.
    pub(crate) fn new(access: Arc<Access>, dial: Dial) -> Self {
        Self {
            access,
            dial,
            state: Arc::new(Mutex::new(State::Down)),
        }
    }

    /// The connection, as it is or made now. Fails at once during the pause after a failure.
    pub(crate) async fn conn(&self) -> Result<Arc<Conn>, Fault> {
        let attempt = {
            let mut state = self.state.lock();
            match &*state {
                State::Up(conn) if conn.is_alive() => return Ok(conn.clone()),
                State::Connecting(attempt) if attempt.peek().is_none() => attempt.clone(),
                State::Failed { until, fault, .. } if Instant::now() < *until => return Err(fault.clone()),
                other => {
                    let times = match other {
                        State::Failed { times, .. } => *times,
                        _ => 0,
                    };
                    let attempt = self.attempt(times);
                    *state = State::Connecting(attempt.clone());
                    attempt
                }
            }
        };
        let started = Instant::now();
        let result = attempt.await;
        self.access.meters.wait.record(started.elapsed());
        result
    }

    /// Whether there is a connection now.
    pub(crate) fn is_up(&self) -> bool {
        matches!(&*self.state.lock(), State::Up(conn) if conn.is_alive())
    }

    /// Begins to connect where there is no connection, and does not wait.
    pub(crate) fn warm(&self) {
        let mut state = self.state.lock();
        let times = match &*state {
            State::Up(conn) if !conn.is_alive() => 0,
            State::Down => 0,
            State::Failed { until, times, .. } if Instant::now() >= *until => *times,
            _ => return,
        };
        *state = State::Connecting(self.attempt(times));
    }

    /// Gives a connection up that does not work; nobody gets it any more.
    pub(crate) fn drop_conn(&self, conn: &Arc<Conn>) {
        let mut state = self.state.lock();
        if matches!(&*state, State::Up(current) if Arc::ptr_eq(current, conn)) {
            *state = State::Down;
        }
    }

    /// Gives a connection up where the fault says that it is of no use.
    pub(crate) fn judge(&self, conn: &Arc<Conn>, fault: &Fault) {
        self.access.meters.fault(fault.kind());
        // What is too slow is behind with answers, for which others would wait, too.
        let late = fault.kind() == ErrorKind::Timeout;
        if late || matches!(fault.turn, Turn::Reconnect | Turn::Silent) {
            tracing::debug!(node = %conn.endpoint(), turn = ?fault.turn, "gave up a connection to redis");
            self.drop_conn(conn);
        }
    }

    fn attempt(&self, times: u32) -> Attempt {
        let (access, dial, state) = (self.access.clone(), self.dial.clone(), self.state.clone());
        let task = tokio::spawn(async move {
            let result = dial.connect(&access).await.map(Arc::new);
            *state.lock() = match &result {
                Ok(conn) => State::Up(conn.clone()),
                Err(fault) => State::Failed {
                    until: Instant::now() + pause(times),
                    times: times.saturating_add(1),
                    fault: fault.clone(),
                },
            };
            result
        });
        task.map(|joined| joined.unwrap_or_else(|_| Err(Fault::unreachable("the runtime is going down"))))
            .boxed()
            .shared()
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("dial", &self.dial)
            .finish_non_exhaustive()
    }
}

/// The pause after a number of failures: doubling, with jitter, so that many clients do not come at once.
fn pause(times: u32) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(1 << times.min(10)).min(LONGEST_PAUSE);
    let half = longest / 2;
    let jitter = random::u64() % (half.as_micros() as u64).max(1);
    half + Duration::from_micros(jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit() {
        for times in 0..40 {
            let pause = pause(times);
            let longest = FIRST_PAUSE.saturating_mul(1 << times.min(10)).min(LONGEST_PAUSE);
            assert!(pause >= longest / 2 && pause <= longest, "{times}: {pause:?}");
        }
    }
}
