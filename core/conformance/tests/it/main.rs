//! Do the stores in memory pass the suite, and are stores that break a rule caught?

mod clean;
mod fixtures;
