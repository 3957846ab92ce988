//! A real cluster and real sentinels for one test.

use std::sync::Arc;

use larder_redis::RedisConfig;

use super::server::{Server, until};
use super::watched::Watched;

/// Three primaries with a replica each.
pub(crate) struct Cluster {
    /// The first three began as primaries, the others as their replicas.
    pub(crate) servers: Vec<Server>,
}

const CLUSTER: [&str; 10] = [
    "--cluster-enabled",
    "yes",
    "--cluster-node-timeout",
    "1000",
    "--cluster-replica-validity-factor",
    "0",
    "--save",
    "",
    "--cluster-require-full-coverage",
    "no",
];

impl Cluster {
    /// Started, joined, and agreed.
    pub(crate) fn start(persistent: bool) -> Self {
        let mut options = CLUSTER.to_vec();
        match persistent {
            true => options.extend(["--appendonly", "yes", "--appendfsync", "always"]),
            false => options.extend(["--appendonly", "no"]),
        }
        let servers: Vec<Server> = (0..6).map(|_| Server::with(&options)).collect();
        let addresses: Vec<String> = servers
            .iter()
            .map(|server| format!("127.0.0.1:{}", server.port))
            .collect();
        let mut words = vec!["--cluster", "create"];
        words.extend(addresses.iter().map(String::as_str));
        words.extend(["--cluster-replicas", "1", "--cluster-yes"]);
        servers[0].cli(&words);
        let cluster = Self { servers };
        until("all nodes of the cluster agree", || {
            cluster.servers.iter().all(agrees)
        });
        until("all replicas follow", || {
            cluster
                .servers
                .iter()
                .all(|server| server.info("role") == "master" || server.info("master_link_status") == "up")
        });
        cluster
    }

    pub(crate) fn config(&self) -> RedisConfig {
        RedisConfig::cluster(self.servers[..3].iter().map(Server::url))
    }

    /// The servers that take writes now.
    pub(crate) fn primaries(&self) -> Vec<&Server> {
        self.servers
            .iter()
            .filter(|server| server.is_running() && server.info("role") == "master")
            .collect()
    }

    /// Moves a slot and all its keys to another primary, step by step as `redis-cli` does it, and calls `between` when
    /// the slot is half on its way.
    pub(crate) fn migrate(&self, slot: u16, from: &Server, to: &Server, between: impl FnOnce()) {
        let id = |server: &Server| server.cli(&["CLUSTER", "MYID"]);
        let (slot, from_id, to_id) = (slot.to_string(), id(from), id(to));
        to.cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
        from.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
        // Half of the keys at most, so that a slot's views are apart.
        let count: usize = from
            .cli(&["CLUSTER", "COUNTKEYSINSLOT", &slot])
            .parse()
            .expect("a count");
        let move_some = |count: usize| {
            let script = "local k = redis.call('CLUSTER', 'GETKEYSINSLOT', ARGV[1], ARGV[2]) \
                          if #k > 0 then redis.call('MIGRATE', '127.0.0.1', ARGV[3], '', 0, 5000, 'KEYS', unpack(k)) end return #k";
            from.cli(&[
                "EVAL",
                script,
                "0",
                &slot,
                &count.to_string(),
                &to.port.to_string(),
            ])
        };
        move_some(count / 2);
        between();
        move_some(count);
        for server in self.primaries() {
            server.cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
        }
    }
}

fn agrees(server: &Server) -> bool {
    let state = server.cli(&["CLUSTER", "INFO"]);
    let nodes = server.cli(&["CLUSTER", "NODES"]);
    state.contains("cluster_state:ok")
        && state.contains("cluster_known_nodes:6")
        && nodes.lines().filter(|line| line.contains("slave")).count() == 3
}

/// A store behind an `Arc`, for tasks.
pub(crate) fn shared(config: &RedisConfig) -> Arc<larder_redis::RedisStore> {
    Arc::new(super::common::open(config))
}

/// The configuration of a store on one server.
pub(crate) trait Configured {
    fn config(&self) -> RedisConfig;
}

impl Configured for Server {
    fn config(&self) -> RedisConfig {
        RedisConfig::new(self.url())
    }
}

impl Configured for Watched {
    fn config(&self) -> RedisConfig {
        RedisConfig::sentinel("features", self.addresses())
    }
}
