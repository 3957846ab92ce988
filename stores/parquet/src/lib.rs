#![doc = include_str!("../README.md")]
//! # Map of this crate: from a path to an answer
//!
//! | module | question |
//! | --- | --- |
//! | `config` | which options there are |
//! | `store` | how the contract is kept |
//! | `discover`, `glob`, `hive` | which files a source has, and what their paths say |
//! | `root`, `object` | where paths lead, and how bytes are read: the seam for object stores |
//! | `s3` (feature) | how objects are listed, read ahead in few requests, retried and written |
//! | `footer`, `schema` | what files say about themselves |
//! | `keys`, `bounds`, `bloom`, `prune`, `plan` | what has to be read |
//! | `reader`, `ranges` | how rows of a row group become batches, and which bytes that takes |
//! | `join` | how a point-in-time join runs |
//! | `scan`, `tie` | pass 1: who wins |
//! | `fetch` | pass 2: what the winners hold |
//! | `entity`, `ipc` | where entity rows come from |
//! | `sketch`, `budget` | what a join reads and needs |
//! | `stream` | how batches go out in order |
//! | `spill` | how a join runs that does not fit in memory |
//! | `rows` | how rows of a window stream out |
//! | `ahead` | what is fetched while something else is decoded |
//! | `append`, `sink` | how rows are added, whole and durable |
//! | `live` | which files count, since compacted ones stand for others |
//! | `compact` | how small files become few |
//! | `work` | how threads share work and are stopped |
//! | `fault` | what a failure means |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod ahead;
mod append;
mod bloom;
mod bounds;
mod budget;
mod compact;
mod config;
mod discover;
mod entity;
mod fault;
mod fetch;
mod footer;
mod glob;
mod hive;
mod ipc;
mod join;
mod keys;
mod live;
mod object;
mod plan;
mod prune;
mod ranges;
mod reader;
mod root;
mod rows;
#[cfg(feature = "s3")]
mod s3;
mod scan;
mod schema;
mod sink;
mod sketch;
mod spill;
mod store;
mod stream;
mod tie;
mod work;

pub use config::{PLUGIN, ParquetConfig, Sse};
pub use store::ParquetStore;
