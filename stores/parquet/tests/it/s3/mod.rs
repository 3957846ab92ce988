//! Whether the store keeps its contract on a real S3 server, and on one that fails.
//!
//! `cargo xtask test --only s3` starts the server; without one these tests cannot run, and are ignored.

mod append;
mod compact;
mod conformance;
mod faults;
mod proxy;
mod reads;
mod world;
