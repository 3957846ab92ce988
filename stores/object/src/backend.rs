//! What is asked of storage, and how an object store does it.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use larder_base::error::{Error, Result};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use crate::fault;

/// The few operations the registry is made of. Paths are relative, parts are separated by `/`.
#[async_trait]
pub(crate) trait Backend: Debug + Send + Sync + 'static {
    /// Writes an object unless it exists; of any number of callers exactly one makes it.
    ///
    /// Durable on return. After an error the object may or may not be there, but never in part.
    async fn create(&self, path: &str, bytes: Bytes) -> Result<Creation>;

    /// Makes sure that an object somebody created is durable.
    async fn settle(&self, path: &str) -> Result<()>;

    /// Writes an object over what is there; readers see the old one or the new one.
    async fn put(&self, path: &str, bytes: Bytes, lasting: Lasting) -> Result<()>;

    /// An object; `None` where there is none.
    async fn get(&self, path: &str) -> Result<Option<Bytes>>;

    /// At most the first `limit` bytes of an object; `None` where there is none.
    async fn get_start(&self, path: &str, limit: u64) -> Result<Option<Bytes>>;

    /// Whether there is such an object.
    async fn exists(&self, path: &str) -> Result<bool>;

    /// What is directly in a folder, names only; nothing where there is no such folder.
    async fn list(&self, folder: &str) -> Result<Listing>;

    /// Removes an object; fine where there is none. Need not be durable.
    async fn delete(&self, path: &str) -> Result<()>;

    /// Whether commits will work, and why not.
    async fn writable(&self) -> Result<()>;

    /// A path as people know it, for messages.
    fn place(&self, path: &str) -> String;

    /// What it is, such as `folder`.
    fn name(&self) -> String;
}

/// The answer of [`Backend::create`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Creation {
    /// The object was not there, and now is.
    Made,
    /// There is one already.
    Exists,
}

/// How much a write must survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lasting {
    /// A power failure.
    Durable,
    /// Nothing: whoever reads it checks it.
    Hint,
}

/// The answer of [`Backend::list`], in no particular order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) files: Vec<String>,
    pub(crate) folders: Vec<String>,
}

/// Any object store that creates conditionally.
#[derive(Debug)]
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
}

impl Objects {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        Self {
            store,
            prefix: Path::from(prefix),
        }
    }

    fn path(&self, path: &str) -> Path {
        // Parts are names and numbers, so nothing is left to encode.
        path.split('/')
            .filter(|part| !part.is_empty())
            .fold(self.prefix.clone(), |whole, part| whole.join(part))
    }

    fn fault(&self, what: &'static str, path: &str, error: object_store::Error) -> Error {
        fault::object_error(what, &self.place(path), error)
    }

    async fn read(&self, path: &str, options: GetOptions) -> Result<Option<Bytes>> {
        match self.store.get_opts(&self.path(path), options).await {
            Ok(found) => match found.bytes().await {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) => Err(self.fault("cannot read", path, error)),
            },
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.fault("cannot read", path, error)),
        }
    }
}

#[async_trait]
impl Backend for Objects {
    async fn create(&self, path: &str, bytes: Bytes) -> Result<Creation> {
        let options = PutOptions::from(PutMode::Create);
        match self
            .store
            .put_opts(&self.path(path), PutPayload::from(bytes), options)
            .await
        {
            Ok(_) => Ok(Creation::Made),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Ok(Creation::Exists)
            }
            Err(error) => Err(self.fault("cannot write", path, error)),
        }
    }

    async fn settle(&self, _path: &str) -> Result<()> {
        // What an object store shows, it has kept.
        Ok(())
    }

    async fn put(&self, path: &str, bytes: Bytes, _lasting: Lasting) -> Result<()> {
        match self.store.put(&self.path(path), PutPayload::from(bytes)).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.fault("cannot write", path, error)),
        }
    }

    async fn get(&self, path: &str) -> Result<Option<Bytes>> {
        self.read(path, GetOptions::default()).await
    }

    async fn get_start(&self, path: &str, limit: u64) -> Result<Option<Bytes>> {
        let options = GetOptions {
            range: Some(GetRange::Bounded(0..limit)),
            ..GetOptions::default()
        };
        match self.read(path, options).await {
            Ok(found) => Ok(found),
            // An empty object has no range; only the whole read tells that from a real failure.
            Err(_) => self.get(path).await,
        }
    }

    async fn exists(&self, path: &str) -> Result<bool> {
        match self.store.head(&self.path(path)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.fault("cannot look for", path, error)),
        }
    }

    async fn list(&self, folder: &str) -> Result<Listing> {
        let found = self
            .store
            .list_with_delimiter(Some(&self.path(folder)))
            .await
            .map_err(|error| self.fault("cannot list", folder, error))?;
        let name = |path: &Path| path.filename().map(str::to_owned);
        Ok(Listing {
            files: found
                .objects
                .iter()
                .filter_map(|object| name(&object.location))
                .collect(),
            folders: found.common_prefixes.iter().filter_map(name).collect(),
        })
    }

    async fn delete(&self, path: &str) -> Result<()> {
        match self.store.delete(&self.path(path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.fault("cannot delete", path, error)),
        }
    }

    async fn writable(&self) -> Result<()> {
        // A bucket tells only by a write, and a check leaves nothing behind.
        Ok(())
    }

    fn place(&self, path: &str) -> String {
        self.path(path).to_string()
    }

    fn name(&self) -> String {
        self.store.to_string()
    }
}
