//! Is somebody still at the other end of a connection? Told by the bytes that come.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::{Fault, Turns};

/// The signs of life of one connection.
///
/// A sign is a byte that came, or one that went after there had been no room for it. Bytes that merely went are none: the
/// operating system takes them for a peer that is gone, and on a shared connection there are always some.
#[derive(Debug)]
pub struct Pulse {
    began: Instant,
    /// How many signs there were.
    signs: AtomicU64,
    /// By when one must come, in µs since `began`; zero where nothing was asked since the last one.
    due: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Self {
        Self::new()
    }
}

impl Pulse {
    /// Of a connection that is made now.
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            signs: AtomicU64::new(0),
            due: AtomicU64::new(0),
        }
    }

    /// Notes a sign of life.
    pub fn sign(&self) {
        self.signs.fetch_add(1, Ordering::Relaxed);
        self.due.store(0, Ordering::Relaxed);
    }

    /// How many signs there were.
    pub fn signs(&self) -> u64 {
        self.signs.load(Ordering::Relaxed)
    }

    /// Notes that something is asked, to which a sign must come within a time. Of several questions the first one counts.
    pub fn asked(&self, limit: Duration) {
        if self.due.load(Ordering::Relaxed) == 0 {
            let due = self.now().saturating_add(micros(limit)).max(1);
            // Whoever was quicker asked before.
            let _ = self
                .due
                .compare_exchange(0, due, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Whether a sign is overdue. Also where nobody waits any more: callers that gave up early learn nothing themselves.
    pub fn is_silent(&self) -> bool {
        let due = self.due.load(Ordering::Relaxed);
        due != 0 && self.now() > due
    }

    /// Asks, and waits for the answer as long as signs come: `limit` from one to the next, and `rounds` times that at most.
    ///
    /// # Errors
    /// [`Fault::silent`] and [`Fault::slow`].
    pub async fn patient<T: Turns, F: Future>(
        &self,
        limit: Duration,
        rounds: u32,
        call: F,
    ) -> Result<F::Output, Fault<T>> {
        let mut call = pin!(call);
        self.asked(limit);
        let mut seen = self.signs();
        for _ in 0..rounds {
            if let Ok(answer) = timeout(limit, &mut call).await {
                return Ok(answer);
            }
            let now = self.signs();
            if now == seen {
                return Err(Fault::silent());
            }
            seen = now;
        }
        Err(Fault::slow())
    }

    fn now(&self) -> u64 {
        micros(self.began.elapsed())
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use larder_base::ErrorKind;

    use super::*;
    use crate::fault::tests::{Own, Turn};

    const SHORT: Duration = Duration::from_millis(10);

    #[tokio::test]
    async fn silence_shows_to_those_who_wait_and_to_those_who_come_later() {
        let pulse = Pulse::new();
        let silent: Result<(), Own> = pulse.patient(SHORT, 10, pending()).await;
        assert_eq!(silent.map_err(|fault| fault.turn), Err(Turn::Silent));
        // Nobody waited to the end.
        let pulse = Pulse::new();
        let asked: Result<Result<(), Own>, _> =
            timeout(SHORT / 10, pulse.patient(SHORT, 10, pending())).await;
        assert!(asked.is_err() && !pulse.is_silent());
        tokio::time::sleep(SHORT).await;
        // One more question does not give it more time.
        pulse.asked(Duration::from_secs(1));
        assert!(pulse.is_silent());
        pulse.sign();
        assert!(!pulse.is_silent(), "it lives, and is asked nothing");
    }

    #[tokio::test]
    async fn signs_buy_time_and_not_for_ever() {
        let pulse = Pulse::new();
        let signs = async {
            loop {
                tokio::time::sleep(SHORT / 4).await;
                pulse.sign();
            }
        };
        let slow = async {
            let answer: Result<(), Own> = pulse.patient(SHORT, 3, pending()).await;
            answer.map_err(|fault| (fault.turn.clone(), fault.kind()))
        };
        tokio::select! {
            () = signs => {}
            answer = slow => assert_eq!(answer, Err((Turn::Give, ErrorKind::Timeout))),
        }
    }
}
