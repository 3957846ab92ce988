//! How does one run go: how long, how much memory, and did it have to be stopped?

use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

const LOOK: Duration = Duration::from_millis(20);
/// The machine keeps this much for others, whatever the limit of the run.
const RESERVE: u64 = 1 << 30;

/// What a run may use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Limits {
    pub(crate) seconds: f64,
    pub(crate) bytes: u64,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Done(Done),
    /// Stopped by us.
    Killed {
        reason: String,
        wall: f64,
        peak: u64,
    },
    Failed {
        reason: String,
        wall: f64,
    },
}

/// A run that answered.
#[derive(Debug)]
pub(crate) struct Done {
    /// Seconds from files on disk to the result in memory, measured inside.
    pub(crate) seconds: f64,
    /// Seconds from the start of the process to its answer in memory.
    pub(crate) wall: f64,
    /// The most memory the process held until then.
    pub(crate) peak: u64,
    /// The most it held before the join: interpreter and libraries.
    pub(crate) base: u64,
    /// All that it told.
    pub(crate) told: Value,
}

impl Outcome {
    pub(crate) fn wall_seconds(&self) -> f64 {
        match self {
            Self::Done(done) => done.wall,
            Self::Killed { wall, .. } | Self::Failed { wall, .. } => *wall,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(done) => write!(f, "{:.2} s, {} MiB", done.seconds, done.peak >> 20),
            Self::Killed { reason, wall, .. } => write!(f, "killed after {wall:.0} s: {reason}"),
            Self::Failed { reason, .. } => write!(f, "FAILED: {reason}"),
        }
    }
}

/// Runs a program that prints one JSON line with `seconds`, `peak_bytes` and `base_bytes`, and may print
/// `{"begun": true}` before the work begins.
pub(crate) fn run(mut command: Command, log: &Path, limits: &Limits) -> Outcome {
    let start = Instant::now();
    let failed = |reason: String| Outcome::Failed {
        reason,
        wall: start.elapsed().as_secs_f64(),
    };
    let errors = match File::create(log) {
        Ok(file) => file,
        Err(error) => return failed(format!("cannot write {}: {error}", log.display())),
    };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return failed(format!("cannot start it: {error}")),
    };
    let begun = Arc::new(OnceLock::new());
    let told = listen(&mut child, start, begun.clone());
    match watch(&mut child, start, &begun, limits) {
        Watched::Killed { reason, peak } => Outcome::Killed {
            reason,
            wall: start.elapsed().as_secs_f64(),
            peak,
        },
        Watched::Ended { success: true } => match told.recv() {
            Ok((told, wall)) => done(told, wall),
            Err(_) => failed(last_line(log)),
        },
        Watched::Ended { success: false } => failed(last_line(log)),
    }
}

fn done(told: Value, wall: f64) -> Outcome {
    Outcome::Done(Done {
        seconds: told["seconds"].as_f64().unwrap_or_default(),
        wall,
        peak: told["peak_bytes"].as_u64().unwrap_or_default(),
        base: told["base_bytes"].as_u64().unwrap_or_default(),
        told,
    })
}

/// Waits for the JSON line aside, so that its time is known and the pipe never fills.
fn listen(child: &mut Child, start: Instant, begun: Arc<OnceLock<Instant>>) -> mpsc::Receiver<(Value, f64)> {
    let (send, receive) = mpsc::channel();
    if let Some(output) = child.stdout.take() {
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let Ok(told) = serde_json::from_str::<Value>(&line) else {
                    continue;
                };
                if told["begun"] == true {
                    let _ = begun.set(Instant::now());
                }
                if told["seconds"].is_f64() {
                    let _ = send.send((told, start.elapsed().as_secs_f64()));
                }
            }
        });
    }
    receive
}

enum Watched {
    Ended { success: bool },
    Killed { reason: String, peak: u64 },
}

