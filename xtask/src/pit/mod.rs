//! `cargo xtask bench pit`: how fast are training sets against other engines on the same files, and who is right?
//!
//! Data and larder's own runs come from the program `pit` of `benches/`, the peers are Python scripts in
//! `benches/peers/`. Every run is a process of its own, with limits of time and memory.

mod engines;
mod machine;
mod options;
pub(crate) mod peers;
mod process;
mod summary;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::shell::{self, Failure, Result};
use crate::tidy::model;
use engines::Engine;
use options::Options;
use peers::Peers;
use process::Outcome;

/// An engine that has run this long on a shape, in all, is not repeated.
const ENOUGH_SECONDS: f64 = 12.0;
/// Shapes that only differ in size, the smaller one first: what was too much there is not tried here.
const SMALLER: [(&str, &str); 2] = [("taxi-2", "taxi-1"), ("taxi-5", "taxi-2")];

pub(crate) fn main(args: &[String]) -> Result<()> {
    let shapes = options::shapes()?;
    let Some(options) = options::parse(args, &shapes)? else {
        print!("{}", options::help(&shapes));
        return Ok(());
    };
    let target = target_folder()?;
    let bench = Bench {
        program: build(&target)?,
        folder: target.join("pit"),
        peers: Peers::prepare(&target.join("pit"), &options),
        options,
    };
    fs::create_dir_all(bench.folder.join("logs"))
        .map_err(|error| Failure::new(format!("cannot create {}: {error}", bench.folder.display())))?;
    let report = bench.run()?;
    let file = bench.folder.join("report.json");
    fs::write(&file, format!("{report:#}\n"))
        .map_err(|error| Failure::new(format!("cannot write {}: {error}", file.display())))?;
    if bench.options.json {
        println!("{report:#}");
    } else {
        println!("{}", summary::markdown(&report));
    }
    summary::wrong(&report)
}

/// The interpreter that has the peers, for other benches.
pub(crate) fn python() -> Result<PathBuf> {
    peers::environment(&target_folder()?.join("pit"))
}

/// Everything a run needs.
struct Bench {
    program: PathBuf,
    /// Data, logs, results and the peers' environment.
    folder: PathBuf,
    peers: Peers,
    options: Options,
}

impl Bench {
    fn run(&self) -> Result<Value> {
        let mut report = machine::describe(&self.options);
        if let Some(reason) = self.peers.missing() {
            report["peers_missing"] = json!(reason);
        }
        let mut shapes = Vec::new();
        let mut given_up: BTreeSet<(String, &'static str)> = BTreeSet::new();
        for (name, question) in &self.options.shapes {
            let engines = self.shape(name, &mut given_up)?;
            let versions = engines.iter().filter_map(|entry| entry["versions"].as_object());
            for (engine, version) in versions.flatten() {
                report["versions"][engine] = version.clone();
            }
            shapes.push(json!({ "name": name, "question": question, "engines": engines }));
        }
        report["shapes"] = Value::from(shapes);
        Ok(report)
    }

    /// All engines on one shape.
    fn shape(&self, shape: &str, given_up: &mut BTreeSet<(String, &'static str)>) -> Result<Vec<Value>> {
        eprintln!("{shape}: data");
        let mut generate = Command::new(&self.program);
        generate
            .arg("generate")
            .arg(self.folder.join("data"))
            .args([shape, &self.options.divisor().to_string()]);
        let workload = json_of(&mut generate)?;
        let workload = workload["workload"].as_str().unwrap_or_default().to_owned();

        let ours = self.result(shape, "larder");
        let mut entries = Vec::new();
        for engine in &self.options.engines {
            if engine.is_peer() && self.peers.missing().is_some() {
                continue;
            }
            let smaller = SMALLER.iter().find(|(name, _)| *name == shape);
            if let Some((_, smaller)) = smaller
                && given_up.contains(&((*smaller).to_owned(), engine.name))
            {
                given_up.insert((shape.to_owned(), engine.name));
                entries.push(summary::not_tried(engine.name, smaller));
                continue;
            }
            let outcomes = self.repeat(engine, shape, &workload);
            if matches!(outcomes.first(), Some(Outcome::Killed { .. })) {
                given_up.insert((shape.to_owned(), engine.name));
            }
            let theirs = self.result(shape, engine.name);
            // The first repetition wrote the answer; without one there is nothing to compare.
            let agreement = match outcomes.first() {
                Some(Outcome::Done(_)) => self.compare(&workload, &ours, &theirs),
                _ => Value::Null,
            };
            if engine.is_peer() {
                let _ = fs::remove_file(&theirs);
            }
            entries.push(summary::entry(engine.name, &outcomes, agreement));
        }
        let _ = fs::remove_file(&ours);
        Ok(entries)
    }

    fn repeat(&self, engine: &Engine, shape: &str, workload: &str) -> Vec<Outcome> {
        let result = self.result(shape, engine.name);
        let _ = fs::remove_file(&result);
        let log = self
            .folder
            .join("logs")
            .join(format!("{shape}-{}.log", engine.name));
        let mut outcomes = Vec::new();
        let mut spent = 0.0;
        for repetition in 0..engine.repetitions(self.options.repetitions) {
            if spent > ENOUGH_SECONDS {
                break;
            }
            let mut command = engine.command(&self.program, &self.peers);
            command.arg(workload);
            if repetition == 0 {
                command.arg(&result);
            }
            let outcome = process::run(command, &log, &self.options.limits);
            eprintln!("{shape}: {} {outcome}", engine.name);
            spent += outcome.wall_seconds();
            let over = !matches!(outcome, Outcome::Done(_));
            outcomes.push(outcome);
            if over {
                break;
            }
        }
        outcomes
    }

    fn compare(&self, workload: &str, ours: &Path, theirs: &Path) -> Value {
        let mut compare = Command::new(&self.program);
        compare.args(["compare", workload]).arg(ours).arg(theirs);
        json_of(&mut compare).unwrap_or_else(|failure| {
            eprintln!("error: {failure}");
            json!({ "error": failure.to_string() })
        })
    }

    fn result(&self, shape: &str, engine: &str) -> PathBuf {
        self.folder.join(format!("{shape}-{engine}.parquet"))
    }
}

fn build(target: &Path) -> Result<PathBuf> {
    shell::run(&mut shell::cargo([
        "build",
        "--release",
        "--package",
        "larder-benches",
        "--bin",
        "pit",
    ]))?;
    Ok(target.join("release").join("pit"))
}

fn target_folder() -> Result<PathBuf> {
    let metadata = model::metadata()?;
    let folder = metadata["target_directory"].as_str();
    folder
        .map(PathBuf::from)
        .ok_or_else(|| Failure::new("cargo metadata does not name the target directory"))
}

fn json_of(command: &mut Command) -> Result<Value> {
    let text = shell::read(command)?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::new(format!("cannot parse the program's answer: {error}")))
}
