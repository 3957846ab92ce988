//! Where each object, and each part of it, stands in its file.

use std::collections::HashMap;
use std::sync::Arc;

use larder_base::Place;
use larder_base::model::ObjectId;

use crate::yaml::{Mark, Node};

/// The YAML that objects were read from.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    objects: Arc<HashMap<ObjectId, Origin>>,
}

#[derive(Debug)]
pub(super) struct Origin {
    pub(super) file: Arc<str>,
    pub(super) node: Node,
}

impl Origins {
    pub(super) fn new(objects: HashMap<ObjectId, Origin>) -> Self {
        Self {
            objects: Arc::new(objects),
        }
    }

    pub(super) fn place(&self, id: &ObjectId, path: &[&str]) -> Option<Place> {
        let origin = self.objects.get(id)?;
        let (value, _) = follow(&origin.node, path);
        Some(value.in_file(&origin.file))
    }

    pub(super) fn item_place(&self, id: &ObjectId, list: &[&str], index: usize) -> Option<Place> {
        let origin = self.objects.get(id)?;
        let list = list.iter().try_fold(&origin.node, |node, step| node.get(step))?;
        Some(list.items().get(index)?.mark.in_file(&origin.file))
    }

    pub(super) fn key_place(&self, id: &ObjectId, path: &[&str]) -> Option<Place> {
        let origin = self.objects.get(id)?;
        let (value, key) = follow(&origin.node, path);
        Some(key.unwrap_or(value).in_file(&origin.file))
    }
}

/// The place of the value at a path, and of its key where the last step is one.
fn follow(root: &Node, path: &[&str]) -> (Mark, Option<Mark>) {
    let (mut node, mut key) = (root, None);
    for step in path {
        let item = |index: usize| node.items().get(index);
        let named = || {
            node.items().iter().find(|item| {
                let name = item.get("name").or(Some(*item));
                name.and_then(Node::as_text) == Some(step)
            })
        };
        let (next, next_key) = match node.entry(step) {
            Some(entry) => (Some(&entry.value), Some(entry.key_mark)),
            None => (named().or_else(|| item(step.parse().ok()?)), None),
        };
        match next {
            Some(next) => (node, key) = (next, next_key),
            None => break,
        }
    }
    (node.mark, key)
}
