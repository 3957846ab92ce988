//! What does the command line tell besides its answer? What libraries note, on stderr.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Notes from warnings on go to stderr; with `--verbose`, larder's own remarks, too. `RUST_LOG` says it in full:
/// `RUST_LOG=larder=debug`, `RUST_LOG=off`.
pub(crate) fn start(verbose: bool, quiet: bool) {
    let said = std::env::var("RUST_LOG").ok();
    let filter = filter(said.as_deref(), verbose, quiet);
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(Lines::default);
    // Whoever calls this as a library may have a subscriber of its own.
    let _ = tracing_subscriber::registry().with(filter).with(layer).try_init();
}

fn filter(said: Option<&str>, verbose: bool, quiet: bool) -> Targets {
    if let Some(Ok(said)) = said.filter(|text| !text.is_empty()).map(str::parse::<Targets>) {
        return said;
    }
    // The client of AWS warns of endpoints and files of the environment with parts of them, which may be secret.
    let aws = |targets: Targets| targets.with_target("aws_", LevelFilter::ERROR);
    match (verbose, quiet) {
        (true, _) => {
            aws(Targets::new().with_default(LevelFilter::WARN)).with_target("larder", LevelFilter::INFO)
        }
        (false, true) => Targets::new().with_default(LevelFilter::ERROR),
        (false, false) => aws(Targets::new().with_default(LevelFilter::WARN)),
    }
}

/// Whole lines on stderr, so that they do not run into a progress bar.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let mut stderr = io::stderr().lock();
        if stderr.is_terminal() {
            // The line that a progress bar left there.
            let _ = stderr.write_all(b"\r\x1b[K");
        }
        let _ = stderr.write_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enables(filter: &Targets, target: &str, level: LevelFilter) -> bool {
        filter.would_enable(target, &level.into_level().unwrap())
    }

    #[test]
    fn the_variable_says_more_than_the_options() {
        let (warn, info) = (LevelFilter::WARN, LevelFilter::INFO);
        let warns = filter(None, false, false);
        assert!(enables(&warns, "larder_engine", warn) && !enables(&warns, "larder_engine", info));
        // Whose warnings show parts of URLs.
        assert!(!enables(&warns, "aws_smithy_http::endpoint", warn));
        let verbose = filter(Some(""), true, true);
        assert!(!enables(&verbose, "aws_smithy_runtime", warn));
        assert!(enables(&verbose, "larder_engine", info) && !enables(&verbose, "hyper", info));
        assert!(!enables(&filter(None, false, true), "larder_engine", warn));
        let said = filter(Some("larder_redis=trace"), false, true);
        assert!(enables(&said, "larder_redis", LevelFilter::TRACE));
        // What cannot be understood is as good as not said.
        assert_eq!(filter(Some("=="), false, false), warns);
    }
}
