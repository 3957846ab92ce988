//! Does the store pass the suite that every online store runs?

use std::sync::Arc;

use larder_base::{OnlineStore, Result, async_trait};
use larder_conformance::{OnlineFixture, run_online};
use larder_redis::RedisConfig;

use super::cluster_kit::{Cluster, Configured};
use super::common::open;
use super::server::Server;
use super::watched::Watched;

struct Fixture<'a> {
    name: &'static str,
    config: RedisConfig,
    servers: Vec<&'a Server>,
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
        for server in &self.servers {
            server.cli(&["FLUSHALL", "SYNC"]);
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn the_suite_passes_on_one_server() {
    let server = Server::start();
    let fixture = Fixture {
        name: "redis, one server",
        config: server.config(),
        servers: vec![&server],
    };
    run_online(&fixture).await.assert_passed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn the_suite_passes_on_a_cluster() {
    let cluster = Cluster::start(false);
    let fixture = Fixture {
        name: "redis, a cluster of three",
        config: cluster.config(),
        servers: cluster.primaries(),
    };
    run_online(&fixture).await.assert_passed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn the_suite_passes_behind_sentinels() {
    let watched = Watched::start();
    let fixture = Fixture {
        name: "redis, behind sentinels",
        config: watched.config(),
        servers: vec![&watched.primary],
    };
    run_online(&fixture).await.assert_passed();
}
