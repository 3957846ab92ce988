#![doc = include_str!("../README.md")]
//! # Map of this crate: from a request to items of a table
//!
//! | module | question |
//! | --- | --- |
//! | `config` | which options there are |
//! | `store` | how the contract is kept |
//! | `layout` | what an item looks like, and how large it may be |
//! | `read` | how rows are read |
//! | `write`, `batch` | how rows are written, and which wins |
//! | `table` | how tables come to be, and get their identity |
//! | `sweep` | how a retired view leaves |
//! | `health` | what will hurt later |
//! | `connect` | how AWS, or what speaks like it, is reached |
//! | `call` | how a request is sent: limits, and when to try again |
//! | `fault` | what a failure means |

mod batch;
mod call;
mod config;
mod connect;
mod fault;
mod health;
mod layout;
mod read;
mod store;
mod sweep;
mod table;
mod write;

pub use config::{Billing, DynamoDbConfig, PLUGIN, WriteMode};
pub use store::DynamoDbStore;
