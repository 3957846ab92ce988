//! Why a node is not the value that is wanted, and where that was found out.

use std::fmt;

use larder_base::Diagnostic;
use larder_base::error::suggest;
use serde::de::{self, Expected, Unexpected};

use super::node::{Mark, Node};

/// The error of deserialization; placed by the innermost deserializer that sees it.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    message: String,
    /// What may be said where the value must not be shown; none when nothing may.
    public: Option<String>,
    mark: Option<Mark>,
    missing: Option<&'static str>,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            public: Some(message.clone()),
            message,
            mark: None,
            missing: None,
        }
    }

    /// The key that is missing, where that is the mistake.
    pub(super) fn missing(&self) -> Option<&'static str> {
        self.missing
    }

    /// Sets the place unless it is known, and forgets the value if it came from a variable.
    pub(super) fn at(mut self, node: &Node) -> Self {
        if self.mark.is_none() {
            if let Some(names) = &node.secret {
                let names = names.as_ref();
                self.message = match self.public.take() {
                    Some(public) => format!("{public} (the value of {names})"),
                    None => format!("the value of {names} is not what is expected here"),
                };
            }
            self.mark = Some(node.mark);
        }
        self
    }

    /// Sets the place unless it is known.
    pub(super) fn at_mark(mut self, mark: Mark) -> Self {
        self.mark.get_or_insert(mark);
        self
    }

    pub(super) fn mark(&self) -> Option<Mark> {
        self.mark
    }

    /// Replaces text that must not be shown.
    pub(super) fn hide(mut self, secrets: &[Box<str>]) -> Self {
        for secret in secrets {
            if self.message.contains(&**secret) {
                self.message = self.message.replace(&**secret, "***");
            }
        }
        self
    }

    pub(super) fn into_diagnostic(self, file: &str) -> Diagnostic {
        // Messages of larder's own types end in `; remedy`.
        let (message, help) = match self.message.split_once("; ") {
            Some((message, help)) => (message.to_owned(), Some(help.to_owned())),
            None => (self.message, None),
        };
        Diagnostic {
            place: self.mark.map(|mark| mark.in_file(file)),
            message,
            help,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            message: message.to_string(),
            public: None,
            mark: None,
            missing: None,
        }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("expected {}, found {}", readable(expected), kind(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let public = format!("expected {}", readable(expected));
        let shown = match found {
            Unexpected::Bool(b) => b.to_string(),
            Unexpected::Unsigned(n) => n.to_string(),
            Unexpected::Signed(n) => n.to_string(),
            Unexpected::Float(x) => x.to_string(),
            Unexpected::Str(text) => format!("`{text}`"),
            other => kind(other).to_owned(),
        };
        Self {
            message: format!("{public}, found {shown}"),
            public: Some(public),
            mark: None,
            missing: None,
        }
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::new(format!("expected {}, found {length} items", readable(expected)))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self {
            message: format!(
                "`{variant}` is not one of the choices here; {}",
                suggest(variant, expected.iter().copied())
            ),
            public: Some(format!("expected one of {}", expected.join(", "))),
            mark: None,
            missing: None,
        }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!(
            "unknown key `{field}`; {}",
            suggest(field, expected.iter().copied())
        ))
    }

    fn missing_field(field: &'static str) -> Self {
        Self {
            missing: Some(field),
            ..Self::new(format!("the key `{field}` is missing"))
        }
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(format!("the key `{field}` stands twice"))
    }
}

/// What was found, without its value.
fn kind(found: Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(true) => "`true`",
        Unexpected::Bool(false) => "`false`",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "an integer",
        Unexpected::Float(_) => "a number",
        Unexpected::Char(_) | Unexpected::Str(_) => "a string",
        Unexpected::Bytes(_) => "bytes",
        Unexpected::Unit | Unexpected::Option => "nothing",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a map",
        _ => "something else",
    }
}

/// Serde's words for what is expected, as people say it.
fn readable(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    match text.as_str() {
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "i8" => format!("an integer from {} to {}", i8::MIN, i8::MAX),
        "i16" => format!("an integer from {} to {}", i16::MIN, i16::MAX),
        "i32" => format!("an integer from {} to {}", i32::MIN, i32::MAX),
        "i64" | "i128" | "isize" => "an integer".to_owned(),
        "u8" => format!("an integer from 0 to {}", u8::MAX),
        "u16" => format!("an integer from 0 to {}", u16::MAX),
        "u32" => format!("an integer from 0 to {}", u32::MAX),
        "u64" | "u128" | "usize" => "an integer from 0 up".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "path string" => "a path".to_owned(),
        "unit" => "nothing".to_owned(),
        _ => match text.split_once(' ') {
            Some(("struct", _)) => "a map".to_owned(),
            Some(("enum", _)) => "one of its choices".to_owned(),
            _ => text,
        },
    }
}
