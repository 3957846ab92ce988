//! Does the local store pass the suite that every online store runs?

use std::path::PathBuf;
use std::sync::Arc;

use larder_base::{OnlineStore, Result, SystemClock, async_trait};
use larder_conformance::{OnlineFixture, run_online};
use larder_local::{Durability, LocalConfig, LocalStore};

struct Folder {
    path: PathBuf,
    durability: Durability,
}

#[async_trait::async_trait]
impl OnlineFixture for Folder {
    fn name(&self) -> String {
        format!("local, durability {}", self.durability)
    }

    async fn open(&self) -> Result<Arc<dyn OnlineStore>> {
        let config = LocalConfig::new(&self.path).durability(self.durability);
        Ok(Arc::new(LocalStore::with_config(&config, Arc::new(SystemClock))?))
    }

    async fn wipe(&self) -> Result<()> {
        match std::fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(larder_base::Error::internal("cannot remove the folder").source(error))
            }
            _ => Ok(()),
        }
    }
}

fn run(durability: Durability) {
    let folder = tempfile::tempdir().expect("a folder");
    let fixture = Folder {
        path: folder.path().join("online"),
        durability,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .expect("a runtime");
    let report = runtime.block_on(run_online(&fixture));
    report.assert_passed();
}

#[test]
fn with_commits_on_the_disk() {
    run(Durability::Disk);
}

#[test]
fn with_commits_in_the_operating_system() {
    run(Durability::Os);
}
