#![doc = include_str!("../README.md")]
//! # Map of this crate: from a request to bytes on a wire
//!
//! | module | question |
//! | --- | --- |
//! | `config` | which options there are |
//! | `store` | how the contract is kept |
//! | `layout` | what a stored key looks like |
//! | `read`, `cluster::read` | how rows are read |
//! | `write`, `script` | how rows are written, and which wins |
//! | `marks` | whose data this is |
//! | `sweep` | how a retired view leaves |
//! | `health` | what will hurt later |
//! | `cluster`, `cluster::slots` | which node serves what |
//! | `connect` | how a server is reached: addresses, TLS, links that heal, sentinels |
//! | `fault` | what a failure means |

mod cluster;
mod config;
mod connect;
mod fault;
mod health;
mod layout;
mod marks;
mod read;
mod script;
mod store;
mod sweep;
mod write;

pub use config::{Nodes, PLUGIN, ReadFrom, RedisConfig, SentinelConfig, WaitConfig};
pub use larder_remote::TlsConfig;
pub use store::RedisStore;
