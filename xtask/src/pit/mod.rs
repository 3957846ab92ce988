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
const ENOUGH_SECONDS: f64 = 30.0;
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

/// An engine on one shape.
struct Turn<'a> {
    engine: &'a Engine,
    outcomes: Vec<Outcome>,
    /// Repetitions that are still to be done.
    left: usize,
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

        let smaller = SMALLER.iter().find(|(name, _)| *name == shape);
        let smaller = smaller.map(|(_, smaller)| (*smaller).to_owned());
        let too_much = |engine: &Engine| {
            let tried = smaller.clone().map(|smaller| (smaller, engine.name));
            tried.is_some_and(|tried| given_up.contains(&tried))
        };
        let present = |engine: &&Engine| !engine.is_peer() || self.peers.missing().is_none();
        let mut turns: Vec<Turn<'_>> = self
            .options
            .engines
            .iter()
            .filter(present)
            .map(|engine| Turn {
                engine,
                outcomes: Vec::new(),
                left: match too_much(engine) {
                    true => 0,
                    false => engine.repetitions(self.options.repetitions),
                },
            })
            .collect();
        // Engines take turns, so that a slow minute of the machine is everybody's.
        while turns.iter().any(|turn| turn.left > 0) {
            for turn in turns.iter_mut().filter(|turn| turn.left > 0) {
                self.run_once(turn, shape, &workload);
            }
        }

        let ours = self.result(shape, "larder");
        let mut entries = Vec::new();
        for Turn { engine, outcomes, .. } in turns {
            let theirs = self.result(shape, engine.name);
            let entry = match (outcomes.first(), &smaller) {
                (None, Some(smaller)) => summary::not_tried(engine.name, smaller),
                // The first repetition wrote the answer; without one there is nothing to compare.
                (Some(Outcome::Done(_)), _) => {
                    let agreement = self.compare(&workload, &ours, &theirs);
                    summary::entry(engine.name, &outcomes, agreement)
                }
                _ => summary::entry(engine.name, &outcomes, Value::Null),
            };
            if matches!(outcomes.first(), None | Some(Outcome::Killed { .. })) {
                given_up.insert((shape.to_owned(), engine.name));
            }
            if engine.is_peer() {
                let _ = fs::remove_file(&theirs);
            }
            entries.push(entry);
        }
        let _ = fs::remove_file(&ours);
        Ok(entries)
    }

    fn run_once(&self, turn: &mut Turn<'_>, shape: &str, workload: &str) {
        let engine = turn.engine;
        let log = self
            .folder
            .join("logs")
            .join(format!("{shape}-{}.log", engine.name));
        let mut command = engine.command(&self.program, &self.peers);
        command.arg(workload);
        if turn.outcomes.is_empty() {
            let result = self.result(shape, engine.name);
            let _ = fs::remove_file(&result);
            command.arg(&result);
        }
        let outcome = process::run(command, &log, &self.options.limits);
        eprintln!("{shape}: {} {outcome}", engine.name);
        turn.left -= 1;
        let spent: f64 = turn.outcomes.iter().map(Outcome::wall_seconds).sum();
        if !matches!(outcome, Outcome::Done(_)) || spent + outcome.wall_seconds() > ENOUGH_SECONDS {
            turn.left = 0;
        }
        turn.outcomes.push(outcome);
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
