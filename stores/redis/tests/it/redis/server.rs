//! Real servers for one test: started on free ports in a temporary folder, gone with the test, whatever ends it.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Starts the server in the background, tells its number, and kills it when our end of the pipe closes: so no server
/// outlives a test, not even one that is killed.
const KEEPER: &str = r#""$@" >/dev/null 2>&1 & echo $!; read -r _; kill -9 $! 2>/dev/null; wait"#;

/// One server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) port: u16,
    folder: TempDir,
    arguments: Vec<String>,
    program: &'static str,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    keeper: Child,
    pid: String,
}

impl Server {
    /// A server that forgets everything when it ends.
    pub(crate) fn start() -> Self {
        Self::with(&["--save", "", "--appendonly", "no"])
    }

    /// A server that writes every command to its disk before it answers.
    pub(crate) fn durable() -> Self {
        Self::with(&["--save", "", "--appendonly", "yes", "--appendfsync", "always"])
    }

    /// A server with more options.
    pub(crate) fn with(options: &[&str]) -> Self {
        let port = free_port();
        let mut arguments = vec!["--port".to_owned(), port.to_string()];
        arguments.extend(options.iter().map(|option| (*option).to_owned()));
        Self::of("redis-server", port, arguments)
    }

    /// A sentinel, which writes its findings into its configuration file.
    pub(crate) fn sentinel(config: &str) -> Self {
        let port = free_port();
        let mut server = Self::cold("redis-server", port, Vec::new());
        let file = server.folder.path().join("sentinel.conf");
        std::fs::write(&file, format!("port {port}\nbind 127.0.0.1\n{config}\n")).expect("a file");
        server.arguments = vec![file.display().to_string(), "--sentinel".to_owned()];
        server.run();
        server
    }

    fn of(program: &'static str, port: u16, arguments: Vec<String>) -> Self {
        let mut server = Self::cold(program, port, arguments);
        let folder = server.folder.path().display().to_string();
        let more = [
            "--bind",
            "127.0.0.1",
            "--dir",
            &folder,
            "--repl-diskless-sync-delay",
            "0",
        ];
        server
            .arguments
            .extend(more.iter().map(|word| (*word).to_owned()));
        server.run();
        server
    }

    fn cold(program: &'static str, port: u16, arguments: Vec<String>) -> Self {
        Self {
            port,
            folder: tempfile::tempdir().expect("a folder"),
            arguments,
            program,
            running: None,
        }
    }

    /// Starts it, again after a crash, and waits until it takes connections.
    pub(crate) fn run(&mut self) {
        self.running = None;
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(program(self.program))
            .args(&self.arguments)
            .envs(libraries())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut pid = String::new();
        let told = keeper.stdout.take().expect("a pipe");
        BufReader::new(told).read_line(&mut pid).expect("a number");
        let pid = pid.trim().to_owned();
        self.running = Some(Running { keeper, pid });
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "{} does not start",
                self.program
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        if !self
            .arguments
            .iter()
            .any(|argument| argument == "--sentinel" || argument == "--tls-port")
        {
            let loaded = || {
                self.try_cli(&["PING"])
                    .is_some_and(|answer| !answer.contains("LOADING"))
            };
            until("the server has read its files", loaded);
        }
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.signal("KILL");
        self.running = None;
    }

    /// Stops it in its tracks: connections stay open, nobody answers.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let pid = &self.running.as_ref().expect("a running server").pid;
        let status = Command::new("kill").args([&format!("-{name}"), pid]).status();
        assert!(status.expect("kill").success(), "the server was gone already");
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Runs one command with the server's own client, and answers what it printed.
    pub(crate) fn cli(&self, words: &[&str]) -> String {
        self.try_cli(words)
            .unwrap_or_else(|| panic!("redis-cli {words:?} failed"))
    }

    fn try_cli(&self, words: &[&str]) -> Option<String> {
        let output = Command::new(program("redis-cli"))
            // With -e an error of the server is one of the program.
            .args(["-e", "-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(words)
            .envs(libraries())
            .output()
            .expect("redis-cli");
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// A field of `INFO`.
    pub(crate) fn info(&self, field: &str) -> String {
        // A server that just came up may have nothing to say yet.
        let info = self.try_cli(&["INFO", "everything"]).unwrap_or_default();
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{field}:")));
        line.unwrap_or_default().trim().to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A frozen server takes only this signal; the keeper does it when its pipe closes.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Waits for something that must come about.
pub(crate) fn until(what: &str, mut true_now: impl FnMut() -> bool) {
    let start = Instant::now();
    while !true_now() {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "it never came about that {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Where a program is: in the folder that `cargo xtask test` tells, or on the path.
fn program(name: &str) -> PathBuf {
    match std::env::var_os("LARDER_TEST_REDIS_BIN") {
        Some(folder) => PathBuf::from(folder).join(name),
        None => {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let found = std::env::split_paths(&path)
                .map(|folder| folder.join(name))
                .find(|file| file.is_file());
            found.unwrap_or_else(|| {
                panic!("there is no {name}: run cargo xtask test --only redis, which fetches it")
            })
        }
    }
}

/// Where the programs' own libraries are, when they were fetched and not installed.
fn libraries() -> Option<(&'static str, std::ffi::OsString)> {
    std::env::var_os("LARDER_TEST_REDIS_LIB").map(|folder| ("LD_LIBRARY_PATH", folder))
}

/// A port that nobody has now, and whose neighbour for the cluster's own talk is free as well.
pub(crate) fn free_port() -> u16 {
    for _ in 0..1_000 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        if port < 55_000 && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return port;
        }
    }
    panic!("no free pair of ports");
}
