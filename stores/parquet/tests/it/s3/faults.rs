//! What a join does when the server throttles, breaks off, lies about lengths or changes its objects.
//!
//! Always the same: the answer of the files on disk, or a clear error of the right kind in a bounded time.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use larder_core::{Error, ErrorKind, Span};
use larder_parquet::ParquetConfig;

use super::proxy::{Fault, Proxy, Seen};
use super::world::{World, file};
use crate::common::Rng;

/// Joins through a proxy and expects the right answer.
async fn survives(world: &World, name: &str, rule: impl FnMut(&Seen) -> Fault + Send + 'static) -> Vec<Seen> {
    let proxy = world.proxy(rule);
    let remote = world.through(&proxy, |_| {}).await;
    match world.join(&*remote).await {
        Ok(answer) => world.assert_same(&answer).await,
        Err(error) => panic!("{name}: {error:?}"),
    }
    proxy.seen()
}

/// Joins through a proxy and expects an error, soon.
async fn fails(
    world: &World,
    rule: impl FnMut(&Seen) -> Fault + Send + 'static,
    change: impl FnOnce(&mut ParquetConfig),
) -> (Error, Duration, Vec<Seen>) {
    let proxy = world.proxy(rule);
    let remote = world.through(&proxy, change).await;
    let start = Instant::now();
    let error = world
        .join(&*remote)
        .await
        .expect_err("a join that cannot succeed");
    (error, start.elapsed(), proxy.seen())
}

/// Less patience, so that giving up is seen soon.
fn hasty(config: &mut ParquetConfig) {
    config.retries = Some(3);
    config.request_timeout = Some(Span(400_000));
    config.retry_timeout = Some(Span::seconds(3));
}

