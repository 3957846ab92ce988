//! Whether files on S3 answer as those on disk do, in few requests.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use larder_core::arrow::array::RecordBatch;
use larder_core::{ErrorKind, LatestRead, Micros, OfflineOptions, OfflineStore, RangeRead};
use serde_json::json;

use super::proxy::{Fault, Proxy};
use super::world::{FILES, World, built, file, prefix};
use crate::common::{joined, plain, scan, source, write_with};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3 server; cargo xtask test starts one"]
async fn a_join_is_that_of_the_disk() {
    let world = World::new().await;
    let remote = world.remote().await;
    let first = world.join(&*remote).await.unwrap();
    world.assert_same(&first).await;
    // Again, with footers that are known.
    let second = world.join(&*remote).await.unwrap();
    world.assert_same(&second).await;
    assert!(second.1.read.bytes < first.1.read.bytes);

    // The caller's runtime may have one thread, or be none of tokio's.
    let options = OfflineOptions::default().with_batch_rows(100).with_threads(1);
    let answer = futures::executor::block_on(joined(&*remote, world.request(), &options));
    world.assert_same(&answer.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3 server; cargo xtask test starts one"]
async fn the_report_names_all_files_of_disk_and_s3() {
    let world = World::new().await;
    let remote = world.join(&*world.remote().await).await.unwrap().1.sources;
    let local = world.join(&world.local).await.unwrap().1.sources;
    for (sources, start) in [
        (&remote, format!("s3://{}/{}", world.server.bucket, world.prefix)),
        (&local, format!("{}/", world.folder.path().display())),
    ] {
        assert_eq!(sources.len(), 1, "two views, one source");
        assert_eq!(sources[0].source, "events");
        let names: Vec<_> = sources[0]
            .files
            .iter()
            .map(|file| file.path.strip_prefix(&start).unwrap())
            .collect();
        assert_eq!(names.len(), FILES);
        assert!(names.is_sorted(), "{names:?}");
        assert!(names[0].starts_with("events/dt=2024-01-01/part-0"), "{names:?}");
    }
    for (remote, local) in remote[0].files.iter().zip(&local[0].files) {
        assert_eq!(remote.bytes, local.bytes);
        assert!(remote.tag.len() >= 16 && !remote.tag.contains('"'), "{remote:?}");
        let changed: i64 = local.tag.parse().unwrap();
        assert!(changed > 1_600_000_000_000_000, "{local:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3 server; cargo xtask test starts one"]
async fn ranges_latest_and_schema_are_those_of_the_disk() {
    let world = World::new().await;
    let remote = world.remote().await;
    let view = scan(
        &world.source,
        &[("id", "int64")],
        &[("total", "float64"), ("text", "string")],
    );
    let options = OfflineOptions::default().with_threads(1);
    let mut answers = Vec::new();
    for store in [&*remote, &world.local as &dyn OfflineStore] {
        let range = RangeRead::new(view.clone(), Micros(200_000), Micros(300_000));
        let range: Vec<RecordBatch> = store
            .range(range, &options)
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        let latest = LatestRead {
            scan: view.clone(),
            floor: Micros(500_000),
            after: Micros::MIN,
            until: Micros(900_000),
        };
        let latest: Vec<RecordBatch> = store
            .latest(latest, &options)
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        assert!(!range.is_empty() && !latest.is_empty());
        answers.push((range, latest, store.schema(&world.source).await.unwrap()));
    }
    assert!(answers[0] == answers[1]);
    let health = remote.check().await.unwrap();
    assert!(format!("{health:?}").contains("s3://"), "{health:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3 server; cargo xtask test starts one"]
async fn paths_name_files_folders_and_patterns() {
    let world = World::new().await;
    let remote = world.remote().await;
    let bucket = &world.server.bucket;
    for (path, files) in [
        ("events".to_owned(), FILES),
        ("events/".to_owned(), FILES),
        (".".to_owned(), FILES),
        ("events/dt=2024-01-02/".to_owned(), FILES / 2),
        ("events/dt=*-01".to_owned(), FILES / 2),
        ("**/part-[0-2].parquet".to_owned(), 3),
        ("events/dt=2024-01-01/part-0.parquet".to_owned(), 1),
        ("events/README.tx?".to_owned(), 0),
        (format!("s3://{bucket}/{}events/", world.prefix), FILES),
    ] {
        let definition = source(json!({ "name": "s", "type": "parquet", "path": path, "event_time": "at" }));
        let mut request = world.request();
        request.views.truncate(1);
        request.views[0].scan = scan(&definition, &[("id", "int64")], &[("total", "float64")]);
        let options = OfflineOptions::default();
        let found = joined(&*remote, request.clone(), &options).await;
        if files == 0 {
            // A pattern may name files of any name, and this one is no Parquet.
            assert_eq!(found.unwrap_err().kind(), ErrorKind::Corrupt, "{path}");
            continue;
        }
        let found = found.unwrap();
        assert_eq!(found.1.sources[0].files.len(), files, "{path}");
        if !path.starts_with("s3://") {
            let local = joined(&world.local, request, &options).await.unwrap();
            assert_eq!(found.1.views, local.1.views, "{path}");
        }
    }
    for (path, kind) in [
        ("nothing/", ErrorKind::NotFound),
        ("nothing.parquet", ErrorKind::NotFound),
        ("events/x*.parquet", ErrorKind::NotFound),
        ("s3://no-such-bucket-here/x/", ErrorKind::NotFound),
    ] {
        let definition = source(json!({ "name": "s", "type": "parquet", "path": path, "event_time": "at" }));
        let error = remote.schema(&definition).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.to_string().contains("source=s"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3 server; cargo xtask test starts one"]
async fn listings_have_many_pages_and_folder_marks() {
    let world = World::new().await;
    let at = prefix();
    let folder = tempfile::tempdir().unwrap();
    let small = file(1).slice(0, 2);
    for number in 0..1_100 {
        write_with(
            &folder.path().join(format!("s/{number:04}.parquet")),
            &small,
            plain(),
        );
    }
    world.server.upload(folder.path(), &at).await;
    world
        .server
        .put(&format!("{at}s/_delta_log_not"), Vec::new())
        .await;
    let store = built(&world.server.config(&at)).await;
    let definition = source(json!({ "name": "s", "type": "parquet", "path": "s/", "event_time": "at" }));
    let request = RangeRead::new(
        scan(&definition, &[("id", "int64")], &[]),
        Micros::MIN,
        Micros::MAX,
    );
    let rows: Vec<RecordBatch> = store
        .range(request, &OfflineOptions::default())
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 2_200);

    world
        .server
        .put(&format!("{at}s/x/_delta_log/00.json"), b"{}".to_vec())
        .await;
    let error = store.schema(&definition).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(
        error.to_string().contains("Delta") && error.to_string().contains("s/x"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3 server; cargo xtask test starts one"]
async fn requests_are_few() {
    let world = World::new().await;
    let proxy = Proxy::new(&world.server.endpoint, Duration::from_millis(5), |_| Fault::Pass);
    let remote = world.through(&proxy, |_| {}).await;
    let answer = world.join(&*remote).await.unwrap();
    world.assert_same(&answer).await;
    let seen = proxy.seen();
    let lists = seen.iter().filter(|seen| seen.is_list()).count();
    let data: Vec<_> = seen.iter().filter(|seen| seen.is_data()).collect();
    assert_eq!(lists, 1);
    // One for each footer, at most one for each row group in pass 1 and for each rule in pass 2.
    assert!(data.len() <= FILES + FILES * 4 * 3, "{}", data.len());
    let fetched: u64 = data.iter().map(|seen| seen.bytes).sum();
    assert_eq!(fetched, answer.1.read.bytes);
    assert!(
        data.iter()
            .all(|seen| seen.range.is_some_and(|(first, last)| last - first < 8 << 20))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3 server; cargo xtask test starts one"]
async fn dropping_a_stream_ends_its_requests() {
    let world = World::new().await;
    let stall = Duration::from_secs(4);
    let proxy = world.proxy(
        move |seen| match seen.is_data() && seen.target.contains("part-5") {
            true => Fault::Stall(stall),
            false => Fault::Pass,
        },
    );
    let remote = world.through(&proxy, |_| {}).await;
    let options = OfflineOptions::default();
    let joining = remote.historical(world.request(), &options);
    assert!(
        tokio::time::timeout(Duration::from_millis(300), joining)
            .await
            .is_err()
    );
    // The store itself can go while its requests hang.
    let before = std::time::Instant::now();
    drop(remote);
    assert!(before.elapsed() < Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3 server; cargo xtask test starts one"]
async fn two_stores_share_nothing_and_one_serves_many_calls() {
    let world = Arc::new(World::new().await);
    let remote = world.remote().await;
    let calls = (0..4).map(|_| {
        let (world, remote) = (world.clone(), remote.clone());
        tokio::spawn(async move {
            let answer = world.join(&*remote).await.unwrap();
            world.assert_same(&answer).await;
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
}
