//! What happens where DynamoDB refuses, leaves over, fails, and loses answers?

use std::sync::Arc;
use std::time::{Duration, Instant};

use larder_base::{
    ErrorKind, FeatureBlock, OnPartial, OnlineStore, ReadOptions, RowStatus, Span, ViewLayout, WriteOptions,
};
use larder_dynamodb::{DynamoDbConfig, DynamoDbStore, WriteMode};

use super::common::{batch, config, layout, open, prepare, read, read_with, request, write};
use super::server::Server;
use super::stub::{Stub, Trick, refused, throttled};

struct World {
    _server: Server,
    stub: Stub,
    store: DynamoDbStore,
    view: Arc<ViewLayout>,
}

/// A store behind a stub, with a table.
async fn world(change: impl FnOnce(&mut DynamoDbConfig)) -> World {
    let server = Server::start();
    let stub = Stub::start(server.address()).await;
    let mut config = config(stub.endpoint());
    config.timeout = Span::seconds(5);
    change(&mut config);
    let store = open(&config).await;
    let view = layout("shop", "v", 1);
    prepare(&store, &view).await;
    World {
        _server: server,
        stub,
        store,
        view,
    }
}

fn rows(keys: i64, event: i64) -> Vec<(i64, i64, i64)> {
    (0..keys).map(|key| (key, event, key * 10)).collect()
}

fn names(keys: i64) -> Vec<i64> {
    (0..keys).collect()
}

