//! A primary, its replica, and the sentinels that replace it.

use super::server::{Server, until};

/// A primary with a replica, watched by three sentinels.
pub(crate) struct Watched {
    pub(crate) primary: Server,
    pub(crate) replica: Server,
    pub(crate) sentinels: Vec<Server>,
}

impl Watched {
    pub(crate) fn start() -> Self {
        let primary = Server::start();
        let port = primary.port.to_string();
        let replica = Server::with(&["--save", "", "--replicaof", "127.0.0.1", &port]);
        until("the replica follows", || {
            replica.info("master_link_status") == "up"
        });
        let config = format!(
            "sentinel monitor features 127.0.0.1 {port} 2\n\
             sentinel down-after-milliseconds features 700\n\
             sentinel failover-timeout features 4000\n"
        );
        let sentinels: Vec<Server> = (0..3).map(|_| Server::sentinel(&config)).collect();
        until("the sentinels know each other and the replica", || {
            sentinels.iter().all(|sentinel| {
                let told = sentinel.cli(&["INFO", "sentinel"]);
                told.contains("slaves=1,sentinels=3") && told.contains("status=ok")
            })
        });
        Self {
            primary,
            replica,
            sentinels,
        }
    }

    /// Host and port of each sentinel.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let address = |sentinel: &Server| format!("127.0.0.1:{}", sentinel.port);
        self.sentinels.iter().map(address).collect()
    }
}
