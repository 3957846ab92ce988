//! A server for one test that speaks like DynamoDB: started on a free port, gone with the test, whatever ends it.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
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
    /// Where its tables are; in its memory where there is none.
    folder: Option<TempDir>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    keeper: Child,
    pid: String,
}

impl Server {
    /// A server that keeps its tables in memory.
    pub(crate) fn start() -> Self {
        Self::with(None)
    }

    /// A server whose tables outlive it.
    pub(crate) fn durable() -> Self {
        Self::with(Some(tempfile::tempdir().expect("a folder")))
    }

    fn with(folder: Option<TempDir>) -> Self {
        let mut server = Self {
            port: free_port(),
            folder,
            running: None,
        };
        server.run();
        server
    }

    /// Starts it, again after a crash, and waits until it takes connections.
    pub(crate) fn run(&mut self) {
        self.running = None;
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "keeper"]).arg(program()).args([
            "--host",
            "127.0.0.1",
            "--port",
            &self.port.to_string(),
        ]);
        if let Some(folder) = &self.folder {
            keeper.arg("--db-path").arg(folder.path().join("tables.db"));
        }
        let mut keeper = keeper
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
            TcpStream::connect(self.address()).is_ok()
        });
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.signal("KILL");
        self.running = None;
    }

    /// Forgets all tables; it is killed for that, and started again.
    pub(crate) fn empty(&mut self) {
        self.kill();
        for entry in self
            .folder
            .iter()
            .flat_map(|folder| std::fs::read_dir(folder.path()).expect("a folder"))
        {
            std::fs::remove_file(entry.expect("a file").path()).expect("a file less");
        }
        self.run();
    }

    /// Stops the server in its tracks: connections stay open, nobody answers.
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

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
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

/// Where the program is: where `cargo xtask test` says, or on the path.
fn program() -> PathBuf {
    if let Some(program) = std::env::var_os("LARDER_TEST_DYNAMODB") {
        return program.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join("dynoxide"))
        .find(|file| file.is_file());
    found.unwrap_or_else(|| {
        panic!("there is no dynoxide: run cargo xtask test --only dynamodb, which builds it")
    })
}

/// A port that nobody has now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}
