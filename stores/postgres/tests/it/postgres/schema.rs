//! Do tables come to be once, keep their version, and refuse one of the future?

use larder_base::{ErrorKind, LayoutChanges, OnlineStore, ProjectName};
use larder_postgres::PostgresConfig;

use super::common::{layout, open, read, write};
use super::server::Server;

fn changes(project: &str) -> LayoutChanges {
    LayoutChanges {
        project: ProjectName::new(project).expect("a name"),
        layouts: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL; cargo xtask test finds or fetches it"]
async fn tables_are_made_once_and_have_a_version() {
    let server = Server::start();
    let mut config = PostgresConfig::new(server.url());
    config.schema = "fea\"tures".to_owned();
    config.prefix = "F ".to_owned();
    let all = ["shop", "Shop", "shop-2", &"long".repeat(32)];
    // Two processes, all projects, at once, in a schema that nobody made.
    let tasks: Vec<_> = (0..2)
        .flat_map(|_| all)
        .map(|project| {
            let (config, changes) = (config.clone(), changes(project));
            tokio::spawn(async move {
                open(&config)
                    .prepare(&changes)
                    .await
                    .map(|id| (changes.project, id))
            })
        })
        .collect();
    let mut given = std::collections::BTreeMap::new();
    for task in tasks {
        let (project, identity) = task.await.expect("no panic").expect("prepared");
        assert_eq!(*given.entry(project).or_insert(identity), identity);
    }
    let versions =
        server.sql(r#"SELECT count(*), min(version), max(version) FROM "fea""tures"."F versions""#);
    assert_eq!(versions, "4|1|1");

    // A version of the future is left alone.
    server.sql(r#"UPDATE "fea""tures"."F versions" SET version = 99 WHERE part = 'F online_shop'"#);
    let error = open(&config)
        .prepare(&changes("shop"))
        .await
        .expect_err("too new");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{}", error.chain());
    // Nobody else touches it either: what writes it for the first time, and what asks whose it is.
    let view = layout("shop", "v", 1);
    for error in [
        write(&open(&config), &view, &[(1, 1, 1)])
            .await
            .expect_err("too new"),
        open(&config).identity(view.project()).await.expect_err("too new"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{}", error.chain());
    }
    let warnings = open(&config).check().await.expect("an answer").warnings;
    assert!(
        warnings.iter().any(|told| told.contains("newer larder")),
        "{warnings:?}"
    );
    // A table that was dropped is made again, and has another identity.
    let shop2 = changes("shop-2");
    server.sql(r#"DROP TABLE "fea""tures"."F online_shop-2""#);
    let store = open(&config);
    assert_eq!(store.identity(&shop2.project).await.expect("an answer"), None);
    let again = store.prepare(&shop2).await.expect("prepared");
    assert_ne!(again, given[&shop2.project]);
    // So has one that was emptied.
    server.sql(r#"TRUNCATE "fea""tures"."F online_shop-2""#);
    assert_eq!(store.identity(&shop2.project).await.expect("an answer"), None);
    assert_ne!(store.prepare(&shop2).await.expect("prepared"), again);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL; cargo xtask test finds or fetches it"]
async fn projects_whose_names_begin_alike_live_side_by_side() {
    let server = Server::start();
    let store = open(&PostgresConfig::new(server.url()));
    let projects = [
        "app",
        "app_expires",
        "app_expiry",
        "app_pkey",
        "app_key",
        "key_app",
        "expiry_app",
    ];
    for project in projects {
        store.prepare(&changes(project)).await.expect(project);
        let view = layout(project, "v", 1);
        write(&store, &view, &[(1, 1, 1)]).await.expect(project);
        assert_eq!(read(&store, &view, &[1]).await.expect(project), [Some((1, 1))]);
    }
    // An index or a view is no table.
    server.sql("CREATE VIEW larder_online_shop AS SELECT 1 AS one");
    let error = store
        .prepare(&changes("shop"))
        .await
        .expect_err("somebody else's");
    assert!(error.chain().contains("42P07"), "{}", error.chain());
    // Nor is a table of ours whose version nobody knows.
    server.sql("CREATE TABLE larder_online_other (a text)");
    let error = store
        .prepare(&changes("other"))
        .await
        .expect_err("somebody else's");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.chain());
    assert!(
        error
            .remedy()
            .is_some_and(|help| help.contains("larder_online_other"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL; cargo xtask test finds or fetches it"]
async fn a_table_that_goes_while_a_store_is_open_is_made_again() {
    let server = Server::start();
    let store = open(&PostgresConfig::new(server.url()));
    let view = layout("shop", "v", 1);
    write(&store, &view, &[(1, 1, 1)]).await.expect("a write");
    assert_eq!(read(&store, &view, &[1]).await.expect("a read"), [Some((1, 1))]);
    server.sql("DROP TABLE larder_online_shop");
    assert_eq!(read(&store, &view, &[1]).await.expect("a read"), [None]);
    write(&store, &view, &[(1, 2, 2)]).await.expect("a write");
    assert_eq!(read(&store, &view, &[1]).await.expect("a read"), [Some((2, 2))]);
}
