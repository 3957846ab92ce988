//! Is what travels counted: round trips, bytes, connections, retries, faults?

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use larder_base::{BuildContext, Span};
use larder_redis::RedisStore;
use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use parking_lot::Mutex;

use super::cluster_kit::{Configured, eventually};
use super::common::{layout, read, write};
use super::server::Server;

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
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn what_travels_is_counted() {
    let mut server = Server::start();
    let mut config = server.config();
    config.connections = 1;
    config.write_timeout = Span::seconds(1);
    let recorded = Recorded::default();
    let store = metrics::with_local_recorder(&recorded, || {
        RedisStore::new(&config, &BuildContext::new("/nowhere"))
    });
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
