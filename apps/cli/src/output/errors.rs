//! How is an error told, with the lines of the files it is about?

use std::error::Error as _;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use larder::{Diagnostic, Error};
use serde_json::{Value as Json, json};

use super::Format;

/// The text for stderr. `dir` is the project's folder, where named files may be found.
pub(crate) fn render_error(error: &Error, format: Format, dir: &Path, verbose: bool) -> String {
    match format {
        Format::Json => {
            let mut text = serde_json::to_string_pretty(&document(error)).unwrap_or_default();
            text.push('\n');
            text
        }
        _ => for_people(error, dir, verbose),
    }
}

/// `{error: {kind, message, help, diagnostics, causes}}`
fn document(error: &Error) -> Json {
    let diagnostics: Vec<Json> = error.diagnostics().iter().map(diagnostic_json).collect();
    json!({ "error": {
        "kind": error.kind().as_str(),
        "message": message(error),
        "help": error.remedy(),
        "diagnostics": diagnostics,
        "causes": causes(error),
    }})
}

/// A finding as JSON: place and message side by side.
pub(crate) fn diagnostic_json(diagnostic: &Diagnostic) -> Json {
    let place = diagnostic.place.as_ref();
    json!({
        "file": place.map(|p| p.file.as_str()),
        "line": place.map(|p| p.line),
        "column": place.map(|p| p.column),
        "message": diagnostic.message,
        "help": diagnostic.help,
    })
}

/// The message with its context, without the remedy, which stands on a line of its own.
fn message(error: &Error) -> String {
    let text = error.to_string();
    let help = error.remedy().map(|help| format!("; {help}")).unwrap_or_default();
    text.strip_suffix(help.as_str())
        .map(str::to_owned)
        .unwrap_or(text)
}

fn causes(error: &Error) -> Vec<String> {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    causes
}

fn for_people(error: &Error, dir: &Path, verbose: bool) -> String {
    let mut out = String::new();
    match error.diagnostics() {
        [] => {
            let _ = writeln!(out, "error: {}", message(error));
        }
        [one] => {
            let _ = writeln!(out, "error: {}", one.message);
            excerpt(&mut out, one, dir);
        }
        many => {
            for diagnostic in many {
                let _ = writeln!(out, "error: {}", diagnostic.message);
                excerpt(&mut out, diagnostic, dir);
                out.push('\n');
            }
            let _ = writeln!(out, "error: {}; nothing was changed", error.headline());
        }
    }
    for cause in causes(error) {
        let _ = writeln!(out, "  because: {cause}");
    }
    if let Some(help) = error.remedy() {
        let _ = writeln!(out, "  help: {help}");
    }
    if verbose {
        let _ = writeln!(out, "  kind: {}", error.kind());
        let _ = writeln!(out, "  details: {error:?}");
    }
    out
}

/// The place, its line and a caret under its column, and the remedy.
fn excerpt(out: &mut String, diagnostic: &Diagnostic, dir: &Path) {
    if let Some(place) = &diagnostic.place {
        let _ = writeln!(out, "  --> {place}");
        if let Some(line) = source_line(&place.file, place.line, dir) {
            let number = place.line.to_string();
            let margin = " ".repeat(number.len());
            let before = (place.column as usize).saturating_sub(1);
            // Tabs stay tabs, so that the caret stands under its column on every terminal.
            let pad: String = line
                .chars()
                .take(before)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            let missing = before.saturating_sub(pad.chars().count());
            let _ = writeln!(out, " {margin} |");
            let _ = writeln!(out, " {number} | {line}");
            let _ = writeln!(out, " {margin} | {pad}{}^", " ".repeat(missing));
        }
    }
    if let Some(help) = &diagnostic.help {
        let _ = writeln!(out, "  help: {help}");
    }
}

fn source_line(file: &str, line: u32, dir: &Path) -> Option<String> {
    let path = [PathBuf::from(file), dir.join(file)]
        .into_iter()
        // A pipe would be waited for.
        .find(|path| path.is_file())?;
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().nth((line as usize).checked_sub(1)?)?;
    Some(masked(line.trim_end()))
}

/// Keys whose values nobody may read over somebody's shoulder, or in the log of a build.
const SECRET: [&str; 5] = ["password", "secret", "token", "access_key", "credential"];

