//! Whether the store keeps its contract on a server that speaks like DynamoDB.
//!
//! `cargo xtask test --only dynamodb` builds the server's program; without it these tests cannot run, and are ignored.
//! Every test starts a server of its own on a free port of this machine and stops it.

mod common;
mod conformance;
mod crash;
mod faults;
mod health;
mod meters;
mod server;
mod sizes;
mod stub;
mod tables;
mod throttling;
