//! Which folders this process has open: each once, whoever asks.
//!
//! LMDB must not be opened twice in one process, so a process-wide map of weak references hands out the one
//! environment of a folder, with its writer thread.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Weak};

use larder_base::error::Result;
use parking_lot::Mutex;

use crate::env::{Env, page_multiple};
use crate::fault;
use crate::writer::Writer;

/// A folder opened by this process: the environment and its writer thread.
#[derive(Debug)]
pub(crate) struct Folder {
    // Dropped first: joins the thread, so that the environment closes with the last handle.
    pub(crate) writer: Writer,
    pub(crate) env: Arc<Env>,
}

static OPEN: LazyLock<Mutex<HashMap<PathBuf, Weak<Folder>>>> = LazyLock::new(Mutex::default);

impl Folder {
    /// Opens a folder, or finds it open already; creates it (mode 0700) if it is missing.
    pub(crate) fn open(path: &Path, map_size: u64) -> Result<Arc<Self>> {
        create(path)?;
        let path = path
            .canonicalize()
            .map_err(|error| fault::io_error("the online store's folder cannot be opened", error, path))?;
        // Held while opening: two threads that open one folder get one environment.
        let mut open = OPEN.lock();
        open.retain(|_, folder| folder.strong_count() > 0);
        if let Some(folder) = open.get(&path).and_then(Weak::upgrade) {
            folder.env.attached()?;
            if folder.env.map_size() < page_multiple(map_size) {
                folder.env.resize(page_multiple(map_size))?;
            }
            return Ok(folder);
        }
        let env = Arc::new(Env::open(path.clone(), map_size)?);
        let writer = Writer::start(env.clone())?;
        let folder = Arc::new(Self { writer, env });
        open.insert(path, Arc::downgrade(&folder));
        Ok(folder)
    }
}

fn create(path: &Path) -> Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(path)
        .map_err(|error| fault::io_error("the online store's folder cannot be created", error, path))
}
