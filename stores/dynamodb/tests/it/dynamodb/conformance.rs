//! Does the store pass the suite that every online store runs?

use std::sync::Arc;

use larder_base::{OnlineStore, Result, async_trait};
use larder_conformance::{OnlineFixture, Options, online_cases, run_online_with};
use larder_dynamodb::{DynamoDbConfig, WriteMode};

use super::common::{client, config, open};
use super::server::Server;

struct Fixture<'a> {
    name: &'static str,
    config: DynamoDbConfig,
    server: &'a Server,
}

#[async_trait::async_trait]
impl OnlineFixture for Fixture<'_> {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    async fn open(&self) -> Result<Arc<dyn OnlineStore>> {
        Ok(Arc::new(open(&self.config).await))
    }

    async fn wipe(&self) -> Result<()> {
        let client = client(self.server);
        let tables = client.list_tables().send().await.expect("tables");
        for table in tables.table_names() {
            let gone = client.delete_table().table_name(table).send().await;
            gone.expect("a table less");
        }
        Ok(())
    }
}

/// Parts of the suite, each a test of its own: together they take minutes, most of them the server's.
const PARTS: [&[&str]; 4] = [
    &["model", "keys", "tombstone", "values"],
    &["order", "scan"],
    &["batching", "errors", "lifecycle"],
    &["alignment", "cancellation", "evolution", "honesty", "isolation"],
];

async fn run(name: &'static str, groups: &[&str], change: impl FnOnce(&mut DynamoDbConfig)) {
    let server = Server::start();
    let mut config = config(server.endpoint());
    // One process does the work of a service.
    config.timeout = larder_base::Span::seconds(20);
    config.write_timeout = larder_base::Span::seconds(60);
    config.connections = 8;
    config.write_connections = 8;
    change(&mut config);
    let fixture = Fixture {
        name,
        config,
        server: &server,
    };
    for group in groups {
        let options = Options::new().only(format!("online.{group}."));
        run_online_with(&fixture, &options).await.assert_passed();
    }
}

async fn run_part(part: usize) {
    run("dynamodb", PARTS[part], |config| config.consistent_reads = true).await;
}

#[test]
fn no_case_is_left_out() {
    let groups = PARTS.concat();
    let known = |id: &str| id.split('.').nth(1).is_some_and(|group| groups.contains(&group));
    let left_out: Vec<_> = online_cases()
        .into_iter()
        .filter(|case| !known(case.id))
        .collect();
    assert!(left_out.is_empty(), "{left_out:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn the_first_part_of_the_suite_passes() {
    run_part(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn the_second_part_of_the_suite_passes() {
    run_part(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn the_third_part_of_the_suite_passes() {
    run_part(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn the_fourth_part_of_the_suite_passes() {
    run_part(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn the_suite_passes_for_overwriting() {
    let groups = PARTS.concat();
    run("dynamodb, overwriting", &groups, |config| {
        config.write_mode = WriteMode::Overwrite
    })
    .await;
}
