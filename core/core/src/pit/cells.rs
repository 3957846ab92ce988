//! How do the big tables lie in memory, so that one entry lies in one cache line, and what nobody uses costs nothing?

/// An entry: a power of two of words, so that it lies in one cache line.
pub(super) trait Words: Copy + Send + Sync + 'static {
    const ZERO: Self;
    const WIDTH: usize;

    /// Words as entries.
    fn entries(words: &[u64]) -> &[Self];

    /// Words as entries.
    fn entries_mut(words: &mut [u64]) -> &mut [Self];
}

impl<const W: usize> Words for [u64; W] {
    const ZERO: Self = [0; W];
    const WIDTH: usize = W;

    #[inline(always)]
    fn entries(words: &[u64]) -> &[Self] {
        words.as_chunks().0
    }

    #[inline(always)]
    fn entries_mut(words: &mut [u64]) -> &mut [Self] {
        words.as_chunks_mut().0
    }
}

/// A table of fixed length, which begins with a cache line.
#[derive(Debug)]
pub(super) struct Cells<T> {
    words: Vec<u64>,
    /// Words before the first entry.
    before: usize,
    len: usize,
    entry: std::marker::PhantomData<T>,
}

/// Words of a cache line.
const LINE: usize = 8;

impl<T: Words> Cells<T> {
    /// A table of zeros.
    pub(super) fn zeroed(len: usize) -> Self {
        let words: Vec<u64> = zeros(len * T::WIDTH + LINE - 1);
        let before = words.as_ptr().align_offset(LINE * size_of::<u64>()).min(LINE - 1);
        Self {
            words,
            before,
            len,
            entry: std::marker::PhantomData,
        }
    }

    #[inline(always)]
    pub(super) fn as_slice(&self) -> &[T] {
        T::entries(&self.words[self.before..self.before + self.len * T::WIDTH])
    }

    #[inline(always)]
    pub(super) fn as_mut_slice(&mut self) -> &mut [T] {
        T::entries_mut(&mut self.words[self.before..self.before + self.len * T::WIDTH])
    }
}

/// A vector of zeros. The allocator knows memory that is zero anyway, which is then touched only when it is used.
pub(super) fn zeros<T: Clone + Default>(len: usize) -> Vec<T> {
    let zeros = vec![T::default(); len];
    advise(zeros.as_ptr().cast(), size_of_val(zeros.as_slice()));
    zeros
}

/// A vector of some items, which a computation fills at once.
pub(super) fn filled<T>(items: impl ExactSizeIterator<Item = T>) -> Vec<T> {
    let mut vector = Vec::<T>::with_capacity(items.len());
    advise(vector.as_ptr().cast(), items.len() * size_of::<T>());
    vector.extend(items);
    vector
}

/// Bytes from which on memory is asked for in large pages.
const LARGE: usize = 4 << 20;

/// Asks the system to lay large memory out in large pages. The kernel's tables are read at random, and with pages of
/// 4 KiB half of its time went to finding out where those lie, more so inside a virtual machine.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "no safe interface takes memory that is already there")]
fn advise(start: *const u8, bytes: usize) {
    const PAGE: usize = 2 << 20;
    if bytes < LARGE {
        return;
    }
    let before = start.align_offset(PAGE);
    let Some(inside) = bytes.checked_sub(before) else {
        return;
    };
    // SAFETY: the range lies within an allocation of the caller's. The advice changes neither what it holds nor who
    // may use it; where the system does not want it, it says so and nothing happens.
    unsafe {
        let first = start.wrapping_add(before).cast_mut().cast();
        libc::madvise(first, inside / PAGE * PAGE, libc::MADV_HUGEPAGE);
    }
}

#[cfg(not(target_os = "linux"))]
fn advise(_start: *const u8, _bytes: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_begin_with_a_cache_line_and_are_zero() {
        for len in [0, 1, 2, 3, 1000, 100_000] {
            let mut cells = Cells::<[u64; 4]>::zeroed(len);
            assert_eq!(cells.as_slice().len(), len);
            assert!(cells.as_slice().iter().all(|cell| *cell == [0; 4]));
            assert_eq!(cells.as_slice().as_ptr().align_offset(64), 0);
            if let Some(last) = cells.as_mut_slice().last_mut() {
                *last = [1, 2, 3, 4];
                assert_eq!(cells.as_slice()[len - 1], [1, 2, 3, 4]);
            }
        }
    }
}
