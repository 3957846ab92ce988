//! Is every acknowledged row there when the server is killed with `kill -9` in the middle of writes?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use larder_base::{OnlineStore, Span, WriteOptions};

use super::common::{batch, config, layout, open, prepare, read, write};
use super::server::Server;

const KEYS: i64 = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn writes_go_on_through_a_restart_and_lose_nothing() {
    let mut server = Server::durable();
    let mut config = config(server.endpoint());
    config.timeout = Span::seconds(10);
    config.write_timeout = Span::seconds(60);
    let store = Arc::new(open(&config).await);
    let view = layout("shop", "crash", 3);
    prepare(&*store, &view).await;
    let first: Vec<_> = (0..KEYS).map(|key| (key, 0, 0)).collect();
    write(&*store, &view, &first).await.expect("a write");
    let (stop, last) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
    let writer = {
        let (store, view, stop, last) = (store.clone(), view.clone(), stop.clone(), last.clone());
        tokio::spawn(async move {
            let mut event = 0;
            while !stop.load(Ordering::SeqCst) {
                event += 1;
                let rows: Vec<_> = (0..KEYS).map(|key| (key, event, event)).collect();
                let report = store.write(&batch(&view, &rows), &WriteOptions::default()).await;
                let report = report.expect("a write that waits for the server");
                assert_eq!((report.written, report.stale), (KEYS as u64, 0));
                last.store(event, Ordering::SeqCst);
            }
        })
    };
    let names: Vec<i64> = (0..KEYS).collect();
    for round in 0..3 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let acknowledged = last.load(Ordering::SeqCst);
        tokio::task::block_in_place(|| {
            server.kill();
            server.run();
        });
        // Reads recover by themselves, too.
        let found = read(&*store, &view, &names)
            .await
            .expect("a read after the restart");
        for found in found {
            let (event, number) = found.expect("a row");
            assert!(
                event >= acknowledged && event == number,
                "round {round}: {event} after {acknowledged} was acknowledged"
            );
        }
    }
    stop.store(true, Ordering::SeqCst);
    writer.await.expect("no write failed");
    assert!(last.load(Ordering::SeqCst) > 0);
    let report = write(&*store, &view, &first).await.expect("a write");
    assert_eq!((report.written, report.stale), (0, KEYS as u64));
}

/// Tables that are gone are noticed: what comes after them has another identity.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn an_emptied_server_has_lost_its_identity() {
    let mut server = Server::durable();
    let store = open(&config(server.endpoint())).await;
    let view = layout("shop", "v", 1);
    prepare(&store, &view).await;
    write(&store, &view, &[(1, 1, 1)]).await.expect("a write");
    let before = store.identity(view.project()).await.expect("an answer");
    tokio::task::block_in_place(|| {
        server.kill();
        server.run();
    });
    assert_eq!(store.identity(view.project()).await.expect("an answer"), before);
    assert_eq!(read(&store, &view, &[1]).await.expect("a read"), [Some((1, 1))]);
    tokio::task::block_in_place(|| server.empty());
    assert_eq!(store.identity(view.project()).await.expect("an answer"), None);
    assert_eq!(read(&store, &view, &[1]).await.expect("a read"), [None]);
    prepare(&store, &view).await;
    let after = store.identity(view.project()).await.expect("an answer");
    assert!(before.is_some() && after.is_some() && before != after);
}
