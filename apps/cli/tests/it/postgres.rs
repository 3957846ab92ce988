//! Does a whole project live on Postgres, and come through kills?

#[allow(
    dead_code,
    reason = "the kit of the store's own tests; not all of it is needed here"
)]
#[path = "../../../../stores/postgres/tests/it/postgres/server.rs"]
mod server;

use server::Server;

use crate::backend::{Backend, kills, lives};

impl Backend for Server {
    fn online(&self) -> String {
        let url = self.url();
        format!("{{ type: postgres, url: \"{url}\", timeout: 300ms, write_timeout: 1s }}")
    }

    fn kill(&mut self) {
        Server::kill(self);
    }

    fn run(&mut self) {
        Server::run(self);
    }

    fn empty(&mut self) {
        self.sql("TRUNCATE larder_online_shop");
    }
}

#[test]
#[ignore = "needs PostgreSQL; cargo xtask test finds or fetches it"]
fn a_project_lives_on_postgres() {
    lives(&mut Server::start(), "postgres");
}

#[test]
#[ignore = "needs PostgreSQL; cargo xtask test finds or fetches it"]
fn kills_lose_nothing_acknowledged() {
    kills(&mut Server::start());
}
