#![doc = include_str!("../README.md")]
//! # Map of this crate: where rows live, and which thread may touch them
//!
//! | module | question |
//! | --- | --- |
//! | `config` | which options there are |
//! | `store` | how the contract is kept |
//! | `scan` | how a view is walked in key order |
//! | `folder` | which folders are open in this process |
//! | `env` | how an LMDB environment is opened, read and resized |
//! | `transaction` | what a transaction sees besides rows |
//! | `writer` | how writes are queued, grouped and committed |
//! | `jobs` | what can be queued |
//! | `rows` | how one row is found and replaced |
//! | `key` | what a stored key looks like |
//! | `verify` | whether a data file may be mapped |
//! | `fault` | what an LMDB failure means |

mod config;
mod env;
mod fault;
mod folder;
mod jobs;
mod key;
mod rows;
mod scan;
mod store;
mod transaction;
mod verify;
mod writer;

pub use config::{DEFAULT_MAP_SIZE, Durability, LocalConfig, PLUGIN};
pub use store::LocalStore;
