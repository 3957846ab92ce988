//! How a node becomes a value: strict, with the place of every mistake.

use std::cell::RefCell;

use larder_base::Diagnostic;
use larder_base::error::{nearest, suggest};
use serde::de::{self, Error as _, Unexpected, Visitor};

use super::access::{Entries, Items, Variant};
use super::fault::Fault;
use super::node::{Content, Entry, Node, resolve};

/// Reads a value of a node.
///
/// Unknown keys do not end the reading, so that all of them are reported.
///
/// # Errors
/// Every unknown key, and the first other mistake, with places in `file`.
pub fn read<'de, T: de::Deserialize<'de>>(file: &str, node: &'de Node) -> Result<T, Vec<Diagnostic>> {
    let trace = Trace::new(node);
    let read = T::deserialize(De::root(node, &trace));
    let mut found = trace.unknown.into_inner();
    let value = match read {
        Ok(value) => Some(value),
        Err(fault) => {
            // A misspelt key leaves the right one missing; one message about it is enough.
            let explained = fault
                .missing()
                .is_some_and(|missing| found.iter().any(|(_, meant)| meant.as_deref() == Some(missing)));
            if !explained {
                found.push((misspelt(node, &fault).unwrap_or(fault).hide(&trace.secrets), None));
            }
            None
        }
    };
    match value {
        Some(value) if found.is_empty() => Ok(value),
        _ => Err(found
            .into_iter()
            .map(|(fault, _)| fault.into_diagnostic(file))
            .collect()),
    }
}

/// A key that was taken for something else, such as an option of a source, where a key that
/// must be there is missing.
fn misspelt(node: &Node, fault: &Fault) -> Option<Fault> {
    let missing = fault.missing().filter(|_| fault.mark() == Some(node.mark))?;
    let near = |entry: &&Entry| nearest(&entry.key, [missing]).is_some();
    let entry = node.entries().iter().find(near)?;
    let text = format!("unknown key `{}`; did you mean `{missing}`?", entry.key);
    Some(Fault::new(text).at_mark(entry.key_mark))
}

/// The message for a key that is not one of those known.
pub fn unknown_key(file: &str, entry: &Entry, known: &[&str]) -> Diagnostic {
    Diagnostic::new(format!("unknown key `{}`", entry.key))
        .at(Some(entry.key_mark.in_file(file)))
        .help(suggest(&entry.key, known.iter().copied()))
}

/// Keys of the long forms whose visitors do not tell which keys they know.
const LONG_FORMS: [&[&str]; 4] = [
    &["ref", "view", "as", "keys", "features", "default", "default_null"],
    &["column", "trusted_from"],
    &["store"],
    &["path", "set"],
];

/// What one reading finds out on its way.
pub(super) struct Trace {
    /// Unknown keys, with the key that was probably meant.
    unknown: RefCell<Vec<(Fault, Option<String>)>>,
    /// Mistakes with places: a plugin's deserializer passes errors on as text only.
    pub(super) placed: RefCell<Vec<Fault>>,
    /// Texts from variables.
    secrets: Vec<Box<str>>,
}

impl Trace {
    fn new(node: &Node) -> Self {
        let mut secrets = Vec::new();
        let walked: Result<(), std::convert::Infallible> = node.walk(&mut |node| {
            // Shorter ones are numbers and switches; replacing those would garble every message.
            if node.secret.is_some() && node.text.len() >= 4 {
                secrets.push(node.text.clone());
            }
            Ok(())
        });
        let Ok(()) = walked;
        // The longest first, else a short one that is part of it leaves the rest of it readable.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self {
            unknown: RefCell::default(),
            placed: RefCell::default(),
            secrets,
        }
    }

    fn place(&self, fault: Fault, node: &Node) -> Fault {
        if fault.mark().is_some() {
            return fault;
        }
        let text = fault.to_string();
        if let Some(known) = self
            .placed
            .borrow()
            .iter()
            .rev()
            .find(|placed| placed.to_string() == text)
        {
            return known.clone();
        }
        let fault = fault.at(node);
        self.placed.borrow_mut().push(fault.clone());
        fault
    }
}

/// An entry, its siblings, and the keys that are known there.
type Under<'de> = (&'de Entry, &'de [Entry], Option<&'static [&'static str]>);

/// A node on its way to a value.
#[derive(Clone, Copy)]
pub(super) struct De<'de, 't> {
    pub(super) node: &'de Node,
    pub(super) trace: &'t Trace,
    /// The key it stands under, its neighbours and the keys known there.
    pub(super) under: Option<Under<'de>>,
}

impl<'de, 't> De<'de, 't> {
    pub(super) fn root(node: &'de Node, trace: &'t Trace) -> Self {
        Self {
            node,
            trace,
            under: None,
        }
    }

    pub(super) fn place<T>(self, result: Result<T, Fault>) -> Result<T, Fault> {
        result.map_err(|fault| self.trace.place(fault, self.node))
    }

    fn wrong<V: Visitor<'de>, T>(self, visitor: &V) -> Result<T, Fault> {
        self.place(Err(Fault::invalid_type(self.unexpected(), visitor)))
    }

    fn unexpected(&self) -> Unexpected<'de> {
        match self.node.content {
            Content::Null => Unexpected::Unit,
            Content::Bool(b) => Unexpected::Bool(b),
            Content::Int(n) => Unexpected::Signed(n),
            Content::Uint(n) => Unexpected::Unsigned(n),
            Content::Float(x) => Unexpected::Float(x),
            Content::Str => Unexpected::Str(&self.node.text),
            Content::List(_) => Unexpected::Seq,
            Content::Map(_) => Unexpected::Map,
        }
    }

    /// What a scalar is where a bool or number is wanted: a variable in quotes counts as plain,
    /// because inside of `{ }` it cannot stand without.
    fn resolved(&self) -> Content {
        match self.node.content {
            Content::List(_) | Content::Map(_) => Content::Null,
            Content::Str if self.node.secret.is_some() => resolve(&self.node.text),
            ref scalar => scalar.clone(),
        }
    }

    fn number<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let result = match self.resolved() {
            Content::Int(n) => visitor.visit_i64(n),
            Content::Uint(n) => visitor.visit_u64(n),
            _ if matches!(&self.node.content, Content::Str) && is_number(&self.node.text) => {
                Err(Fault::new("expected a number, found a string; drop the quotes"))
            }
            _ => return self.wrong(&visitor),
        };
        self.place(result)
    }

    pub(super) fn map<V: Visitor<'de>>(
        self,
        visitor: V,
        fields: Option<&'static [&'static str]>,
    ) -> Result<V::Value, Fault> {
        let Content::Map(entries) = &self.node.content else {
            return match fields {
                Some(fields) if !fields.is_empty() => self.place(Err(Fault::new(format!(
                    "expected a map with keys such as {}, found {}",
                    fields.iter().take(3).copied().collect::<Vec<_>>().join(", "),
                    self.node.kind()
                )))),
                _ => self.wrong(&visitor),
            };
        };
        // `type` goes first: it decides what a plugin's other keys are.
        let first = entries.iter().position(|entry| &*entry.key == "type");
        let access = Entries {
            entries,
            first,
            step: 0,
            value: None,
            fields,
            trace: self.trace,
        };
        self.place(visitor.visit_map(access))
    }
}

