//! The service that reads and writes of online stores are measured with: 50 `float64` features in three views.

use futures::stream::{self, StreamExt, TryStreamExt};
use larder_base::memory::MemoryRegistry;
use larder_base::{
    Cell, EntityKeys, Micros, OnlineStore, OnlineWrite, PackedRows, ProjectName, ReadOptions, SetName,
    Snapshot, ViewLayout, WriteOptions, WriteRule,
};
use larder_engine::online::{KeyHandle, Tensor};
use larder_engine::{ApplyOptions, DefinitionSet, FeatureStore, OnlinePlan, Session, TensorSpec};
use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Features of the views that are read.
pub(crate) const WIDTHS: [usize; 3] = [17, 17, 16];
/// Features of the view that is written.
const WIDTH: usize = 10;
/// Rows per write, and writes under way.
pub(crate) const BATCH: u64 = 5_000;
pub(crate) const UNDER_WAY: usize = 4;
const START: i64 = 1_750_000_000_000_000;
/// How long one number of rows is read.
const TURNS: Duration = Duration::from_secs(4);

/// The bare client of a backend.
pub(crate) trait Bare {
    /// Reads `keys` packed rows of random entities by one request, and drops them. Only the request is timed.
    async fn read(&mut self, keys: usize, dice: &mut Dice) -> Duration;
    /// Writes the keys and rows as the backend does it fastest, whatever is there.
    async fn write(&mut self, batches: &[OnlineWrite]) -> Duration;
}

/// The service on an online store.
pub(crate) struct Service {
    /// That are read, each with a row in every view.
    entities: u64,
    store: Arc<dyn OnlineStore>,
    snapshot: Arc<Snapshot>,
    plan: OnlinePlan,
}

/// Numbers that look random and are the same in each run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

impl Service {
    /// Applied to a store that is empty.
    pub(crate) async fn new(store: Arc<dyn OnlineStore>, entities: u64) -> Self {
        let features = FeatureStore::builder(ProjectName::new("bench").expect("a name"))
            .registry(Arc::new(MemoryRegistry::new()))
            .online(store.clone())
            .build()
            .expect("a feature store");
        let options = ApplyOptions::new().with_offline(true);
        features.apply(&definitions(), &options).await.expect("applied");
        Self {
            entities,
            store,
            snapshot: features.snapshot().await.expect("a snapshot"),
            plan: features.online("all").await.expect("a plan"),
        }
    }

    fn layout(&self, view: usize) -> Arc<ViewLayout> {
        let layout = self.snapshot.layout(&format!("v{view}")).expect("a layout");
        Arc::new(layout.as_ref().clone())
    }

    /// Batches of rows of the views that are read.
    pub(crate) fn filling(&self) -> Vec<OnlineWrite> {
        let views = (0..WIDTHS.len()).map(|view| self.layout(view));
        views
            .flat_map(|layout| batches(&layout, self.entities, START))
            .collect()
    }

    /// Writes, some batches at a time.
    pub(crate) async fn write(&self, batches: &[OnlineWrite]) -> Duration {
        let options = WriteOptions::default();
        let rule = match self.store.capabilities().newest_wins {
            true => WriteRule::NewestWins,
            false => WriteRule::Overwrite,
        };
        let batches: Vec<OnlineWrite> = batches
            .iter()
            .map(|write| write.clone().with_rule(rule))
            .collect();
        let began = Instant::now();
        stream::iter(&batches)
            .map(|write| self.store.write(write, &options))
            .buffer_unordered(UNDER_WAY)
            .try_for_each(|_| async { Ok(()) })
            .await
            .expect("written");
        began.elapsed()
    }

    /// Reads next to the bare client, single reads taken in turns. Answers numbers of rows, and medians of `read` and
    /// `tensor` in µs.
    pub(crate) async fn reads(
        &self,
        sizes: &[usize],
        bare: &mut impl Bare,
        report: &mut String,
    ) -> Vec<(usize, [f64; 2])> {
        let mut medians = Vec::new();
        for rows in sizes {
            medians.push((*rows, self.read(*rows, bare, report).await));
        }
        medians
    }

    async fn read(&self, rows: usize, bare: &mut impl Bare, report: &mut String) -> [f64; 2] {
        let mut dice = Dice(1);
        let mut readers = [Reader::new(&self.plan, false), Reader::new(&self.plan, true)];
        let mut samples = vec![Vec::new(); 3];
        let end = Instant::now() + TURNS;
        while Instant::now() < end {
            let took = bare.read(rows * WIDTHS.len(), &mut dice).await;
            samples[0].push(took.as_nanos() as f64);
            for (reader, samples) in readers.iter_mut().zip(&mut samples[1..]) {
                let ids: Vec<i64> = (0..rows)
                    .map(|_| id(dice.below(self.entities as usize) as u64))
                    .collect();
                let began = Instant::now();
                reader.read(&ids).await;
                samples.push(began.elapsed().as_nanos() as f64);
            }
        }
        write!(report, "{rows:>5} rows").expect("a string grows");
        let limit = percentile(&mut samples[0], 50);
        for (name, samples) in ["bare", "read", "tensor"].into_iter().zip(&mut samples) {
            let (median, high) = (percentile(samples, 50), percentile(samples, 99));
            write!(
                report,
                "   {name} {:>6.1} µs {:.2}x (p99 {:.0})",
                median / 1000.0,
                median / limit,
                high / 1000.0
            )
            .expect("a string grows");
        }
        report.push('\n');
        [1, 2].map(|of| percentile(&mut samples[of], 50) / 1000.0)
    }

