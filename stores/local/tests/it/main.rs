//! Does the local store keep its promises: under kill -9, races, several processes, damage and restarts?

mod common;
mod conformance;
mod crash;
mod damage;
mod folder;
mod processes;
mod races;
mod rows;
