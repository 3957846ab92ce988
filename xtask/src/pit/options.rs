//! What was asked for: which shapes, engines, repetitions and limits?

use std::fmt::Write as _;
use std::fs;

use super::engines::{ENGINES, Engine};
use super::process::Limits;
use crate::shell::{self, Failure, Result};

/// The shapes are declared there, and there alone.
const SHAPES: &str = "benches/src/pit/shapes.rs";
/// What `--quick` divides the numbers of rows by.
const QUICK: usize = 10;
const GIB: u64 = 1 << 30;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Options {
    /// Names and questions.
    pub(crate) shapes: Vec<(String, String)>,
    pub(crate) engines: Vec<Engine>,
    pub(crate) repetitions: usize,
    pub(crate) quick: bool,
    pub(crate) json: bool,
    pub(crate) limits: Limits,
}

impl Options {
    pub(crate) fn divisor(&self) -> usize {
        if self.quick { QUICK } else { 1 }
    }
}

/// The options, or nothing where help was asked for.
pub(crate) fn parse(args: &[String], known: &[(String, String)]) -> Result<Option<Options>> {
    let mut options = Options {
        shapes: Vec::new(),
        engines: Vec::new(),
        repetitions: 0,
        quick: false,
        json: false,
        limits: Limits {
            seconds: 60.0,
            bytes: 12 * GIB,
        },
    };
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let mut value = || {
            let value = rest.next().map(String::as_str);
            value.ok_or_else(|| Failure::usage(format!("{arg} needs a value")))
        };
        match arg.as_str() {
            "--help" | "-h" => return Ok(None),
            "--shape" => {
                for name in value()?.split(',') {
                    options.shapes.push(shape(name, known)?);
                }
            }
            "--engine" => {
                for name in value()?.split(',') {
                    options.engines.push(engine(name)?);
                }
            }
            "--reps" => options.repetitions = number(arg, value()?)?,
            "--time-limit" => options.limits.seconds = number(arg, value()?)? as f64,
            "--memory-limit" => options.limits.bytes = number(arg, value()?)? as u64 * GIB,
            "--quick" => options.quick = true,
            "--format" => {
                options.json = match value()? {
                    "json" => true,
                    "table" => false,
                    other => {
                        return Err(Failure::usage(format!(
                            "no format \"{other}\"; there are: table, json"
                        )));
                    }
                }
            }
            other => {
                return Err(Failure::usage(format!(
                    "`bench pit` does not know \"{other}\"; see `cargo xtask bench pit --help`"
                )));
            }
        }
    }
    if options.shapes.is_empty() {
        options.shapes = known.to_vec();
    }
    // Larder's answer is what the others are compared with, so it always runs, and first.
    let wanted = |engine: &&Engine| {
        options.engines.is_empty() || !engine.is_peer() || options.engines.contains(engine)
    };
    options.engines = ENGINES.iter().filter(wanted).copied().collect();
    if options.repetitions == 0 {
        options.repetitions = if options.quick { 1 } else { 3 };
    }
    Ok(Some(options))
}

pub(crate) fn help(shapes: &[(String, String)]) -> String {
    let mut text = "\
usage: cargo xtask bench pit [OPTIONS]

Training sets of larder and other engines on the same files: times, memory, and whether they agree.

  --shape NAME,..      only these shapes
  --engine NAME,..     only these engines, and larder
  --reps N             repetitions; 3 where nothing is said, fewer for engines that take long
  --quick              one repetition and a tenth of the rows
  --format table|json  Markdown (the default) or JSON
  --time-limit S       seconds after which a run is killed (60)
  --memory-limit GIB   memory above which a run is killed (12)

shapes:
"
    .to_owned();
    for (name, question) in shapes {
        let _ = writeln!(text, "  {name:<20} {question}");
    }
    text.push_str("\nengines:\n");
    for engine in ENGINES {
        let _ = writeln!(text, "  {:<20} {}", engine.name, engine.about);
    }
    text
}

/// Names and questions of the shapes.
pub(crate) fn shapes() -> Result<Vec<(String, String)>> {
    let file = shell::root().join(SHAPES);
    let text = fs::read_to_string(&file)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", file.display())))?;
    let literal = |line: &str, field: &str| {
        let value = line.trim().strip_prefix(field)?.strip_prefix(": \"")?;
        Some(value.strip_suffix("\",")?.to_owned())
    };
    let names = text.lines().filter_map(|line| literal(line, "name"));
    let questions = text.lines().filter_map(|line| literal(line, "question"));
    Ok(names.zip(questions).collect())
}

fn shape(name: &str, known: &[(String, String)]) -> Result<(String, String)> {
    let found = known.iter().find(|(shape, _)| shape == name).cloned();
    found.ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
        Failure::usage(format!("no shape \"{name}\"; there are: {}", names.join(", ")))
    })
}

fn engine(name: &str) -> Result<Engine> {
    let found = ENGINES.iter().find(|engine| engine.name == name).copied();
    found.ok_or_else(|| {
        let names: Vec<&str> = ENGINES.iter().map(|engine| engine.name).collect();
        Failure::usage(format!("no engine \"{name}\"; there are: {}", names.join(", ")))
    })
}

fn number(option: &str, text: &str) -> Result<usize> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| Failure::usage(format!("{option} needs a whole number above 0")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<(String, String)> {
        ["a", "b"].map(|name| (name.to_owned(), "?".to_owned())).to_vec()
    }

    fn of(text: &str) -> Result<Option<Options>> {
        let args: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        parse(&args, &known())
    }

    #[test]
    fn everything_runs_where_nothing_is_said() {
        let options = of("").expect("fine").expect("no help");
        assert_eq!((options.shapes.len(), options.engines.len()), (2, 6));
        assert_eq!((options.repetitions, options.divisor()), (3, 1));
    }

    #[test]
    fn larder_always_runs_and_runs_first() {
        let options = of("--engine duckdb --shape b --quick")
            .expect("fine")
            .expect("no help");
        let names: Vec<_> = options.engines.iter().map(|engine| engine.name).collect();
        assert_eq!(names, ["larder", "duckdb"]);
        assert_eq!((options.repetitions, options.divisor()), (1, 10));
        assert_eq!(options.shapes.len(), 1);
    }

    #[test]
    fn mistakes_name_what_there_is() {
        let told = |text: &str| of(text).expect_err("a mistake").to_string();
        assert!(told("--shape c").contains("a, b"));
        assert!(told("--engine pandas").contains("feast-dask"));
        assert!(told("--reps none").contains("whole number"));
        assert!(told("--shape").contains("needs a value"));
        assert!(told("pit").contains("--help"));
    }

    #[test]
    fn every_declared_shape_is_found() {
        let file = fs::read_to_string(shell::root().join(SHAPES)).expect("the file of shapes");
        let declared = file.lines().filter(|line| line.trim() == "Shape {").count();
        let found = shapes().expect("shapes");
        assert_eq!(found.len(), declared);
        assert!(
            found
                .iter()
                .all(|(name, question)| !name.is_empty() && question.len() > 10)
        );
        assert!(found.iter().any(|(name, _)| name == "1m-10m"));
    }
}
