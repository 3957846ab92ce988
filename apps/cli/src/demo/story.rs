//! How is a step run, timed and shown?

use std::path::Path;
use std::time::{Duration, Instant};

use clap::Parser;
use larder::{Clock, Error, Result, Span, SystemClock};
use serde_json::{Map, Value as Json, json};

use super::project::{DemoProject, Made};
use crate::args::Cli;
use crate::commands;
use crate::context::Context;
use crate::output::{Format, Report, count, elapsed, print, size};

/// The story so far.
pub(super) struct Story<'a> {
    outer: &'a Context,
    /// How the steps are called: in the project's folder, answering in JSON.
    inner: Context,
    dir: String,
    steps: Vec<Json>,
    figures: Map<String, Json>,
    last: Duration,
    began: Instant,
}

impl<'a> Story<'a> {
    /// A story about a folder.
    pub(super) fn new(outer: &'a Context, dir: &Path) -> Self {
        let inner = Context {
            dir: ".".into(),
            env: None,
            format: Format::Json,
            ..outer.clone()
        };
        Self {
            outer,
            inner,
            dir: dir.display().to_string(),
            steps: Vec::new(),
            figures: Map::new(),
            last: Duration::ZERO,
            began: Instant::now(),
        }
    }

    /// How the steps are called.
    pub(super) fn context(&self) -> &Context {
        &self.inner
    }

    /// Says what was made or found.
    pub(super) fn introduce(&mut self, project: &DemoProject, made: Option<&Made>) {
        let mut text = String::from("A shop wants to know: will this user buy this product?\n\n");
        match made {
            Some(made) => text.push_str(&format!(
                "Made {}: {} rows of 30 days up to {} in {} Parquet files ({}),\nwith late rows, corrections and nulls, \
                 and {} moments to learn from in labels.parquet; {}.\n",
                self.dir,
                count(made.data.rows as u64),
                project.end,
                made.data.files,
                size(made.data.bytes),
                count(project.label_rows),
                elapsed(made.took),
            )),
            None => {
                text.push_str(&format!(
                    "Found {} with its data up to {}, registry and online values: going on with them.\n",
                    self.dir, project.end
                ));
                if SystemClock.now().since(project.end) > Span::days(3) {
                    text.push_str(&format!("The data is a few days old; rm -r {} for fresh one.\n", self.dir));
                }
            }
        }
        let program = std::env::current_exe()
            .map(|path| path.display().to_string())
            .unwrap_or_default();
        text.push_str(&format!(
            "\nEach step can be typed again, after:\n  cd {}\n\
             In a checkout, `larder` is `cargo run -q -p larder-cli --`, or: alias larder={program}\n",
            self.dir
        ));
        self.show(&text);
    }

    /// Runs the command line of a step and answers with its document.
    pub(super) async fn run(&mut self, title: &str, command: &str) -> Result<Json> {
        self.say(title);
        self.show(&format!("   $ {command}\n"));
        let cli = Cli::try_parse_from(words(command))
            .map_err(|e| Error::internal(format!("the demo's command `{command}` is none")).source(e))?;
        let begin = Instant::now();
        let report = commands::run(&self.inner, cli.command).await?;
        self.last = begin.elapsed();
        if let Some(step) = self.steps.last_mut() {
            step["command"] = json!(command);
            step["seconds"] = json!(self.last.as_secs_f64());
        }
        self.show(&format!("     {}\n", elapsed(self.last)));
        Ok(report.json)
    }

    /// Begins a step.
    pub(super) fn say(&mut self, title: &str) {
        self.steps.push(json!({ "title": title, "points": [] }));
        self.show(&format!("\n{}. {title}\n", self.steps.len()));
    }

    /// Says what a step proved.
    pub(super) fn point(&mut self, text: String) {
        self.show(&format!("   → {text}\n"));
        if let Some(points) = self
            .steps
            .last_mut()
            .and_then(|step| step["points"].as_array_mut())
        {
            points.push(Json::String(text));
        }
    }

    /// Keeps a figure for programs.
    pub(super) fn record(&mut self, name: &str, figure: Json) {
        self.figures.insert(name.to_owned(), figure);
    }

    /// How long the last command took, in seconds.
    pub(super) fn last_seconds(&self) -> f64 {
        self.last.as_secs_f64()
    }

    /// What to try next.
    pub(super) fn end(mut self, project: &DemoProject) -> Report {
        let took = self.began.elapsed();
        let tries = [
            (
                "features/user_stats.yaml: change `ttl: 14d` to `ttl: 1h`",
                format!("larder plan && larder apply && {}", project.get_command_of(project.other_user())),
                "values older than an hour become OUTSIDE_MAX_AGE, in training as well",
            ),
            (
                "features/product_stats.yaml: misspell a type, such as `int46`",
                "larder validate".to_owned(),
                "the mistake is shown at its place, with what was meant; nothing changes",
            ),
            (
                "features/transaction_stats.yaml: take the `#` from `knowledge: as_of`",
                "larder apply && larder historical --entities labels.parquet --service purchase_v1 --out training.parquet"
                    .to_owned(),
                "training now sees only what had been written by then",
            ),
        ];
        let mut text = format!("\nDone in {}. Three edits to try:\n", elapsed(took));
        for (edit, command, what) in &tries {
            text.push_str(&format!("   {edit}\n     $ {command}\n     {what}\n"));
        }
        self.show(&text);
        let document = json!({
            "dir": self.dir,
            "ok": true,
            "seconds": took.as_secs_f64(),
            "figures": self.figures,
            "steps": self.steps,
        });
        self.steps.clear();
        Report::new(document)
    }

    /// Shows text at once, to people only.
    fn show(&self, text: &str) {
        if self.outer.format != Format::Json && !self.outer.quiet {
            // Where stdout is gone nobody is there to be told; the demo's exit code still counts.
            let _ = print(text);
        }
    }
}

/// The words of a command line; single quotes keep what stands in them together.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in command.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => {
                if let Some(word) = words.last_mut() {
                    word.push(c);
                }
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_parted_as_a_shell_does() {
        assert_eq!(
            words("larder apply -m 'first features'"),
            ["larder", "apply", "-m", "first features"]
        );
    }
}
