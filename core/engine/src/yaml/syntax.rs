//! What a person did wrong where the YAML parser gives up.

use larder_base::Diagnostic;
use serde_saphyr::granit_parser::{ErrorKind, ScanError};

use super::node::Mark;
use super::parse::mark;

/// The parser's error in one line that says what would be right; `open` is the bracket that was
/// not closed yet, and whether it is one of a list.
pub(super) fn explain(file: &str, text: &str, error: &ScanError, open: Option<(Mark, bool)>) -> Diagnostic {
    let at = mark(error.marker().line(), error.marker().col());
    // What follows a forgotten bracket looks wrong only lines later; the bracket is the mistake.
    if let Some((opened, list)) = open
        && opened.line < at.line
        && !matches!(error.kind(), ErrorKind::MismatchedFlowCollectionEnd { .. })
    {
        let (open, close) = if list { ('[', ']') } else { ('{', '}') };
        return Diagnostic::new(format!("`{open}` is not closed"))
            .at(Some(opened.in_file(file)))
            .help(format!("a `{close}` is missing before line {}", at.line));
    }
    let line = text.lines().nth(at.line as usize - 1).unwrap_or_default();
    let (message, help) = describe(error.kind(), line);
    let mut diagnostic = Diagnostic::new(message).at(Some(at.in_file(file)));
    let unquoted_variable = line
        .find("${")
        .is_some_and(|i| line[..i].contains(['{', '[']) && !line[..i].ends_with(['"', '\'']));
    if unquoted_variable {
        diagnostic = diagnostic.help("inside of { } and [ ] a value with `${…}` needs quotes: \"${NAME}\"");
    } else if let Some(help) = help {
        diagnostic = diagnostic.help(help);
    }
    diagnostic
}

fn describe(kind: &ErrorKind, line: &str) -> (String, Option<&'static str>) {
    use ErrorKind as E;
    let (message, help) = match kind {
        E::TabNotAllowed
        | E::TabInBlockIndentation
        | E::TabInIndentation
        | E::TabAtBlockScalarStart
        | E::TabInPlainScalar
        | E::InvalidBlockEntryWhitespace
        | E::InvalidMappingValueWhitespace
            if line.contains('\t') =>
        {
            ("a tab stands where YAML wants spaces", Some("indent with spaces"))
        }
        E::UnclosedFlowCollection { open } => {
            return (
                format!("`{open}` is never closed"),
                Some("close it, or check the line before"),
            );
        }
        E::UnexpectedEofFlowSequence => ("`[` is never closed", Some("close it with `]`")),
        E::UnexpectedEofFlowMapping | E::UnexpectedEofImplicitFlowMapping => {
            ("`{` is never closed", Some("close it with `}`"))
        }
        E::MismatchedFlowCollectionEnd { open, close } => {
            return (format!("`{open}` is closed by `{close}`"), None);
        }
        E::MisplacedFlowCollectionEnd => ("a closing bracket without an opening one", None),
        E::ExpectedFlowMappingSeparator => (
            "`,` or `}` is expected here",
            Some("separate the keys with commas and close the map"),
        ),
        E::ExpectedFlowSequenceSeparator => (
            "`,` or `]` is expected here",
            Some("separate the items with commas and close the list"),
        ),
        E::UnclosedQuotedScalar | E::DocumentIndicatorInQuotedScalar => ("a quote is never closed", None),
        E::InvalidTrailingSingleQuotedScalar | E::InvalidTrailingDoubleQuotedScalar => (
            "text follows a closing quote",
            Some("put the whole value in quotes; inside of single quotes write '' for one"),
        ),
        E::UnknownQuotedScalarEscape => (
            "a backslash in double quotes begins an escape that does not exist",
            Some("use single quotes, or write \\\\"),
        ),
        E::MappingValueNotAllowed | E::InvalidColonPlacement | E::InvalidSimpleKey | E::SimpleKeyExpected => {
            (
                "a key cannot stand here",
                Some("check the indentation, and put text that contains `: ` in quotes"),
            )
        }
        E::ExpectedBlockMappingKey | E::MappingKeyNotAllowed => (
            "a key is expected here",
            Some("check the indentation of this line"),
        ),
        E::ExpectedBlockSequenceEntry | E::BlockSequenceEntryNotAllowed | E::BlockEntryInFlowCollection => (
            "`- ` cannot stand here",
            Some("check the indentation: items of one list begin in the same column"),
        ),
        E::InvalidIndentation
        | E::InvalidQuotedScalarIndent
        | E::InvalidFlowScalarIndent
        | E::InvalidBlockScalarIndent => (
            "the indentation of this line fits nothing above it",
            Some("indent keys of one map alike"),
        ),
        E::UnknownAnchor => (
            "an alias `*name` without its anchor `&name`",
            Some("text that begins with `*` needs quotes"),
        ),
        E::MissingAnchorOrAliasName => (
            "`&` or `*` without a name",
            Some("text that begins with it needs quotes"),
        ),
        E::UnexpectedCharacter { character } => {
            return (
                format!("`{character}` cannot begin a value"),
                Some("put the value in quotes"),
            );
        }
        E::RecursionLimitExceeded => ("lists and maps nest too deep", None),
        E::CommentNotSeparated => ("a comment needs a space before its `#`", None),
        E::UndeclaredTagHandle | E::ExpectedTagBang | E::InvalidTagTerminator | E::MissingTagUri => (
            "a tag that means nothing here",
            Some("text that begins with `!` needs quotes"),
        ),
        E::InvalidDocumentEnd | E::ExpectedDocumentStart => (
            "this does not belong to what stands above it",
            Some("check the indentation, or separate documents by `---`"),
        ),
        E::UnexpectedEof | E::UnexpectedEofBlockMapping | E::UnexpectedEofBlockSequence => {
            ("the file ends in the middle of a value", None)
        }
        other => {
            let text = other.to_string();
            let known = !text.is_empty();
            return (
                if known {
                    format!("this is not YAML: {text}")
                } else {
                    "this is not YAML".to_owned()
                },
                None,
            );
        }
    };
    (message.to_owned(), help)
}
