//! How do rows get from files into Arrow, and from Arrow into files?

mod aside;
mod csv;
mod guess;
mod read;
mod whole;
mod write;

pub(crate) use aside::Aside;
pub(crate) use read::{Batches, Columns, FileRows, batches, open, read};
pub(crate) use whole::{WholeFile, remove_unfinished};
pub(crate) use write::{RowsFile, Sealed, in_utc, write_csv};
