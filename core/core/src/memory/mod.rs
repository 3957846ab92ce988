//! Stores in the memory of one process: for unit tests, and the reference for all others.

mod offline;

pub use larder_base::memory::*;
pub use offline::{MemoryOffline, MemoryOfflineConfig, OFFLINE_PLUGIN};
