//! How old are the values that were joined? Quantiles in bounded memory.

use serde::{Deserialize, Serialize};

/// Bits of a bucket's place within its power of two: 64 buckets, so a bucket's middle is within
/// 1/128 of everything in it.
const BITS: u32 = 6;
const BUCKETS: usize = (64 - BITS as usize + 1) << BITS;

/// Ages counted in buckets that grow with the age: 30 KiB, whatever the number of rows. Two of
/// them merge by adding.
#[derive(Debug, Clone, Default)]
pub(super) struct Ages {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

/// How old values were: time of the entity row minus event time of its winner, µs. p50 and p99
/// are within 0.8 %, the largest is exact.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AgeReport {
    /// Half of the values were at most this old.
    pub p50_us: u64,
    /// 99 of 100 values were at most this old.
    pub p99_us: u64,
    /// The oldest.
    pub max_us: u64,
}

impl Ages {
    pub(super) fn add(&mut self, micros: u64) {
        if self.counts.is_empty() {
            self.counts = vec![0; BUCKETS];
        }
        self.counts[bucket(micros)] += 1;
        self.total += 1;
        self.max = self.max.max(micros);
    }

    pub(super) fn report(&self) -> Option<AgeReport> {
        (self.total > 0).then(|| AgeReport {
            p50_us: self.quantile(50),
            p99_us: self.quantile(99),
            max_us: self.max,
        })
    }

    /// The age at the nearest rank.
    fn quantile(&self, percent: u64) -> u64 {
        let rank = (u128::from(self.total) * u128::from(percent))
            .div_ceil(100)
            .max(1);
        let mut seen = 0_u128;
        for (index, count) in self.counts.iter().enumerate() {
            seen += u128::from(*count);
            if seen >= rank {
                return middle(index).min(self.max);
            }
        }
        self.max
    }
}

fn bucket(value: u64) -> usize {
    if value < 1 << BITS {
        return value as usize;
    }
    let shift = 63 - value.leading_zeros() - BITS;
    let place = (value >> shift) as usize & ((1 << BITS) - 1);
    ((shift as usize + 1) << BITS) | place
}

fn middle(bucket: usize) -> u64 {
    if bucket < 1 << BITS {
        return bucket as u64;
    }
    let shift = (bucket >> BITS) - 1;
    let place = bucket & ((1 << BITS) - 1);
    let low = (((1 << BITS) + place) as u64) << shift;
    low + ((1_u64 << shift) >> 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bucket_is_near_everything_in_it(value in any::<u64>(), shift in 0_u32..64) {
            let value = value >> shift;
            let error = middle(bucket(value)).abs_diff(value) as f64;
            prop_assert!(error <= value as f64 / 127.0, "{value}: {}", middle(bucket(value)));
        }

        #[test]
        fn quantiles_are_near_the_exact_ones(values in proptest::collection::vec(0_u64..1 << 50, 1..300)) {
            let mut ages = Ages::default();
            values.iter().for_each(|value| ages.add(*value));
            let mut sorted = values;
            sorted.sort_unstable();
            let exact = |percent: usize| sorted[(sorted.len() * percent).div_ceil(100) - 1] as f64;
            let report = ages.report().unwrap();
            for (found, exact) in [(report.p50_us, exact(50)), (report.p99_us, exact(99))] {
                prop_assert!((found as f64 - exact).abs() <= exact * 0.008 + 1.0, "{found} {exact}");
            }
            prop_assert_eq!(Some(report.max_us), sorted.last().copied());
        }
    }

    #[test]
    fn the_extremes_have_buckets() {
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert_eq!(bucket(63) + 1, bucket(64));
        assert!(Ages::default().report().is_none());
    }
}
