//! The stores in memory as fixtures.

use std::sync::Arc;

use larder_conformance::OnlineFixture;
use larder_core::memory::MemoryOnline;
use larder_core::{OnlineStore, Result, async_trait::async_trait};
use parking_lot::Mutex;

#[derive(Default)]
pub(crate) struct Online(Mutex<Arc<MemoryOnline>>);

#[async_trait]
impl OnlineFixture for Online {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    async fn open(&self) -> Result<Arc<dyn OnlineStore>> {
        Ok(self.0.lock().clone())
    }

    async fn wipe(&self) -> Result<()> {
        *self.0.lock() = Arc::default();
        Ok(())
    }
}
