//! What the tests of this crate share: how a store is opened, and rows of one number.

use larder_base::BuildContext;
use larder_postgres::{PostgresConfig, PostgresStore};

pub(crate) use larder_conformance::numbers::*;

pub(crate) fn open(config: &PostgresConfig) -> PostgresStore {
    PostgresStore::new(config, &BuildContext::new("/nowhere")).expect("a store")
}
