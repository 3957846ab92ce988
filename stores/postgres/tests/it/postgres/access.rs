//! Is a server reached in every way there is, and refused with the right words where it is not?

use std::process::Command;

use larder_base::{BuildContext, ErrorKind, OnlineStore};
use larder_postgres::{PostgresConfig, PostgresStore};

use super::common::{layout, open, read, write};
use super::server::{Server, own};

async fn works(store: &PostgresStore) {
    let view = layout("shop", "v", 1);
    write(store, &view, &[(1, 1, 1)]).await.expect("a write");
    assert_eq!(read(store, &view, &[1]).await.expect("a read"), [Some((1, 1))]);
    let health = store.check().await.expect("an answer");
    assert!(health.backend.starts_with("postgres "), "{}", health.backend);
    assert!(health.warnings.is_empty(), "{:?}", health.warnings);
}

async fn refused(config: &PostgresConfig) -> larder_base::Error {
    let view = layout("shop", "v", 1);
    let error = read(&open(config), &view, &[1]).await.expect_err("no way");
    assert!(!error.chain().contains("hunter2"), "{}", error.chain());
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL; cargo xtask test finds or fetches it"]
async fn users_sockets_and_rights() {
    let server = Server::prepared(&[], |data| {
        let rules = "local all all trust\nhost all postgres all trust\nhost all all all scram-sha-256\n";
        std::fs::write(data.join("pg_hba.conf"), rules).expect("a file");
        own(&data.join("pg_hba.conf"));
    });
    works(&open(&PostgresConfig::new(server.socket_url()))).await;
    server.sql(
        "CREATE ROLE writer LOGIN PASSWORD 'hunter2'; CREATE SCHEMA mine AUTHORIZATION writer; \
         CREATE ROLE reader LOGIN PASSWORD 'hunter2'; GRANT USAGE ON SCHEMA mine TO reader",
    );
    let url =
        |user: &str, database: &str| format!("postgresql://{user}@127.0.0.1:{}/{database}", server.port);
    let config = |user: &str, database: &str| {
        let mut config = PostgresConfig::new(url(user, database));
        config.schema = "mine".to_owned();
        config
    };
    works(&open(&config("writer:hunter2", "postgres"))).await;
    server.sql("GRANT SELECT ON mine.larder_online_shop TO reader");
    let reader = open(&config("reader:hunter2", "postgres"));
    let view = layout("shop", "v", 1);
    assert_eq!(read(&reader, &view, &[1]).await.expect("a read"), [Some((1, 1))]);
    let error = write(&reader, &view, &[(1, 2, 2)]).await.expect_err("no right");
    assert_eq!(error.kind(), ErrorKind::Denied, "{}", error.chain());
    assert!(
        error
            .remedy()
            .is_some_and(|help| help.contains(r#"SELECT on "mine"."larder_versions""#)),
        "{}",
        error.chain()
    );
    let health = reader.check().await.expect("an answer");
    let told = health.warnings.join("; ");
    assert!(
        told.contains(r#"GRANT INSERT, UPDATE, DELETE ON "mine"."larder_online_shop" TO "reader""#)
            && told.contains(r#"GRANT SELECT ON "mine"."larder_versions" TO "reader""#),
        "{told}"
    );
    // What the documentation lists is enough, and nothing is left to complain about.
    server.sql(
        "GRANT INSERT, UPDATE, DELETE ON mine.larder_online_shop TO reader; GRANT SELECT ON mine.larder_versions TO reader",
    );
    works(&reader).await;
    reader
        .reclaim(view.project(), &[view.generation()])
        .await
        .expect("a removal");
    server.sql("REVOKE INSERT ON mine.larder_online_shop FROM reader");
    let warnings = reader.check().await.expect("an answer").warnings;
    assert!(
        warnings.len() == 1 && warnings[0].contains("may not INSERT in"),
        "{warnings:?}"
    );
    // Nothing is there yet, and nothing may be made.
    server.sql("CREATE SCHEMA empty; GRANT USAGE ON SCHEMA empty TO reader");
    let mut empty = config("reader:hunter2", "postgres");
    empty.schema = "empty".to_owned();
    let warnings = open(&empty).check().await.expect("an answer").warnings;
    assert!(
        warnings.len() == 1 && warnings[0].contains("GRANT USAGE, CREATE"),
        "{warnings:?}"
    );

    let wrong = refused(&config("writer:hunter22", "postgres")).await;
    assert_eq!(wrong.kind(), ErrorKind::Config, "{}", wrong.chain());
    let nowhere = refused(&config("writer:hunter2", "nowhere")).await;
    assert_eq!(nowhere.kind(), ErrorKind::Config, "{}", nowhere.chain());
    assert!(nowhere.to_string().contains("database"), "{nowhere}");
    // Nobody listens at the first of two hosts.
    let two = PostgresConfig::new(format!(
        "postgresql://postgres@127.0.0.1:1,127.0.0.1:{}/postgres",
        server.port
    ));
    works(&open(&two)).await;
    let nobody = refused(&PostgresConfig::new("postgresql://me@127.0.0.1:1/x")).await;
    assert_eq!(nobody.kind(), ErrorKind::Unavailable, "{}", nobody.chain());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL; cargo xtask test finds or fetches it"]
async fn tls_is_verified() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = folder.path().join("server.crt");
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
        ])
        .args([
            "-addext",
            "subjectAltName=DNS:localhost",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .arg("-keyout")
        .arg(folder.path().join("server.key"))
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let server = Server::prepared(&["ssl=on"], |data| {
        for name in ["server.crt", "server.key"] {
            std::fs::copy(folder.path().join(name), data.join(name)).expect("a copy");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(data.join(name), mode).expect("a mode");
            own(&data.join(name));
        }
        let rules = "local all all trust\nhostssl all all all trust\n";
        std::fs::write(data.join("pg_hba.conf"), rules).expect("a file");
        own(&data.join("pg_hba.conf"));
    });
    let config = |host: &str, ca: bool| {
        let url = format!(
            "postgresql://postgres@{host}:{}/postgres?sslmode=verify-full",
            server.port
        );
        let mut config = PostgresConfig::new(url);
        if ca {
            let yaml = format!(r#"{{"ca": "{}"}}"#, certificate.display());
            config.tls = Some(serde_json::from_str(&yaml).expect("options"));
        }
        config
    };
    works(&PostgresStore::new(&config("localhost", true), &BuildContext::new("/nowhere")).expect("a store"))
        .await;
    // Another name, and an authority that nobody trusts.
    for config in [config("127.0.0.1", true), config("localhost", false)] {
        let error = refused(&config).await;
        assert_eq!(error.kind(), ErrorKind::Config, "{}", error.chain());
        assert!(error.to_string().contains("TLS"), "{error}");
    }
    // Without TLS this server talks to nobody.
    let error = refused(&PostgresConfig::new(server.url())).await;
    assert_eq!(error.kind(), ErrorKind::Config, "{}", error.chain());
}
