//! How do rows get from files into Arrow, and from Arrow into files?

mod csv;
mod read;
mod write;

pub(crate) use read::{Columns, read};
pub(crate) use write::{RowsFile, write_csv};
