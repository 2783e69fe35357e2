//! `exp` of whole blocks, bit for bit that of `libm`.
//!
//! An exploring slate weighs each candidate anew whenever its value changes: thousands of exponentials. The steps are those
//! of `libm::exp` (FreeBSD's e_exp.c) for arguments whose result is a normal number, written without a branch, so that the
//! compiler turns a block into vector code. Arguments outside that range go to `libm` itself.

use crate::diversity::blocks::Lanes;
use crate::embedding::store::LANES;
use crate::simd::{Simd, by_simd};

use super::stage::{Mask, lanes_of};

/// Below this a weight adds nothing to a sum in which the best weighs 1e-9 or more.
const LEAST: f64 = -60.0;
/// Up to here the vector code is right; real weights stay far below.
const MOST: f64 = 700.0;

/// ln(2) in two parts, of which the first has few digits, and the coefficients of the approximation: as `libm` has them.
const LN2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
const LN2_LOW: f64 = f64::from_bits(0x3dea_39ef_3579_3c76);
const OVER_LN2: f64 = std::f64::consts::LOG2_E;
const P: [f64; 5] = [
    f64::from_bits(0x3fc5_5555_5555_553e),
    f64::from_bits(0xbf66_c16c_16be_bd93),
    f64::from_bits(0x3f11_566a_af25_de2c),
    f64::from_bits(0xbebb_bd41_c5d2_6bf1),
    f64::from_bits(0x3e66_3769_72be_a4d0),
];
/// Upper halves of the magnitudes of 2^-28, ln(2) / 2 and 1.5 ln(2), where the steps change.
const TINY: u64 = 0x3e30_0001 << 32;
const HALF_LN2: u64 = 0x3fd6_2e43 << 32;
const MORE_LN2: u64 = 0x3ff0_a2b2 << 32;
/// 1.5 * 2^52: a whole number added to it stands in the lowest bits of the sum.
const WHOLE: f64 = 6_755_399_441_055_744.0;

/// `exp` of each, and 0 for weights that add nothing.
#[inline]
pub fn weights(simd: Simd, scaled: &Lanes<f64>) -> Lanes<f64> {
    let mut out = [0.0; LANES];
    let into = &mut out;
    let odd = by_simd!(simd, fn run(scaled: &Lanes<f64>, into: &mut Lanes<f64>) -> bool = block);
    if odd {
        for (out, scaled) in out.iter_mut().zip(scaled) {
            *out = weight(*scaled);
        }
    }
    out
}

/// Room for the numbers of some lanes of many blocks, side by side: few lanes of a block change at once, and an exponential of
/// 16 takes as long whether one of them is wanted or all.
#[derive(Default)]
pub struct Dense {
    numbers: Vec<f64>,
}

impl Dense {
    /// Replaces the weights of the lanes whose bits are set by those of their worth: `exp((worth - reference) / temperature)`,
    /// and 0 for weights that add nothing.
    pub fn weigh(
        &mut self,
        simd: Simd,
        worth: &[Lanes<f64>],
        scale: (f64, f64),
        lanes: &[Mask],
        out: &mut [Lanes<f64>],
    ) {
        let wanted: usize = lanes.iter().map(|lanes| lanes.count_ones() as usize).sum();
        let whole = wanted.next_multiple_of(LANES);
        let numbers = &mut self.numbers;
        // Half a block more than is ever filled, for who writes eight at a time.
        numbers.resize(numbers.len().max((worth.len() + 1) * LANES), 0.0);
        gather(simd, lanes, worth, numbers);
        numbers[wanted..whole].fill(scale.1);
        let made = &mut numbers[..whole];
        by_simd!(simd, fn run(made: &mut [f64], scale: (f64, f64)) = weigh_all);
        scatter(simd, lanes, numbers, out);
    }
}

/// Writes the numbers of the lanes whose bits are set side by side. `to` has room for half a block more than all of them.
fn gather(simd: Simd, lanes: &[Mask], from: &[Lanes<f64>], to: &mut [f64]) {
    #[cfg(target_arch = "x86_64")]
    if simd.is_avx512() {
        // SAFETY: a `Simd` is only made for a path that this CPU has.
        return unsafe { x86::gather(lanes, from, to) };
    }
    let mut to = to.iter_mut();
    for (lanes, from) in lanes.iter().zip(from) {
        for (lane, to) in lanes_of(*lanes).zip(&mut to) {
            *to = from[lane];
        }
    }
}

/// The other way round; other lanes stay.
fn scatter(simd: Simd, lanes: &[Mask], from: &[f64], to: &mut [Lanes<f64>]) {
    #[cfg(target_arch = "x86_64")]
    if simd.is_avx512() {
        // SAFETY: as above.
        return unsafe { x86::scatter(lanes, from, to) };
    }
    let mut from = from.iter();
    for (lanes, to) in lanes.iter().zip(to) {
        for (lane, from) in lanes_of(*lanes).zip(&mut from) {
            to[lane] = *from;
        }
    }
}

