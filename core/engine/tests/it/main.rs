//! Does the engine keep what SEMANTICS promises, on stores in memory?

mod support;

mod apply;
mod apply_races;
mod apply_sets;
mod delete;
mod entity_source;
mod guard;
mod historical;
mod historical_stores;
mod manifests;
mod materialize;
mod materialize_again;
mod materialize_failures;
mod materialize_flow;
mod plans;
mod push;
mod push_both;
mod push_buffer;
mod push_large;
mod rollback;
mod status;
mod training_serving;
mod training_sets;
mod why;