/// The limit of time is for the work: it counts from where the program says that it begins, if it does.
fn watch(child: &mut Child, start: Instant, begun: &OnceLock<Instant>, limits: &Limits) -> Watched {
    let mut peak = 0;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => {
                return Watched::Ended {
                    success: status.success(),
                };
            }
            Ok(None) => {}
            Err(_) => return Watched::Ended { success: false },
        }
        let held = field(&format!("/proc/{}/status", child.id()), "VmRSS").unwrap_or(0);
        peak = peak.max(held);
        let available = field("/proc/meminfo", "MemAvailable");
        let since = begun.get().unwrap_or(&start).elapsed().as_secs_f64();
        // Some libraries take long to load on a busy machine, but not for ever.
        let patience = if begun.get().is_some() { 1.0 } else { 2.0 };
        let reason = if since > patience * limits.seconds {
            Some(format!("more than {:.0} s", limits.seconds))
        } else if held > limits.bytes {
            Some(format!("more than {} GiB", limits.bytes >> 30))
        } else if available.is_some_and(|bytes| bytes < RESERVE) {
            Some(format!("the machine ran out of memory at {} GiB", held >> 30))
        } else {
            None
        };
        if let Some(reason) = reason {
            let _ = child.kill();
            let _ = child.wait();
            return Watched::Killed { reason, peak };
        }
        thread::sleep(LOOK);
    }
}

/// A number of bytes in one of the system's lists, which count in kB.
pub(crate) fn field(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib * 1024)
}

/// What a program said last before it failed.
fn last_line(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    let line: String = line
        .unwrap_or("it said nothing")
        .trim()
        .chars()
        .take(200)
        .collect();
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limits: Limits) -> Outcome {
        static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("larder-xtask-pit-{}-{number}.log", std::process::id());
        let log = std::env::temp_dir().join(name);
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let outcome = run(command, &log, &limits);
        fs::remove_file(log).expect("the log was written");
        outcome
    }

    const ENOUGH: Limits = Limits {
        seconds: 60.0,
        bytes: 1 << 40,
    };

    #[test]
    fn a_run_tells_its_time_and_memory_among_other_lines() {
        let script = r#"echo hello; echo '{"seconds": 0.5, "peak_bytes": 7, "base_bytes": 3}'; echo bye"#;
        let Outcome::Done(done) = sh(script, ENOUGH) else {
            panic!("it answered");
        };
        assert_eq!((done.seconds, done.peak, done.base), (0.5, 7, 3));
        assert!(done.wall > 0.0);
    }

    #[test]
    fn a_run_that_fails_says_why() {
        for script in ["echo first >&2; echo second >&2; exit 3", "echo second >&2"] {
            let Outcome::Failed { reason, .. } = sh(script, ENOUGH) else {
                panic!("it failed");
            };
            assert_eq!(reason, "second");
        }
    }

    #[test]
    fn a_run_beyond_its_limits_is_stopped() {
        let hurried = Limits {
            seconds: 0.1,
            ..ENOUGH
        };
        let begun = r#"echo '{"begun": true}'; exec sleep 30"#;
        let Outcome::Killed { wall, .. } = sh(begun, hurried) else {
            panic!("it began and ran too long");
        };
        assert!(wall < 20.0);
        let tiny = Limits { bytes: 1, ..ENOUGH };
        for (limits, expected) in [(hurried, "more than 0 s"), (tiny, "more than 0 GiB")] {
            let Outcome::Killed { reason, wall, .. } = sh("exec sleep 30", limits) else {
                panic!("it ran too long");
            };
            assert!(wall < 20.0);
            assert_eq!(reason, expected);
        }
    }

    #[test]
    fn numbers_of_the_system_are_bytes() {
        assert!(field("/proc/meminfo", "MemTotal").is_none_or(|bytes| bytes > 1 << 20));
        assert_eq!(field("/proc/meminfo", "NoSuchField"), None);
    }
}
