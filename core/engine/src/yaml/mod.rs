//! How YAML becomes values: the one module that knows the YAML crate, with a place for everything.
//!
//! [`parse`] makes a tree of [`Node`]s, each of which knows its line and column; [`read`] makes
//! any `Deserialize` type of a node, strictly: unknown keys are errors at the key, with hints,
//! and every message says what is expected and what is there.

mod access;
mod de;
mod fault;
mod node;
mod parse;
mod syntax;

pub use de::{read, unknown_key};
pub use node::{Content, Entry, Mark, Node};
pub use parse::parse;

#[cfg(test)]
mod tests;
