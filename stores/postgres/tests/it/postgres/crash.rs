//! Is every acknowledged row there when the server is killed with `kill -9` in the middle of writes?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use larder_base::WriteOptions;
use larder_postgres::PostgresConfig;

use super::common::{batch, layout, open, read, write};
use super::server::Server;
use larder_base::OnlineStore;

const KEYS: i64 = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL; cargo xtask test finds or fetches it"]
async fn writes_go_on_through_a_restart_and_lose_nothing() {
    let mut server = Server::start();
    let mut config = PostgresConfig::new(server.url());
    config.write_timeout = larder_base::Span::seconds(30);
    let store = Arc::new(open(&config));
    let view = layout("shop", "crash", 3);
    write(&*store, &view, &[(0, 0, 0)]).await.expect("a write");
    let (stop, last) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
    let writer = {
        let (store, view, stop, last) = (store.clone(), view.clone(), stop.clone(), last.clone());
        tokio::spawn(async move {
            let mut event = 0;
            while !stop.load(Ordering::SeqCst) {
                event += 1;
                let rows: Vec<_> = (0..KEYS).map(|key| (key, event, event)).collect();
                let report = store.write(&batch(&view, &rows), &WriteOptions::default()).await;
                assert_eq!(
                    report.expect("a write that waits for the server").written,
                    KEYS as u64
                );
                last.store(event, Ordering::SeqCst);
            }
        })
    };
    let names: Vec<i64> = (0..KEYS).collect();
    for round in 0..3 {
        tokio::time::sleep(Duration::from_millis(200)).await;
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
    let older: Vec<_> = (0..KEYS).map(|key| (key, 0, 0)).collect();
    let report = write(&*store, &view, &older).await.expect("a write");
    assert_eq!((report.written, report.stale), (0, KEYS as u64));
}
