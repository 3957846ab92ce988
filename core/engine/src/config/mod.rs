//! What `larder.yaml` says: the project, its stores and environments. Nothing is opened here.

mod block;
mod expand;
mod historical;
mod plugins;
mod project;

pub use expand::Variables;
pub use historical::HistoricalConfig;
pub use plugins::Plugins;
pub use project::{DefinitionsConfig, PROJECT_FILE, Project};

#[cfg(test)]
mod tests;
