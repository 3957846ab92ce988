//! `larder schema`: what may stand in the files, for editors?

use clap::ValueEnum;
use larder::Result;
use larder::engine::definitions;

use crate::output::Report;

/// Options of `larder schema`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Editors with a YAML language server complete and check files with it:

  larder schema > .larder-schema.json
  # yaml-language-server: $schema=../.larder-schema.json      (first line of a definition file)")]
pub(crate) struct Args {
    /// Of which files
    #[arg(value_enum, default_value_t)]
    of: Of,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Of {
    /// Files with definitions
    #[default]
    Definitions,
    /// larder.yaml
    Project,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<Report> {
    let schema = match args.of {
        Of::Definitions => definitions::json_schema(),
        Of::Project => definitions::project_schema(),
    };
    let text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    Ok(Report::new(schema).product(text))
}
