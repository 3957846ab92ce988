//! Do the files themselves keep the house rules?

use super::Finding;
use super::exceptions::{LongFile, NAMES_BACKENDS, READS_CLOCK, RUN_BY_A_STEP};
use super::lexer;
use super::model::File;

const WARN_LINES: usize = 600;
const MOST_LINES: usize = 700;

/// Every module starts with the question it answers; attributes of the whole module may stand before it.
pub(crate) fn module_docs(files: &[File]) -> Vec<Finding> {
    let first = |file: &File| {
        let mut lines = file
            .text
            .lines()
            .filter(|line| !line.trim().is_empty() && !line.starts_with("#!["));
        lines.next().is_some_and(|line| line.starts_with("//!"))
    };
    rust(files)
        .filter(|file| !first(file))
        .map(|file| {
            Finding::new(
                &file.path,
                "must start with a //! sentence: what question it answers",
            )
        })
        .collect()
}

/// A list to look at, not yet a finding.
pub(crate) fn long_files(files: &[File]) -> Vec<String> {
    let long = rust(files).filter(|file| (WARN_LINES + 1..=MOST_LINES).contains(&file.text.lines().count()));
    long.map(|file| {
        format!(
            "{} has {} lines, more than {WARN_LINES}",
            file.path,
            file.text.lines().count()
        )
    })
    .collect()
}

pub(crate) fn too_long(files: &[File], exceptions: &[LongFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in rust(files) {
        let lines = file.text.lines().count();
        let exception = exceptions.iter().find(|exception| exception.path == file.path);
        let most = exception.map_or(MOST_LINES, |exception| exception.lines);
        if lines > most {
            let known = exception.map_or(String::new(), |exception| {
                format!(" (allowed since {})", exception.reason)
            });
            findings.push(Finding::new(
                &file.path,
                format!("{lines} lines, more than {most}{known}: split it by question"),
            ));
        } else if exception.is_some() && lines <= MOST_LINES {
            findings.push(Finding::new(
                &file.path,
                "no longer needs its exception: remove it",
            ));
        }
    }
    let gone = exceptions
        .iter()
        .filter(|exception| files.iter().all(|file| file.path != exception.path));
    findings
        .extend(gone.map(|exception| Finding::new(exception.path, "has an exception but does not exist")));
    findings
}

/// `core/` is written without knowing any backend.
pub(crate) fn backend_names(files: &[File]) -> Vec<Finding> {
    const BACKENDS: [&str; 4] = ["redis", "dynamodb", "postgres", "redshift"];
    let bound = files.iter().filter(|file| {
        let is_prose = file.path.ends_with("README.md") || file.path.ends_with("CHANGELOG.md");
        file.path.starts_with("core/") && !is_prose && !within(&file.path, &NAMES_BACKENDS)
    });
    lines(bound, |line| {
        let line = line.to_ascii_lowercase();
        let name = BACKENDS.iter().find(|name| has_word(&line, name))?;
        Some(format!("names the backend \"{name}\""))
    })
}

/// The word itself or `postgresql`, but not `redistribute`.
fn has_word(line: &str, word: &str) -> bool {
    let letter = |character: Option<char>| character.is_some_and(|character| character.is_ascii_alphabetic());
    line.match_indices(word).any(|(at, _)| {
        let after = &line[at + word.len()..];
        let after = after.strip_prefix("ql").unwrap_or(after);
        !letter(line[..at].chars().next_back()) && !letter(after.chars().next())
    })
}

pub(crate) fn provider_io(files: &[File]) -> Vec<Finding> {
    const IO: [&str; 6] = [
        "std::fs",
        "std::net",
        "std::process",
        "std::io",
        "tokio::",
        "object_store::",
    ];
    let providers = library(files).filter(|file| file.path.starts_with("providers/"));
    code_lines(providers, |line| {
        Some(format!(
            "uses {}: providers do no I/O",
            IO.iter().find(|io| line.contains(*io))?
        ))
    })
}

pub(crate) fn printing(files: &[File]) -> Vec<Finding> {
    const MACROS: [&str; 5] = ["println!", "print!", "eprintln!", "eprint!", "dbg!"];
    const MAY_PRINT: [&str; 4] = ["apps/cli/", "xtask/", "benches/", "fuzz/"];
    let silent = library(files).filter(|file| !within(&file.path, &MAY_PRINT));
    code_lines(silent, |line| {
        let found = MACROS.iter().find(|name| starts_word(line, name))?;
        Some(format!("{found} in a library: only apps/cli prints"))
    })
}

pub(crate) fn wall_clock(files: &[File]) -> Vec<Finding> {
    const CLOCKS: [&str; 4] = ["SystemTime::now", "Timestamp::now", "Zoned::now", "Utc::now"];
    const OUTSIDE: [&str; 3] = ["xtask/", "benches/", "fuzz/"];
    let bound =
        library(files).filter(|file| !within(&file.path, &READS_CLOCK) && !within(&file.path, &OUTSIDE));
    code_lines(bound, |line| {
        let found = CLOCKS.iter().find(|name| line.contains(*name))?;
        Some(format!("{found}: the wall clock enters through Clock"))
    })
}

/// Nothing half done is called done, and no test is silently left out.
pub(crate) fn unfinished(files: &[File]) -> Vec<Finding> {
    const MARKS: [&str; 3] = ["todo!", "unimplemented!", "#[ignore"];
    let mut findings = Vec::new();
    for file in rust(files) {
        let masked = lexer::code(&file.text);
        for ((number, line), whole) in numbered(&masked).zip(file.text.lines()) {
            if RUN_BY_A_STEP.contains(&whole.trim()) {
                continue;
            }
            for mark in MARKS.iter().filter(|mark| starts_word(line, mark)) {
                findings.push(Finding::new(
                    format!("{}:{number}", file.path),
                    format!("{mark} is forbidden"),
                ));
            }
        }
    }
    findings
}

/// A path of one machine means nothing on another; tests use temporary folders, documents relative paths.
pub(crate) fn machine_paths(files: &[File]) -> Vec<Finding> {
    // Written in two parts, or this file would break its own rule.
    const FOLDERS: [&str; 5] = [
        concat!("/ro", "ot/"),
        concat!("/wo", "rk/"),
        concat!("/ho", "me/"),
        concat!("/Us", "ers/"),
        concat!("/t", "mp/"),
    ];
    lines(files.iter(), |line| {
        let absolute = |folder: &&&str| {
            line.match_indices(**folder).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                before.is_none_or(|before| !before.is_alphanumeric() && !"_.~})$*-".contains(before))
            })
        };
        Some(format!("absolute path {}…", FOLDERS.iter().find(absolute)?))
    })
}

