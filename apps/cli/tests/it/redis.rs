//! Does a whole project live on Redis, and come through kills, a failover and a disaster?

#[allow(
    dead_code,
    reason = "the kit of the store's own tests; not all of it is needed here"
)]
#[path = "../../../../stores/redis/tests/it/redis/server.rs"]
mod server;
#[allow(
    dead_code,
    reason = "the kit of the store's own tests; not all of it is needed here"
)]
#[path = "../../../../stores/redis/tests/it/redis/watched.rs"]
mod watched;

mod drill;
mod failover;

use server::Server;

use crate::backend::{Backend, kills, lives};

impl Backend for Server {
    fn online(&self) -> String {
        let url = self.url();
        format!("{{ type: redis, url: \"{url}\", timeout: 300ms, write_timeout: 1s }}")
    }

    fn kill(&mut self) {
        Server::kill(self);
    }

    fn run(&mut self) {
        Server::run(self);
    }

    fn empty(&mut self) {
        self.cli(&["FLUSHALL", "SYNC"]);
    }
}

#[test]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
fn a_project_lives_on_redis() {
    lives(&mut Server::durable(), "redis");
}

#[test]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
fn kills_lose_nothing_acknowledged() {
    kills(&mut Server::durable());
}

#[test]
fn options_that_cannot_work_are_found_in_the_file() {
    struct Wrong;
    impl Backend for Wrong {
        fn online(&self) -> String {
            "{ type: redis, url: \"http://me:tPart@h:1\" }".to_owned()
        }
        fn kill(&mut self) {}
        fn run(&mut self) {}
        fn empty(&mut self) {}
    }
    let (_world, dir) = crate::backend::project(&Wrong);
    for command in [["validate"], ["apply"]] {
        let refused = crate::world::larder(&dir, &command).code(1);
        assert!(refused.err.contains("--> larder.yaml:"), "{refused:?}");
        assert!(!refused.err.contains("tPart"), "{refused:?}");
    }
}
