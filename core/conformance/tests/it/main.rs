//! Do the stores in memory pass the suite, and are stores that break a rule caught?

mod bad_offline;
mod bad_online;
mod bad_registry;
mod clean;
mod fixtures;
mod saboteurs;
mod serving;
