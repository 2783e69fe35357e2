//! Arrays of the caller as slices, by the buffer protocol, without a copy.
//!
//! A [`PyBuffer`] keeps its exporter from freeing or resizing the memory. Shapes and types are checked in
//! `headwater.kernels`; what is checked here again is what memory safety rests on.

use pyo3::buffer::{Element, PyBuffer};
use pyo3::prelude::*;

use crate::error::CoreError;

fn contiguous<T: Element>(field: &'static str, array: &PyBuffer<T>) -> Result<(), CoreError> {
    if array.is_c_contiguous() {
        return Ok(());
    }
    Err(CoreError::Argument {
        field,
        rule: "not C-contiguous; use numpy.ascontiguousarray".to_string(),
    })
}

/// The elements of an array that is read.
pub fn view<'a, T: Element>(field: &'static str, array: &'a PyBuffer<T>) -> PyResult<&'a [T]> {
    contiguous(field, array)?;
    if array.item_count() == 0 {
        return Ok(&[]);
    }
    // SAFETY: PyBuffer checked type and alignment, the memory is contiguous and held for 'a. As with every reader of numpy
    // arrays that releases the GIL, a thread that writes to the array meanwhile is the caller's mistake.
    Ok(unsafe { std::slice::from_raw_parts(array.buf_ptr().cast(), array.item_count()) })
}

/// The elements of an array that is written: a fresh one that only this call knows.
pub fn view_mut<'a, T: Element>(
    field: &'static str,
    array: &'a mut PyBuffer<T>,
) -> PyResult<&'a mut [T]> {
    contiguous(field, array)?;
    if array.readonly() {
        let rule = "read-only; an output array is written".to_string();
        return Err(CoreError::Argument { field, rule }.into());
    }
    if array.item_count() == 0 {
        return Ok(&mut []);
    }
    // SAFETY: as in `view`, and writable. `headwater.kernels` makes output arrays itself, so nothing else refers to them.
    Ok(unsafe { std::slice::from_raw_parts_mut(array.buf_ptr().cast(), array.item_count()) })
}

/// Refuses an array of another length than `expected`.
pub fn length(field: &'static str, found: usize, expected: usize) -> Result<(), CoreError> {
    if found == expected {
        return Ok(());
    }
    Err(CoreError::Argument {
        field,
        rule: format!("{found} elements; allowed: {expected}"),
    })
}

/// A filter as words of bits: from one byte a vector (zero or not), or from packed bits, the lowest first.
pub fn filter_words(mask: &[u8], packed: bool, len: usize) -> Result<Vec<u64>, CoreError> {
    if packed {
        length("mask", mask.len(), len.div_ceil(8))?;
        return Ok(mask
            .chunks(8)
            .map(|bytes| {
                let mut word = [0; 8];
                word[..bytes.len()].copy_from_slice(bytes);
                u64::from_le_bytes(word)
            })
            .collect());
    }
    length("mask", mask.len(), len)?;
    Ok(mask
        .chunks(64)
        .map(|bytes| {
            bytes
                .chunks(8)
                .enumerate()
                .fold(0, |word, (at, eight)| word | eight_bits(eight) << (at * 8))
        })
        .collect())
}

/// One bit for each of up to eight bytes that are 0 or 1, as numpy's are.
fn eight_bits(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    // Each product moves one byte's lowest bit to its place among the upper eight bits, without carries.
    (u64::from_le_bytes(word) & 0x0101_0101_0101_0101).wrapping_mul(0x0102_0408_1020_4080) >> 56
}
