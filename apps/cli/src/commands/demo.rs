//! `larder demo`: what does a feature store do, shown and proved on generated data?

use std::path::PathBuf;

use larder::Result;

use crate::context::Context;
use crate::demo;
use crate::output::Report;

/// Options of `larder demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Makes a project with a million generated rows and walks through it: definitions, training set,
online values, pushes. Every step prints the command to type again and what it proved. Uses no
network; may be repeated, and then goes on with what is there.")]
pub(crate) struct Args {
    /// The folder of the demo project
    #[arg(long, value_name = "DIR", default_value = "larder-demo")]
    dir: PathBuf,
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, args: Args) -> Result<Report> {
    demo::run(cx, &args.dir).await
}
