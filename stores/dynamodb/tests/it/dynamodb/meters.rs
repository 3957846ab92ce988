//! Is what travels counted: round trips, keys, bytes, units, retries, faults?

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use larder_base::BuildContext;
use larder_dynamodb::DynamoDbStore;
use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use parking_lot::Mutex;

use super::common::{config, layout, prepare, read, write};
use super::server::Server;
use super::stub::{Stub, Trick, throttled};

/// Counters and numbers of samples, by name and labels.
#[derive(Default)]
struct Recorded(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Recorded {
    fn cell(&self, key: &Key) -> Arc<AtomicU64> {
        let labels: Vec<&str> = key.labels().map(metrics::Label::value).collect();
        let name = format!("{} {}", key.name(), labels.join(" "));
        self.0.lock().entry(name).or_default().clone()
    }

    fn count(&self, name: &str) -> u64 {
        let cells = self.0.lock();
        let cell = cells
            .get(name)
            .unwrap_or_else(|| panic!("no series {name}: {:?}", cells.keys()));
        cell.load(Ordering::SeqCst)
    }
}

struct Samples(Arc<AtomicU64>);

impl HistogramFn for Samples {
    fn record(&self, _: f64) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key))
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Samples(self.cell(key))))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn what_travels_is_counted() {
    let server = Server::start();
    let stub = Stub::start(server.address()).await;
    let recorded = Recorded::default();
    let config = config(stub.endpoint());
    let store = metrics::with_local_recorder(&recorded, || {
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
    let count = |name: &str| recorded.count(&format!("larder_dynamodb_{name}"));
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
