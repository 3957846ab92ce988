//! Whether a path matches a pattern of `*`, `**`, `?` and `[..]`.

use larder_core::{Error, Result};

/// A pattern, component by component, with the places that may have been reached in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    components: std::sync::Arc<[Component]>,
    /// How many components are used up; several answers because of `**`.
    at: Vec<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Component {
    /// `**`: any number of folders.
    Any,
    Text(Vec<Token>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// `*`
    Many,
    /// `?`
    One,
    /// `[a-z]` or, with `true`, `[!a-z]`
    Class(Vec<(char, char)>, bool),
    Char(char),
}

impl Pattern {
    /// Parses a pattern relative to some folder.
    pub(crate) fn new(text: &str) -> Result<Self> {
        let components = text
            .split('/')
            .filter(|component| !component.is_empty())
            .map(|component| match component {
                "**" => Ok(Component::Any),
                _ => tokens(component).map(Component::Text),
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            components: components.into(),
            at: vec![0],
        })
    }

    /// What remains of the pattern below an entry of the folder.
    pub(crate) fn enter(&self, name: &str) -> Self {
        let name: Vec<char> = name.chars().collect();
        let mut at = Vec::new();
        let mut open = self.at.clone();
        while let Some(place) = open.pop() {
            match self.components.get(place) {
                None => {}
                Some(Component::Any) => {
                    at.push(place);
                    open.push(place + 1);
                }
                Some(Component::Text(tokens)) if matches(tokens, &name) => at.push(place + 1),
                Some(Component::Text(_)) => {}
            }
        }
        at.sort_unstable();
        at.dedup();
        Self {
            components: self.components.clone(),
            at,
        }
    }

    /// Whether what was entered last matches the whole pattern.
    pub(crate) fn matches_here(&self) -> bool {
        let end = self.components.len();
        // `a/**` means everything below `a`.
        self.at
            .iter()
            .any(|place| *place == end || (*place + 1 == end && self.components[*place] == Component::Any))
    }

    /// Whether nothing further below can match.
    pub(crate) fn is_dead(&self) -> bool {
        self.at.iter().all(|place| *place == self.components.len())
    }
}

fn tokens(text: &str) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        tokens.push(match char {
            '*' => Token::Many,
            '?' => Token::One,
            '[' => {
                let not = chars.next_if(|c| matches!(c, '!' | '^')).is_some();
                let mut ranges = Vec::new();
                loop {
                    match chars.next() {
                        Some(']') if !ranges.is_empty() => break,
                        Some(from) => {
                            let is_range = chars.peek() == Some(&'-')
                                && chars.clone().nth(1).is_some_and(|after| after != ']');
                            let to = if is_range {
                                chars.nth(1).unwrap_or(from)
                            } else {
                                from
                            };
                            ranges.push((from, to));
                        }
                        None => {
                            return Err(
                                Error::definition(format!("`[` has no `]` in the pattern `{text}`"))
                                    .help("close it, such as `part-[0-9].parquet`"),
                            );
                        }
                    }
                }
                Token::Class(ranges, not)
            }
            char => Token::Char(char),
        });
    }
    Ok(tokens)
}

fn matches(tokens: &[Token], name: &[char]) -> bool {
    // The last star may swallow one more character each time the rest does not fit.
    let (mut token, mut char) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        let fits = match (tokens.get(token), name.get(char)) {
            (Some(Token::Many), _) => {
                star = Some((token, char));
                token += 1;
                continue;
            }
            (None, None) => return true,
            (Some(Token::One), Some(_)) => true,
            (Some(Token::Char(wanted)), Some(found)) => wanted == found,
            (Some(Token::Class(ranges, not)), Some(found)) => {
                ranges.iter().any(|(from, to)| from <= found && found <= to) != *not
            }
            _ => false,
        };
        if fits {
            token += 1;
            char += 1;
            continue;
        }
        match star {
            Some((at, from)) if from < name.len() => {
                star = Some((at, from + 1));
                (token, char) = (at + 1, from + 1);
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_match(pattern: &str, path: &str) -> bool {
        let start = Pattern::new(pattern).unwrap();
        path.split('/')
            .fold(start, |pattern, name| pattern.enter(name))
            .matches_here()
    }

    #[test]
    fn patterns() {
        for (pattern, path) in [
            ("*.parquet", "a.parquet"),
            ("a*b*c", "axxbyyc"),
            ("?.pq", "ä.pq"),
            ("**/*.pq", "x.pq"),
            ("**/*.pq", "a/b/x.pq"),
            ("a/**/b", "a/b"),
            ("a/**", "a/x/y"),
            ("dt=2024-0[1-3]/*", "dt=2024-02/x"),
            ("[!a]*", "b"),
            ("[]a]", "]"),
            ("a[-z]", "a-"),
        ] {
            assert!(is_match(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("*.parquet", "a/b.parquet"),
            ("*.parquet", "a.parquet.tmp"),
            ("?", "ab"),
            ("a*b*c", "axxbyy"),
            ("dt=2024-0[1-3]/*", "dt=2024-04/x"),
            ("[!a]*", "a"),
            ("a/**/b", "b"),
        ] {
            assert!(!is_match(pattern, path), "{pattern} {path}");
        }
        assert!(Pattern::new("a[").is_err());
    }
}
