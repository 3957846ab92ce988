//! How do the tests get a real S3 server? Built once with cargo, started on a free port, stopped at the end.
//!
//! `s3s-fs` is one binary without further needs: a fresh machine with a Rust toolchain can build it. 0.14.1 is the last
//! version for our toolchain. It checks signatures, minds `If-Match` and `If-None-Match`, and has ranges, pages and
//! uploads in parts.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::shell::{self, Failure, Result};

const NAME: &str = "s3s-fs";
const VERSION: &str = "0.14.1";
const BUCKET: &str = "larder-test";
const ACCESS_KEY: &str = "larder-test-access";
const SECRET_KEY: &str = "larder-test-secret";

/// A running server; dropped, it is stopped and what it stored is removed.
#[derive(Debug)]
pub(super) struct Server {
    process: Child,
    folder: PathBuf,
    endpoint: String,
}

impl Server {
    pub(super) fn start() -> Result<Self> {
        let program = installed()?;
        let folder = std::env::temp_dir().join(format!("larder-s3-{}", std::process::id()));
        let failed = |what: &str, error: std::io::Error| Failure::new(format!("{what}: {error}"));
        fs::create_dir_all(folder.join(BUCKET)).map_err(|e| failed("no folder for the S3 server", e))?;
        // Free now; who takes it before the server does makes the step fail, not lie.
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .map_err(|e| failed("no free port", e))?
            .port();
        let process = Command::new(program)
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY])
            .arg(&folder)
            .env("RUST_LOG", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| failed("the S3 server does not start", e))?;
        let mut server = Self {
            process,
            folder,
            endpoint: format!("http://127.0.0.1:{port}"),
        };
        server.wait(port)?;
        Ok(server)
    }

    /// Waits until the server takes connections.
    fn wait(&mut self, port: u16) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) {
            if let Ok(Some(status)) = self.process.try_wait() {
                return Err(Failure::new(format!(
                    "the S3 server ended at once, with {status}"
                )));
            }
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Err(Failure::new("the S3 server takes no connections"))
    }

    /// Tells a command where the server is.
    pub(super) fn tell<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("LARDER_TEST_S3_ENDPOINT", &self.endpoint)
            .env("LARDER_TEST_S3_BUCKET", BUCKET)
            .env("LARDER_TEST_S3_ACCESS_KEY", ACCESS_KEY)
            .env("LARDER_TEST_S3_SECRET_KEY", SECRET_KEY)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody to tell of what cannot be removed.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The server's program, built when it is not there yet.
fn installed() -> Result<PathBuf> {
    let tools = super::target().join("tools");
    let root = tools.join(format!("{NAME}-{VERSION}"));
    let program = root
        .join("bin")
        .join(format!("{NAME}{}", std::env::consts::EXE_SUFFIX));
    if !program.is_file() {
        println!("building the S3 server for the tests, once: {NAME} {VERSION}");
        let mut command = shell::cargo([
            "install",
            NAME,
            "--version",
            VERSION,
            "--features",
            "binary",
            "--locked",
        ]);
        command.arg("--root").arg(&root);
        command.arg("--target-dir").arg(tools.join("build"));
        shell::run(&mut command)?;
    }
    Ok(program)
}