    /// Reads once, for a count of what that is.
    pub(crate) async fn read_once(&self, rows: usize) {
        let ids: Vec<i64> = (0..rows as u64).map(id).collect();
        Reader::new(&self.plan, false).read(&ids).await;
    }

    /// Writes rows of one view next to the bare client: into nothing, the same again, newer ones.
    pub(crate) async fn writes(&self, rows: u64, bare: &mut impl Bare, report: &mut String) {
        let layout = self.layout(WIDTHS.len());
        let first = batches(&layout, rows, START);
        let limit = bare.write(&first).await;
        let speed = |took: Duration| rows as f64 / took.as_secs_f64();
        writeln!(
            report,
            "\n{rows} rows of {WIDTH} features\n  bare    {:>8.0} rows/s",
            speed(limit)
        )
        .expect("a string grows");
        let newer = batches(&layout, rows, START + 1);
        for (name, batches) in [("first", &first), ("again", &first), ("newer", &newer)] {
            let took = self.write(batches).await;
            let share = 100.0 * limit.as_secs_f64() / took.as_secs_f64();
            writeln!(
                report,
                "  {name:<7} {:>8.0} rows/s   {share:.0} % of bare",
                speed(took)
            )
            .expect("a string grows");
        }
    }
}

fn definitions() -> DefinitionSet {
    let mut yaml = "entities:\n  - { name: user, join_keys: [{ name: id, type: int64 }] }\n\
        sources:\n  - { name: s, type: memory, event_time: at, timezone: UTC }\nfeature_views:\n"
        .to_owned();
    for (view, width) in WIDTHS.into_iter().chain([WIDTH]).enumerate() {
        let feature = |f| format!("{{ name: v{view}_f{f}, type: float64 }}");
        let features: Vec<String> = (0..width).map(feature).collect();
        writeln!(
            yaml,
            "  - {{ name: v{view}, entities: [user], source: s, ttl: 36500d, online: true, features: [{}] }}",
            features.join(", ")
        )
        .expect("a string grows");
    }
    yaml += "feature_services:\n  - { name: all, features: [v0, v1, v2] }\n";
    DefinitionSet::from_yaml("bench.yaml", &yaml, SetName::new("bench").expect("a name"))
        .expect("definitions")
}

fn id(entity: u64) -> i64 {
    entity.wrapping_mul(0x9e37_79b9_7f4a_7c15) as i64
}

fn batches(layout: &Arc<ViewLayout>, rows: u64, event: i64) -> Vec<OnlineWrite> {
    let firsts = (0..rows).step_by(BATCH as usize);
    firsts
        .map(|first| batch(layout, first..rows.min(first + BATCH), event))
        .collect()
}

/// Rows of some entities.
fn batch(layout: &Arc<ViewLayout>, entities: std::ops::Range<u64>, event: i64) -> OnlineWrite {
    let (mut keys, mut rows) = (EntityKeys::new(), PackedRows::new());
    for entity in entities {
        let mut writer = keys.begin();
        writer.int64(id(entity));
        writer.finish().expect("short");
        let mut writer = rows.begin(layout, Micros(event), Some(Micros(event)));
        for slot in layout.active_slots() {
            // Numbers without many zeros, as features are.
            writer.put(slot, Cell::Float64(1.0 / (entity + u64::from(slot) + 3) as f64));
        }
        writer.finish().expect("a sound row");
    }
    OnlineWrite::new(layout.clone(), Arc::new(keys), Arc::new(rows))
}

fn percentile(samples: &mut [f64], percent: usize) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[(samples.len() - 1) * percent / 100]
}

struct Reader {
    session: Session,
    key: KeyHandle<i64>,
    tensor: Option<(Tensor, Vec<f32>, Vec<bool>)>,
}

impl Reader {
    fn new(plan: &OnlinePlan, tensor: bool) -> Self {
        let spec = || plan.tensor_f32(TensorSpec::service_order()).expect("numbers");
        Self {
            session: plan.session(),
            key: plan.key("id").expect("a key"),
            tensor: tensor.then(|| (spec(), Vec::new(), Vec::new())),
        }
    }

    async fn read(&mut self, ids: &[i64]) {
        self.session.column(self.key, ids);
        let answer = self.session.read(ReadOptions::new()).await.expect("read");
        if let Some((tensor, matrix, mask)) = &mut self.tensor {
            answer.fill_f32(tensor, matrix, mask);
            black_box(&matrix);
        }
        black_box(answer.rows());
    }
}
