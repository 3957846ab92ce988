//! The connections to one server: several for reads, one for writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Access;
use super::link::{Dial, Link};

/// The connections to one server.
///
/// Writes have a connection of their own: a read never queues behind a batch, and `WAIT` holds up writes only.
#[derive(Debug)]
pub(crate) struct Node {
    readers: Vec<Link>,
    writer: Link,
    next: AtomicUsize,
}

impl Node {
    /// Connections that are made when they are needed.
    pub(crate) fn new(access: &Arc<Access>, dial: &Dial, readers: usize) -> Self {
        let link = || Link::new(access.clone(), dial.clone());
        Self {
            readers: (0..readers.max(1)).map(|_| link()).collect(),
            writer: link(),
            next: AtomicUsize::new(0),
        }
    }

    /// A connection for a read, in turn. One that must be made first is, while another serves.
    pub(crate) fn reader(&self) -> &Link {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.readers.len();
        let own = &self.readers[turn];
        if self.readers.len() == 1 || own.is_up() {
            return own;
        }
        let mut others = self.readers[turn..].iter().chain(&self.readers[..turn]);
        match others.find(|link| link.is_up()) {
            Some(other) => {
                own.warm();
                other
            }
            None => own,
        }
    }

    /// The connection for writes.
    pub(crate) fn writer(&self) -> &Link {
        &self.writer
    }
}
