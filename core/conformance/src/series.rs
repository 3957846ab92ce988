//! What does a store count? A recorder of metrics for tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use parking_lot::Mutex;

/// Counters, and numbers of samples of histograms, by name and the values of labels: `name label label`.
///
/// ```
/// let series = larder_conformance::Series::default();
/// series.record(|| metrics::counter!("calls", "store" => "online").increment(2));
/// assert_eq!(series.count("calls online"), 2);
/// assert_eq!(series.lines(), ["calls online 2"]);
/// ```
#[derive(Debug, Default)]
pub struct Series(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Series {
    /// Builds something that looks up its series once; it goes on counting here afterwards.
    pub fn record<T>(&self, build: impl FnOnce() -> T) -> T {
        metrics::with_local_recorder(self, build)
    }

    /// The count of a series.
    ///
    /// # Panics
    /// Where there is no such series: it is a test's assertion.
    pub fn count(&self, name: &str) -> u64 {
        let cells = self.0.lock();
        let cell = cells
            .get(name)
            .unwrap_or_else(|| panic!("no series {name}: {:?}", cells.keys()));
        cell.load(Ordering::SeqCst)
    }

    /// What is not zero, as `name label label count`.
    pub fn lines(&self) -> Vec<String> {
        let cells = self.0.lock();
        let counts = cells
            .iter()
            .map(|(name, cell)| (name, cell.load(Ordering::SeqCst)));
        counts
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{name} {count}"))
            .collect()
    }

    fn cell(&self, key: &Key) -> Arc<AtomicU64> {
        let labels: Vec<&str> = key.labels().map(metrics::Label::value).collect();
        let name = format!("{} {}", key.name(), labels.join(" "));
        self.0.lock().entry(name).or_default().clone()
    }
}

struct Samples(Arc<AtomicU64>);

impl HistogramFn for Samples {
    fn record(&self, _: f64) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Recorder for Series {
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
