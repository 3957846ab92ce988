//! How do rows get from files into Arrow, and from Arrow into files?

mod aside;
mod csv;
mod read;
mod write;

pub(crate) use aside::Aside;
pub(crate) use read::{Columns, read, sift};
pub(crate) use write::{RowsFile, in_utc, write_csv};
