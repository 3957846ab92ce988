//! The Arrow side of the larder feature store.
//!
//! - [`OfflineStore`]: what offline backends implement;
//! - [`pit`]: the point-in-time kernel, a pure library over Arrow arrays;
//! - [`convert`]: Arrow to and from packed rows, canonical keys and single values, and the
//!   coercion table;
//! - [`memory`]: stores in memory, the reference for all others.
//!
//! Everything of [`larder_base`] is re-exported. Arrow is re-exported as [`arrow`]: one Arrow
//! major per minor version of this crate.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod caught;
pub mod compact;
pub mod convert;
pub mod memory;
pub mod offline;
pub mod pit;
pub mod plugin_offline;
mod progress;
pub mod report;
pub mod scratch;
pub mod unfinished;

pub use compact::{CompactOptions, CompactReport};
pub use larder_base::*;
pub use offline::{
    BatchStream, EntityRows, HistoricalRead, JoinedBatch, JoinedStream, JoinedView, LatestRead,
    OfflineCapabilities, OfflineOptions, OfflineStore, RangeRead, ScanFeature, ScanKey, SpineFiles, ViewJoin,
    ViewScan,
};
pub use plugin_offline::OfflineStoreConfig;
pub use progress::Progress;
pub use report::{
    Explanation, JoinReport, Phase, ReadStats, SharedReport, SourceFile, SourceFiles, ViewExplanation,
    ViewReport,
};
pub use scratch::Scratch;

/// The parts of Arrow that this crate's interface speaks, under the names of the `arrow` crate.
pub mod arrow {
    pub use arrow_buffer as buffer;
    pub use arrow_cast as cast;
    pub use arrow_row as row;
    pub use arrow_schema as datatypes_schema;
    pub use arrow_select as compute;

    /// Arrays, builders and record batches.
    pub mod array {
        pub use arrow_array::cast::AsArray;
        pub use arrow_array::*;
    }

    /// Types and schemas.
    pub mod datatypes {
        pub use arrow_array::types::*;
        pub use arrow_schema::*;
    }
}
