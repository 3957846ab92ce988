//! Into which of several parts do rows fall, so that rows of one key always fall into the same?

use super::PitError;
use super::keys::{KeyBatch, KeyShape, Packed, key_nulls};
use arrow_array::ArrayRef;
use foldhash::fast::FixedState;
use std::hash::BuildHasher;

/// Mixed into the hash, so that the parts do not follow the order of a hash table over the same keys.
const SEED: u64 = 0x6c61_7264_6572_7073;

/// The part of every row, below `parts`, for joins that are solved part by part because they do not fit in memory.
///
/// Keys are of the types that [`super::SpineIndex::build`] takes; equal keys of any layout get equal parts, on both
/// sides of a join. Rows with a null in any key fall into part 0, and so does everything where there are no keys.
/// `rows` is the length of every key column.
pub fn partition(keys: &[ArrayRef], rows: usize, parts: u32) -> Result<Vec<u32>, PitError> {
    let shape = KeyShape::of(keys)?;
    shape.check(keys, rows)?;
    let mut packed = Packed::default();
    let batch = shape.read(keys, &mut packed);
    let state = FixedState::with_seed(SEED);
    // The upper half of the product is a fair share of the range, without a division.
    let part = |hash: u64| ((u128::from(hash) * u128::from(parts)) >> 64) as u32;
    let bytes = |bytes: &[u8]| part(state.hash_one(bytes));
    let number = |number: i64| part(state.hash_one(number));
    let mut found: Vec<u32> = match &batch {
        KeyBatch::Unit => vec![0; rows],
        KeyBatch::Bool(values) => (0..rows)
            .map(|row| number(i64::from(values.value(row))))
            .collect(),
        KeyBatch::Int32(values) => values.iter().map(|value| number(i64::from(*value))).collect(),
        KeyBatch::Int64(values) => values.iter().map(|value| number(*value)).collect(),
        KeyBatch::Bytes32(ends, values) => ends
            .windows(2)
            .map(|ends| bytes(&values[ends[0] as usize..ends[1] as usize]))
            .collect(),
        KeyBatch::Bytes64(ends, values) => ends
            .windows(2)
            .map(|ends| bytes(&values[ends[0] as usize..ends[1] as usize]))
            .collect(),
        KeyBatch::Utf8View(array) => (0..rows).map(|row| bytes(array.value(row).as_bytes())).collect(),
        KeyBatch::BinaryView(array) => (0..rows).map(|row| bytes(array.value(row))).collect(),
        KeyBatch::Packed(packed) => (0..rows).map(|row| bytes(packed.row(row))).collect(),
    };
    if let Some(nulls) = key_nulls(keys) {
        for row in (0..rows).filter(|row| nulls.is_null(*row)) {
            found[row] = 0;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Int64Array, LargeStringArray, StringArray, StringViewArray};
    use std::sync::Arc;

    #[test]
    fn parts_depend_on_the_key_alone_and_are_even() {
        let texts: Vec<Option<String>> = (0..4000_i32)
            .map(|row| (row % 50 != 0).then(|| format!("key {}", row % 2000)))
            .collect();
        let one: Vec<ArrayRef> = vec![Arc::new(StringArray::from(texts.clone()))];
        let two: Vec<ArrayRef> = vec![Arc::new(LargeStringArray::from(texts.clone()))];
        let three: Vec<ArrayRef> = vec![Arc::new(StringViewArray::from_iter(texts))];
        let parts = partition(&one, 4000, 8).unwrap();
        assert_eq!(parts, partition(&two, 4000, 8).unwrap());
        assert_eq!(parts, partition(&three, 4000, 8).unwrap());
        assert_eq!(parts[..2000], parts[2000..]);
        assert!((0..4000).step_by(50).all(|row| parts[row] == 0));

        let numbers: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(0..80_000))];
        let mut counts = [0; 16];
        for part in partition(&numbers, 80_000, 16).unwrap() {
            counts[part as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (4_500..5_500).contains(count)),
            "{counts:?}"
        );
        assert_eq!(partition(&[], 3, 16).unwrap(), [0, 0, 0]);
        assert!(partition(&numbers, 5, 16).is_err());
    }
}
