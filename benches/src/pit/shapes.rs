//! Which workloads are there, and what do they look like to every engine?

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Result;

pub(crate) const HOUR: i64 = 3_600_000_000;
pub(crate) const DAY: i64 = 24 * HOUR;
/// First instant of all data, µs UTC.
pub(crate) const START: i64 = 1_750_000_000_000_000;

/// A workload by name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) question: &'static str,
    pub(crate) data: Data,
}

/// How the data of a workload is made.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Data {
    Users(Users),
    /// Millions of trips.
    Taxi(usize),
}

/// Entity rows of users against tables of their features.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Users {
    pub(crate) entity_rows: usize,
    pub(crate) source_rows: usize,
    pub(crate) views: usize,
    pub(crate) features: usize,
    pub(crate) files: usize,
    pub(crate) group_rows: usize,
    /// One user owns a fifth of the rows, the others follow a power law.
    pub(crate) skewed: bool,
    /// One file per day, entity rows of three days, ttl one day.
    pub(crate) by_day: bool,
    /// One feature of every type with some nulls, and a string key.
    pub(crate) all_types: bool,
}

const USERS: Users = Users {
    entity_rows: 1_000_000,
    source_rows: 10_000_000,
    views: 1,
    features: 10,
    files: 1,
    group_rows: 1_000_000,
    skewed: false,
    by_day: false,
    all_types: false,
};

pub(crate) const SHAPES: [Shape; 11] = [
    Shape {
        name: "1m-10m",
        question: "1 M entity rows, 10 M source rows of 10 float64, ttl 7 d",
        data: Data::Users(USERS),
    },
    Shape {
        name: "100k-10m",
        question: "few entity rows against the same source",
        data: Data::Users(Users {
            entity_rows: 100_000,
            ..USERS
        }),
    },
    Shape {
        name: "1m-1m",
        question: "1 M by 1 M, the source a single row group",
        data: Data::Users(Users {
            source_rows: 1_000_000,
            group_rows: usize::MAX,
            ..USERS
        }),
    },
    Shape {
        name: "views",
        question: "1 M entity rows, three views with a source of 1 M rows each",
        data: Data::Users(Users {
            source_rows: 1_000_000,
            views: 3,
            ..USERS
        }),
    },
    Shape {
        name: "zipf",
        question: "1 M by 5 M, one key owns 20 % of the rows on both sides",
        data: Data::Users(Users {
            source_rows: 5_000_000,
            skewed: true,
            ..USERS
        }),
    },
    Shape {
        name: "days",
        question: "100 k entity rows of 3 days, 10 M source rows in 16 daily files, ttl 1 d",
        data: Data::Users(Users {
            entity_rows: 100_000,
            files: 16,
            by_day: true,
            ..USERS
        }),
    },
    Shape {
        name: "types",
        question: "200 k by 1 M, a string key and a feature of every type, 5 % nulls",
        data: Data::Users(Users {
            entity_rows: 200_000,
            source_rows: 1_000_000,
            all_types: true,
            ..USERS
        }),
    },
    Shape {
        name: "wide",
        question: "20 k entity rows, 30 views of 30 float64 with 50 k source rows each",
        data: Data::Users(Users {
            entity_rows: 20_000,
            source_rows: 50_000,
            views: 30,
            features: 30,
            ..USERS
        }),
    },
    Shape {
        name: "taxi-1",
        question: "1 M trips, two tables of windows by pick-up and drop-off zone (SIGMOD'24 workload)",
        data: Data::Taxi(1),
    },
    Shape {
        name: "taxi-2",
        question: "2 M trips of the same",
        data: Data::Taxi(2),
    },
    Shape {
        name: "taxi-5",
        question: "5 M trips of the same",
        data: Data::Taxi(5),
    },
];

/// A workload on disk, as every runner reads it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Workload {
    pub(crate) name: String,
    pub(crate) entity_rows: usize,
    pub(crate) source_rows: usize,
    /// Folder of all data; the other paths are relative to it.
    pub(crate) root: String,
    /// File of the entity rows: `row_id`, keys, `event_timestamp`, other columns.
    pub(crate) spine: String,
    /// What a careful user of an engine without pruning would filter the event time by, µs UTC.
    pub(crate) window: Option<[i64; 2]>,
    pub(crate) views: Vec<View>,
}

/// A feature view of a workload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct View {
    pub(crate) name: String,
    /// Folder of Parquet files.
    pub(crate) source: String,
    /// Key column, in the source and in the entity rows.
    pub(crate) key: String,
    pub(crate) key_type: String,
    pub(crate) time: String,
    pub(crate) created: Option<String>,
    pub(crate) ttl_us: Option<i64>,
    pub(crate) features: Vec<Column>,
}

/// A feature: its column and larder's name of its type.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Column {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) of: String,
}

impl Column {
    pub(crate) fn new(name: impl Into<String>, of: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            of: of.into(),
        }
    }
}

impl View {
    /// Names of the output columns.
    pub(crate) fn outputs(&self) -> Vec<String> {
        let name = |column: &Column| format!("{}__{}", self.name, column.name);
        self.features.iter().map(name).collect()
    }
}

impl Workload {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(serde_json::from_str(&text)?)
    }

    pub(crate) fn spine(&self) -> std::path::PathBuf {
        Path::new(&self.root).join(&self.spine)
    }

    /// Reads all files once, so that they lie in the system's cache and no engine waits for the disk.
    pub(crate) fn warm(&self) -> Result<()> {
        let mut files = vec![self.spine()];
        for view in &self.views {
            files.extend(self.files(view)?);
        }
        for file in files {
            std::io::copy(&mut std::fs::File::open(file)?, &mut std::io::sink())?;
        }
        Ok(())
    }

    /// Files of a view's source, in order.
    pub(crate) fn files(&self, view: &View) -> Result<Vec<std::path::PathBuf>> {
        let folder = Path::new(&self.root).join(&view.source);
        let entries = std::fs::read_dir(&folder)?.collect::<std::io::Result<Vec<_>>>()?;
        let mut files: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
        files.retain(|path| path.extension().is_some_and(|end| end == "parquet"));
        files.sort();
        Ok(files)
    }
}

pub(crate) fn find(name: &str) -> Result<Shape> {
    let shape = SHAPES.iter().find(|shape| shape.name == name).copied();
    shape.ok_or_else(|| format!("no shape \"{name}\"").into())
}