/// A line of a file with its secrets as stars, each character one, so that columns stay: values of keys that sound like
/// secrets, and what stands before the `@` of a URL or behind its `?`. Variables (`${NAME}`) are no secrets.
fn masked(line: &str) -> String {
    let mut chars: Vec<char> = line.chars().collect();
    let lower: Vec<char> = chars.iter().map(char::to_ascii_lowercase).collect();
    let find = |from: usize, what: &str| {
        let what: Vec<char> = what.chars().collect();
        (from..=lower.len().saturating_sub(what.len())).find(|at| lower[*at..].starts_with(&what))
    };
    for word in SECRET {
        let mut from = 0;
        while let Some(at) = find(from, word) {
            from = at + word.len();
            // The rest of the key, and its colon.
            let rest = chars[from..]
                .iter()
                .position(|c| !(c.is_alphanumeric() || matches!(c, '_' | '"' | '\'')));
            let Some(colon) = rest.map(|rest| from + rest).filter(|at| chars[*at] == ':') else {
                continue;
            };
            let Some(start) = (colon + 1..chars.len()).find(|at| chars[*at] != ' ') else {
                break;
            };
            let end = match chars[start] {
                quote @ ('"' | '\'') => (start + 1..chars.len()).rfind(|at| chars[*at] == quote),
                // The brace of a variable ends no value.
                '$' => Some(
                    (start..chars.len())
                        .find(|at| chars[*at] == '}')
                        .map_or(chars.len(), |at| at + 1),
                ),
                _ => (start..chars.len()).find(|at| matches!(chars[*at], ',' | '}' | ' ')),
            };
            from = star(&mut chars, start, end.unwrap_or(lower.len()));
        }
    }
    let mut from = 0;
    while let Some(at) = find(from, "://") {
        let start = at + 3;
        // A URL ends with its quote or at white space. A password may hold an `@`, so the last one counts.
        let end = (start..chars.len())
            .find(|at| matches!(chars[*at], '"' | '\'' | ' ' | '\t'))
            .unwrap_or(chars.len());
        if let Some(at) = (start..end).rfind(|at| chars[*at] == '@') {
            from = star(&mut chars, start, at);
        }
        if let Some(at) = (start.max(from)..end).find(|at| chars[*at] == '?') {
            star(&mut chars, at + 1, end);
        }
        from = end;
    }
    chars.into_iter().collect()
}

/// Hides what is no variable, and answers where it ended.
fn star(chars: &mut [char], start: usize, end: usize) -> usize {
    let mut at = start;
    while at < end {
        let variable = chars[at] == '$' && chars.get(at + 1) == Some(&'{');
        match variable.then(|| (at..end).find(|at| chars[*at] == '}')).flatten() {
            Some(closed) => at = closed + 1,
            None => {
                if !matches!(chars[at], '"' | '\'' | ':') {
                    chars[at] = '*';
                }
                at += 1;
            }
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use larder::{ErrorKind, Place};

    use super::*;

    #[test]
    fn secrets_are_stars() {
        for (line, shown) in [
            (
                "online: { type: redis, password: tPart, pasword: x }",
                "online: { type: redis, password: *****, pasword: x }",
            ),
            ("  password: \"a, b\"   # mine", "  password: \"****\"   # mine"),
            ("  password: ${REDIS_PASSWORD}", "  password: ${REDIS_PASSWORD}"),
            ("  secret_access_key: abc", "  secret_access_key: ***"),
            (
                "url: \"postgresql://me:p@ss@db:5432/x?a=b\", tls: {}",
                "url: \"postgresql://**:****@db:5432/x?***\", tls: {}",
            ),
            (
                "url: redis://larder:${PW}@h:1/0",
                "url: redis://******:${PW}@h:1/0",
            ),
            ("url: \"redis://h:1/0\"", "url: \"redis://h:1/0\""),
            ("root: https://h/x?sig=${S}&a", "root: https://h/x?****${S}**"),
            (
                "description: the token is spent",
                "description: the token is spent",
            ),
            ("password:", "password:"),
        ] {
            assert_eq!(masked(line), shown);
        }
    }

    #[test]
    fn the_caret_stands_under_the_column() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.yaml"), "x:\n  - type: int46\n").unwrap();
        let place = Place {
            file: "a.yaml".into(),
            line: 2,
            column: 11,
        };
        let finding = Diagnostic::new("there is no type `int46`")
            .at(Some(place))
            .help("did you mean `int64`?");
        let error = Error::from_diagnostics(ErrorKind::Definition, "definitions", vec![finding]);
        let text = render_error(&error, Format::Table, dir.path(), false);
        assert_eq!(
            text,
            "error: there is no type `int46`\n  --> a.yaml:2:11\n   |\n 2 |   - type: int46\n   |           ^\n  \
             help: did you mean `int64`?\n"
        );
    }

    #[test]
    fn json_has_places_and_causes() {
        let cause = std::io::Error::other("disk full");
        let error = Error::unavailable("cannot write")
            .help("free some space")
            .with("file", "x")
            .source(cause);
        let text = render_error(&error, Format::Json, Path::new("."), false);
        let json: Json = serde_json::from_str(&text).unwrap();
        assert_eq!(json["error"]["kind"], "unavailable");
        assert_eq!(json["error"]["message"], "cannot write (file=x)");
        assert_eq!(json["error"]["help"], "free some space");
        assert_eq!(json["error"]["causes"][0], "disk full");
        assert!(json["error"]["diagnostics"].as_array().unwrap().is_empty());
    }
}
