//! Which engines are compared, and how is each started?

use std::path::Path;
use std::process::Command;

use super::peers::Peers;

/// An engine in one configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Engine {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Script in `benches/peers/`; larder has none.
    script: Option<&'static str>,
    environment: Option<(&'static str, &'static str)>,
    /// Runs once: it is there for its answer rather than its time, or takes long.
    once: bool,
}

/// The first is what the others are measured against.
pub(crate) const ENGINES: [Engine; 6] = [
    Engine {
        name: "larder",
        about: "this library: `FeatureStore::historical` on the Parquet store",
        script: None,
        environment: None,
        once: false,
    },
    Engine {
        name: "polars",
        about: "`join_asof` on lazily scanned files, sorted by event time",
        script: Some("polars_asof.py"),
        environment: None,
        once: false,
    },
    Engine {
        name: "polars-ties",
        about: "the same sorted by event and created time, so that ties are decided; runs once",
        script: Some("polars_asof.py"),
        environment: Some(("PEER_TIES", "1")),
        once: true,
    },
    Engine {
        name: "duckdb",
        about: "`ASOF JOIN`, the ttl as a condition on its answer",
        script: Some("duckdb_asof.py"),
        environment: None,
        once: false,
    },
    Engine {
        name: "feast-duckdb",
        about: "Feast with its DuckDB offline store",
        script: Some("feast_join.py"),
        environment: Some(("PEER_FEAST", "duckdb")),
        once: true,
    },
    Engine {
        name: "feast-dask",
        about: "Feast with its default offline store, Dask",
        script: Some("feast_join.py"),
        environment: Some(("PEER_FEAST", "dask")),
        once: true,
    },
];

impl Engine {
    pub(crate) fn is_peer(&self) -> bool {
        self.script.is_some()
    }

    pub(crate) fn repetitions(&self, wanted: usize) -> usize {
        if self.once { wanted.min(1) } else { wanted }
    }

    /// The command up to the workload and, where the answer is wanted, the file for it.
    pub(crate) fn command(&self, program: &Path, peers: &Peers) -> Command {
        let mut command = match self.script {
            None => {
                let mut command = Command::new(program);
                command.arg("run");
                command
            }
            Some(script) => peers.python(script),
        };
        if let Some((name, value)) = self.environment {
            command.env(name, value);
        }
        command
    }
}
