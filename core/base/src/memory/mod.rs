//! Stores in the memory of one process: for unit tests, and the reference for all others.

mod online;
mod registry;

pub use online::{MemoryOnline, MemoryOnlineConfig, ONLINE_PLUGIN};
pub use registry::{MemoryLedger, MemoryRegistry, MemoryRegistryConfig, REGISTRY_PLUGIN};
