//! One pass over a column: a test of every value becomes a bit.
//!
//! The loop is written once, in plain Rust, and compiled for each CPU path; the compiler finds the vector instructions.

use crate::bitmap::Bitmap;
use crate::simd::Simd;

/// Sets the bits of `out` to what `test` says of each value; bits beyond the values are cleared. O(n).
pub fn fill<T: Copy>(simd: Simd, values: &[T], out: &mut Bitmap, test: impl Fn(T) -> bool) {
    match simd {
        // SAFETY: a `Simd` is only made for a path that this CPU has.
        #[cfg(target_arch = "x86_64")]
        _ if simd.is_avx512() => unsafe { fill_avx512(values, out, test) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        _ if simd.is_avx2() => unsafe { fill_avx2(values, out, test) },
        _ => fill_here(values, out, test),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn fill_avx512<T: Copy>(values: &[T], out: &mut Bitmap, test: impl Fn(T) -> bool) {
    fill_here(values, out, test);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn fill_avx2<T: Copy>(values: &[T], out: &mut Bitmap, test: impl Fn(T) -> bool) {
    fill_here(values, out, test);
}

#[inline(always)]
fn fill_here<T: Copy>(values: &[T], out: &mut Bitmap, test: impl Fn(T) -> bool) {
    let (whole, rest) = values.as_chunks::<64>();
    out.fill_words(|w| match whole.get(w) {
        Some(chunk) => word(chunk, &test),
        None if w == whole.len() => rest
            .iter()
            .enumerate()
            .fold(0, |bits, (i, value)| bits | u64::from(test(*value)) << i),
        None => 0,
    });
}

/// Bytes of 0 and 1 first, which vectorises, then eight bytes to eight bits by one multiplication each.
#[inline(always)]
fn word<T: Copy>(chunk: &[T; 64], test: &impl Fn(T) -> bool) -> u64 {
    let mut bytes = [0u8; 64];
    for (byte, value) in bytes.iter_mut().zip(chunk) {
        *byte = u8::from(test(*value));
    }
    let (eights, _) = bytes.as_chunks::<8>();
    eights.iter().enumerate().fold(0, |bits, (i, eight)| {
        let packed = u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        bits | packed << (8 * i)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_path_agrees_with_one_bit_at_a_time(
            values in prop::collection::vec(any::<u8>(), 0..300),
            len in 0usize..400,
            limit: u8,
        ) {
            for simd in Simd::available() {
                let mut out = Bitmap::ones(len);
                fill(simd, &values, &mut out, |value| value < limit);
                for i in 0..len {
                    prop_assert_eq!(out.get(i), values.get(i).is_some_and(|v| *v < limit));
                }
                prop_assert!(out.iter_ones().all(|i| i < len));
            }
        }
    }
}
