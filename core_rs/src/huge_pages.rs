//! Large tables on large pages. A table that is read at random places misses the address translation cache at almost
//! every read when its pages are small, and filling it faults once per 4 KiB. Linux gives large pages to whoever asks
//! (`madvise`, see its admin guide on transparent huge pages); elsewhere nothing is asked and everything works the same.

use std::collections::TryReserveError;

/// Tables from this size on ask for large pages.
const LEAST: usize = 2 << 20;

/// A vector of `len` times `value`, on large pages if it is large.
pub fn filled<T: Copy>(value: T, len: usize) -> Vec<T> {
    let mut table: Vec<T> = Vec::new();
    table.reserve_exact(len);
    fill(table, value, len)
}

/// [`filled`] of a length that a caller chose. Errors: the memory is not there; `filled` would end the process.
pub fn try_filled<T: Copy>(value: T, len: usize) -> Result<Vec<T>, TryReserveError> {
    let mut table: Vec<T> = Vec::new();
    table.try_reserve_exact(len)?;
    Ok(fill(table, value, len))
}

fn fill<T: Copy>(mut table: Vec<T>, value: T, len: usize) -> Vec<T> {
    // Before the first write: a page that was touched stays small.
    if len * size_of::<T>() >= LEAST {
        ask(table.as_mut_ptr().cast(), table.capacity() * size_of::<T>());
    }
    table.resize(len, value);
    table
}

#[cfg(target_os = "linux")]
fn ask(start: *mut u8, bytes: usize) {
    const PAGE: usize = 2 << 20;
    let skip = start.align_offset(PAGE);
    let whole = bytes.saturating_sub(skip) / PAGE * PAGE;
    if whole > 0 {
        // SAFETY: the range lies inside one allocation of ours, and this advice changes no byte of it. That it may be
        // refused is fine: the pages stay small.
        unsafe { libc::madvise(start.add(skip).cast(), whole, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn ask(_start: *mut u8, _bytes: usize) {}

#[cfg(test)]
mod tests {
    use super::{filled, try_filled};

    #[test]
    fn a_large_table_is_filled_like_a_small_one() {
        for len in [0, 1, 1000, 2_000_003] {
            let table = filled(7u64, len);
            assert_eq!(table.len(), len);
            assert!(table.iter().all(|word| *word == 7));
            assert_eq!(try_filled(7u64, len).unwrap(), table);
        }
        assert!(try_filled(7u64, usize::MAX).is_err());
        assert!(try_filled(7u64, 1 << 56).is_err());
    }
}
