//! Does the store pass the suite that every online store runs?

use std::sync::Arc;

use larder_base::{OnlineStore, Result, async_trait};
use larder_conformance::{OnlineFixture, run_online};
use larder_postgres::PostgresConfig;

use super::common::open;
use super::server::Server;

struct Fixture<'a> {
    name: &'static str,
    config: PostgresConfig,
    server: &'a Server,
}

#[async_trait::async_trait]
impl OnlineFixture for Fixture<'_> {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    async fn open(&self) -> Result<Arc<dyn OnlineStore>> {
        Ok(Arc::new(open(&self.config)))
    }

    async fn wipe(&self) -> Result<()> {
        self.server
            .sql("SET client_min_messages = error; DROP SCHEMA IF EXISTS \"Odd schema\" CASCADE");
        Ok(())
    }
}

async fn run(name: &'static str, change: impl FnOnce(&mut PostgresConfig)) {
    let server = Server::start();
    let mut config = PostgresConfig::new(server.url());
    config.schema = "Odd schema".to_owned();
    change(&mut config);
    let fixture = Fixture {
        name,
        config,
        server: &server,
    };
    run_online(&fixture).await.assert_passed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL; cargo xtask test finds or fetches it"]
async fn the_suite_passes() {
    run("postgres", |_| {}).await;
}

/// As behind a pooler in transaction mode: nothing is kept in a session.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL; cargo xtask test finds or fetches it"]
async fn the_suite_passes_without_prepared_statements() {
    run("postgres, unprepared", |config| {
        config.prepared_statements = false
    })
    .await;
}
