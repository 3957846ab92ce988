//! Which data do `init` and `demo` write, and which definitions describe it?
//!
//! Everything follows from one table of views: the YAML, the Parquet files and their types, so
//! that they cannot disagree. Values come from a fixed seed; only the times depend on the end.

mod files;
mod generate;
mod rows;
mod table;
mod yaml;

pub(crate) use files::{Written, write_labels, write_views};
pub(crate) use generate::{Scale, bought_by};
pub(crate) use rows::{single_row, single_row_csv};
pub(crate) use table::{demo_views, starter_views};
pub(crate) use yaml::{entities_yaml, service_yaml, view_yaml};
