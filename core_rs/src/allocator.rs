//! The extension's allocator: mimalloc for small things, the system's for large ones.
//!
//! Large blocks stay with the system, which refuses what it does not have (mimalloc reserves address space and finds out
//! later) and moves a growing block by its pages instead of copying it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::{c_int, c_long};

use libmimalloc_sys::mi_option_set;
use mimalloc::MiMalloc;

/// Blocks of at least so many bytes are the system's.
const LARGE: usize = 256 << 10;

/// For so many milliseconds memory that nobody uses is kept. To take it again is dear: the system clears it, two megabytes at
/// once where pages are huge, and a virtual machine may first have to be given it. Such pauses of 7 to 14 ms came after every
/// burst of questions when it was kept for a second, as is mimalloc's own way (docs/adr/0055).
const KEPT_MS: c_long = 60_000;

/// The option `purge_delay`, which the bindings have no name for.
const PURGE_DELAY: c_int = 15;

/// Has memory kept for a while. Before it is called mimalloc does as it likes.
pub(crate) fn keep_memory() {
    // SAFETY: a number is set, which is read whenever memory is no longer used.
    unsafe { mi_option_set(PURGE_DELAY, KEPT_MS) };
}

/// See the module. Whose a block is follows from its size alone, which whoever gives it back tells.
pub(crate) struct BySize;

// SAFETY: each block goes back to the allocator that it came from, since both ask the same size, and both keep the contract.
unsafe impl GlobalAlloc for BySize {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        unsafe {
            match layout.size() < LARGE {
                true => MiMalloc.alloc(layout),
                false => System.alloc(layout),
            }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        unsafe {
            match layout.size() < LARGE {
                true => MiMalloc.alloc_zeroed(layout),
                false => System.alloc_zeroed(layout),
            }
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block came from the same allocator: its size is the one that was asked for.
        unsafe {
            match layout.size() < LARGE {
                true => MiMalloc.dealloc(block, layout),
                false => System.dealloc(block, layout),
            }
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: within one allocator the caller's promises are passed on. Between the two a new block of the wanted size
        // takes as many bytes as both have, and the old one goes back where it came from; where there is no new one, the
        // old one stays the caller's, as `realloc` promises.
        unsafe {
            match (layout.size() < LARGE, size < LARGE) {
                (true, true) => MiMalloc.realloc(block, layout, size),
                (false, false) => System.realloc(block, layout, size),
                _ => {
                    let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
                    if !moved.is_null() {
                        moved.copy_from_nonoverlapping(block, layout.size().min(size));
                        self.dealloc(block, layout);
                    }
                    moved
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_the_one_that_is_meant() {
        let value = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert_eq!(value(), 1_000, "mimalloc's own, which nothing else has");
        keep_memory();
        assert_eq!(value(), KEPT_MS);
    }

    #[test]
    fn blocks_keep_their_bytes_across_the_border_and_back() {
        for sizes in [
            [8, 100, LARGE - 1],
            [LARGE - 1, LARGE, 4 * LARGE],
            [4 * LARGE, LARGE, LARGE - 1],
            [2 * LARGE, 16, 3 * LARGE],
        ] {
            // SAFETY: sizes are not 0, the block is used within its size and given back once.
            unsafe {
                let mut layout = Layout::from_size_align(sizes[0], 64).unwrap();
                let mut block = BySize.alloc_zeroed(layout);
                assert_eq!(block.read(), 0);
                block.write_bytes(7, layout.size());
                let mut kept = layout.size();
                for size in &sizes[1..] {
                    block = BySize.realloc(block, layout, *size);
                    assert!(!block.is_null() && block.addr().is_multiple_of(64));
                    layout = Layout::from_size_align(*size, 64).unwrap();
                    kept = kept.min(*size);
                    assert!((0..kept).all(|at| block.add(at).read() == 7));
                }
                BySize.dealloc(block, layout);
            }
        }
    }

    #[test]
    fn more_than_there_is_is_refused() {
        let layout = Layout::from_size_align(1 << 48, 64).unwrap();
        // SAFETY: the size is not 0, and nothing is done with what is refused.
        assert!(unsafe { BySize.alloc(layout) }.is_null());
    }
}
