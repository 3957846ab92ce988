//! How are records of runs kept, so that runs never contend and merging loses nothing?
//!
//! `<project>/ledger/<view>/<generation>/<run>.json` is written whole, and only by its own run. A merge
//! first adds, then removes; so at every moment the records together say everything, and two merges at
//! once only say some things twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use larder_base::ledger::compact_runs;
use larder_base::{Error, Generation, Ledger, ProjectName, Result, RunRecord, ViewName};

use crate::backend::{Backend, Lasting};

/// Records read at the same time.
const AT_ONCE: usize = 8;

/// Listings after which a ledger that never stands still is an error.
const ATTEMPTS: usize = 100;

/// Longest name of a file, without `.json`.
const MAX_NAME: usize = 200;

/// The ledger beside the versions of an object registry.
#[derive(Debug)]
pub(crate) struct ObjectLedger {
    backend: Arc<dyn Backend>,
}

impl ObjectLedger {
    pub(crate) fn new(backend: Arc<dyn Backend>) -> Self {
        Self { backend }
    }

    async fn read(&self, folder: &str, name: &str) -> Result<Option<RunRecord>> {
        let path = format!("{folder}/{name}");
        let Some(bytes) = self.backend.get(&path).await? else {
            return Ok(None);
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            Error::corrupt(format!(
                "`{}` is not a record of a run",
                self.backend.place(&path)
            ))
            .help("move this file away: what its run did is then done again by the next `materialize`")
            .source(error)
        })
    }
}

#[async_trait]
impl Ledger for ObjectLedger {
    async fn runs(
        &self,
        project: &ProjectName,
        view: &ViewName,
        generation: Generation,
    ) -> Result<Vec<RunRecord>> {
        let folder = folder(project, view, generation);
        let mut before: Option<Vec<String>> = None;
        let mut records: BTreeMap<String, RunRecord> = BTreeMap::new();
        // A merge may remove records between the listing and the reading, or slip through a listing
        // that is under way. Two equal listings around the reading prove that none did.
        for _ in 0..ATTEMPTS {
            let mut names = self.backend.list(&folder).await?.files;
            names.retain(|name| name.ends_with(".json"));
            names.sort_unstable();
            records.retain(|name, _| names.binary_search(name).is_ok());
            if before.as_ref() == Some(&names) && records.len() == names.len() {
                let mut runs: Vec<RunRecord> = records.into_values().collect();
                runs.sort_by(|a, b| (a.started, &a.run).cmp(&(b.started, &b.run)));
                return Ok(runs);
            }
            let unread: Vec<String> = names
                .iter()
                .filter(|name| !records.contains_key(*name))
                .cloned()
                .collect();
            let folder = folder.as_str();
            let read: Vec<(String, Option<RunRecord>)> = futures::stream::iter(unread)
                .map(|name| async move { Ok::<_, Error>((name.clone(), self.read(folder, &name).await?)) })
                .buffer_unordered(AT_ONCE)
                .try_collect()
                .await?;
            records.extend(
                read.into_iter()
                    .filter_map(|(name, record)| Some((name, record?))),
            );
            before = Some(names);
        }
        Err(Error::unavailable(format!(
            "the ledger of view `{view}` changes faster than it can be read"
        ))
        .help("try again"))
    }

    async fn record(&self, project: &ProjectName, run: &RunRecord) -> Result<()> {
        let bytes = serde_json::to_vec(run)
            .map_err(|error| Error::internal("a run's record cannot be written as JSON").source(error))?;
        let path = format!(
            "{}/{}",
            folder(project, &run.view, run.generation),
            file_name(&run.run)?
        );
        self.backend
            .put(&path, Bytes::from(bytes), Lasting::Durable)
            .await
            .map_err(|error| error.operation("record"))
    }

    async fn compact(&self, project: &ProjectName, view: &ViewName, generation: Generation) -> Result<()> {
        let compaction = compact_runs(&self.runs(project, view, generation).await?);
        for merged in &compaction.add {
            self.record(project, merged).await?;
        }
        let folder = folder(project, view, generation);
        for run in &compaction.remove {
            self.backend
                .delete(&format!("{folder}/{}", file_name(run)?))
                .await?;
        }
        Ok(())
    }
}

fn folder(project: &ProjectName, view: &ViewName, generation: Generation) -> String {
    format!("{project}/ledger/{view}/{generation}")
}

/// The file of a run. Ids are random hex, but nothing else may leave the folder or meet another.
///
/// Capitals are written in hex too, since some file systems take `A` for `a`.
fn file_name(run: &str) -> Result<String> {
    let mut name = String::with_capacity(run.len() + 5);
    for byte in run.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => name.push(char::from(byte)),
            other => name.push_str(&format!("={other:02x}")),
        }
    }
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(Error::input(
            "a run's id must have 1 to 200 characters, fewer if it is not lowercase hex",
        ));
    }
    name.push_str(".json");
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_neither_leave_their_folder_nor_meet() {
        assert_eq!(file_name("00ff").unwrap(), "00ff.json");
        assert_eq!(file_name("../../x").unwrap(), "=2e=2e=2f=2e=2e=2fx.json");
        assert_eq!(file_name("A=").unwrap(), "=41=3d.json");
        assert_ne!(file_name("=41").unwrap(), file_name("A").unwrap());
        assert!(file_name("").is_err());
        assert!(file_name(&"x".repeat(201)).is_err());
    }
}
