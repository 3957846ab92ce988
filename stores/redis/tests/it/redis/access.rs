//! Is a server reached in every way there is, and refused with the right words where it is not?

use std::path::Path;
use std::process::Command;

use larder_base::{BuildContext, ErrorKind, OnlineStore, Secret};
use larder_redis::{RedisConfig, RedisStore};

use super::cluster_kit::Configured;
use super::common::{layout, open, read, write};
use super::server::{Server, free_port, until};

async fn works(config: &RedisConfig) {
    let store = open(config);
    let view = layout("shop", "v", 1);
    write(&store, &view, &[(1, 1, 1)]).await.expect("a write");
    assert_eq!(read(&store, &view, &[1]).await.expect("a read"), [Some((1, 1))]);
    let health = store.check().await.expect("an answer");
    assert!(!health.backend.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn users_passwords_and_databases() {
    let server = Server::start();
    let rights = "+get +set +mget +eval +evalsha +script|load +getrange +persist +pexpire +unlink +scan +info +time +ping +select";
    let mut words = vec!["ACL", "SETUSER", "bob", "on", ">hunter2", "~larder:*"];
    words.extend(rights.split(' '));
    server.cli(&words);
    server.cli(&[
        "ACL",
        "SETUSER",
        "reader",
        "on",
        ">hunter2",
        "~larder:*",
        "+mget",
        "+select",
    ]);
    let url = |user: &str| format!("redis://{user}127.0.0.1:{}/3", server.port);
    works(&RedisConfig::new(url("bob:hunter2@"))).await;
    let mut apart = RedisConfig::new(url(""));
    apart.username = Some("bob".to_owned());
    apart.password = Some(Secret::new("hunter2".to_owned()));
    works(&apart).await;
    assert!(server.info("db3").starts_with("keys=1") && server.info("db0").is_empty());

    let view = layout("shop", "v", 1);
    let reader = open(&RedisConfig::new(url("reader:hunter2@")));
    assert_eq!(read(&reader, &view, &[1]).await.expect("a read"), [Some((1, 1))]);
    let error = write(&reader, &view, &[(1, 2, 2)]).await.expect_err("no right");
    assert_eq!(error.kind(), ErrorKind::Denied, "{}", error.chain());
    assert_eq!(
        reader.check().await.expect_err("no right").kind(),
        ErrorKind::Denied
    );
    let wrong = open(&RedisConfig::new(url("bob:wrong-secret@")));
    let error = read(&wrong, &view, &[1]).await.expect_err("a wrong password");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(
        !error.chain().contains("secret") && error.chain().contains("password"),
        "{}",
        error.chain()
    );
    let error = read(
        &open(&RedisConfig::new(format!("{}/99", server.url()))),
        &view,
        &[1],
    )
    .await
    .expect_err("no 99");
    assert_eq!(error.kind(), ErrorKind::Config, "{}", error.chain());
    // A whole server with a password.
    server.cli(&["CONFIG", "SET", "requirepass", "hunter2"]);
    let error = read(&open(&server.config()), &view, &[1])
        .await
        .expect_err("no password");
    assert_eq!(error.kind(), ErrorKind::Config, "{}", error.chain());
    works(&RedisConfig::new(format!(
        "redis://:hunter2@127.0.0.1:{}",
        server.port
    )))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn unix_sockets() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("redis.sock");
    let path = socket.display().to_string();
    let _server = Server::with(&["--save", "", "--unixsocket", &path]);
    works(&RedisConfig::new(format!("redis+unix://{path}?db=1"))).await;
    let gone = open(&RedisConfig::new(format!("unix://{path}.gone")));
    let error = read(&gone, &layout("shop", "v", 1), &[1])
        .await
        .expect_err("no socket");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.chain());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn a_server_of_another_kind_is_told() {
    let (alone, node) = (
        Server::start(),
        Server::with(&["--cluster-enabled", "yes", "--save", ""]),
    );
    let sentinel = Server::sentinel(&format!("sentinel monitor features 127.0.0.1 {} 1", alone.port));
    let view = layout("shop", "v", 1);
    let cases = [
        (RedisConfig::new(node.url()), "name its nodes with `cluster:`"),
        (
            RedisConfig::new(format!("{}/3", node.url())),
            "name its nodes with `cluster:`",
        ),
        (RedisConfig::new(sentinel.url()), "`sentinel: { master, nodes }`"),
        (RedisConfig::cluster([alone.url()]), "this redis is no cluster"),
        (RedisConfig::cluster([sentinel.url()]), "this redis is no cluster"),
        (
            RedisConfig::sentinel("features", [alone.url()]),
            "this redis is no sentinel",
        ),
    ];
    for (config, part) in cases {
        let store = open(&config);
        for error in [
            read(&store, &view, &[1]).await.expect_err("no answer"),
            write(&store, &view, &[(1, 1, 1)]).await.expect_err("no way"),
            store.check().await.expect_err("nothing works"),
        ] {
            assert_eq!(error.kind(), ErrorKind::Config, "{config:?}: {}", error.chain());
            assert!(error.chain().contains(part), "{config:?}: {}", error.chain());
        }
    }
    works(&alone.config()).await;
}

/// An authority, a server's certificate of it, and a client's, made with `openssl`.
fn certificates(folder: &Path) {
    let run = |words: &str| {
        let output = Command::new("openssl")
            .args(words.split(' '))
            .current_dir(folder)
            .output()
            .expect("openssl");
        assert!(
            output.status.success(),
            "{words}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    for name in ["ca", "other"] {
        run(&format!(
            "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name} -keyout {name}.key -out {name}.pem"
        ));
    }
    std::fs::write(
        folder.join("names"),
        "subjectAltName=DNS:localhost,IP:127.0.0.1\n",
    )
    .expect("a file");
    for name in ["server", "client"] {
        run(&format!(
            "req -newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
        ));
        run(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out {name}.pem"
        ));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask test fetches it"]
async fn tls_is_verified_in_both_directions() {
    let folder = tempfile::tempdir().expect("a folder");
    certificates(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let port = free_port();
    let (cert, key, ca) = (file("server.pem"), file("server.key"), file("ca.pem"));
    let words = [
        "--save",
        "",
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        "yes",
    ];
    let _server = Server::with(&words);
    until("TLS is served", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    let with = |tls: serde_json::Value| {
        let mut config = RedisConfig::new(format!("rediss://localhost:{port}"));
        config.tls = Some(serde_json::from_value(tls).expect("options"));
        config
    };
    let fine = serde_json::json!({ "ca": ca, "cert": file("client.pem"), "key": file("client.key") });
    works(&with(fine)).await;
    let view = layout("shop", "v", 1);
    for wrong in [
        serde_json::json!({ "ca": file("other.pem"), "cert": file("client.pem"), "key": file("client.key") }),
        serde_json::json!({ "ca": ca }),
    ] {
        let store = open(&with(wrong.clone()));
        let error = read(&store, &view, &[1]).await.expect_err("not trusted");
        assert_eq!(error.kind(), ErrorKind::Config, "{wrong}: {}", error.chain());
        assert!(error.to_string().contains("TLS"), "{error}");
        // Nobody tries for ten seconds what will never work.
        let started = std::time::Instant::now();
        let error = write(&store, &view, &[(1, 2, 2)]).await.expect_err("not trusted");
        assert_eq!(error.kind(), ErrorKind::Config, "{wrong}: {}", error.chain());
        assert!(started.elapsed().as_secs() < 3, "{:?}", started.elapsed());
    }
    for wrong in [
        serde_json::json!({ "ca": file("missing.pem") }),
        serde_json::json!({ "ca": file("ca.key") }),
        serde_json::json!({ "ca": ca, "cert": file("client.pem") }),
    ] {
        let error =
            RedisStore::new(&with(wrong.clone()), &BuildContext::new("/nowhere")).expect_err("unusable");
        assert_eq!(error.kind(), ErrorKind::Config, "{wrong}: {}", error.chain());
    }
    // Speaking plainly to a port with TLS ends soon, and in words.
    let plain = open(&RedisConfig::new(format!("redis://localhost:{port}")));
    let error = read(&plain, &view, &[1]).await.expect_err("no TLS");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.chain());
    // And the other way round: a server without TLS never answers a handshake.
    let bare = Server::start();
    let mut config = with(serde_json::json!({ "ca": ca }));
    config.url = Some(Secret::new(format!("rediss://localhost:{}", bare.port)));
    let error = read(&open(&config), &view, &[1]).await.expect_err("no TLS there");
    assert!(
        error.chain().contains("does this port speak TLS?"),
        "{}",
        error.chain()
    );
}
