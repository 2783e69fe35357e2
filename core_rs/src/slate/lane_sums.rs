//! Sums over some lanes of a block, each as the same tree on every CPU path.
//!
//! Which lanes is what no CPU foresees. Compilers make a branch of each lane, or move lane by lane; with AVX-512 a mask
//! loads the lanes and zeros for the others.

use crate::diversity::blocks::Lanes;
use crate::embedding::store::LANES;
use crate::simd::Simd;

use super::stage::{Mask, lanes_of};

/// Sums of the weights, of weights times extra, and of extra, over the lanes of a mask; each as a tree.
#[inline(always)]
pub fn sums(simd: Simd, mask: Mask, weights: &Lanes<f64>, extra: &Lanes<f64>) -> [f64; 3] {
    #[cfg(target_arch = "x86_64")]
    if simd.is_avx512() {
        // SAFETY: a `Simd` is only made for a path that this CPU has.
        return unsafe { x86::sums(mask, weights, extra) };
    }
    let _ = simd;
    portable(mask, weights, extra)
}

/// The largest of the lanes of some masks; negative infinity where there is none. None of them is NaN.
pub fn largest(simd: Simd, masks: &[Mask], numbers: &[Lanes<f64>]) -> f64 {
    #[cfg(target_arch = "x86_64")]
    if simd.is_avx512() {
        // SAFETY: as above.
        return unsafe { x86::largest(masks, numbers) };
    }
    let _ = simd;
    let each = masks.iter().zip(numbers);
    each.flat_map(|(mask, numbers)| lanes_of(*mask).map(|lane| numbers[lane]))
        .fold(f64::NEG_INFINITY, f64::max)
}

#[inline(always)]
fn portable(mask: Mask, weights: &Lanes<f64>, extra: &Lanes<f64>) -> [f64; 3] {
    let weight: Lanes<f64> = chosen(mask, weights);
    if extra.iter().fold(0, |any, extra| any | extra.to_bits()) == 0 {
        // Most candidates kill nothing, and sums of zeros are zeros.
        return [sum(weight), 0.0, 0.0];
    }
    let plain = chosen(mask, extra);
    let mut product = weight;
    for l in 0..LANES {
        product[l] *= plain[l];
    }
    [sum(weight), sum(product), sum(plain)]
}

/// The lanes of a mask; 0 in the others.
#[inline(always)]
fn chosen(mask: Mask, from: &Lanes<f64>) -> Lanes<f64> {
    let mut out = [0.0; LANES];
    for l in 0..LANES {
        let is_in = u64::from(mask) & (1 << l) != 0;
        out[l] = if is_in { from[l] } else { 0.0 };
    }
    out
}

#[inline(always)]
fn sum(mut lanes: Lanes<f64>) -> f64 {
    let mut width = LANES / 2;
    while width > 0 {
        for l in 0..width {
            lanes[l] += lanes[l + width];
        }
        width /= 2;
    }
    lanes[0]
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Lanes, Mask};

    /// The lower eight lanes, and the upper ones.
    type Halves = [__m512d; 2];

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    pub fn sums(mask: Mask, weights: &Lanes<f64>, extra: &Lanes<f64>) -> [f64; 3] {
        let weight = chosen(mask, weights);
        let whole = chosen(Mask::MAX, extra).map(|half| _mm512_castpd_si512(half));
        let any = _mm512_or_si512(whole[0], whole[1]);
        if _mm512_test_epi64_mask(any, any) == 0 {
            return [sum(weight), 0.0, 0.0];
        }
        let plain = chosen(mask, extra);
        let product = [0, 1].map(|half: usize| _mm512_mul_pd(weight[half], plain[half]));
        [sum(weight), sum(product), sum(plain)]
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    pub fn largest(masks: &[Mask], numbers: &[Lanes<f64>]) -> f64 {
        let mut most = [_mm512_set1_pd(f64::NEG_INFINITY); 2];
        for (mask, numbers) in masks.iter().zip(numbers) {
            let own = chosen(*mask, numbers);
            for (half, bits) in mask.to_le_bytes().into_iter().enumerate() {
                most[half] = _mm512_mask_max_pd(most[half], bits, most[half], own[half]);
            }
        }
        _mm512_reduce_max_pd(_mm512_max_pd(most[0], most[1]))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn chosen(mask: Mask, from: &Lanes<f64>) -> Halves {
        let [lower, upper] = mask.to_le_bytes();
        let start = from.as_ptr();
        // SAFETY: a block has 16 lanes, eight from each of the two places on; no alignment is asked for.
        unsafe {
            [
                _mm512_maskz_loadu_pd(lower, start),
                _mm512_maskz_loadu_pd(upper, start.add(8)),
            ]
        }
    }

    /// Lane l and lane l + width, for falling widths.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn sum(halves: Halves) -> f64 {
        let eight = _mm512_add_pd(halves[0], halves[1]);
        let upper = _mm512_extractf64x4_pd::<1>(eight);
        let four = _mm256_add_pd(_mm512_castpd512_pd256(eight), upper);
        let upper = _mm256_extractf128_pd::<1>(four);
        let two = _mm_add_pd(_mm256_castpd256_pd128(four), upper);
        _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::array::{uniform3, uniform16};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_paths_give_the_same_bits(
            mask: u16,
            weights in uniform16(0.0f64..3.0),
            extra in uniform16(prop_oneof![Just(0.0), Just(1.0), Just(3.0)]),
            nothing: bool,
        ) {
            let extra = if nothing { [0.0; LANES] } else { extra };
            let expected = portable(mask, &weights, &extra).map(f64::to_bits);
            for simd in Simd::available() {
                let found = sums(simd, mask, &weights, &extra).map(f64::to_bits);
                prop_assert_eq!(found, expected, "{}", simd.name());
            }
        }

        #[test]
        fn all_paths_find_the_same_largest(
            masks in uniform3(0u16..),
            numbers in uniform3(uniform16(-2.0f64..3.0)),
        ) {
            let expected = largest(Simd::PORTABLE, &masks, &numbers).to_bits();
            for simd in Simd::available() {
                let found = largest(simd, &masks, &numbers).to_bits();
                prop_assert_eq!(found, expected, "{}", simd.name());
            }
        }
    }
}
