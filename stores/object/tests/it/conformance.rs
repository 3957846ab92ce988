//! Does the registry pass the suite that every registry runs, over both backends?

use std::sync::{Arc, Mutex};

use larder_base::{Registry, Result, async_trait};
use larder_conformance::{RegistryFixture, run_registry};
use larder_object::ObjectRegistry;
use object_store::memory::InMemory;

struct InFolder(std::path::PathBuf);

#[async_trait::async_trait]
impl RegistryFixture for InFolder {
    fn name(&self) -> String {
        "object, in a folder".to_owned()
    }

    async fn open(&self) -> Result<Arc<dyn Registry>> {
        Ok(Arc::new(ObjectRegistry::in_folder(&self.0)?))
    }

    async fn wipe(&self) -> Result<()> {
        match std::fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(larder_base::Error::internal("cannot remove the folder").source(error))
            }
            _ => Ok(()),
        }
    }
}

#[derive(Default)]
struct InMemoryStore(Mutex<Arc<InMemory>>);

#[async_trait::async_trait]
impl RegistryFixture for InMemoryStore {
    fn name(&self) -> String {
        "object, in an object store".to_owned()
    }

    async fn open(&self) -> Result<Arc<dyn Registry>> {
        Ok(Arc::new(ObjectRegistry::in_store(
            self.0.lock().unwrap().clone(),
            "registry",
        )))
    }

    async fn wipe(&self) -> Result<()> {
        *self.0.lock().unwrap() = Arc::default();
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let report = run_registry(&InFolder(folder.path().join("registry"))).await;
    println!("{report}");
    report.assert_passed();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_an_object_store() {
    let report = run_registry(&InMemoryStore::default()).await;
    println!("{report}");
    report.assert_passed();
}
