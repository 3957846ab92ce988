//! Whose data this is: the identity of a project's data, kept so that the loss of any part of it shows.
//!
//! One server keeps one mark. A cluster keeps marks in slots all over it, so that a shard that came back empty has lost
//! some: the identity is known only where all marks agree. The first mark also tells whether they were all set.

use larder_base::{Error, ErrorKind, ProjectName, Result, StoreIdentity};
use redis::{Cmd, Value};

use crate::cluster::slots::{SLOTS, slot_of};
use crate::layout::Layout;
use crate::script::SWAP_MARK;
use crate::store::{Backend, Settings};

/// Marks in a cluster; a node that serves 256 consecutive slots has one.
const MARKS: usize = 64;
/// How often others may interfere.
const TRIES: usize = 16;

/// The identity of a project's data; none for an empty store, or one that lost some.
pub(crate) async fn identity(
    backend: &Backend,
    settings: &Settings,
    project: &ProjectName,
) -> Result<Option<StoreIdentity>> {
    let found = get(backend, settings, project).await?;
    Ok(match found.split_first() {
        Some((Some(first), others)) if first.complete && others.iter().all(|mark| *mark == Some(*first)) => {
            Some(StoreIdentity(first.identity))
        }
        _ => None,
    })
}

/// Gives an identity where there is none; many may do so at once, and all get the same.
pub(crate) async fn prepare(
    backend: &Backend,
    settings: &Settings,
    project: &ProjectName,
) -> Result<StoreIdentity> {
    for _ in 0..TRIES {
        let found = get(backend, settings, project).await?;
        let Some((first, others)) = found.split_first() else {
            break;
        };
        let begun = match first {
            Some(first) if first.complete && others.iter().all(|mark| *mark == Some(*first)) => {
                return Ok(StoreIdentity(first.identity));
            }
            // Somebody began: it is finished for them.
            Some(first) if !first.complete => *first,
            // Nothing yet, or a part was lost: what is there now is other data than before.
            seen => {
                let fresh = Mark::begun(StoreIdentity::random().0);
                swap_first(backend, settings, project, *seen, fresh).await?;
                continue;
            }
        };
        let done = Mark {
            complete: true,
            ..begun
        };
        // The others first: whoever reads the first one as complete finds them all.
        set_others(backend, settings, project, done).await?;
        swap_first(backend, settings, project, Some(begun), done).await?;
    }
    Err(Error::conflict("many processes prepare the Redis store at once").help("try again"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    identity: u128,
    complete: bool,
}

impl Mark {
    fn begun(identity: u128) -> Self {
        Self {
            identity,
            complete: false,
        }
    }

    fn text(self) -> String {
        format!("{:032x}{}", self.identity, if self.complete { "" } else { "?" })
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (digits, complete) = match text.strip_suffix('?') {
            Some(digits) => (digits, false),
            None => (text, true),
        };
        let identity = u128::from_str_radix(digits, 16)
            .ok()
            .filter(|_| digits.len() == 32)?;
        Some(Self { identity, complete })
    }
}

/// What stands between the braces of each mark's key.
fn tags(backend: &Backend) -> Vec<String> {
    match backend {
        Backend::One(_) => vec!["0".to_owned()],
        Backend::Cluster(_) => spread(),
    }
}

/// Texts whose slots lie all over a cluster, one in each stretch.
fn spread() -> Vec<String> {
    let stretch = SLOTS / MARKS;
    let mut tags: Vec<Option<String>> = vec![None; MARKS];
    let mut left = MARKS;
    for number in 0_u32.. {
        let text = number.to_string();
        let place = &mut tags[usize::from(slot_of(text.as_bytes())) / stretch];
        if place.is_none() {
            *place = Some(text);
            left -= 1;
            if left == 0 {
                break;
            }
        }
    }
    tags.into_iter().flatten().collect()
}

fn keys(backend: &Backend, layout: &Layout, project: &ProjectName) -> Vec<Vec<u8>> {
    tags(backend)
        .iter()
        .map(|tag| layout.mark(project, tag))
        .collect()
}

async fn get(backend: &Backend, settings: &Settings, project: &ProjectName) -> Result<Vec<Option<Mark>>> {
    let commands = keys(backend, &settings.layout, project).into_iter().map(|key| {
        let mut command = redis::cmd("GET");
        command.arg(key.as_slice());
        (key, command)
    });
    let answers = backend.commands(settings, commands.collect()).await;
    // A key that holds no text is refused by the server.
    let answers = answers.map_err(|error| match error.kind() {
        ErrorKind::Corrupt => damaged(&settings.layout, project).source(error),
        _ => error,
    })?;
    let marks: Option<_> = answers.iter().map(mark).collect();
    marks.ok_or_else(|| damaged(&settings.layout, project))
}

/// The mark that a key holds, or that it holds none; nothing for what is no mark.
fn mark(answer: &Value) -> Option<Option<Mark>> {
    match answer {
        Value::Nil => Some(None),
        Value::BulkString(bytes) => Mark::parse(bytes).map(Some),
        _ => None,
    }
}

/// Somebody else's value, or a part of ours. Nobody can tell whose rows these are, so they count as lost.
fn damaged(layout: &Layout, project: &ProjectName) -> Error {
    let keys = layout.mark(project, "*");
    Error::corrupt("the mark of the store's identity in redis is damaged")
        .with("keys", String::from_utf8_lossy(&keys))
        .help("delete these keys; `larder materialize` then fills the store anew")
}

/// Sets the first mark if it still is what was seen.
async fn swap_first(
    backend: &Backend,
    settings: &Settings,
    project: &ProjectName,
    seen: Option<Mark>,
    to: Mark,
) -> Result<()> {
    let Some(key) = keys(backend, &settings.layout, project).into_iter().next() else {
        return Ok(());
    };
    let command: Cmd = match seen {
        None => {
            let mut command = redis::cmd("SET");
            command.arg(key.as_slice()).arg(to.text()).arg("NX");
            command
        }
        Some(seen) => {
            let mut command = redis::cmd("EVAL");
            command
                .arg(SWAP_MARK)
                .arg(1)
                .arg(key.as_slice())
                .arg(seen.text())
                .arg(to.text());
            command
        }
    };
    backend.commands(settings, vec![(key, command)]).await.map(drop)
}

async fn set_others(backend: &Backend, settings: &Settings, project: &ProjectName, to: Mark) -> Result<()> {
    let commands = keys(backend, &settings.layout, project)
        .into_iter()
        .skip(1)
        .map(|key| {
            let mut command = redis::cmd("SET");
            command.arg(key.as_slice()).arg(to.text());
            (key, command)
        });
    backend.commands(settings, commands.collect()).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_back() {
        for mark in [
            Mark::begun(7),
            Mark {
                identity: u128::MAX,
                complete: true,
            },
        ] {
            assert_eq!(Mark::parse(mark.text().as_bytes()), Some(mark));
        }
        for garbage in ["", "?", "7", "zz", "0000000000000000000000000000000g"] {
            assert_eq!(Mark::parse(garbage.as_bytes()), None, "{garbage}");
        }
    }

    #[test]
    fn marks_lie_all_over_a_cluster() {
        let tags = spread();
        assert_eq!(tags.len(), MARKS);
        for (stretch, tag) in tags.iter().enumerate() {
            assert_eq!(usize::from(slot_of(tag.as_bytes())) / (SLOTS / MARKS), stretch);
        }
    }
}
