//! Is what travels counted: round trips, bytes, connections, retries, faults?

use larder_base::{BuildContext, Span};
use larder_conformance::{Series, eventually};
use larder_redis::RedisStore;

use super::cluster_kit::Configured;
use super::common::{layout, read, write};
use super::server::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn what_travels_is_counted() {
    let mut server = Server::start();
    let mut config = server.config();
    config.connections = 1;
    config.write_timeout = Span::seconds(1);
    let recorded = Series::default();
    let store = recorded.record(|| RedisStore::new(&config, &BuildContext::new("/nowhere")));
    let store = store.expect("a store");
    let view = layout("shop", "v", 1);
    write(&store, &view, &[(1, 1, 1), (2, 1, 2)])
        .await
        .expect("a write");
    for _ in 0..5 {
        read(&store, &view, &[1, 2, 3]).await.expect("a read");
    }
    assert_eq!(recorded.count("larder_redis_round_trips_total default read"), 5);
    assert!(recorded.count("larder_redis_round_trips_total default write") >= 1);
    assert_eq!(recorded.count("larder_redis_keys_total default read"), 15);
    assert_eq!(recorded.count("larder_redis_keys_total default write"), 2);
    assert_eq!(recorded.count("larder_redis_connects_total default ok"), 2);
    assert!(recorded.count("larder_redis_bytes_total default sent") > 200);
    assert!(recorded.count("larder_redis_bytes_total default received") > 5 * 64);
    assert!(recorded.count("larder_redis_wait_seconds default") >= 2);
    server.kill();
    read(&store, &view, &[1]).await.expect_err("it is dead");
    write(&store, &view, &[(1, 2, 1)]).await.expect_err("it is dead");
    assert!(recorded.count("larder_redis_connects_total default failed") >= 1);
    assert!(recorded.count("larder_redis_retries_total default write") >= 1);
    server.run();
    assert_eq!(eventually(|| read(&store, &view, &[1])).await, [None]);
}
