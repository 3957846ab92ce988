//! Where and when was it measured, and with what?

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::options::Options;
use super::process::field;
use crate::shell;

/// The head of a report: date, machine, compiler, limits.
pub(crate) fn describe(options: &Options) -> Value {
    let read = |program: &str, args: &[&str]| {
        let told = shell::read(Command::new(program).args(args)).unwrap_or_default();
        told.trim().to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = field("/proc/meminfo", "MemTotal").unwrap_or(0);
    json!({
        "date": read("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        "machine": {
            "processor": processor(),
            "cores": cores,
            "memory_gib": (memory as f64 / f64::from(1 << 30)).round(),
            "system": read("uname", &["-sr"]),
            "load_before": load(),
        },
        "rustc": read("rustc", &["--version"]),
        "repetitions": options.repetitions,
        "quick": options.quick,
        "limits": { "seconds": options.limits.seconds, "bytes": options.limits.bytes },
        "versions": {},
    })
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':'));
    name.map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned())
}

/// Of the last minute: what else was going on.
fn load() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}
