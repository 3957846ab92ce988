//! The disaster drill: Redis is emptied under a running server. Does everything come back that can, and is what cannot
//! known?

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use larder::{FeatureStore, OnlinePlan, ReadOptions, Reading, Selection, Value};

use super::server::Server;
use crate::backend::project;
use crate::world::larder;

/// Users that are looked at; the sample has more than these.
const USERS: i64 = 200;
/// Whose row goes to the history and online.
const TO_BOTH: i64 = 7;
/// Whose row goes online only.
const TO_ONLINE: i64 = 11;

/// Removes all rows and leaves the identity: what a failover does that lost the last writes.
const FORGET_ROWS: &str = "local n = 0
for _, key in ipairs(redis.call('KEYS', 'larder:{*')) do redis.call('DEL', key); n = n + 1 end
return n";

type Values = Vec<Vec<Reading<Value>>>;

/// A server of features: it opened its stores once, and answers from the plan it made then.
struct Serving {
    runtime: tokio::runtime::Runtime,
    plan: OnlinePlan,
    stop: Arc<AtomicBool>,
    reads: Arc<AtomicUsize>,
    errors: Arc<AtomicUsize>,
}

impl Serving {
    fn start(dir: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let store: FeatureStore = runtime
            .block_on(larder::serving(dir.join("larder.yaml")).open())
            .unwrap();
        let plan = runtime
            .block_on(store.online(Selection::features(["user_stats"])).into_future())
            .unwrap();
        let serving = Self {
            plan: plan.clone(),
            stop: Arc::default(),
            reads: Arc::default(),
            errors: Arc::default(),
            runtime,
        };
        let (stop, reads, errors) = (
            serving.stop.clone(),
            serving.reads.clone(),
            serving.errors.clone(),
        );
        serving.runtime.spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                match read(&plan, &[TO_BOTH, TO_ONLINE]).await {
                    Ok(_) => reads.fetch_add(1, Ordering::SeqCst),
                    Err(_) => errors.fetch_add(1, Ordering::SeqCst),
                };
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        serving
    }

    fn all(&self) -> Values {
        let users: Vec<i64> = (1..=USERS).collect();
        self.runtime.block_on(read(&self.plan, &users)).unwrap()
    }

    /// Every request was answered all the while, without a restart; how many.
    fn end(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        assert_eq!(self.errors.load(Ordering::SeqCst), 0);
        self.reads.load(Ordering::SeqCst)
    }
}

async fn read(plan: &OnlinePlan, users: &[i64]) -> larder::Result<Values> {
    let mut session = plan.session();
    let users: Vec<Value> = users.iter().map(|user| Value::Int64(*user)).collect();
    session.values("user_id", &users)?;
    let outcome = session.read(ReadOptions::new()).await?;
    let row = |row| {
        let outputs = 0..plan.outputs().len();
        outputs.map(|output| outcome.value(row, output)).collect()
    };
    Ok((0..outcome.rows()).map(row).collect())
}

/// How many rows there are of those looked at.
fn present(values: &Values) -> usize {
    let there = |row: &&Vec<Reading<Value>>| !row.iter().all(|value| *value == Reading::NotFound);
    values.iter().filter(there).count()
}

/// Pushes the row of `rows.csv` for a user, with an unmistakable number of orders, from some seconds ago.
fn push(dir: &Path, user: i64, orders: i64, to: &str) {
    let text = std::fs::read_to_string(dir.join("rows.csv")).unwrap();
    let (header, row) = text.split_once('\n').unwrap();
    let orders_at = header
        .trim()
        .split(',')
        .position(|name| name == "orders_7d")
        .unwrap();
    let mut cells: Vec<String> = row.trim().split(',').map(str::to_owned).collect();
    cells[0] = user.to_string();
    cells[orders_at] = orders.to_string();
    std::fs::write(dir.join("one.csv"), format!("{header}\n{}\n", cells.join(","))).unwrap();
    let pushed = larder(
        dir,
        &[
            "push",
            "user_daily",
            "--file",
            "one.csv",
            "--to",
            to,
            "--format",
            "json",
        ],
    );
    assert_eq!(pushed.ok().json()["views"][0]["written"], 1);
}

#[test]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
fn an_emptied_redis_is_rebuilt_under_a_running_server() {
    let server = Server::durable();
    let (_world, dir) = project(&server);
    let run = |args: &[&str]| larder(&dir, args);
    // No run reads the last minutes again by itself, so that it shows what a repair brings.
    let views = dir.join("features/user_stats.yaml");
    let text = std::fs::read_to_string(&views).unwrap();
    let exact = text.replace("    freshness:", "    lateness: 0s\n    freshness:");
    assert_ne!(text, exact);
    std::fs::write(views, exact).unwrap();
    run(&["apply"]).ok();
    run(&["materialize"]).ok();
    let from_history = Serving::start(&dir);
    let as_in_history = from_history.all();
    from_history.end();
    push(&dir, TO_BOTH, 700_007, "both");
    push(&dir, TO_ONLINE, 700_011, "online");

    let serving = Serving::start(&dir);
    let before = serving.all();
    assert!(present(&before) > USERS as usize / 2);
    let of = |values: &Values, user: i64| values[user as usize - 1].clone();
    assert_ne!(of(&before, TO_BOTH), of(&as_in_history, TO_BOTH));
    assert_ne!(of(&before, TO_ONLINE), of(&as_in_history, TO_ONLINE));

    // The disaster: served as not found, told by status and doctor.
    server.cli(&["FLUSHALL", "SYNC"]);
    assert_eq!(present(&serving.all()), 0);
    let status = run(&["status", "--check", "--format", "json"]).code(3).json();
    assert!(
        status
            .to_string()
            .contains("the online store was flushed or replaced"),
        "{status:#}"
    );
    let doctor = run(&["doctor", "--format", "json"]).json();
    assert!(doctor.to_string().contains("the store is empty"), "{doctor:#}");

    // The rebuild: the plain run sees by the store's identity that nothing of its ledger holds any more.
    let began = Instant::now();
    let filled = run(&["materialize", "--format", "json"]).ok().json();
    assert!(filled["views"][1]["slices"].as_u64().unwrap() > 0, "{filled:#}");
    let took = began.elapsed();
    let after = serving.all();
    assert_eq!(present(&after), present(&before), "after {took:?}");
    for user in 1..=USERS {
        // What was pushed online only is lost, and is again what the history says.
        let expected = match user {
            TO_ONLINE => of(&as_in_history, user),
            _ => of(&before, user),
        };
        assert_eq!(of(&after, user), expected, "user {user}");
    }
    let again = run(&["materialize", "--format", "json"]).ok().json();
    assert_eq!(again["views"][1]["read"], 0, "everything is up to date");
    run(&["status", "--check"]).ok();

    // Lost writes under the same identity: no ledger can know of them. A repair brings what is recent, a rebuild all.
    let lost: usize = server.cli(&["EVAL", FORGET_ROWS, "0"]).parse().unwrap();
    assert!(lost > USERS as usize / 2);
    run(&["materialize"]).ok();
    assert_eq!(present(&serving.all()), 0);
    let repaired = run(&["materialize", "--repair", "2h", "--format", "json"])
        .ok()
        .json();
    let recent = serving.all();
    assert_eq!(of(&recent, TO_BOTH), of(&before, TO_BOTH), "{repaired:#}");
    assert!(present(&recent) < present(&before));
    run(&["materialize", "--rebuild"]).ok();
    assert_eq!(serving.all(), after);
    assert!(serving.end() > 20);
}
