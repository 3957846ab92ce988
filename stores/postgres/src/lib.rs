#![doc = include_str!("../README.md")]
//! # Map of this crate: from a request to one statement
//!
//! | module | question |
//! | --- | --- |
//! | `config`, `url` | which options there are |
//! | `store` | how the contract is kept |
//! | `sql` | which names and statements there are |
//! | `schema` | how tables come to be, change, and get their identity |
//! | `read` | how rows are read |
//! | `write`, `batch` | how rows are written, and which wins |
//! | `sweep` | how retired and expired rows leave |
//! | `health` | what will hurt later |
//! | `connect` | how a server is reached: addresses, TLS, a pool with limits |
//! | `fault` | what a failure means |

mod batch;
mod config;
mod connect;
mod fault;
mod health;
mod read;
mod schema;
mod sql;
mod store;
mod sweep;
mod url;
mod write;

pub use config::{PLUGIN, PostgresConfig};
pub use larder_remote::TlsConfig;
pub use store::PostgresStore;