/// Every `n`th request for data meets a fault.
fn every(n: usize, fault: Fault) -> impl FnMut(&Seen) -> Fault + Send + 'static {
    let mut count = 0;
    move |seen| {
        if !seen.is_data() {
            return Fault::Pass;
        }
        count += 1;
        if count % n == 0 { fault } else { Fault::Pass }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3 server; cargo xtask test starts one"]
async fn passing_faults_change_nothing() {
    let world = World::new().await;
    for (name, n, fault) in [
        ("throttled", 3, Fault::SlowDown),
        ("internal error", 3, Fault::Status(500, "InternalError")),
        ("bad gateway", 4, Fault::Status(502, "x")),
        ("too many requests", 4, Fault::Status(429, "TooManyRequests")),
        ("reset before the answer", 3, Fault::ResetBefore),
        ("reset at the head", 4, Fault::ResetIn(0)),
        ("reset within the body", 3, Fault::ResetIn(1_000)),
        ("closed within the body", 3, Fault::CloseIn(1_000)),
        ("closed at the head", 4, Fault::CloseIn(0)),
        ("cut short, whole as HTTP", 3, Fault::Truncate(700)),
        ("empty, whole as HTTP", 4, Fault::Truncate(0)),
    ] {
        let seen = survives(&world, name, every(n, fault)).await;
        let data = seen.iter().filter(|seen| seen.is_data()).count();
        assert!(
            data > 6 + 6 / n,
            "{name}: {data} requests, as if nothing had failed"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3 server; cargo xtask test starts one"]
async fn every_first_attempt_may_fail() {
    let world = World::new().await;
    for fault in [
        Fault::SlowDown,
        Fault::CloseIn(333),
        Fault::Truncate(100),
        Fault::ResetBefore,
    ] {
        let mut met = HashSet::new();
        survives(&world, "first attempts", move |seen| {
            match met.insert((seen.target.clone(), seen.range.map(|range| range.1))) {
                true => fault,
                false => Fault::Pass,
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3 server; cargo xtask test starts one"]
async fn a_mixture_of_faults_by_chance() {
    let world = World::new().await;
    for seed in 1..=4 {
        let mut rng = Rng::new(seed);
        survives(&world, "mixture", move |_| match rng.below(12) {
            0 => Fault::SlowDown,
            1 => Fault::Status(500, "InternalError"),
            2 => Fault::ResetIn(rng.below(5_000) as usize),
            3 => Fault::CloseIn(rng.below(5_000) as usize),
            4 => Fault::ResetBefore,
            _ => Fault::Pass,
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3 server; cargo xtask test starts one"]
async fn listings_are_repeated_too() {
    let world = World::new().await;
    for fault in [
        Fault::SlowDown,
        Fault::CloseIn(100),
        Fault::ResetBefore,
        Fault::Truncate(200),
    ] {
        let mut first = true;
        survives(&world, "listing", move |seen| {
            match seen.is_list() && std::mem::take(&mut first) {
                true => fault,
                false => Fault::Pass,
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3 server; cargo xtask test starts one"]
async fn a_request_that_hangs_is_repeated() {
    let world = World::new().await;
    let mut once = true;
    let proxy = world.proxy(move |seen| match seen.is_data() && std::mem::take(&mut once) {
        true => Fault::Stall(Duration::from_secs(6)),
        false => Fault::Pass,
    });
    let remote = world
        .through(&proxy, |config| config.request_timeout = Some(Span(500_000)))
        .await;
    let start = Instant::now();
    world.assert_same(&world.join(&*remote).await.unwrap()).await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3 server; cargo xtask test starts one"]
async fn patience_ends_with_an_error_of_the_right_kind() {
    let world = World::new().await;
    let lasting = |fault: Fault| move |seen: &Seen| if seen.is_data() { fault } else { Fault::Pass };
    for (fault, kind, attempts) in [
        (Fault::SlowDown, ErrorKind::Overloaded, 4),
        (Fault::Status(500, "InternalError"), ErrorKind::Unavailable, 4),
        (Fault::ResetBefore, ErrorKind::Unavailable, 4),
        (Fault::Truncate(0), ErrorKind::Unavailable, 4),
        (Fault::CloseIn(0), ErrorKind::Unavailable, 4),
        (Fault::Stall(Duration::from_secs(5)), ErrorKind::Timeout, 4),
        // These will not pass, so they are not repeated.
        (Fault::Status(403, "AccessDenied"), ErrorKind::Denied, 1),
        (Fault::Status(404, "NoSuchKey"), ErrorKind::Conflict, 1),
        (Fault::Status(412, "PreconditionFailed"), ErrorKind::Conflict, 1),
    ] {
        let (error, took, seen) = fails(&world, lasting(fault), hasty).await;
        assert_eq!(error.kind(), kind, "{fault:?}: {error:?}");
        assert!(took < Duration::from_secs(6), "{fault:?}: {took:?}");
        let text = error.to_string();
        assert!(text.contains("s3://") && text.contains(".parquet"), "{text}");
        let data: Vec<_> = seen.iter().filter(|seen| seen.is_data()).collect();
        let of = |target: &str| data.iter().filter(|seen| seen.target == target).count();
        let most = data.iter().map(|seen| of(&seen.target)).max();
        assert_eq!(most, Some(attempts), "{fault:?}");
    }
    // Each attempt brings a little: patience is renewed, but not the time for all of it.
    let (error, took, _) = fails(&world, lasting(Fault::CloseIn(3)), hasty).await;
    assert!(error.is_retryable_kind(), "{error:?}");
    assert!(took < Duration::from_secs(6), "{took:?}");
}

trait Kind {
    fn is_retryable_kind(&self) -> bool;
}

impl Kind for Error {
    fn is_retryable_kind(&self) -> bool {
        matches!(self.kind(), ErrorKind::Unavailable | ErrorKind::Timeout)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3 server; cargo xtask test starts one"]
async fn listings_that_fail_for_good_are_errors_too() {
    let world = World::new().await;
    for (fault, kind) in [
        (Fault::SlowDown, ErrorKind::Overloaded),
        (Fault::Status(403, "AccessDenied"), ErrorKind::Denied),
        (Fault::Status(404, "NoSuchBucket"), ErrorKind::NotFound),
        (Fault::Status(301, "PermanentRedirect"), ErrorKind::Config),
        (Fault::Status(400, "ExpiredToken"), ErrorKind::Denied),
        (Fault::ResetBefore, ErrorKind::Unavailable),
    ] {
        let rule = move |seen: &Seen| if seen.is_list() { fault } else { Fault::Pass };
        let (error, took, _) = fails(&world, rule, hasty).await;
        assert_eq!(error.kind(), kind, "{fault:?}: {error:?}");
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3 server; cargo xtask test starts one"]
async fn wrong_keys_are_denied_and_not_told() {
    let world = World::new().await;
    let mut config = world.server.config(&world.prefix);
    config.secret_access_key = Some(larder_core::Secret::new("not-the-secret".to_owned()));
    let remote = super::world::built(&config).await;
    let error = world.join(&*remote).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    assert!(!format!("{error:?}").contains("not-the-secret"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3 server; cargo xtask test starts one"]
async fn an_object_that_is_replaced_during_the_run_is_a_conflict() {
    let world = World::new().await;
    let key = format!("{}events/dt=2024-01-02/part-3.parquet", world.prefix);
    let path = world.folder.path().join("events/dt=2024-01-02/part-3.parquet");
    let old = std::fs::read(&path).unwrap();
    let new = {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.parquet");
        crate::common::write_with(
            &path,
            &file(77),
            crate::common::plain().set_max_row_group_row_count(Some(1_000)),
        );
        std::fs::read(path).unwrap()
    };
    // Another file, and one of the same size with other bytes.
    let mut same_size = old.clone();
    same_size[1_000] ^= 0xff;
    for bytes in [new, same_size] {
        world.server.put(&key, old.clone()).await;
        let (server, key, target) = (world.server.clone(), key.clone(), "part-3.parquet");
        let runtime = tokio::runtime::Handle::current();
        let mut met = 0;
        let rule = move |seen: &Seen| {
            if seen.is_data() && seen.target.contains(target) {
                met += 1;
                if met == 2 {
                    // After the footer, before the first of the data.
                    runtime.block_on(server.put(&key, bytes.clone()));
                }
            }
            Fault::Pass
        };
        let (error, _, _) = fails(&world, rule, |_| {}).await;
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
        let text = error.to_string();
        assert!(
            text.contains("part-3.parquet") && text.contains("during the run"),
            "{text}"
        );
    }
    world.server.put(&key, old).await;
    // The next run sees the object as it is.
    world
        .assert_same(&world.join(&*world.remote().await).await.unwrap())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3 server; cargo xtask test starts one"]
async fn an_object_that_disappears_is_a_conflict() {
    let world = World::new().await;
    let path = world.folder.path().join("events/dt=2024-01-02/part-3.parquet");
    let old = std::fs::read(&path).unwrap();
    let key = format!("{}events/dt=2024-01-02/part-3.parquet", world.prefix);
    let server = world.server.clone();
    let runtime = tokio::runtime::Handle::current();
    let mut listed = false;
    let of = key.clone();
    let rule = move |seen: &Seen| {
        if listed {
            use object_store::ObjectStoreExt;
            let path = object_store::path::Path::parse(&of).unwrap();
            // The second time there is nothing to delete any more.
            let _ = runtime.block_on(server.client().delete(&path));
        }
        listed |= seen.is_list();
        Fault::Pass
    };
    let (error, _, _) = fails(&world, rule, |_| {}).await;
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
    world.server.put(&key, old).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3 server; cargo xtask test starts one"]
async fn damaged_objects_are_corrupt_and_named() {
    let world = World::new().await;
    let key = format!("{}events/dt=2024-01-02/part-3.parquet", world.prefix);
    let whole = std::fs::read(world.folder.path().join("events/dt=2024-01-02/part-3.parquet")).unwrap();
    let mut damaged = whole.clone();
    let end = damaged.len();
    // The footer's length names more than there is.
    damaged[end - 8..end - 4].copy_from_slice(&u32::MAX.to_le_bytes());
    for bytes in [
        damaged,
        whole[..whole.len() / 2].to_vec(),
        b"PAR1".to_vec(),
        Vec::new(),
    ] {
        world.server.put(&key, bytes).await;
        let error = world.join(&*world.remote().await).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
        assert!(error.to_string().contains("part-3.parquet"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3 server; cargo xtask test starts one"]
async fn no_server_at_all_is_unavailable_soon() {
    let world = World::new().await;
    let gone = Proxy::new(&world.server.endpoint, Duration::ZERO, |_| Fault::Pass);
    let endpoint = gone.endpoint();
    drop(gone);
    let mut config = world.server.config(&world.prefix);
    config.endpoint = Some(endpoint);
    hasty(&mut config);
    let start = Instant::now();
    let error = world
        .join(&*super::world::built(&config).await)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(5));
}
