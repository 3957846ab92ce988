//! Whether the store keeps its contract on real files.

mod append;
mod common;
mod compact;
mod compact_crash;
mod conformance;
mod equal;
mod files;
mod leftovers;
mod outputs;
mod refused;
#[cfg(feature = "s3")]
mod s3;
mod types;
mod window;
