#![doc = include_str!("../README.md")]
//! # Map of this crate: where a project's versions live, and what makes a commit safe
//!
//! | module | question |
//! | --- | --- |
//! | `config` | which options there are |
//! | `store` | how the contract of a registry is kept |
//! | `ledger` | how records of runs are kept and merged |
//! | `document` | what a stored version looks like |
//! | `backend` | what is asked of storage, and how an object store does it |
//! | `folder` | how a local folder does it, durably |
//! | `fault` | what a failure of storage means |

mod backend;
mod config;
mod document;
mod fault;
mod folder;
mod ledger;
mod store;

pub use config::{FILE_PLUGIN, FileConfig, OBJECT_PLUGIN, ObjectConfig};
pub use store::ObjectRegistry;
