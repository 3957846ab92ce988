//! A `redis-server` of one's own, on a free port, without files.

use redis::aio::MultiplexedConnection;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A running server; dropped, it is stopped.
pub(crate) struct Server {
    process: Child,
    _folder: TempDir,
    address: String,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// With more options.
    pub(crate) fn with(options: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let folder = tempfile::tempdir().expect("a folder");
        let process = command("redis-server")
            .current_dir(folder.path())
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server on the path; `cargo xtask bench online_redis` gets one");
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "redis-server does not start"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Self {
            process,
            _folder: folder,
            address: format!("127.0.0.1:{port}"),
        }
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// The client that larder uses, bare.
    pub(crate) async fn connect(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.url()).expect("an address");
        let tcp = redis::io::tcp::TcpSettings::default().set_nodelay(true);
        let info = client.get_connection_info().clone().set_tcp_settings(tcp);
        let client = redis::Client::open(info).expect("an address");
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(60)));
        client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .expect("a connection")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A program of Redis.
fn command(name: &str) -> Command {
    let folder = std::env::var_os("LARDER_TEST_REDIS_BIN").map(PathBuf::from);
    let mut command = Command::new(folder.map_or_else(|| name.into(), |folder| folder.join(name)));
    if let Some(libraries) = std::env::var_os("LARDER_TEST_REDIS_LIB") {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    command
}

/// What Redis' own tool says of values of the size of 10 features, pipelined.
pub(crate) fn benchmark(server: &Server) -> String {
    let size = ["-t", "set,get", "-d", "110", "-r", "1000000"];
    let load = ["-n", "1000000", "-P", "1000", "-c", "4"];
    let rates = tool(server, &[&size[..], &load].concat());
    let rates: Vec<String> = rates
        .iter()
        .map(|cells| format!("{} {}/s", cells[0], cells[1]))
        .collect();
    format!("redis-benchmark, 110 bytes: {}\n", rates.join(", "))
}

/// The lines of numbers of Redis' own tool: name, rate, and mean, least, 50th, 95th, 99th percentile and most in ms.
pub(crate) fn tool(server: &Server, arguments: &[&str]) -> Vec<Vec<String>> {
    let (host, port) = server.address().split_once(':').expect("a port");
    let told = command("redis-benchmark")
        .args(["-h", host, "-p", port, "--csv"])
        .args(arguments)
        .output();
    let told = match told {
        Ok(told) if told.status.success() => told.stdout,
        _ => return Vec::new(),
    };
    let lines = String::from_utf8_lossy(&told);
    let cells = |line: &str| {
        line.split(',')
            .map(|cell| cell.trim_matches('"').to_owned())
            .collect()
    };
    let lines = lines.lines().skip(1).map(cells);
    lines.filter(|cells: &Vec<String>| cells.len() > 4).collect()
}

/// A cluster of some nodes without replicas.
pub(crate) async fn cluster(nodes: u16) -> Vec<Server> {
    const SLOTS: u16 = 16_384;
    let servers: Vec<Server> = (0..nodes)
        .map(|_| Server::with(&["--cluster-enabled", "yes"]))
        .collect();
    let first: Vec<&str> = servers[0].address().split(':').collect();
    for (number, server) in (0..nodes).zip(&servers) {
        let mut connection = server.connect().await;
        let share = SLOTS / nodes;
        let end = if number + 1 == nodes {
            SLOTS
        } else {
            share * (number + 1)
        };
        let mut slots = redis::cmd("CLUSTER");
        slots.arg("ADDSLOTSRANGE").arg(share * number).arg(end - 1);
        let _: () = slots.query_async(&mut connection).await.expect("slots");
        let mut meet = redis::cmd("CLUSTER");
        meet.arg("MEET").arg(&first);
        let _: () = meet.query_async(&mut connection).await.expect("met");
    }
    let began = Instant::now();
    for server in &servers {
        let mut connection = server.connect().await;
        loop {
            let mut info = redis::cmd("CLUSTER");
            let told: String = info
                .arg("INFO")
                .query_async(&mut connection)
                .await
                .expect("state");
            if told.contains("cluster_state:ok") && told.contains(&format!("cluster_known_nodes:{nodes}")) {
                break;
            }
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "no cluster comes about"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    servers
}
