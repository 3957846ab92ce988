//! Does the real binary do what its help says, in folders of its own?

#[cfg(any(feature = "redis", feature = "postgres", feature = "dynamodb"))]
mod backend;
mod broken;
mod care;
mod caught;
mod compact;
mod damage;
mod demo;
#[cfg(feature = "dynamodb")]
mod dynamodb;
mod flow;
#[cfg(unix)]
mod interrupt;
mod json;
mod looking;
#[cfg(feature = "postgres")]
mod postgres;
mod push_file;
mod push_kill;
#[cfg(feature = "redis")]
mod redis;
mod remarks;
mod secrets;
mod training;
mod usage;
mod world;
