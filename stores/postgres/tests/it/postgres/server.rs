//! A real server for one test: made in a temporary folder, started on a free port, gone with the test, whatever ends it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Starts the server in the background, tells its number, and kills it when our end of the pipe closes: so no server
/// outlives a test, not even one that is killed. Its children go when they notice.
const KEEPER: &str = r#""$@" >/dev/null 2>&1 & echo $!; read -r _; kill -9 $! 2>/dev/null; wait"#;
/// Nobody: Postgres refuses to run as root.
const NOBODY: u32 = 65_534;

/// One server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) port: u16,
    folder: TempDir,
    options: Vec<String>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    keeper: Child,
    pid: String,
}

impl Server {
    /// A server that writes to its disk before it answers.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// A server with more settings, `name=value`.
    pub(crate) fn with(settings: &[&str]) -> Self {
        Self::prepared(settings, |_| {})
    }

    /// A server whose data folder is changed before it starts for the first time.
    pub(crate) fn prepared(settings: &[&str], change: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        own(folder.path());
        let data = folder.path().join("data");
        let made = user_command("initdb")
            .arg("-D")
            .arg(&data)
            .args([
                "-U",
                "postgres",
                "-A",
                "trust",
                "--no-sync",
                "-E",
                "UTF8",
                "--locale=C",
            ])
            .current_dir(folder.path())
            .output()
            .expect("initdb");
        assert!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        change(&data);
        let mut server = Self {
            port: free_port(),
            folder,
            options: settings.iter().map(|setting| (*setting).to_owned()).collect(),
            running: None,
        };
        server.run();
        server
    }

    /// Starts it, again after a crash, and waits until it takes connections.
    pub(crate) fn run(&mut self) {
        self.running = None;
        let data = self.folder.path().join("data");
        // What a killed server left: its number may be another process's by now.
        let _ = std::fs::remove_file(data.join("postmaster.pid"));
        let server = user_command("postgres");
        let mut keeper = Command::new("sh");
        keeper
            .args(["-c", KEEPER, "keeper"])
            .arg(server.get_program())
            .args(server.get_args())
            .arg("-D")
            .arg(&data)
            .args(["-p", &self.port.to_string(), "-h", "127.0.0.1", "-k"])
            .arg(self.folder.path())
            .args(["-c", "max_connections=60", "-c", "shared_buffers=16MB"]);
        for option in &self.options {
            keeper.args(["-c", option]);
        }
        let mut keeper = keeper
            .envs(libraries())
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut pid = String::new();
        let told = keeper.stdout.take().expect("a pipe");
        BufReader::new(told).read_line(&mut pid).expect("a number");
        let pid = pid.trim().to_owned();
        self.running = Some(Running { keeper, pid });
        until("the server takes connections", || {
            self.try_sql("SELECT 1").is_some()
        });
    }

    /// `kill -9`, and no other process of the server is left behind.
    pub(crate) fn kill(&mut self) {
        self.signal("KILL");
        self.running = None;
        // Its children hold the shared memory until they notice; a new server would refuse to start.
        std::thread::sleep(Duration::from_millis(200));
    }

    /// Stops the server and its children in their tracks: connections stay open, nobody answers.
    pub(crate) fn freeze(&self) {
        self.signal_all("STOP");
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal_all("CONT");
    }

    fn pid(&self) -> &str {
        &self.running.as_ref().expect("a running server").pid
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), self.pid()])
            .status();
        assert!(status.expect("kill").success(), "the server was gone already");
    }

    fn signal_all(&self, name: &str) {
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.pid()));
        self.signal(name);
        for child in children.unwrap_or_default().split_whitespace() {
            let _ = Command::new("kill").args([&format!("-{name}"), child]).status();
        }
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    pub(crate) fn url(&self) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// The URL of the server's Unix socket.
    pub(crate) fn socket_url(&self) -> String {
        format!(
            "postgresql:///postgres?user=postgres&port={}&host={}",
            self.port,
            self.folder.path().display()
        )
    }

    /// Runs SQL with the server's own client, and answers what it printed.
    pub(crate) fn sql(&self, text: &str) -> String {
        self.try_sql(text)
            .unwrap_or_else(|| panic!("psql failed: {text}"))
    }

    /// Runs SQL in a transaction that stays open until what this answers is dropped.
    pub(crate) fn hold(&self, text: &str) -> Held {
        let mut psql = Command::new(program("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"])
            .args(["-U", "postgres", "-d", "postgres", "-h"])
            .arg(self.folder.path())
            .args(["-p", &self.port.to_string()])
            .envs(libraries())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("psql");
        let mut words = psql.stdin.take().expect("a pipe");
        writeln!(words, "BEGIN; {text}; SELECT 'held';").expect("psql reads");
        let told = BufReader::new(psql.stdout.take().expect("a pipe"));
        let held = told.lines().map_while(Result::ok).any(|line| line == "held");
        assert!(held, "psql failed: {text}");
        Held {
            psql,
            words: Some(words),
        }
    }

    fn try_sql(&self, text: &str) -> Option<String> {
        let output = Command::new(program("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h"])
            .arg(self.folder.path())
            .args([
                "-p",
                &self.port.to_string(),
                "-U",
                "postgres",
                "-d",
                "postgres",
                "-c",
                text,
            ])
            .envs(libraries())
            .env("PGCONNECT_TIMEOUT", "5")
            .output()
            .expect("psql");
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

/// An open transaction, rolled back when it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    psql: Child,
    words: Option<ChildStdin>,
}

impl Drop for Held {
    fn drop(&mut self) {
        // At the end of what it reads it signs off.
        self.words = None;
        let _ = self.psql.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Gives a file or folder to whom the server runs as.
pub(crate) fn own(path: &Path) {
    if is_root() {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).expect("root may give files away");
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// A program of the server, run by somebody who is not root.
fn user_command(name: &str) -> Command {
    let mut command = match is_root() {
        false => Command::new(program(name)),
        true => {
            let mut command = Command::new("setpriv");
            let id = NOBODY.to_string();
            command
                .arg(format!("--reuid={id}"))
                .arg(format!("--regid={id}"))
                .arg("--clear-groups")
                .arg(program(name));
            command
        }
    };
    command.envs(libraries());
    command
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

/// Where a program is: in the folder that `cargo xtask test` tells, on the path, or where Debian installs it.
fn program(name: &str) -> PathBuf {
    if let Some(folder) = std::env::var_os("LARDER_TEST_POSTGRES_BIN") {
        return PathBuf::from(folder).join(name);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let found = std::env::split_paths(&path)
        .chain(installed.map(|version| version.path().join("bin")))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    found.unwrap_or_else(|| {
        panic!("there is no {name}: run cargo xtask test --only postgres, which fetches it")
    })
}

/// Where the programs' own libraries are, when they were fetched and not installed.
fn libraries() -> Option<(&'static str, std::ffi::OsString)> {
    std::env::var_os("LARDER_TEST_POSTGRES_LIB").map(|folder| ("LD_LIBRARY_PATH", folder))
}

/// A port that nobody has now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}
