//! What do the tests share: change sets, runs, and children of this very binary?

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use larder_base::model::{Kind, ObjectId};
use larder_base::{
    ChangeSet, Generation, Interval, Loaded, Micros, ProjectName, Record, Registry, RunRecord, RunState,
    Snapshot, StoreIdentity, Version,
};
use serde_json::json;

/// The environment variable that makes a test the child of itself.
pub(crate) const CHILD: &str = "LARDER_TEST_CHILD";
const FOLDER: &str = "LARDER_TEST_FOLDER";

pub(crate) fn project(name: &str) -> ProjectName {
    ProjectName::new(name).unwrap()
}

/// A change set that adds one entity.
pub(crate) fn adds(entity: &str) -> ChangeSet {
    let mut changes = ChangeSet::new(Micros(0), "ada", format!("adds {entity}"));
    changes.puts = vec![Record {
        id: ObjectId::new(Kind::Entity, entity),
        set: project("p").default_set(),
        revision: 1,
        min_writer: 1,
        spec: Arc::new(json!({"name": entity, "join_keys": [{"name": "id", "type": "int64"}]})),
    }];
    changes
}

pub(crate) async fn newest(registry: &dyn Registry, project: &ProjectName) -> Arc<Snapshot> {
    match registry.load(project, None, Duration::ZERO).await.unwrap() {
        Loaded::Changed(snapshot) => snapshot,
        Loaded::Unchanged => panic!("a load without a known version is never unchanged"),
    }
}

/// Commits `n` versions that each add the entity `e<version>`.
pub(crate) async fn commit_many(registry: &dyn Registry, project: &ProjectName, n: u64) {
    let before = newest(registry, project).await.version().0;
    for base in before..before + n {
        let changes = adds(&format!("e{}", base + 1));
        assert_eq!(
            registry.commit(project, Version(base), &changes).await.unwrap(),
            Version(base + 1)
        );
    }
}

/// A finished run that covers the hour `hour`.
pub(crate) fn run(id: &str, hour: i64) -> RunRecord {
    RunRecord {
        run: id.to_owned(),
        view: "stats".parse().unwrap(),
        generation: Generation(7),
        store: StoreIdentity(1),
        fingerprint: "f".to_owned(),
        slots: vec![0],
        owner: "ada@host:1".to_owned(),
        started: Micros(hour),
        heartbeat: Micros(hour),
        state: RunState::Done,
        done: vec![Interval {
            after: Micros(hour),
            until: Micros(hour + 1),
            floor: Micros::MIN,
        }],
        rows_read: 1,
        rows_written: 1,
        rows_stale: 0,
        afresh: false,
        newest_event: None,
        error: None,
    }
}

/// A child process that runs `test` of this binary, with a role and a folder.
pub(crate) fn child(test: &str, role: &str, folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--test-threads=1", "--quiet"])
        .env(CHILD, role)
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// The role and folder, in a child.
pub(crate) fn role() -> Option<(String, std::path::PathBuf)> {
    Some((std::env::var(CHILD).ok()?, std::env::var_os(FOLDER)?.into()))
}

/// Waits for children and checks that they were content.
pub(crate) fn join(children: Vec<Child>) {
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap()
}
