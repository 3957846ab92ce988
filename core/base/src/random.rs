//! Random numbers for identities, generations and jitter; not for secrets.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

/// 64 random bits.
///
/// The standard library seeds each process's hash maps from the operating system; a counter and
/// the process id on top keep values of one process, and of a fork, apart.
pub fn u64() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(COUNT.fetch_add(1, Ordering::Relaxed));
    hasher.write_u32(std::process::id());
    hasher.finish()
}

/// 128 random bits.
pub fn u128() -> u128 {
    u128::from(u64()) << 64 | u128::from(u64())
}

#[cfg(test)]
mod tests {
    #[test]
    fn differ() {
        let many: std::collections::HashSet<u128> = (0..10_000).map(|_| super::u128()).collect();
        assert_eq!(many.len(), 10_000);
    }
}
