//! What a YAML document holds, and where each part of it stands.

use std::fmt;

use larder_base::Place;

/// A line and a column in characters, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Mark {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl Mark {
    /// The place in a file.
    pub fn in_file(self, file: &str) -> Place {
        Place {
            file: file.to_owned(),
            line: self.line,
            column: self.column,
        }
    }
}

/// A value of a document and where it stands.
#[derive(Clone, PartialEq)]
pub struct Node {
    /// Where it begins.
    pub mark: Mark,
    /// What it is.
    pub content: Content,
    /// The text of a scalar as it is meant: without quotes, escapes resolved.
    pub text: Box<str>,
    /// Whether a scalar was written without quotes.
    pub plain: bool,
    /// The variables this scalar was expanded from; such text is never printed.
    pub secret: Option<Box<str>>,
}

/// What a node is, by the rules of YAML 1.2.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// An integer beyond `i64`.
    Uint(u64),
    /// A number with a fraction or an exponent, `.inf` or `.nan`.
    Float(f64),
    /// Text, in [`Node::text`].
    Str,
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file; keys are unique.
    Map(Vec<Entry>),
}

/// One key of a map and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: Box<str>,
    /// Where the key begins.
    pub key_mark: Mark,
    /// The value.
    pub value: Node,
}

impl Node {
    /// A node that is a list or a map.
    pub(super) fn collection(mark: Mark, content: Content) -> Self {
        Self {
            mark,
            content,
            text: "".into(),
            plain: false,
            secret: None,
        }
    }

    /// A scalar; without quotes its text decides what it is.
    pub fn scalar(mark: Mark, text: &str, plain: bool) -> Self {
        let content = if plain { resolve(text) } else { Content::Str };
        Self {
            mark,
            content,
            text: text.into(),
            plain,
            secret: None,
        }
    }

    /// What a program made, as if it all stood at one place.
    pub fn from_json(json: &serde_json::Value, mark: Mark) -> Self {
        use serde_json::Value as Json;
        let text = |text: &str, plain| Self::scalar(mark, text, plain);
        match json {
            Json::Null => text("", true),
            Json::Bool(b) => text(if *b { "true" } else { "false" }, true),
            Json::Number(n) => text(&n.to_string(), true),
            Json::String(s) => text(s, false),
            Json::Array(items) => {
                let items = items.iter().map(|item| Self::from_json(item, mark)).collect();
                Self::collection(mark, Content::List(items))
            }
            Json::Object(map) => {
                let entries = map.iter().map(|(key, value)| Entry {
                    key: key.as_str().into(),
                    key_mark: mark,
                    value: Self::from_json(value, mark),
                });
                Self::collection(mark, Content::Map(entries.collect()))
            }
        }
    }

    /// The entries of a map; none for everything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.content {
            Content::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; none for everything else.
    pub fn items(&self) -> &[Self] {
        match &self.content {
            Content::List(items) => items,
            _ => &[],
        }
    }

    /// The entry of a map under a key.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| &*entry.key == key)
    }

    /// The value of a map under a key.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The text of a scalar that is not null.
    pub fn as_text(&self) -> Option<&str> {
        match self.content {
            Content::Null | Content::List(_) | Content::Map(_) => None,
            _ => Some(&self.text),
        }
    }

    /// Whether it is nothing, `~` or `null`.
    pub fn is_null(&self) -> bool {
        self.content == Content::Null
    }

    /// What it is, for messages: `a list`.
    pub fn kind(&self) -> &'static str {
        match self.content {
            Content::Null => "nothing",
            Content::Bool(_) => "true or false",
            Content::Int(_) | Content::Uint(_) => "an integer",
            Content::Float(_) => "a number",
            Content::Str => "a string",
            Content::List(_) => "a list",
            Content::Map(_) => "a map",
        }
    }

    /// Calls a function with this node and everything below it; stops at the first error.
    ///
    /// # Errors
    /// Whatever the function returns.
    pub fn walk<E>(&self, visit: &mut impl FnMut(&Self) -> Result<(), E>) -> Result<(), E> {
        visit(self)?;
        match &self.content {
            Content::List(items) => items.iter().try_for_each(|item| item.walk(visit)),
            Content::Map(entries) => entries.iter().try_for_each(|entry| entry.value.walk(visit)),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.content {
            Content::List(items) => f.debug_list().entries(items).finish(),
            Content::Map(entries) => f
                .debug_map()
                .entries(entries.iter().map(|entry| (&entry.key, &entry.value)))
                .finish(),
            // A variable may hold a password, and a tree may end in a log.
            _ if self.secret.is_some() => f.write_str("***"),
            Content::Str => fmt::Debug::fmt(&self.text, f),
            Content::Null => f.write_str("null"),
            _ => f.write_str(&self.text),
        }
    }
}

/// What text without quotes is, by the core schema of YAML 1.2.
pub(super) fn resolve(text: &str) -> Content {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Content::Null,
        "true" | "True" | "TRUE" => return Content::Bool(true),
        "false" | "False" | "FALSE" => return Content::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Content::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Content::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Content::Float(f64::NEG_INFINITY),
        _ => {}
    }
    // Everything below begins with a digit, a sign or a point; most text ends here.
    let Some(b'0'..=b'9' | b'+' | b'-' | b'.') = text.bytes().next() else {
        return Content::Str;
    };
    let radix = |prefix: &str, radix| {
        text.strip_prefix(prefix)
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_alphanumeric()))
            .and_then(|digits| u64::from_str_radix(digits, radix).ok())
    };
    if let Some(number) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        return i64::try_from(number).map_or(Content::Uint(number), Content::Int);
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return match (text.parse::<i64>(), text.parse::<u64>(), text.parse::<f64>()) {
            (Ok(number), _, _) => Content::Int(number),
            (_, Ok(number), _) => Content::Uint(number),
            (_, _, Ok(number)) => Content::Float(number),
            _ => Content::Str,
        };
    }
    let number = digits
        .bytes()
        .all(|b| b.is_ascii_digit() || b".eE+-".contains(&b))
        && digits.bytes().any(|b| b.is_ascii_digit());
    match text.parse::<f64>() {
        Ok(number_value) if number => Content::Float(number_value),
        _ => Content::Str,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_without_quotes() {
        for (text, content) in [
            ("", Content::Null),
            ("null", Content::Null),
            ("true", Content::Bool(true)),
            ("yes", Content::Str),
            ("12", Content::Int(12)),
            ("-12", Content::Int(-12)),
            ("0x1F", Content::Int(31)),
            ("0o17", Content::Int(15)),
            ("18446744073709551615", Content::Uint(u64::MAX)),
            ("1.5", Content::Float(1.5)),
            ("1e3", Content::Float(1000.0)),
            ("-.inf", Content::Float(f64::NEG_INFINITY)),
            ("7d", Content::Str),
            ("2025-01-01", Content::Str),
            ("1.2.3", Content::Str),
            ("+", Content::Str),
            ("-", Content::Str),
            (".", Content::Str),
            ("inf", Content::Str),
            ("0x", Content::Str),
            ("0x+1", Content::Str),
        ] {
            assert_eq!(resolve(text), content, "{text}");
        }
    }
}
