//! Is there a way out where somebody wrote over rows, the mark of the store's identity, or the table's form?

use larder_base::{ErrorKind, LayoutChanges, OnlineDelete, OnlineStore, WriteOptions};
use larder_postgres::PostgresConfig;

use super::common::{keys, layout, open, read, write};
use super::server::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL; cargo xtask test finds or fetches it"]
async fn damaged_rows_go_when_they_are_written_again() {
    let server = Server::start();
    let store = open(&PostgresConfig::new(server.url()));
    let view = layout("shop", "v", 1);
    let spoil = |value: &str| {
        server.sql(&format!(
            "UPDATE larder_online_shop SET row = {value} WHERE generation >= 0"
        ))
    };
    for garbage in [
        "decode(repeat('ff', 40), 'hex')",
        "decode(repeat('00', 40), 'hex')",
        "'short'",
        "''",
    ] {
        write(&store, &view, &[(1, 5, 5), (2, 5, 5)])
            .await
            .expect("a write");
        spoil(garbage);
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
    // A newer larder's row is no damage.
    write(&store, &view, &[(1, 9, 9)]).await.expect("a write");
    spoil("set_byte(row, 0, 2)");
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
#[ignore = "needs PostgreSQL; cargo xtask test finds or fetches it"]
async fn a_damaged_mark_tells_its_row() {
    let server = Server::start();
    let store = open(&PostgresConfig::new(server.url()));
    let view = layout("shop", "v", 1);
    let changes = LayoutChanges {
        project: view.project().clone(),
        layouts: Vec::new(),
    };
    let first = store.prepare(&changes).await.expect("an identity");
    server.sql("UPDATE larder_online_shop SET row = 'garbage' WHERE generation = -1");
    let error = store.identity(view.project()).await.expect_err("garbage");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.chain());
    let remedy = error.remedy().expect("a way out").to_owned();
    let statement = remedy.strip_prefix("run ").and_then(|rest| rest.split_once(';'));
    server.sql(statement.expect("a statement").0);
    assert_eq!(store.identity(view.project()).await.expect("an answer"), None);
    assert_ne!(store.prepare(&changes).await.expect("an identity"), first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL; cargo xtask test finds or fetches it"]
async fn what_refuses_a_row_is_named() {
    let server = Server::start();
    let store = open(&PostgresConfig::new(server.url()));
    let view = layout("shop", "v", 1);
    write(&store, &view, &[(1, 1, 1)]).await.expect("a write");
    server.sql("ALTER TABLE larder_online_shop ADD COLUMN more text, ADD CONSTRAINT never CHECK (length(row) < 0) NOT VALID");
    let error = write(&store, &view, &[(2, 1, 1)])
        .await
        .expect_err("a constraint");
    assert!(
        error.chain().contains("23514") && error.chain().contains("constraint never"),
        "{}",
        error.chain()
    );
    let warnings = store.check().await.expect("an answer").warnings;
    assert!(
        warnings.iter().any(|told| told.contains("another form")),
        "{warnings:?}"
    );
}
