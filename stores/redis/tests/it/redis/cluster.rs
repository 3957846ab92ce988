//! Does the store find its way in a cluster: slots that move, nodes that die, replicas that answer?

use larder_base::{
    ErrorKind, Generation, OnPartial, OnlineStore, ProjectName, ReadOptions, RowStatus, WriteOptions,
};
use larder_conformance::eventually;
use larder_redis::ReadFrom;

use super::cluster_kit::{Cluster, Configured, shared};
use super::common::{batch, keys, layout, open, read, read_with, request, write};
use super::server::Server;

const KEYS: i64 = 3_000;

fn rows(event: i64) -> Vec<(i64, i64, i64)> {
    (0..KEYS).map(|key| (key, event, key + event)).collect()
}

fn all() -> Vec<i64> {
    (0..KEYS).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn rows_are_spread_and_read_in_one_round_trip_per_node() {
    let cluster = Cluster::start(false);
    let store = open(&cluster.config());
    let views = [
        layout("shop", "a", 1),
        layout("shop", "b", 2),
        layout("shop", "c", 3),
    ];
    for (event, view) in (1..).zip(&views) {
        let report = write(&store, view, &rows(event)).await.expect("a write");
        assert_eq!((report.written, report.stale), (KEYS as u64, 0));
    }
    let report = write(&store, &views[2], &rows(1)).await.expect("a write");
    assert_eq!((report.written, report.stale), (0, KEYS as u64));
    let sizes: Vec<i64> = cluster
        .primaries()
        .iter()
        .map(|server| server.cli(&["DBSIZE"]).parse().expect("a count"))
        .collect();
    assert!(
        sizes.len() == 3 && sizes.iter().all(|size| *size > 2_000),
        "{sizes:?}"
    );

    cluster
        .primaries()
        .iter()
        .for_each(|server| drop(server.cli(&["CONFIG", "RESETSTAT"])));
    let asked: Vec<_> = views.iter().collect();
    let mut block = larder_base::FeatureBlock::new();
    store
        .read(&request(&asked, &all()), &ReadOptions::new(), &mut block)
        .await
        .expect("a read");
    for slot in 0..3 {
        assert!((0..all().len()).all(|row| block.status(slot, row) == RowStatus::Present));
    }
    // All views of an entity are one command, whatever node has it.
    let primaries = cluster.primaries();
    let calls = primaries.iter().map(|server| {
        let told = server.info("cmdstat_mget");
        told.split(',')
            .next()
            .and_then(|calls| calls.strip_prefix("calls=")?.parse::<i64>().ok())
            .unwrap_or(0)
    });
    assert_eq!(calls.sum::<i64>(), KEYS);

    let project = ProjectName::new("shop").expect("a name");
    let report = store
        .reclaim(&project, &[Generation(2)])
        .await
        .expect("a removal");
    assert_eq!(report.rows, KEYS as u64);
    assert!(
        read(&store, &views[1], &all())
            .await
            .expect("a read")
            .iter()
            .all(Option::is_none)
    );
    assert!(
        read(&store, &views[2], &all())
            .await
            .expect("a read")
            .iter()
            .all(Option::is_some)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn replicas_are_waited_for_where_a_slot_moves_to() {
    let cluster = Cluster::start(false);
    let mut config = cluster.config();
    config.wait = serde_json::from_value(serde_json::json!({ "replicas": 1 })).expect("a wait");
    let store = open(&config);
    let view = layout("shop", "a", 1);
    write(&store, &view, &rows(1)).await.expect("a write");
    let (from, to) = (&cluster.servers[0], &cluster.servers[1]);
    let any = "local key = redis.call('RANDOMKEY') return redis.call('CLUSTER', 'KEYSLOT', key)";
    let slot: u16 = from.cli(&["EVAL", any, "0"]).parse().expect("a slot");
    let in_slot = "local own = {} for _, key in ipairs(redis.call('CLUSTER', 'GETKEYSINSLOT', ARGV[1], 9)) do \
                   own[#own + 1] = (string.gsub(key, '.', function(c) return string.format('%02x', string.byte(c)) end)) end \
                   return own";
    let own = from.cli(&["EVAL", in_slot, "0", &slot.to_string()]);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let is_own = |name: &i64| own.contains(&hex(keys(&view, &[*name]).get(0).expect("a key")));
    let name = all().into_iter().find(is_own).expect("a key of the slot");
    let handle = tokio::runtime::Handle::current();
    cluster.migrate(slot, from, to, || {
        to.cli(&["CONFIG", "RESETSTAT"]);
        // Of a view that is new here, so that the old node has no such key.
        let fresh = layout("shop", "b", 2);
        let rows = [(name, 1, 1)];
        let written = tokio::task::block_in_place(|| handle.block_on(write(&store, &fresh, &rows)));
        assert_eq!(written.expect("a write").written, 1);
        assert!(!to.info("cmdstat_asking").is_empty() && !to.info("cmdstat_wait").is_empty());
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn slots_that_move_are_followed() {
    let cluster = Cluster::start(false);
    let store = open(&cluster.config());
    let views = [layout("shop", "a", 1), layout("shop", "b", 2)];
    let asked: Vec<_> = views.iter().collect();
    for view in &views {
        write(&store, view, &rows(1)).await.expect("a write");
    }
    let (from, to) = (&cluster.servers[0], &cluster.servers[1]);
    // The slot with the most keys, which are then partly here, partly there.
    let find = "local best, most = 0, 0 for slot = 0, 5460 do \
                local count = redis.call('CLUSTER', 'COUNTKEYSINSLOT', slot) \
                if count > most then best, most = slot, count end end return {best, most}";
    let found = from.cli(&["EVAL", find, "0"]);
    let numbers: Vec<u16> = found
        .lines()
        .map(|number| number.parse().expect("a number"))
        .collect();
    assert!(numbers[1] >= 4, "{found}");
    let slot = numbers[0];
    let handle = tokio::runtime::Handle::current();
    cluster.migrate(slot, from, to, || {
        tokio::task::block_in_place(|| {
            handle.block_on(async {
                let mut block = larder_base::FeatureBlock::new();
                store
                    .read(&request(&asked, &all()), &ReadOptions::new(), &mut block)
                    .await
                    .expect("a read");
                for view in 0..2 {
                    assert!((0..all().len()).all(|row| block.status(view, row) == RowStatus::Present));
                }
                // Writes follow, too: known rows, new ones, stale ones.
                let report = write(&store, &views[0], &rows(2)).await.expect("a write");
                assert_eq!((report.written, report.stale), (KEYS as u64, 0));
                let report = write(&store, &views[0], &rows(1)).await.expect("a write");
                assert_eq!((report.written, report.stale), (0, KEYS as u64));
                let fresh = layout("shop", "c", 3);
                let report = write(&store, &fresh, &rows(1)).await.expect("a write");
                assert_eq!((report.written, report.stale), (KEYS as u64, 0));
                assert!(
                    read(&store, &fresh, &all())
                        .await
                        .expect("a read")
                        .iter()
                        .all(Option::is_some)
                );
            });
        });
    });
    for (event, view) in [(2, &views[0]), (1, &views[1])] {
        let found = read(&store, view, &all()).await.expect("a read");
        for (key, found) in (0..).zip(found) {
            assert_eq!(found, Some((event, key + event)));
        }
    }
    let report = write(&store, &views[0], &rows(3)).await.expect("a write");
    assert_eq!(report.written, KEYS as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn a_dead_primary_is_told_then_followed() {
    let mut cluster = Cluster::start(false);
    let store = shared(&cluster.config());
    let view = layout("shop", "a", 1);
    write(&*store, &view, &rows(1)).await.expect("a write");
    super::server::until("the replicas have everything", || {
        cluster
            .servers
            .iter()
            .map(|server| server.cli(&["DBSIZE"]).parse::<i64>().unwrap_or(0))
            .sum::<i64>()
            == 2 * KEYS
    });
    cluster.servers[0].kill();
    // A part is gone: an error, or unavailable rows and the rest.
    let error = read(&*store, &view, &all()).await.expect_err("a shard is down");
    assert!(
        matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout),
        "{}",
        error.chain()
    );
    let partial = ReadOptions::new().on_partial(OnPartial::Return);
    let found = read_with(&*store, &view, &all(), partial)
        .await
        .expect("a partial answer");
    let of = |status| found.iter().filter(|found| found.0 == status).count();
    assert_eq!(of(RowStatus::NotFound), 0);
    assert!(of(RowStatus::Unavailable) > 500 && of(RowStatus::Present) > 1_000);
    let (names, newer) = (all(), rows(2));
    // The replica takes over; nobody has to start anything again.
    let found = eventually(|| read(&*store, &view, &names)).await;
    for (key, found) in (0..).zip(found) {
        assert_eq!(found, Some((1, key + 1)));
    }
    let report = eventually(|| write(&*store, &view, &newer)).await;
    assert_eq!((report.written, report.stale), (KEYS as u64, 0));
    // The old one comes back as a replica.
    cluster.servers[0].run();
    let found = eventually(|| read(&*store, &view, &names)).await;
    assert!(
        found
            .iter()
            .all(|found| found.is_some_and(|(event, _)| event == 2))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn replicas_answer_where_that_is_wanted() {
    let cluster = Cluster::start(false);
    let mut config = cluster.config();
    config.read_from = ReadFrom::Replica;
    let store = open(&config);
    let view = layout("shop", "a", 1);
    write(&store, &view, &rows(1)).await.expect("a write");
    super::server::until("the replicas have everything", || {
        cluster
            .servers
            .iter()
            .map(|server| server.cli(&["DBSIZE"]).parse::<i64>().unwrap_or(0))
            .sum::<i64>()
            == 2 * KEYS
    });
    // Redis names a replica only after its first bytes: a map from before is renewed after a while.
    let started = std::time::Instant::now();
    loop {
        for server in &cluster.servers {
            server.cli(&["CONFIG", "RESETSTAT"]);
        }
        let found = read(&store, &view, &all()).await.expect("a read");
        assert!(found.iter().all(Option::is_some));
        let asked = |server: &&Server| !server.info("cmdstat_mget").is_empty();
        let (asked, others): (Vec<_>, Vec<_>) = cluster.servers.iter().partition(asked);
        if asked.iter().all(|server| server.info("role") == "slave") {
            assert!(asked.len() == 3 && others.iter().all(|server| server.info("role") == "master"));
            return;
        }
        assert!(
            started.elapsed().as_secs() < 40,
            "primaries are asked all the time"
        );
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn a_shard_that_came_back_empty_voids_the_identity() {
    let cluster = Cluster::start(false);
    let store = open(&cluster.config());
    let project = ProjectName::new("shop").expect("a name");
    let changes = larder_base::LayoutChanges {
        project: project.clone(),
        layouts: vec![],
    };
    let first = store.prepare(&changes).await.expect("an identity");
    assert_eq!(store.identity(&project).await.expect("an answer"), Some(first));
    for server in 0..3 {
        cluster.servers[server].cli(&["FLUSHALL", "SYNC"]);
        assert_eq!(
            store.identity(&project).await.expect("an answer"),
            None,
            "shard {server}"
        );
        let next = store.prepare(&changes).await.expect("an identity");
        assert_ne!(next, first);
        assert_eq!(store.identity(&project).await.expect("an answer"), Some(next));
        assert_eq!(store.prepare(&changes).await.expect("an identity"), next);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn the_right_kind_of_server_is_asked_for() {
    let cluster = Cluster::start(false);
    // One node of a cluster as if it were alone.
    let alone = open(&cluster.servers[0].config());
    let view = layout("shop", "a", 1);
    let error = alone
        .write(&batch(&view, &rows(1)), &WriteOptions::default())
        .await
        .expect_err("it is a cluster");
    assert!(
        error.is_retryable() || error.kind() == ErrorKind::Config,
        "{}",
        error.chain()
    );
    let health = open(&cluster.config()).check().await.expect("an answer");
    assert!(
        health.backend.starts_with("redis 7")
            || health.backend.contains("redis")
            || health.backend.contains("valkey")
    );
    assert!(
        health
            .warnings
            .iter()
            .any(|warning| warning.contains("append-only")),
        "{health:?}"
    );
}
