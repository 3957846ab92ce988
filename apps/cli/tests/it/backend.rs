//! What every online store behind a network is put through from the command line.

mod kills;
mod lives;

use std::fs;
use std::path::PathBuf;

pub(crate) use kills::kills;
pub(crate) use lives::lives;

use crate::world::World;

/// A server with an online store's data, which a test may treat badly.
pub(crate) trait Backend {
    /// The `online:` block of `larder.yaml`, with short timeouts.
    fn online(&self) -> String;
    /// `kill -9`.
    fn kill(&mut self);
    /// Starts it again.
    fn run(&mut self);
    /// Empties it, the mark of its identity included.
    fn empty(&mut self);
    /// How many rows it takes in a second or so.
    fn users(&self) -> i64 {
        30_000
    }
}

/// A view beside those of `larder init`, with a number for each user and no data yet.
pub(crate) const CLICKS: &str = "\
sources:
  - { name: clicks, type: parquet, path: clicks/, event_time: at }
feature_views:
  - name: clicks
    entities: [user]
    source: clicks
    features: [{ name: number, type: int64 }]
";

/// A project of `larder init` whose values are on a server.
pub(crate) fn project(backend: &impl Backend) -> (World, PathBuf) {
    let (world, dir) = World::project();
    let file = dir.join("larder.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let (before, rest) = text.split_once("\nonline:").expect("an online store");
    let (_, after) = rest.split_once('\n').expect("more lines");
    fs::write(&file, format!("{before}\nonline: {}\n{after}", backend.online())).unwrap();
    (world, dir)
}