/// Whole registers, whose lanes are pushed together: a loop over the bits of each mask would end where no CPU foresees it.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Lanes, Mask};

    const HALF: usize = 8;

    #[target_feature(enable = "avx512f")]
    pub fn gather(lanes: &[Mask], from: &[Lanes<f64>], to: &mut [f64]) {
        let mut place = 0;
        for (lanes, from) in lanes.iter().zip(from) {
            for (half, from) in from.as_chunks::<HALF>().0.iter().enumerate() {
                let mask = (lanes >> (half * HALF)) as u8;
                let to = &mut to[place..place + HALF];
                // SAFETY: both are eight numbers.
                unsafe {
                    let together = _mm512_maskz_compress_pd(mask, _mm512_loadu_pd(from.as_ptr()));
                    _mm512_storeu_pd(to.as_mut_ptr(), together);
                }
                place += mask.count_ones() as usize;
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    pub fn scatter(lanes: &[Mask], from: &[f64], to: &mut [Lanes<f64>]) {
        let mut place = 0;
        for (lanes, to) in lanes.iter().zip(to) {
            for (half, to) in to.as_chunks_mut::<HALF>().0.iter_mut().enumerate() {
                let mask = (lanes >> (half * HALF)) as u8;
                let from = &from[place..place + HALF];
                // SAFETY: both are eight numbers.
                unsafe {
                    let (old, new) = (_mm512_loadu_pd(to.as_ptr()), _mm512_loadu_pd(from.as_ptr()));
                    _mm512_storeu_pd(to.as_mut_ptr(), _mm512_mask_expand_pd(old, mask, new));
                }
                place += mask.count_ones() as usize;
            }
        }
    }
}

/// Makes weights of what whole blocks are worth.
#[inline(always)]
fn weigh_all(numbers: &mut [f64], (temperature, reference): (f64, f64)) {
    for numbers in numbers.as_chunks_mut::<LANES>().0 {
        let scaled = numbers.map(|worth| (worth - reference) / temperature);
        if block(&scaled, numbers) {
            *numbers = scaled.map(weight);
        }
    }
}

/// [`weights`] of one.
#[inline]
pub fn weight(scaled: f64) -> f64 {
    if scaled < LEAST {
        0.0
    } else {
        libm::exp(scaled)
    }
}

/// Whether any argument is none that the steps are right for.
#[inline(always)]
fn block(scaled: &Lanes<f64>, out: &mut Lanes<f64>) -> bool {
    let mut odd = [false; LANES];
    for lane in 0..LANES {
        let x = scaled[lane];
        let small = x < LEAST;
        odd[lane] = !(small | (x <= MOST));
        let x = if small { 0.0 } else { x };
        let value = exp(x);
        out[lane] = if small { 0.0 } else { value };
    }
    odd.iter().fold(false, |any, odd| any | odd)
}

/// For [`LEAST`] to [`MOST`].
#[inline(always)]
fn exp(x: f64) -> f64 {
    let magnitude = x.to_bits() & !(1 << 63);
    let (near, half) = if x < 0.0 { (-1.0, -0.5) } else { (1.0, 0.5) };
    let far = (OVER_LN2 * x + half).trunc();
    let k = if magnitude >= MORE_LN2 { far } else { near };
    let k = if magnitude >= HALF_LN2 { k } else { 0.0 };
    let (high, low) = (x - k * LN2_HIGH, k * LN2_LOW);
    let rest = high - low;
    let square = rest * rest;
    let c = rest
        - square * (P[0] + square * (P[1] + square * (P[2] + square * (P[3] + square * P[4]))));
    let value = 1.0 + (rest * c / (2.0 - c) - low + high);
    let power = (k + WHOLE).to_bits() << 52;
    let value = value * f64::from_bits(power.wrapping_add(1023 << 52));
    if magnitude < TINY { 1.0 + x } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_libm_bit_for_bit_on_every_path() {
        let ln2 = std::f64::consts::LN_2;
        let mut edges = vec![
            0.0,
            -0.0,
            1e-300,
            LEAST,
            LEAST.next_down(),
            MOST,
            MOST.next_up(),
            f64::NAN,
        ];
        edges.extend([f64::INFINITY, f64::NEG_INFINITY, 1e9, -1e9]);
        for edge in [2f64.powi(-28), 0.5 * ln2, 1.5 * ln2, 2.5 * ln2, 1.0, 59.9] {
            let bits = edge.to_bits();
            // The steps look at the upper half of a number only.
            let near = [
                bits,
                bits & !0xffff_ffff,
                bits | 0xffff_ffff,
                (bits | 0xffff_ffff) + 1,
            ];
            edges.extend(
                near.iter()
                    .flat_map(|b| (b - 3)..(b + 3))
                    .map(f64::from_bits),
            );
        }
        let signed: Vec<f64> = edges.iter().flat_map(|e| [*e, -e]).collect();
        let mut state = 9u64;
        let mut unit = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let spread: Vec<f64> = (0..200_000)
            .map(|i| match i % 4 {
                0 => -61.0 * unit(),
                1 => -unit(),
                2 => (unit() - 0.5) * 1e-7,
                _ => 710.0 * unit(),
            })
            .collect();
        for simd in Simd::available() {
            for (at, part) in (0u32..).zip(signed.chunks(LANES).chain(spread.chunks(LANES))) {
                let mut lanes = [0.0; LANES];
                lanes[..part.len()].copy_from_slice(part);
                let found = weights(simd, &lanes);
                for (x, found) in lanes.iter().zip(found) {
                    assert_eq!(found.to_bits(), weight(*x).to_bits(), "exp({x:?})");
                }
                let (mask, scale) = (at.wrapping_mul(40_503) as Mask, (0.3, 0.7));
                let mut some = [[7.0; LANES]; 3];
                let worth = [[f64::NAN; LANES], lanes, lanes];
                let masks = [0, mask, !mask];
                Dense::default().weigh(simd, &worth, scale, &masks, &mut some);
                for (mask, some) in masks.into_iter().zip(some) {
                    for (lane, (x, found)) in lanes.iter().zip(some).enumerate() {
                        let own = weight((x - scale.1) / scale.0);
                        let expected = if mask >> lane & 1 == 1 { own } else { 7.0 };
                        assert_eq!(found.to_bits(), expected.to_bits(), "{x:?} of {mask:016b}");
                    }
                }
            }
        }
    }
}
