//! What the tests of this crate share: how a store is opened, and rows of one number.

use larder_base::BuildContext;
use larder_redis::{RedisConfig, RedisStore};

pub(crate) use larder_conformance::numbers::*;

pub(crate) fn open(config: &RedisConfig) -> RedisStore {
    RedisStore::new(config, &BuildContext::new("/nowhere")).expect("a store")
}
