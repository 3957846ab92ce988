//! Does the real binary do what its help says, in folders of its own?

mod broken;
mod care;
mod caught;
mod compact;
mod demo;
#[cfg(feature = "dynamodb")]
mod dynamodb;
mod flow;
#[cfg(unix)]
mod interrupt;
mod json;
mod looking;
mod push_file;
mod push_kill;
#[cfg(feature = "redis")]
mod redis;
mod training;
mod usage;
mod world;
