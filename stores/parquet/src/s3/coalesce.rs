//! Which requests bring a set of byte ranges: few, none too large, and every wanted byte in one of them.

use std::ops::Range;

/// Bytes between two ranges that are cheaper to fetch than another request.
pub(super) const GAP: u64 = 1 << 20;

/// Bytes of one request at most: several at a time are faster than a long one, and less is lost when one fails.
pub(super) const CAP: u64 = 8 << 20;

/// Ascending, disjoint ranges of at most `cap` bytes that cover all of the given ones, and gaps up to `gap`.
pub(super) fn coalesce(mut ranges: Vec<Range<u64>>, gap: u64, cap: u64) -> Vec<Range<u64>> {
    ranges.retain(|range| range.start < range.end);
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(gap) => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    let cap = cap.max(1);
    let mut requests = Vec::with_capacity(joined.len());
    for range in joined {
        // Nearly equal parts: a short one at the end would cost a request of its own for little.
        let length = range.end - range.start;
        let parts = length.div_ceil(cap);
        let each = length.div_ceil(parts);
        let starts = (0..parts).map(|part| range.start + part * each);
        requests.extend(
            starts
                .map(|start| start..range.end.min(start + each))
                .filter(|part| !part.is_empty()),
        );
    }
    requests
}

#[cfg(test)]
#[expect(
    clippy::single_range_in_vec_init,
    reason = "lists of ranges are what is tested"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn near_ranges_are_one_request_and_long_ones_several() {
        assert_eq!(coalesce(vec![30..40, 0..10, 12..20], 2, 100), [0..20, 30..40]);
        assert_eq!(coalesce(vec![0..10, 5..8, 9..30], 0, 10), [0..10, 10..20, 20..30]);
        assert_eq!(coalesce(vec![0..21], 0, 10), [0..7, 7..14, 14..21]);
        assert_eq!(coalesce(vec![7..7], 10, 10), []);
        assert_eq!(
            coalesce(vec![0..1, u64::MAX - 1..u64::MAX], 10, u64::MAX).len(),
            2
        );
    }

    proptest! {
        #[test]
        fn every_wanted_byte_is_covered_and_caps_are_kept(
            wanted in proptest::collection::vec((0_u64..5_000, 0_u64..400), 0..40),
            gap in 0_u64..100,
            cap in 1_u64..700,
        ) {
            let wanted: Vec<_> = wanted.into_iter().map(|(start, length)| start..start + length).collect();
            let requests = coalesce(wanted.clone(), gap, cap);
            prop_assert!(requests.iter().all(|r| r.start < r.end && r.end - r.start <= cap));
            prop_assert!(requests.windows(2).all(|pair| pair[0].end <= pair[1].start));
            let covered = |byte: u64| requests.iter().any(|r| r.contains(&byte));
            for range in &wanted {
                prop_assert!(range.clone().all(covered));
            }
            // What nobody wanted lies in a gap that is not too long.
            let asked = |byte: u64| wanted.iter().any(|r| r.contains(&byte));
            let mut idle = 0;
            for byte in requests.iter().flat_map(Clone::clone) {
                idle = if asked(byte) { 0 } else { idle + 1 };
                prop_assert!(idle <= gap);
            }
        }
    }
}
