//! The command line of the larder feature store.
mod output;
mod rows;
mod sample;
