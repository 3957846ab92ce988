//! Does the store pass the suite that every online store runs?

use std::sync::Arc;

use larder_base::{OnlineStore, Result, async_trait};
use larder_conformance::{OnlineFixture, run_online};
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

async fn run(name: &'static str, change: impl FnOnce(&mut DynamoDbConfig)) {
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
    run_online(&fixture).await.assert_passed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn the_suite_passes() {
    run("dynamodb", |config| config.consistent_reads = true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn the_suite_passes_for_overwriting() {
    run("dynamodb, overwriting", |config| {
        config.write_mode = WriteMode::Overwrite;
    })
    .await;
}
