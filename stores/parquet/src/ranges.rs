//! Which bytes of a file a read of a row group takes.

use std::ops::Range;

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::RowSelection;
use parquet::file::metadata::ParquetMetaData;

/// The column chunks of a projection or, where the page index tells, the pages with selected rows.
pub(crate) fn wanted(
    metadata: &ParquetMetaData,
    row_group: usize,
    mask: &ProjectionMask,
    selection: Option<&RowSelection>,
) -> Vec<Range<u64>> {
    let group = metadata.row_group(row_group);
    let index = metadata.offset_index().and_then(|index| index.get(row_group));
    let mut ranges = Vec::new();
    for (leaf, column) in group.columns().iter().enumerate() {
        if !mask.leaf_included(leaf) {
            continue;
        }
        let whole = chunk(column);
        let pages = index
            .and_then(|index| index.get(leaf))
            .map(|pages| pages.page_locations().as_slice());
        match (selection, pages) {
            (Some(selection), Some(pages @ [first, ..])) => {
                // The dictionary lies before the first page of data.
                let data = u64::try_from(first.offset).unwrap_or(whole.start);
                if whole.start < data {
                    ranges.push(whole.start..data.min(whole.end));
                }
                ranges.extend(selection.scan_ranges(pages));
            }
            _ => ranges.push(whole),
        }
    }
    ranges
}

/// A column chunk with its dictionary; empty where the footer makes no sense.
fn chunk(column: &parquet::file::metadata::ColumnChunkMetaData) -> Range<u64> {
    let start = column
        .dictionary_page_offset()
        .unwrap_or(column.data_page_offset());
    let start = u64::try_from(start).unwrap_or(0);
    let length = u64::try_from(column.compressed_size()).unwrap_or(0);
    start..start.saturating_add(length)
}
