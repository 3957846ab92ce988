//! Is there a way out where somebody wrote over rows or the mark of the store's identity?

use larder_base::{ErrorKind, LayoutChanges, OnlineDelete, OnlineStore, ProjectName, WriteOptions};

use super::cluster_kit::Configured;
use super::common::{keys, layout, open, read, write};
use super::server::Server;

/// Sets every row to a value.
fn spoil(server: &Server, value: &str) {
    let script = format!(
        "for _, key in ipairs(redis.call('KEYS', 'larder:{{*')) do redis.call('SET', key, {value}) end return 1"
    );
    server.cli(&["EVAL", &script, "0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn damaged_rows_go_when_they_are_written_again() {
    let server = Server::start();
    let view = layout("shop", "v", 1);
    for garbage in [
        "string.rep('\\255', 40)",
        "string.rep('\\0', 40)",
        "'short'",
        "''",
    ] {
        // A store that believes the rows are there, and one that does not.
        let store = open(&server.config());
        for _ in 0..2 {
            write(&store, &view, &[(1, 5, 5), (2, 5, 5)])
                .await
                .expect("a write");
            spoil(&server, garbage);
            let error = read(&store, &view, &[1]).await.expect_err("garbage");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.chain());
            assert!(
                error.remedy().is_some_and(|help| help.contains("--rebuild")),
                "{}",
                error.chain()
            );
            let report = write(&store, &view, &[(1, 3, 3)]).await.expect("a write");
            assert_eq!((report.written, report.stale), (1, 0), "{garbage}");
            assert_eq!(read(&store, &view, &[1]).await.expect("a read"), [Some((3, 3))]);
            let delete = OnlineDelete {
                layout: view.clone(),
                keys: keys(&view, &[2]),
                at: larder_base::Micros(4),
                now: larder_base::Micros(4),
            };
            store
                .delete(&delete, &WriteOptions::default())
                .await
                .expect("a deletion");
            assert_eq!(read(&store, &view, &[2]).await.expect("a read"), [None]);
        }
    }
    // A newer larder's row is no damage.
    let store = open(&server.config());
    write(&store, &view, &[(1, 9, 9)]).await.expect("a write");
    spoil(&server, "'\\2' .. string.sub(redis.call('GET', key), 2)");
    let error = read(&store, &view, &[1]).await.expect_err("a newer format");
    assert!(
        error.remedy().is_some_and(|help| help.contains("upgrade larder")),
        "{}",
        error.chain()
    );
    let report = write(&store, &view, &[(1, 8, 8)]).await.expect("a write");
    assert_eq!((report.written, report.stale), (0, 1));
    let report = write(&store, &view, &[(1, 10, 10)]).await.expect("a write");
    assert_eq!((report.written, report.stale), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn a_damaged_mark_tells_its_key() {
    let server = Server::start();
    let store = open(&server.config());
    let project = ProjectName::new("shop").expect("a name");
    let changes = LayoutChanges {
        project: project.clone(),
        layouts: Vec::new(),
    };
    let first = store.prepare(&changes).await.expect("an identity");
    let key = "larder:~identity:{0}shop";
    for words in [vec!["SET", key, "garbage"], vec!["LPUSH", key, "garbage"]] {
        server.cli(&["DEL", key]);
        server.cli(&words);
        for error in [
            store.identity(&project).await.expect_err("garbage"),
            store.prepare(&changes).await.expect_err("garbage"),
        ] {
            let told = error.chain();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{told}");
            assert!(
                told.contains("larder:~identity:{*}shop") && told.contains("delete"),
                "{told}"
            );
        }
    }
    server.cli(&["DEL", key]);
    assert_eq!(store.identity(&project).await.expect("an answer"), None);
    assert_ne!(store.prepare(&changes).await.expect("an identity"), first);
}
