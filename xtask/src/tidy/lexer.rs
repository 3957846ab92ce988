//! Which characters of a Rust file are code, rather than comments, literals or tests?

/// The same text with comments and the contents of literals replaced by spaces; lines stay where they are.
pub(crate) fn code(source: &str) -> String {
    let characters: Vec<char> = source.chars().collect();
    let mut masked = String::with_capacity(source.len());
    let mut at = 0;
    while at < characters.len() {
        let end = literal_end(&characters, at);
        if end == at {
            masked.push(characters[at]);
            at += 1;
        } else {
            masked.extend(
                characters[at..end]
                    .iter()
                    .map(|&character| if character == '\n' { '\n' } else { ' ' }),
            );
            at = end;
        }
    }
    masked
}

/// [`code`] without the items that only tests see.
pub(crate) fn library_code(source: &str) -> String {
    let masked = code(source);
    let mut kept = String::with_capacity(masked.len());
    let mut rest = masked.as_str();
    while let Some(start) = rest.find("#[cfg(test)]") {
        let (before, item) = rest.split_at(start);
        let length = item_length(item);
        kept.push_str(before);
        kept.extend(
            item[..length]
                .chars()
                .map(|character| if character == '\n' { '\n' } else { ' ' }),
        );
        rest = &item[length..];
    }
    kept + rest
}

/// Up to the `;` or the matching `}` of the item that starts here.
fn item_length(item: &str) -> usize {
    let mut depth = 0_usize;
    for (at, character) in item.char_indices() {
        match character {
            ';' if depth == 0 => return at + 1,
            '{' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    item.len()
}

/// Where the comment or literal that starts at `at` ends; `at` itself when none starts there.
fn literal_end(characters: &[char], at: usize) -> usize {
    let peek = |offset: usize| characters.get(at + offset).copied().unwrap_or('\0');
    match characters[at] {
        '/' if peek(1) == '/' => find(characters, at, |c, i| c[i] == '\n').unwrap_or(characters.len()),
        '/' if peek(1) == '*' => block_comment_end(characters, at),
        '"' => string_end(characters, at),
        '\'' => character_end(characters, at),
        'r' if !follows_identifier(characters, at) => raw_string_end(characters, at),
        _ => at,
    }
}

fn find(characters: &[char], from: usize, hit: impl Fn(&[char], usize) -> bool) -> Option<usize> {
    (from..characters.len()).find(|&index| hit(characters, index))
}

fn block_comment_end(characters: &[char], start: usize) -> usize {
    let (mut depth, mut at) = (0_usize, start);
    while at + 1 < characters.len() {
        match (characters[at], characters[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') if depth == 1 => return at + 2,
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    characters.len()
}

fn string_end(characters: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < characters.len() {
        match characters[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    characters.len()
}

/// A character literal, as opposed to a lifetime.
fn character_end(characters: &[char], start: usize) -> usize {
    match (characters.get(start + 1), characters.get(start + 2)) {
        (Some('\\'), Some(_)) => {
            find(characters, start + 3, |c, i| c[i] == '\'').map_or(start, |end| end + 1)
        }
        (Some(_), Some('\'')) => start + 3,
        _ => start,
    }
}

fn raw_string_end(characters: &[char], start: usize) -> usize {
    let hashes = characters[start + 1..]
        .iter()
        .take_while(|&&character| character == '#')
        .count();
    let quote = start + 1 + hashes;
    if characters.get(quote) != Some(&'"') {
        return start;
    }
    let closes = |c: &[char], i: usize| {
        c[i] == '"'
            && c.get(i + 1..i + 1 + hashes)
                .is_some_and(|tail| tail.iter().all(|&character| character == '#'))
    };
    find(characters, quote + 1, closes).map_or(characters.len(), |end| end + 1 + hashes)
}

/// Whether the `r` here ends a name, as in `for`; `b` and `c` may stand before a raw string.
fn follows_identifier(characters: &[char], at: usize) -> bool {
    let is_name = |index: usize| characters[index].is_alphanumeric() || characters[index] == '_';
    match at {
        0 => false,
        1 => is_name(0) && !matches!(characters[0], 'b' | 'c'),
        _ => is_name(at - 1) && (!matches!(characters[at - 1], 'b' | 'c') || is_name(at - 2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn hides(source: &str) {
        let masked = code(source);
        assert!(!masked.contains("hidden"), "{masked:?}");
        assert!(masked.contains("shown"), "{masked:?}");
        assert_eq!(masked.lines().count(), source.lines().count());
    }

    #[test]
    fn comments_and_literals_are_hidden() {
        hides("// hidden\nshown");
        hides("/* hidden /* hidden */ hidden */ shown");
        hides(r#"let x = "hidden \" hidden"; shown"#);
        hides(r###"let x = r#"hidden " hidden"#; shown"###);
        hides(r###"let x = br##"hidden "# hidden"##; shown"###);
        hides("let x = b\"hidden\"; shown");
        hides("shown; let x = \"hid\nhidden");
    }

    #[test]
    fn lifetimes_and_quotes_do_not_hide_code() {
        hides("fn f<'a>(x: &'a str) { shown } // hidden");
        hides(r#"let x = ['"', '\'', '\\', '\u{41}']; shown // hidden"#);
        hides("for r in 0..2 { shown } /* hidden */");
        hides("let r#type = shown; // hidden");
    }

    #[test]
    fn tests_are_not_library_code() {
        let kept =
            library_code("fn shown() {}\n#[cfg(test)]\nmod tests { fn hidden() { {} } }\nfn after() {}\n");
        assert!(
            kept.contains("shown") && kept.contains("after") && !kept.contains("hidden"),
            "{kept}"
        );
        let kept = library_code("#[cfg(test)]\nmod hidden;\nfn shown() {}\n");
        assert!(kept.contains("shown") && !kept.contains("hidden"), "{kept}");
    }
}
