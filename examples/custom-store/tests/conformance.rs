//! Does the store keep the rules of all online stores, and does a binary that links it know it?

use std::sync::Arc;
use std::sync::Mutex;

use larder_base::{OnlineStore, Result, async_trait::async_trait};
use larder_conformance::{OnlineFixture, run_online};
use larder_example_custom_store::AcmeStore;

struct Acme(Mutex<Arc<AcmeStore>>);

#[async_trait]
impl OnlineFixture for Acme {
    fn name(&self) -> String {
        "acme".to_owned()
    }

    async fn open(&self) -> Result<Arc<dyn OnlineStore>> {
        Ok(self.0.lock().expect("no panic").clone())
    }

    async fn wipe(&self) -> Result<()> {
        *self.0.lock().expect("no panic") = Arc::new(AcmeStore::new(4));
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn passes_the_suite() {
    let report = run_online(&Acme(Mutex::new(Arc::new(AcmeStore::new(4))))).await;
    println!("{report}");
    report.assert_passed();
}

fn larder(folder: &std::path::Path, args: &[&str]) -> (bool, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_larder-example-custom-store"))
        .args(args)
        .current_dir(folder)
        .output()
        .expect("the binary runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.success(),
        text(&output.stdout) + &text(&output.stderr),
    )
}

#[test]
fn the_command_line_knows_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ok, text) = larder(folder.path(), &["stores"]);
    assert!(ok && text.contains("acme"), "{text}");

    std::fs::create_dir(folder.path().join("features")).expect("a folder");
    let project = |online: &str| {
        let yaml = format!(
            "project: shop\ndefinitions: features/\nregistry: {{ type: memory }}\nonline: {online}\noffline: {{ type: memory }}\n"
        );
        std::fs::write(folder.path().join("larder.yaml"), yaml).expect("a file");
    };
    project("{ type: acme, shards: 4 }");
    let (ok, text) = larder(folder.path(), &["doctor"]);
    assert!(ok && text.contains("acme"), "{text}");
    project("{ type: acme, sharts: 4 }");
    let (_, text) = larder(folder.path(), &["doctor"]);
    assert!(
        text.contains("larder.yaml:4:") && text.contains("shards"),
        "{text}"
    );
    project("{ type: acme, shards: 0 }");
    let (_, text) = larder(folder.path(), &["doctor"]);
    assert!(text.contains("use 1 to 256"), "{text}");
}