pub(crate) fn trailing_whitespace(files: &[File]) -> Vec<Finding> {
    lines(files.iter(), |line| {
        line.ends_with([' ', '\t', '\r'])
            .then(|| "trailing whitespace".to_owned())
    })
}

fn rust(files: &[File]) -> impl Iterator<Item = &File> {
    files.iter().filter(|file| file.path.ends_with(".rs"))
}

/// Rust files that end up in somebody's program: no tests, examples or build scripts.
fn library(files: &[File]) -> impl Iterator<Item = &File> {
    const ASIDE: [&str; 6] = ["tests", "benches", "examples", "fuzz", "tests.rs", "build.rs"];
    rust(files).filter(|file| file.path.split('/').all(|part| !ASIDE.contains(&part)))
}

fn within(path: &str, places: &[&str]) -> bool {
    places.iter().any(|place| {
        if place.ends_with('/') {
            path.starts_with(place)
        } else {
            path == *place
        }
    })
}

fn lines<'a>(files: impl Iterator<Item = &'a File>, broken: impl Fn(&str) -> Option<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        // Not `lines()`: it would swallow the carriage return that one rule is about.
        for (number, line) in (1..).zip(file.text.split('\n')) {
            findings
                .extend(broken(line).map(|message| Finding::new(format!("{}:{number}", file.path), message)));
        }
    }
    findings
}

/// Like [`lines`], on what is code and not only for tests.
fn code_lines<'a>(
    files: impl Iterator<Item = &'a File>,
    broken: impl Fn(&str) -> Option<String>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        let code = lexer::library_code(&file.text);
        let broken = numbered(&code).filter_map(|(number, line)| Some((number, broken(line)?)));
        findings
            .extend(broken.map(|(number, message)| Finding::new(format!("{}:{number}", file.path), message)));
    }
    findings
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines())
}

/// Whether the line holds this text with no name running into it from the left, so `eprint!` is not `print!`.
fn starts_word(line: &str, text: &str) -> bool {
    line.match_indices(text).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|before| !before.is_alphanumeric() && before != '_')
    })
}

#[cfg(test)]
mod tests;
