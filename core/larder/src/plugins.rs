//! Which backends this build contains: the one list of cargo features.
//!
//! Naming a store's descriptor here also links its crate. A crate that is a dependency and never
//! named is dropped by the linker, and with it, silently, its configuration types.

use larder_base::plugin::submitted;
use larder_base::{Plugin, Result};
use larder_engine::Plugins;

/// The backends of this build: those of the enabled features, and those that third-party crates
/// submitted.
///
/// # Errors
/// `Config` when two crates bring the same type for the same role.
pub fn plugins() -> Result<Plugins> {
    let mut list: Vec<&'static Plugin> = vec![
        &larder_base::memory::REGISTRY_PLUGIN,
        &larder_base::memory::ONLINE_PLUGIN,
        #[cfg(feature = "offline")]
        &larder_core::memory::OFFLINE_PLUGIN,
        #[cfg(feature = "object")]
        &larder_object::FILE_PLUGIN,
        #[cfg(feature = "object")]
        &larder_object::OBJECT_PLUGIN,
        #[cfg(feature = "dynamodb")]
        &larder_dynamodb::PLUGIN,
        #[cfg(feature = "local")]
        &larder_local::PLUGIN,
        #[cfg(feature = "parquet")]
        &larder_parquet::PLUGIN,
        #[cfg(feature = "postgres")]
        &larder_postgres::PLUGIN,
        #[cfg(feature = "redis")]
        &larder_redis::PLUGIN,
        #[cfg(feature = "local")]
        &larder_provider_local::PLUGIN,
    ];
    list.extend(submitted());
    Plugins::new(&list)
}
