//! Arrow columns from the answer of an online read.

use arrow_array::ArrayRef;
use larder_base::{Cell, FeatureBlock, Result, RowStatus, SlotCell, Value};

use super::array_of;

/// What a column holds where the read found no value.
#[derive(Debug, Clone, Default)]
pub struct ColumnFill {
    /// Stands for `not_found` and `expired`; null where absent.
    pub default: Option<Value>,
    /// Whether the default also stands for null.
    pub default_null: bool,
    /// Whether expired values are given out as they are.
    pub keep_expired: bool,
}

/// One feature of an answer as a column in the canonical Arrow type.
///
/// `slot` is the view's slot in the request and `feature` the feature's slot in its layout;
/// `rows` maps each row of the column to a row of the block.
///
/// # Errors
/// `Input` when the default is not of the feature's type.
pub fn block_column(
    block: &FeatureBlock,
    slot: u16,
    feature: u16,
    rows: impl Iterator<Item = usize>,
    fill: &ColumnFill,
) -> Result<ArrayRef> {
    let value_type = block.layout(slot).slots()[usize::from(feature)].value_type;
    let absent = || fill.default.clone().unwrap_or(Value::Null);
    let values: Vec<Value> = rows
        .map(|row| {
            let shown = match block.status(slot, row) {
                RowStatus::Present => true,
                RowStatus::Expired => fill.keep_expired,
                RowStatus::Unavailable => return Value::Null,
                _ => false,
            };
            match block.cell(slot, feature, row) {
                _ if !shown => absent(),
                SlotCell::Missing => absent(),
                SlotCell::Cell(Cell::Null) if fill.default_null => absent(),
                SlotCell::Cell(cell) => cell.to_value(value_type),
            }
        })
        .collect();
    array_of(&values, value_type)
}
