//! Whether the store keeps its contract on real files.

mod append;
mod common;
mod conformance;
mod equal;
mod files;
mod types;
mod window;
