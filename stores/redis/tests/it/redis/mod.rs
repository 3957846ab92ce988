//! Whether the store keeps its contract on a real Redis: one server, a cluster, sentinels.
//!
//! `cargo xtask test --only redis` finds or fetches the programs; without them these tests cannot run, and are ignored.
//! Every test starts servers of its own on free ports of this machine and stops them.

mod access;
mod cluster;
mod cluster_kit;
mod common;
mod conformance;
mod crash;
mod damage;
mod faults;
mod layout;
mod meters;
mod recovery;
mod script;
mod sentinel;
mod server;
mod watched;
