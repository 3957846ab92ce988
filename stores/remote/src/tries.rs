//! When does another try make sense? After pauses that grow, until none has helped for some time.

use std::time::{Duration, Instant};

use larder_base::random;

/// The first pause, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(25), Duration::from_millis(500));

/// The tries of one piece of work.
#[derive(Debug)]
pub struct Tries {
    limit: Duration,
    until: Instant,
    pause: Duration,
}

impl Tries {
    /// Tries for as long as one helps every now and then: `limit` without any success ends them.
    pub fn new(limit: Duration) -> Self {
        Self {
            limit,
            until: Instant::now() + limit,
            pause: PAUSES.0,
        }
    }

    /// Notes a success: the time begins anew.
    pub fn helped(&mut self) {
        *self = Self::new(self.limit);
    }

    /// Pauses before another try, with jitter; `false`, and at once, where the time is up.
    pub async fn again(&mut self) -> bool {
        if Instant::now() + self.pause >= self.until {
            return false;
        }
        let half = self.pause / 2;
        let jitter = random::u64() % (half.as_micros() as u64).max(1);
        tokio::time::sleep(half + Duration::from_micros(jitter)).await;
        self.pause = (self.pause * 2).min(PAUSES.1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tries_end_and_success_buys_more() {
        let mut tries = Tries::new(Duration::from_millis(60));
        let (started, mut count) = (Instant::now(), 0);
        while tries.again().await {
            count += 1;
        }
        assert!((1..=2).contains(&count) && started.elapsed() < Duration::from_millis(500));
        tries.helped();
        assert!(tries.again().await);
        assert!(!Tries::new(Duration::ZERO).again().await);
    }
}
