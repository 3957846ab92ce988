//! Is what travels counted: round trips, keys, bytes, units, retries, faults?

use larder_base::BuildContext;
use larder_conformance::Series;
use larder_dynamodb::DynamoDbStore;

use super::common::{config, layout, prepare, read, write};
use super::server::Server;
use super::stub::{Stub, Trick, throttled};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn what_travels_is_counted() {
    let server = Server::start();
    let stub = Stub::start(server.address()).await;
    let series = Series::default();
    let config = config(stub.endpoint());
    let store = series.record(|| {
        let context = BuildContext::new("/nowhere");
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(DynamoDbStore::new(&config, &context))
        })
    });
    let store = store.expect("a store");
    let view = layout("shop", "v", 1);
    prepare(&store, &view).await;
    write(&store, &view, &[(1, 1, 1), (2, 1, 2)])
        .await
        .expect("a write");
    for _ in 0..5 {
        read(&store, &view, &[1, 2, 3]).await.expect("a read");
    }
    let count = |name: &str| series.count(&format!("larder_dynamodb_{name}"));
    assert_eq!(count("round_trips_total default read"), 5);
    assert_eq!(count("round_trips_total default write"), 2);
    assert_eq!(count("keys_total default read"), 15);
    assert_eq!(count("retries_total default read"), 0);
    // Two small rows; five times two items and one that is not there, at half a unit.
    assert_eq!(count("capacity_units_total default write"), 2);
    assert_eq!(count("capacity_units_total default read"), 7);
    assert!(count("bytes_total default sent") > 500);
    assert!(count("bytes_total default received") > 500);
    assert!(count("wait_seconds default") >= 7);
    stub.play(throttled(2));
    read(&store, &view, &[1]).await.expect("a read");
    read(&store, &view, &[1]).await.expect("a read");
    assert!(count("retries_total default read") >= 1);
    stub.play(Trick::LeaveOver { nothing: 100 });
    read(&store, &view, &[1, 2, 3]).await.expect("a read");
    assert!(count("left_over_total default") >= 1);
}
