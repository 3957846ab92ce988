//! Does the size of writes follow how long they take, within the limits of a store?

use std::time::Duration;

use super::BatchSize;

const FAST: Duration = Duration::from_millis(5);
const SLOW: Duration = Duration::from_secs(1);

#[test]
fn fast_writes_grow_and_slow_ones_shrink() {
    let mut size = BatchSize::new(None);
    assert_eq!(size.rows, 4_096);
    size.landed(4_096, 4_096, FAST);
    assert_eq!(size.rows, 8_192);
    // One that was cut before the change tells nothing any more; neither does one that is neither fast nor slow.
    size.landed(4_096, 4_096, SLOW);
    size.landed(8_192, 8_192, Duration::from_millis(100));
    assert_eq!(size.rows, 8_192);
    for _ in 0..5 {
        size.landed(size.rows, size.rows, FAST);
    }
    assert_eq!(size.rows, BatchSize::MOST);
    for _ in 0..20 {
        size.landed(size.rows, size.rows, SLOW);
    }
    assert_eq!(size.rows, BatchSize::LEAST);
}

#[test]
fn short_writes_do_not_make_the_next_ones_longer() {
    let mut size = BatchSize::new(None);
    size.landed(4_096, 10, FAST);
    assert_eq!(size.rows, 4_096);
    // Few rows that are slow are large, and shrink further.
    size.landed(4_096, 10, SLOW);
    assert_eq!(size.rows, 2_048);
}

#[test]
fn a_store_may_take_fewer() {
    for most in [0, 1, 10, 63, 1_000] {
        let mut size = BatchSize::new(Some(most));
        let most = (most as usize).max(1);
        assert_eq!(size.rows, most);
        size.landed(size.rows, size.rows, FAST);
        assert_eq!(size.rows, most);
        for _ in 0..20 {
            size.landed(size.rows, size.rows, SLOW);
        }
        assert!((1..=64).contains(&size.rows), "{}", size.rows);
    }
}
