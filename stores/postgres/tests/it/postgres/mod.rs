//! Whether the store keeps its contract on a real Postgres.
//!
//! `cargo xtask test --only postgres` finds or fetches the programs; without them these tests cannot run, and are ignored.
//! Every test starts a server of its own on a free port of this machine and stops it.

mod access;
mod common;
mod conformance;
mod crash;
mod damage;
mod faults;
mod locks;
mod meters;
mod schema;
mod server;
