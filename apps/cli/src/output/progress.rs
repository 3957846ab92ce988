//! How far is long work, for people at a terminal?

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use larder::Progress;

/// Parts of a bar that has no rows to count.
const PARTS: u64 = 1_000;

/// Whether bars are shown: only on a terminal, and not when silence was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bars {
    shown: bool,
}

impl Bars {
    /// Bars on stderr, where that is a terminal.
    pub(crate) fn new(quiet: bool) -> Self {
        Self {
            shown: !quiet && std::io::stderr().is_terminal(),
        }
    }

    /// A bar that counts rows.
    pub(crate) fn rows(self, what: &'static str) -> Bar {
        self.bar(
            what,
            None,
            "{spinner} {prefix} {bar:30} {human_pos}/{human_len} rows  {rate}  {msg}",
        )
    }

    /// A bar of work whose share is known, whatever it is that is done.
    pub(crate) fn share(self, what: &'static str) -> Bar {
        self.bar(
            what,
            Some(PARTS),
            "{spinner} {prefix} {bar:30} {percent:>3} %  {msg}",
        )
    }

    fn bar(self, what: &'static str, parts: Option<u64>, template: &str) -> Bar {
        let bar = ProgressBar::with_draw_target(
            parts,
            if self.shown {
                ProgressDrawTarget::stderr()
            } else {
                ProgressDrawTarget::hidden()
            },
        );
        let style = ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .with_key("rate", rate);
        bar.set_style(style);
        bar.set_prefix(what);
        bar.enable_steady_tick(Duration::from_millis(120));
        Bar(bar)
    }
}

fn rate(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    // Where the bar cannot be written nobody sees it.
    let _ = write!(out, "{} rows/s", super::count(state.per_sec() as u64));
}

/// One bar; it goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// Follows shared counters until the returned guard is dropped.
    pub(crate) fn follow(&self, progress: Progress) -> Following {
        let bar = self.0.clone();
        Following(tokio::spawn(async move {
            loop {
                let (done, total) = progress.get();
                bar.set_length(total.max(done));
                bar.set_position(done);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }))
    }

    /// Sets how much is done, from 0 to 1.
    pub(crate) fn at(&self, share: f64) {
        self.0.set_position((share.clamp(0.0, 1.0) * PARTS as f64) as u64);
    }

    /// Says what is worked on.
    pub(crate) fn say(&self, text: String) {
        self.0.set_message(text);
    }

    /// Takes the bar off the terminal, before anything else is printed.
    pub(crate) fn clear(&self) {
        self.0.finish_and_clear();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A bar that follows counters.
#[derive(Debug)]
pub(crate) struct Following(tokio::task::JoinHandle<()>);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}
