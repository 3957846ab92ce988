//! Does the registry keep its promises: over both backends, between processes, through kills and damage?

mod conformance;
mod contract;
mod damage;
mod ledger;
mod processes;
mod support;
