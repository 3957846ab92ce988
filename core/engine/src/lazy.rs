//! A store that is built when it is first used.
//!
//! A serving binary may be configured with a warehouse it was never linked against; that is a
//! mistake only when somebody asks the warehouse for something.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use larder_base::Result;
use tokio::sync::OnceCell;

type Build<T> = dyn Fn() -> BoxFuture<'static, Result<Arc<T>>> + Send + Sync;

pub(crate) struct Lazy<T: ?Sized> {
    cell: OnceCell<Arc<T>>,
    build: Option<Box<Build<T>>>,
}

impl<T: ?Sized> Lazy<T> {
    pub(crate) fn ready(value: Arc<T>) -> Self {
        Self {
            cell: OnceCell::new_with(Some(value)),
            build: None,
        }
    }

    pub(crate) fn new(
        build: impl Fn() -> BoxFuture<'static, Result<Arc<T>>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            cell: OnceCell::new(),
            build: Some(Box::new(build)),
        }
    }

    pub(crate) async fn get(&self) -> Result<&Arc<T>> {
        self.cell
            .get_or_try_init(|| async {
                match &self.build {
                    Some(build) => build().await,
                    None => Err(larder_base::Error::internal("a store without a way to build it")),
                }
            })
            .await
    }
}

impl<T: ?Sized> fmt::Debug for Lazy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.cell.initialized() {
            "Lazy(ready)"
        } else {
            "Lazy(not built yet)"
        })
    }
}
