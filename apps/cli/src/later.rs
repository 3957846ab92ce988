//! What is answered to a command that is not there, or not yet?

use larder::Error;
use larder::error::suggest;

/// Commands that are promised, with what they will do.
const LATER: &[(&str, &str)] = &[
    ("search", "finds objects by text"),
    ("lineage", "shows what an object is made of and who uses it"),
    ("serve", "answers HTTP and gRPC requests"),
    ("import", "turns a Feast registry into YAML"),
    ("registry", "migrates a registry"),
];

const KNOWN: &[&str] = &[
    "demo",
    "init",
    "infer",
    "validate",
    "plan",
    "apply",
    "history",
    "show",
    "rollback",
    "gc",
    "list",
    "describe",
    "historical",
    "preview",
    "why",
    "materialize",
    "get",
    "push",
    "compact",
    "delete",
    "status",
    "stores",
    "doctor",
    "schema",
];

/// The error for a word that is no command.
pub(crate) fn unknown(name: &str) -> Error {
    match LATER.iter().find(|(later, _)| *later == name) {
        Some((_, what)) => Error::unsupported(format!(
            "`larder {name}` is not in this build yet: it {what}, in a later part"
        ))
        .help("`larder --help` lists what is there"),
        None => {
            Error::input(format!("there is no command `{name}`")).help(suggest(name, KNOWN.iter().copied()))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn later_commands_say_so_and_typos_are_guessed() {
        let error = unknown("serve");
        assert_eq!(error.kind(), larder::ErrorKind::Unsupported);
        assert!(error.to_string().contains("later part"), "{error}");
        assert!(unknown("aply").to_string().contains("did you mean `apply`?"));
    }

    #[test]
    fn the_list_of_commands_is_complete() {
        let command = crate::args::Cli::command();
        let there: Vec<&str> = command.get_subcommands().map(|sub| sub.get_name()).collect();
        assert_eq!(there, KNOWN);
    }
}
