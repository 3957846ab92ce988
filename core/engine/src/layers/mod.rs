//! What can be put around any store: second tries, deadlines, limits and measurements.
//!
//! Each layer is a plain struct that holds a store and is one. An answer that is there already
//! ([`ReadFuture::Ready`](larder_base::ReadFuture)) passes through all of them without waiting
//! and without a heap allocation.
//!
//! The order matters: what stands outside sees everything inside as one call. A good order from
//! the outside is measure, deadline, limit, retry:
//!
//! ```
//! # use std::{sync::Arc, time::Duration};
//! # use larder_base::{OnlineStore, memory::MemoryOnline};
//! use larder_engine::layers::{ConcurrencyLimit, Metrics, Retry, RetryPolicy, Timeout};
//!
//! let store: Arc<dyn OnlineStore> = Arc::new(MemoryOnline::new());
//! let store = Arc::new(Retry::new(store, RetryPolicy::new()));
//! let store = Arc::new(ConcurrencyLimit::new(store, 64).with_waiting(1_000));
//! let store = Arc::new(Timeout::new(store, Duration::from_millis(50)));
//! let store: Arc<dyn OnlineStore> = Arc::new(Metrics::new(store, "default"));
//! assert!(format!("{store:?}").starts_with("Metrics(Timeout(ConcurrencyLimit(Retry(MemoryOnline"));
//! ```

mod limit;
mod metrics;
mod retry;
#[cfg(test)]
pub(crate) mod stub;
mod timeout;

pub use limit::ConcurrencyLimit;
pub use metrics::Metrics;
pub use retry::{Retry, RetryPolicy};
pub use timeout::Timeout;