fn is_number(text: &str) -> bool {
    matches!(
        resolve(text),
        Content::Int(_) | Content::Uint(_) | Content::Float(_)
    )
}

macro_rules! numbers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.number(visitor)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for De<'de, '_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let result = match &self.node.content {
            Content::Null => visitor.visit_unit(),
            Content::Bool(b) => visitor.visit_bool(*b),
            Content::Int(n) => visitor.visit_i64(*n),
            Content::Uint(n) => visitor.visit_u64(*n),
            Content::Float(x) => visitor.visit_f64(*x),
            Content::Str => visitor.visit_borrowed_str(&self.node.text),
            Content::List(_) => return self.deserialize_seq(visitor),
            Content::Map(_) => return self.map(visitor, None),
        };
        self.place(result)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if let Content::Bool(b) = self.resolved() {
            return self.place(visitor.visit_bool(b));
        }
        let old = match &*self.node.text {
            "yes" | "Yes" | "on" | "On" | "y" | "Y" => "true",
            "no" | "No" | "off" | "Off" | "n" | "N" => "false",
            _ => return self.wrong(&visitor),
        };
        self.place(Err(Fault::new(format!(
            "expected true or false, found a string; YAML 1.2 wants `{old}`"
        ))))
    }

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.resolved() {
            Content::Float(x) => self.place(visitor.visit_f64(x)),
            _ => self.number(visitor),
        }
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    // `description: 123` and `name: true` are text to everybody but a YAML parser.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node.as_text() {
            Some(text) => self.place(visitor.visit_borrowed_str(text)),
            None => self.wrong(&visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_any(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.node.is_null() {
            return self.place(visitor.visit_none());
        }
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.node.is_null() {
            return self.place(visitor.visit_unit());
        }
        self.wrong(&visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.place(visitor.visit_newtype_struct(self))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Content::List(items) = &self.node.content else {
            let help = match self.node.as_text() {
                Some(text) if self.node.secret.is_none() => format!("; write [{text}]"),
                _ => String::new(),
            };
            return self.place(Err(Fault::new(format!(
                "expected a list, found {}{help}",
                self.node.kind()
            ))));
        };
        self.place(visitor.visit_seq(Items {
            items: items.iter(),
            trace: self.trace,
        }))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.map(visitor, None)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.map(visitor, Some(fields))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let result = match (&self.node.content, self.node.as_text()) {
            (Content::Map(entries), _) if entries.len() == 1 => {
                let entry = &entries[0];
                visitor.visit_enum(Variant {
                    key: &entry.key,
                    key_node: None,
                    value: Some(De::root(&entry.value, self.trace)),
                })
            }
            (_, Some(text)) => visitor.visit_enum(Variant {
                key: text,
                key_node: Some(self),
                value: None,
            }),
            _ => Err(Fault::new(format!(
                "expected one of {}, found {}",
                variants.join(", "),
                self.node.kind()
            ))),
        };
        self.place(result)
    }

    // What nobody reads is a mistake: this is where unknown keys are found.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if let Some((entry, neighbours, fields)) = self.under {
            let known = fields.or_else(|| long_form(entry, neighbours));
            let mut fault = match known {
                Some(known) => <Fault as de::Error>::unknown_field(&entry.key, known),
                None => Fault::new(format!("unknown key `{}`", entry.key)),
            };
            fault = fault.at_mark(entry.key_mark);
            let meant = known.and_then(|known| nearest(&entry.key, known.iter().copied()));
            self.trace
                .unknown
                .borrow_mut()
                .push((fault, meant.map(str::to_owned)));
        }
        visitor.visit_unit()
    }
}

/// The long form whose keys are most like those of a map.
fn long_form(wrong: &Entry, neighbours: &[Entry]) -> Option<&'static [&'static str]> {
    LONG_FORMS
        .into_iter()
        .map(|known| {
            let shared = neighbours
                .iter()
                .filter(|entry| known.contains(&&*entry.key))
                .count();
            let near = usize::from(nearest(&wrong.key, known.iter().copied()).is_some());
            (2 * shared + near, known)
        })
        .filter(|(score, _)| *score > 0)
        .max_by_key(|(score, _)| *score)
        .map(|(_, known)| known)
}
