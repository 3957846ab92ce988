//! What does a store behind a network count, beside what every store's calls are measured for?

use larder_base::ErrorKind;
use metrics::{Counter, Histogram, counter, histogram};

/// The series of one store, with `BACKEND` standing for the type of the store:
///
/// | name | type | more labels |
/// | --- | --- | --- |
/// | `larder_BACKEND_round_trips_total` | counter | `operation` |
/// | `larder_BACKEND_keys_total` | counter | `operation`: keys that were sent |
/// | `larder_BACKEND_bytes_total` | counter | `direction`: `sent`, `received` |
/// | `larder_BACKEND_connects_total` | counter | `outcome`: `ok`, `failed` |
/// | `larder_BACKEND_retries_total` | counter | `operation`: what was tried again |
/// | `larder_BACKEND_wait_seconds` | histogram | – : how long a call waited for a connection |
/// | `larder_BACKEND_faults_total` | counter | `kind`: failures before any second try |
///
/// Every series has the label `store`. They are looked up once, when the store is built: install the recorder before.
pub struct Meters {
    /// Rows that are asked for.
    pub read: Operation,
    /// Rows that are written or deleted.
    pub write: Operation,
    /// All else: preparing, sweeping, checking.
    pub admin: Operation,
    /// Bytes to servers.
    pub sent: Counter,
    /// Bytes from servers.
    pub received: Counter,
    /// Connections that were made.
    pub connected: Counter,
    /// Connections that could not be made.
    pub refused: Counter,
    /// How long calls waited for a connection, in seconds.
    pub wait: Histogram,
    backend: &'static str,
    store: String,
}

/// The series of one operation.
pub struct Operation {
    /// Requests that were answered together.
    pub round_trips: Counter,
    /// Keys that were sent.
    pub keys: Counter,
    /// Second and later tries.
    pub retries: Counter,
}

impl Meters {
    /// The series of a store of a type (`redis`), under its name in the project.
    pub fn new(backend: &'static str, store: &str) -> Self {
        let series = |what: &str, label: &'static str, value: &'static str| counter!(name(backend, what), "store" => store.to_owned(), label => value);
        let operation = |operation: &'static str| Operation {
            round_trips: series("round_trips_total", "operation", operation),
            keys: series("keys_total", "operation", operation),
            retries: series("retries_total", "operation", operation),
        };
        Self {
            read: operation("read"),
            write: operation("write"),
            admin: operation("admin"),
            sent: series("bytes_total", "direction", "sent"),
            received: series("bytes_total", "direction", "received"),
            connected: series("connects_total", "outcome", "ok"),
            refused: series("connects_total", "outcome", "failed"),
            wait: histogram!(name(backend, "wait_seconds"), "store" => store.to_owned()),
            backend,
            store: store.to_owned(),
        }
    }

    /// Counts a failure. Looked up each time: failures are rare.
    pub fn fault(&self, kind: ErrorKind) {
        let store = self.store.clone();
        counter!(name(self.backend, "faults_total"), "store" => store, "kind" => kind.as_str()).increment(1);
    }
}

fn name(backend: &str, what: &str) -> String {
    format!("larder_{backend}_{what}")
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meters")
            .field("backend", &self.backend)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}