fn expected(keys: i64, event: i64) -> Vec<Option<(i64, i64)>> {
    (0..keys).map(|key| Some((event, key * 10))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn a_read_asks_for_each_key_once_in_full_pages_side_by_side() {
    let world = world(|config| {
        config.connections = 6;
        config.write_mode = WriteMode::Overwrite;
        config.timeout = Span::seconds(20);
    })
    .await;
    let views: Vec<_> = (1..=20).map(|n| layout("shop", &format!("v{n}"), n)).collect();
    for view in &views {
        let batch = batch(view, &rows(75, 1)).with_rule(larder_base::WriteRule::Overwrite);
        let done = world.store.write(&batch, &WriteOptions::default()).await;
        assert_eq!(done.expect("a write").written, 75);
    }
    assert_eq!(world.stub.requests("BatchWriteItem"), [25; 60]);
    let views: Vec<_> = views.iter().collect();
    let mut block = FeatureBlock::new();
    let asked: Vec<i64> = (0..75).chain([7, 7, -1]).collect();
    let small = request(&views[..1], &asked);
    let read = async |request, block: &mut FeatureBlock| {
        let done = world.store.read(request, &ReadOptions::default(), block).await;
        done.expect("a read");
    };
    read(&small, &mut block).await;
    assert_eq!(world.stub.requests("BatchGetItem"), [76]);
    world.stub.delay(Duration::from_millis(30));
    let large = request(&views, &asked);
    let start = Instant::now();
    read(&large, &mut block).await;
    let requests = world.stub.requests("BatchGetItem");
    // 20 views with 76 distinct keys each.
    assert_eq!(requests.len(), 16);
    assert_eq!(requests.iter().sum::<usize>(), 20 * 76);
    assert!(
        requests.iter().all(|keys| (95..=100).contains(keys)),
        "{requests:?}"
    );
    assert_eq!(world.stub.most_under_way(), 6);
    assert!(start.elapsed() >= Duration::from_millis(90));
    for slot in 0..20 {
        assert!((0..77).all(|row| block.status(slot, row) == RowStatus::Present));
        assert_eq!(block.status(slot, 77), RowStatus::NotFound);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn what_is_refused_or_left_over_is_asked_for_again() {
    let world = world(|_| {}).await;
    let tricks = [
        throttled(2),
        refused(3, 400, "ThrottlingException", "rate exceeded"),
        refused(2, 500, "InternalServerError", "sorry"),
        refused(2, 503, "", ""),
        Trick::LeaveOver { nothing: 3 },
        Trick::LoseAnswers { every: 4 },
    ];
    for (event, trick) in (1..).zip(tricks) {
        world.stub.play(trick.clone());
        let report = write(&world.store, &world.view, &rows(250, event)).await;
        let report = report.unwrap_or_else(|error| panic!("{trick:?}: {}", error.chain()));
        assert_eq!((report.written, report.stale), (250, 0), "{trick:?}");
        // A read asks once more where a line breaks, and not for ever.
        if !matches!(trick, Trick::LoseAnswers { .. }) {
            let found = read(&world.store, &world.view, &names(250)).await;
            let found = found.unwrap_or_else(|error| panic!("{trick:?}: {}", error.chain()));
            assert_eq!(found, expected(250, event), "{trick:?}");
        }
        world.stub.play(Trick::Pass);
        let found = read(&world.store, &world.view, &names(250))
            .await
            .expect("a read");
        assert_eq!(found, expected(250, event), "{trick:?}");
    }
    // Also older rows are refused through all of that, each once.
    world.stub.play(throttled(2));
    let report = write(&world.store, &world.view, &rows(250, 1))
        .await
        .expect("a write");
    assert_eq!((report.written, report.stale), (0, 250));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn overwriting_goes_on_after_what_was_certainly_not_done() {
    let world = world(|config| config.write_mode = WriteMode::Overwrite).await;
    let send = async |event| {
        let batch = batch(&world.view, &rows(130, event)).with_rule(larder_base::WriteRule::Overwrite);
        world.store.write(&batch, &WriteOptions::default()).await
    };
    for (event, trick) in (1..).zip([throttled(2), Trick::LeaveOver { nothing: 3 }]) {
        world.stub.play(trick.clone());
        assert_eq!(send(event).await.expect("a write").written, 130, "{trick:?}");
        world.stub.play(Trick::Pass);
        let found = read(&world.store, &world.view, &names(130))
            .await
            .expect("a read");
        assert_eq!(found, expected(130, event), "{trick:?}");
    }
    for trick in [
        Trick::LoseAnswers { every: 2 },
        refused(1, 500, "InternalServerError", "sorry"),
    ] {
        world.stub.play(trick.clone());
        let error = send(9).await.expect_err("nobody knows what was done");
        assert_eq!(
            error.kind(),
            ErrorKind::Unavailable,
            "{trick:?}: {}",
            error.chain()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn patience_ends_at_the_deadline_or_without_progress() {
    let world = world(|config| {
        config.timeout = Span(400_000);
        config.write_timeout = Span(400_000);
    })
    .await;
    write(&world.store, &world.view, &rows(3, 1))
        .await
        .expect("a write");
    for trick in [throttled(1), Trick::LeaveOver { nothing: 1 }] {
        world.stub.play(trick.clone());
        let timed = async |options| {
            let start = Instant::now();
            let error = read_with(&world.store, &world.view, &[1, 2], options)
                .await
                .expect_err("nothing is answered");
            (error, start.elapsed())
        };
        let (error, took) = timed(ReadOptions::new()).await;
        assert_eq!(
            error.kind(),
            ErrorKind::Overloaded,
            "{trick:?}: {}",
            error.chain()
        );
        assert!(error.chain().contains("capacity"), "{}", error.chain());
        assert!(took < Duration::from_millis(800), "{trick:?}: {took:?}");
        let (error, took) = timed(ReadOptions::new().timeout(Duration::from_millis(60))).await;
        assert_eq!(error.kind(), ErrorKind::Timeout, "{trick:?}: {}", error.chain());
        assert!(took < Duration::from_millis(300), "{trick:?}: {took:?}");
        for options in [
            ReadOptions::new(),
            ReadOptions::new().timeout(Duration::from_millis(60)),
        ] {
            let found = read_with(
                &world.store,
                &world.view,
                &[1, 9],
                options.on_partial(OnPartial::Return),
            )
            .await;
            assert_eq!(
                found.expect("a partial answer"),
                [(RowStatus::Unavailable, None); 2]
            );
        }
    }
    world.stub.play(throttled(1));
    let start = Instant::now();
    let error = write(&world.store, &world.view, &rows(3, 2))
        .await
        .expect_err("throttled");
    assert_eq!(error.kind(), ErrorKind::Overloaded, "{}", error.chain());
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    // It recovers by itself, and nothing is lost or half done. What was on its way when the write gave up may be done.
    world.stub.play(Trick::Pass);
    let found = read(&world.store, &world.view, &names(3)).await.expect("a read");
    for (found, (old, new)) in found.iter().zip(expected(3, 1).iter().zip(&expected(3, 2))) {
        assert!(found == old || found == new, "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn what_was_answered_is_there_and_the_rest_unavailable() {
    let world = world(|config| config.timeout = Span(300_000)).await;
    write(&world.store, &world.view, &rows(300, 1))
        .await
        .expect("a write");
    world.stub.play(Trick::Starve);
    let error = read(&world.store, &world.view, &names(300))
        .await
        .expect_err("keys are left over");
    assert_eq!(error.kind(), ErrorKind::Overloaded, "{}", error.chain());
    let deadline = ReadOptions::new().timeout(Duration::from_millis(250));
    for options in [ReadOptions::new(), deadline] {
        let found = read_with(
            &world.store,
            &world.view,
            &names(300),
            options.on_partial(OnPartial::Return),
        )
        .await;
        let found = found.expect("a partial answer");
        let missing = found.iter().filter(|row| row.0 == RowStatus::Unavailable).count();
        assert!((50..250).contains(&missing), "{missing}");
        for (row, want) in found.iter().zip(expected(300, 1)) {
            assert!(*row == (RowStatus::Unavailable, None) || *row == (RowStatus::Present, want));
        }
    }
    world.stub.play(Trick::Pass);
    assert_eq!(
        read(&world.store, &world.view, &names(300))
            .await
            .expect("a read"),
        expected(300, 1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn what_no_second_try_changes_is_told_at_once() {
    let world = world(|_| {}).await;
    let cases = [
        (
            "AccessDeniedException",
            "User: arn:x is not authorized",
            ErrorKind::Denied,
            "Rights",
        ),
        (
            "UnrecognizedClientException",
            "The security token is invalid",
            ErrorKind::Config,
            "secret",
        ),
        (
            "ExpiredTokenException",
            "The token has expired",
            ErrorKind::Config,
            "sign in again",
        ),
        (
            "InvalidSignatureException",
            "Signature expired: 20260101T000000Z is now earlier",
            ErrorKind::Config,
            "NTP",
        ),
        (
            "ValidationException",
            "something odd",
            ErrorKind::Internal,
            "something odd",
        ),
    ];
    for (code, message, kind, part) in cases {
        world.stub.play(refused(1, 400, code, message));
        let _ = world.stub.requests("BatchGetItem");
        for options in [
            ReadOptions::new(),
            ReadOptions::new().on_partial(OnPartial::Return),
        ] {
            let error = read_with(&world.store, &world.view, &[1], options)
                .await
                .expect_err(code);
            assert_eq!(error.kind(), kind, "{code}: {}", error.chain());
            assert!(error.chain().contains(part), "{code}: {}", error.chain());
        }
        assert_eq!(world.stub.requests("BatchGetItem"), [1, 1], "{code}");
        let error = write(&world.store, &world.view, &[(1, 1, 1)])
            .await
            .expect_err(code);
        assert_eq!(error.kind(), kind, "{code}: {}", error.chain());
    }
}
