//! What a Postgres store counts beside what every store's calls are measured for.
//!
//! | name | type | more labels |
//! | --- | --- | --- |
//! | `larder_postgres_round_trips_total` | counter | `operation` |
//! | `larder_postgres_keys_total` | counter | `operation`: keys that were sent |
//! | `larder_postgres_bytes_total` | counter | `direction`: `sent`, `received` |
//! | `larder_postgres_connects_total` | counter | `outcome`: `ok`, `failed` |
//! | `larder_postgres_retries_total` | counter | `operation`: what was tried again |
//! | `larder_postgres_wait_seconds` | histogram | – : how long a call waited for a connection |
//! | `larder_postgres_faults_total` | counter | `kind`: failures before any second try |
//!
//! Every series has the label `store`. They are looked up once, when the store is built: install the recorder before.

use larder_base::ErrorKind;
use metrics::{Counter, Histogram, counter, histogram};

/// The series of one store.
pub(crate) struct Meters {
    pub(crate) read: Operation,
    pub(crate) write: Operation,
    pub(crate) admin: Operation,
    pub(crate) sent: Counter,
    pub(crate) received: Counter,
    pub(crate) connected: Counter,
    pub(crate) refused: Counter,
    pub(crate) wait: Histogram,
    store: String,
}

/// The series of one operation.
pub(crate) struct Operation {
    pub(crate) round_trips: Counter,
    pub(crate) keys: Counter,
    pub(crate) retries: Counter,
}

impl Meters {
    /// The series of a store, under its name in the project.
    pub(crate) fn new(store: &str) -> Self {
        let store = store.to_owned();
        let operation = |name: &'static str| Operation {
            round_trips: counter!("larder_postgres_round_trips_total", "store" => store.clone(), "operation" => name),
            keys: counter!("larder_postgres_keys_total", "store" => store.clone(), "operation" => name),
            retries: counter!("larder_postgres_retries_total", "store" => store.clone(), "operation" => name),
        };
        let bytes = |direction: &'static str| counter!("larder_postgres_bytes_total", "store" => store.clone(), "direction" => direction);
        let connects = |outcome: &'static str| counter!("larder_postgres_connects_total", "store" => store.clone(), "outcome" => outcome);
        Self {
            read: operation("read"),
            write: operation("write"),
            admin: operation("admin"),
            sent: bytes("sent"),
            received: bytes("received"),
            connected: connects("ok"),
            refused: connects("failed"),
            wait: histogram!("larder_postgres_wait_seconds", "store" => store.clone()),
            store,
        }
    }

    /// Counts a failure. Looked up each time: failures are rare.
    pub(crate) fn fault(&self, kind: ErrorKind) {
        counter!("larder_postgres_faults_total", "store" => self.store.clone(), "kind" => kind.as_str())
            .increment(1);
    }
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meters")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}
