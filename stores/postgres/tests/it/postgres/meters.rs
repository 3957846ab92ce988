//! Is what travels counted: round trips, keys, bytes, connections, waits, second tries?
//!
//! Faults are looked up when they happen, which no recorder of one test sees.

use larder_base::{BuildContext, Span};
use larder_conformance::Series;
use larder_postgres::{PostgresConfig, PostgresStore};

use super::common::{layout, read, write};
use super::server::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL; cargo xtask test finds or fetches it"]
async fn what_travels_is_counted() {
    let mut server = Server::start();
    let mut config = PostgresConfig::new(server.url());
    config.connections = 1;
    config.write_timeout = Span::seconds(1);
    let series = Series::default();
    let store = series.record(|| PostgresStore::new(&config, &BuildContext::new("/nowhere")));
    let store = store.expect("a store");
    let view = layout("shop", "v", 1);
    write(&store, &view, &[(1, 1, 1), (2, 1, 2)])
        .await
        .expect("a write");
    for _ in 0..5 {
        read(&store, &view, &[1, 2, 3]).await.expect("a read");
    }
    assert_eq!(series.count("larder_postgres_round_trips_total default read"), 5);
    assert_eq!(series.count("larder_postgres_keys_total default read"), 15);
    assert_eq!(series.count("larder_postgres_round_trips_total default write"), 1);
    assert_eq!(series.count("larder_postgres_keys_total default write"), 2);
    // One found no table, the next one made it and wrote, and one reads.
    assert_eq!(series.count("larder_postgres_connects_total default ok"), 3);
    assert!(series.count("larder_postgres_bytes_total default sent") > 200);
    assert!(series.count("larder_postgres_bytes_total default received") > 5 * 64);
    assert!(series.count("larder_postgres_wait_seconds default") >= 6);
    server.kill();
    read(&store, &view, &[1]).await.expect_err("it is dead");
    write(&store, &view, &[(1, 2, 1)]).await.expect_err("it is dead");
    assert!(series.count("larder_postgres_connects_total default failed") >= 1);
    assert!(series.count("larder_postgres_retries_total default write") >= 1);
}
