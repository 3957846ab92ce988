//! Does each view live by itself, and leave without a trace and without touching anything else?

use larder_base::{
    Generation, Micros, OnlineDelete, OnlineStore, ProjectName, RowStatus, Span, WriteOptions,
};

use super::cluster_kit::Configured;
use super::common::{batch, keys, layout, open, plain_layout, read, read_with, request, write};
use super::server::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn a_retired_view_leaves_and_nothing_else_does() {
    let server = Server::start();
    let store = open(&server.config());
    // Names that are prefixes of each other, generations whose bytes mean something in patterns, another project with the
    // same generation, another prefix, and strangers.
    let star = u32::from_be_bytes(*b"**?[");
    let views = [
        layout("shop", "user", star),
        layout("shop", "user_stats", u32::from_be_bytes(*b"axx[")),
        layout("shop-2", "user", star),
        layout("shop", "user", u32::from_be_bytes(*b"{}{}")),
    ];
    let rows: Vec<_> = (0..3_000).map(|key| (key, 1, key)).collect();
    for view in &views {
        write(&store, view, &rows).await.expect("a write");
    }
    let mut other = server.config();
    other.prefix = "larder".to_owned();
    let other = open(&other);
    write(&other, &views[0], &rows).await.expect("a write");
    server.cli(&["SET", "larder:stranger", "1"]);
    server.cli(&["SET", "{x}**?[", "1"]);

    let project = ProjectName::new("shop").expect("a name");
    let report = store
        .reclaim(&project, &[Generation(star)])
        .await
        .expect("a removal");
    assert_eq!(report.rows, 3_000);
    let all: Vec<i64> = (0..3_000).collect();
    assert!(
        read(&store, &views[0], &all)
            .await
            .expect("a read")
            .iter()
            .all(Option::is_none)
    );
    for view in &views[1..] {
        assert!(
            read(&store, view, &all)
                .await
                .expect("a read")
                .iter()
                .all(Option::is_some),
            "{view:?}"
        );
    }
    assert!(
        read(&other, &views[0], &all)
            .await
            .expect("a read")
            .iter()
            .all(Option::is_some)
    );
    assert_eq!(server.cli(&["DBSIZE"]), (4 * 3_000 + 2).to_string());

    // Again, and several at once.
    assert_eq!(
        store
            .reclaim(&project, &[Generation(star)])
            .await
            .expect("a removal")
            .rows,
        0
    );
    let both = [views[1].generation(), views[3].generation(), Generation(99)];
    assert_eq!(
        store.reclaim(&project, &both).await.expect("a removal").rows,
        6_000
    );
    assert_eq!(server.cli(&["DBSIZE"]), (2 * 3_000 + 2).to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn rows_are_freed_after_their_retention_and_tombstones_after_a_week() {
    let server = Server::start();
    let store = open(&server.config());
    let now = larder_base::Clock::now(&larder_base::SystemClock).0;
    let kept = plain_layout("shop", "v", 1)
        .with_ttl(Some(Span::hours(2)))
        .with_retention(Some(Span::hours(1)));
    let kept = std::sync::Arc::new(kept);
    let hour = Span::hours(1).0;
    // The ttl is longer than the retention and counts: two hours, and one more.
    write(
        &store,
        &kept,
        &[
            (1, now, 1),
            (2, now - 2 * hour, 2),
            (3, now - 4 * hour, 3),
            (4, i64::MAX, 4),
        ],
    )
    .await
    .expect("a write");
    let found = read(&store, &kept, &[1, 2, 3, 4]).await.expect("a read");
    assert_eq!(found[..2], [Some((now, 1)), Some((now - 2 * hour, 2))]);
    assert_eq!(found[3], Some((i64::MAX, 4)));
    let lives = "local lives = {} for _, key in ipairs(redis.call('KEYS', '*')) do \
                 lives[#lives + 1] = redis.call('PTTL', key) end return lives";
    let told = server.cli(&["EVAL", lives, "0"]);
    let mut left: Vec<i64> = told.lines().map(|life| life.parse().expect("a number")).collect();
    left.sort_unstable();
    let near = |found: i64, hours: i64| (found - hours * 3_600_000).abs() < 60_000;
    assert!(
        left.len() >= 3 && left.contains(&-1) && left.iter().any(|ms| near(*ms, 3)),
        "{left:?}"
    );
    assert!(left.iter().any(|ms| near(*ms, 1)), "{left:?}");
    // Rows that are there already, byte for byte: a longer retention, none, one again.
    server.cli(&["FLUSHALL"]);
    for (retention, hours) in [
        (Some(5), Some(6)),
        (None, None),
        (Some(3), Some(4)),
        (Some(4), Some(5)),
    ] {
        let view = plain_layout("shop", "v", 1).with_retention(retention.map(Span::hours));
        let view = std::sync::Arc::new(view);
        let report = write(&store, &view, &[(1, now, 1)]).await.expect("a write");
        assert_eq!((report.written, report.stale), (1, 0));
        let told = server.cli(&["EVAL", lives, "0"]);
        let left: i64 = told.trim().parse().expect("one row");
        match hours {
            Some(hours) => assert!(near(left, hours), "{retention:?}: {left}"),
            None => assert_eq!(left, -1),
        }
    }

    let view = layout("shop", "w", 2);
    write(&store, &view, &[(1, 10, 1)]).await.expect("a write");
    let delete = OnlineDelete {
        layout: view.clone(),
        keys: keys(&view, &[1, 2]),
        at: Micros(20),
        now: Micros(now),
    };
    let report = store
        .delete(&delete, &WriteOptions::default())
        .await
        .expect("a delete");
    assert_eq!((report.written, report.stale), (2, 0));
    write(&store, &view, &[(1, 15, 9), (2, 19, 9)])
        .await
        .expect("a write");
    assert_eq!(read(&store, &view, &[1, 2]).await.expect("a read"), [None, None]);
    // A newer row may live again, and for ever.
    write(&store, &view, &[(1, 25, 7)]).await.expect("a write");
    assert_eq!(read(&store, &view, &[1]).await.expect("a read"), [Some((25, 7))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn a_read_is_one_command_for_any_number_of_views() {
    let server = Server::start();
    let store = open(&server.config());
    let views: Vec<_> = (0..20).map(|n| layout("shop", &format!("v{n}"), n + 1)).collect();
    for view in &views {
        write(&store, view, &[(1, 1, 1), (2, 1, 2)])
            .await
            .expect("a write");
    }
    let all: Vec<_> = views.iter().collect();
    for (entities, commands) in [(1, 1), (100, 1), (250, 1), (251, 2), (1_000, 4)] {
        server.cli(&["CONFIG", "RESETSTAT"]);
        let names: Vec<i64> = (0..entities).collect();
        let mut block = larder_base::FeatureBlock::new();
        let read = request(&all, &names);
        store
            .read(&read, &Default::default(), &mut block)
            .await
            .expect("a read");
        assert_eq!(block.status(19, 0), RowStatus::NotFound);
        assert!(entities == 1 || block.status(19, 1) == RowStatus::Present);
        let calls = server.info("cmdstat_mget");
        assert!(
            calls.starts_with(&format!("calls={commands},")),
            "{entities} entities: {calls}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn what_is_no_row_is_an_error_or_unavailable() {
    let server = Server::start();
    let store = open(&server.config());
    let view = layout("shop", "v", 1);
    write(&store, &view, &[(1, 1, 1), (2, 1, 2)])
        .await
        .expect("a write");
    let script = "local k = redis.call('KEYS', '*') redis.call('SET', k[1], 'garbage') return #k";
    server.cli(&["EVAL", script, "0"]);
    let error = read(&store, &view, &[1, 2]).await.expect_err("garbage");
    assert_eq!(error.kind(), larder_base::ErrorKind::Corrupt);
    assert!(!error.chain().contains("garbage"), "{}", error.chain());
    let partial = larder_base::ReadOptions::new().on_partial(larder_base::OnPartial::Return);
    let found = read_with(&store, &view, &[1, 2], partial)
        .await
        .expect("a partial answer");
    let unavailable = found
        .iter()
        .filter(|found| found.0 == RowStatus::Unavailable)
        .count();
    assert_eq!((found.len(), unavailable), (2, 1));
    // Writing heals it.
    let healed = batch(&view, &[(1, 0, 5), (2, 0, 5)]);
    let report = store
        .write(&healed, &WriteOptions::default())
        .await
        .expect("a write");
    assert_eq!((report.written, report.stale), (1, 1));
    assert!(
        read(&store, &view, &[1, 2])
            .await
            .expect("a read")
            .iter()
            .all(Option::is_some)
    );
}
