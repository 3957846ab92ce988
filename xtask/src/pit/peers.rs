//! Where are the other engines? In a Python environment of their own, with pinned versions, made once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::options::Options;
use crate::shell::{self, Failure, Result};

const SCRIPTS: &str = "benches/peers";
const REQUIREMENTS: &str = "benches/peers/requirements.txt";

/// The interpreter that has the peers, or why there is none.
#[derive(Debug)]
pub(crate) struct Peers {
    python: std::result::Result<PathBuf, String>,
}

impl Peers {
    /// Makes the environment where a peer is wanted. Without one the bench goes on, and says so loudly.
    pub(crate) fn prepare(folder: &Path, options: &Options) -> Self {
        if !options.engines.iter().any(|engine| engine.is_peer()) {
            return Self {
                python: Err("not asked for".to_owned()),
            };
        }
        let python = environment(folder).map_err(|failure| failure.to_string());
        if let Err(reason) = &python {
            eprintln!(
                "\n*** NO PEERS: {reason}\n*** only larder runs; its times are compared with nothing\n"
            );
        }
        Self { python }
    }

    /// Why there are no peers.
    pub(crate) fn missing(&self) -> Option<&str> {
        self.python.as_ref().err().map(String::as_str)
    }

    /// `python <script>`.
    pub(crate) fn python(&self, script: &str) -> Command {
        let python = self.python.as_deref().unwrap_or(Path::new("python3"));
        let mut command = Command::new(python);
        command
            .arg(shell::root().join(SCRIPTS).join(script))
            // Nothing is left beside the scripts, and nobody is told about this run.
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("FEAST_USAGE", "False");
        command
    }
}

/// The interpreter that has the peers, made where it is not there yet.
pub(crate) fn environment(folder: &Path) -> Result<PathBuf> {
    let requirements = shell::root().join(REQUIREMENTS);
    let pinned = fs::read_to_string(&requirements)
        .map_err(|error| Failure::new(format!("cannot read {REQUIREMENTS}: {error}")))?;
    // Other versions get another environment.
    let environment = folder.join(format!("venv-{:016x}", fingerprint(&pinned)));
    let python = environment.join("bin").join("python");
    let ready = environment.join("ready");
    if ready.exists() && shell::answers(Command::new(&python).arg("--version")) {
        return Ok(python);
    }
    if !shell::answers(Command::new("python3").arg("--version")) {
        return Err(Failure::new("python3 is not installed"));
    }
    let cannot =
        |error: std::io::Error| Failure::new(format!("cannot write into {}: {error}", folder.display()));
    fs::create_dir_all(folder).map_err(cannot)?;
    let log = folder.join("install.log");
    eprintln!("installing the peers into {}", environment.display());
    let output = File::create(&log).map_err(cannot)?;
    let logged = |command: &mut Command, what: &str| -> Result<()> {
        let (out, err) = (
            output.try_clone().map_err(cannot)?,
            output.try_clone().map_err(cannot)?,
        );
        let status = command.stdin(Stdio::null()).stdout(out).stderr(err).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            _ => Err(Failure::new(format!("{what} failed; {} says why", log.display()))),
        }
    };
    logged(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&environment),
        "python3 -m venv",
    )?;
    let mut install = Command::new(&python);
    install
        .args([
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "--requirement",
        ])
        .arg(&requirements);
    logged(&mut install, "pip install")?;
    fs::write(&ready, "").map_err(cannot)?;
    Ok(python)
}

/// FNV-1a.
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_is_pinned_and_has_its_script() {
        let pinned = fs::read_to_string(shell::root().join(REQUIREMENTS)).expect("the requirements");
        for line in pinned.lines().filter(|line| !line.starts_with('#')) {
            assert!(line.contains("=="), "{line} is not pinned");
        }
        for engine in super::super::engines::ENGINES.iter().filter(|e| e.is_peer()) {
            let peers = Peers {
                python: Err("a test".to_owned()),
            };
            let command = engine.command(Path::new("pit"), &peers);
            let script = command.get_args().next().expect("a script");
            assert!(Path::new(script).is_file(), "{}", engine.name);
        }
    }

    #[test]
    fn other_versions_have_another_fingerprint() {
        assert_eq!(fingerprint(""), 0xcbf2_9ce4_8422_2325);
        assert_ne!(fingerprint("duckdb==1"), fingerprint("duckdb==2"));
    }
}
