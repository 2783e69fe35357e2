//! Weighted sums of rows of 16 numbers, the inner loop of MMR and DPP: `sum_t rows[t] * factors[t]` for each lane; and
//! squared lengths.
//!
//! Row t goes to chain t mod 4; the chains are added as (0 + 1) + (2 + 3). Products and sums are rounded on their own, never
//! fused, so every path gives the same bits. Rows lie on cache lines; across two, every load would count twice. Written
//! with intrinsics because the compiler does not find the vectors.

use crate::simd::Simd;

use crate::embedding::store::PerLane;

use super::blocks::Lanes;

const CHAINS: usize = 4;
const SQUARE_CHAINS: usize = 16;

/// The sums, each times its lane's scale, then times `scale`.
#[inline]
pub fn scaled_sums(
    simd: Simd,
    rows: &[PerLane],
    factors: &[f32],
    scales: &Lanes<f32>,
    scale: f32,
) -> Lanes<f32> {
    match simd {
        // SAFETY: a `Simd` is only made for a path that this CPU has.
        #[cfg(target_arch = "x86_64")]
        _ if simd.is_avx512() => unsafe { x86::avx512(rows, factors, scales, scale) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        _ if simd.is_avx2() => unsafe { x86::avx2(rows, factors, scales, scale) },
        _ => portable(rows, factors, scales, scale),
    }
}

/// The squared length of each lane: row t goes to chain t mod 16, and chains are added as a tree, the upper half to the lower
/// one. Rounded as above.
pub fn squares(simd: Simd, rows: &[PerLane]) -> Lanes<f32> {
    match simd {
        // SAFETY: a `Simd` is only made for a path that this CPU has.
        #[cfg(target_arch = "x86_64")]
        _ if simd.is_avx512() => unsafe { x86::avx512_squares(rows) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        _ if simd.is_avx2() => unsafe { x86::avx2_squares(rows) },
        _ => portable_squares(rows),
    }
}

fn portable_squares(rows: &[PerLane]) -> Lanes<f32> {
    let mut chains = [[0.0f32; 16]; SQUARE_CHAINS];
    for (t, row) in rows.iter().enumerate() {
        for (sum, x) in chains[t % SQUARE_CHAINS].iter_mut().zip(&row.0) {
            *sum += x * x;
        }
    }
    let mut half = SQUARE_CHAINS / 2;
    while half > 0 {
        for c in 0..half {
            chains[c] = std::array::from_fn(|l| chains[c][l] + chains[c + half][l]);
        }
        half /= 2;
    }
    chains[0]
}

fn portable(rows: &[PerLane], factors: &[f32], scales: &Lanes<f32>, scale: f32) -> Lanes<f32> {
    let mut chains = [[0.0; 16]; CHAINS];
    for (t, (row, factor)) in rows.iter().zip(factors).enumerate() {
        for (sum, x) in chains[t % CHAINS].iter_mut().zip(&row.0) {
            *sum += *x * *factor;
        }
    }
    let [a, b, c, d] = chains;
    std::array::from_fn(|l| (((a[l] + b[l]) + (c[l] + d[l])) * scales[l]) * scale)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{CHAINS, Lanes, PerLane, SQUARE_CHAINS};

    /// One path: `$n` registers of `$width` numbers hold a row.
    macro_rules! sums {
        ($name:ident, $squares:ident, $feature:literal, $n:literal, $width:literal,
         $zero:ident, $load:ident, $set:ident, $mul:ident, $add:ident, $store:ident) => {
            #[target_feature(enable = $feature)]
            pub fn $name(
                rows: &[PerLane],
                factors: &[f32],
                scales: &Lanes<f32>,
                scale: f32,
            ) -> Lanes<f32> {
                let mut chains = [[$zero(); $n]; CHAINS];
                let (rows_whole, rows_rest) = rows.as_chunks::<CHAINS>();
                let (factors_whole, factors_rest) = factors.as_chunks::<CHAINS>();
                for (rows, factors) in rows_whole.iter().zip(factors_whole) {
                    for c in 0..CHAINS {
                        let factor = $set(factors[c]);
                        for i in 0..$n {
                            // SAFETY: a row has $n times $width numbers.
                            let row = unsafe { $load(rows[c].0.as_ptr().add(i * $width)) };
                            chains[c][i] = $add(chains[c][i], $mul(row, factor));
                        }
                    }
                }
                // At most three: always chains 0 to 2, so the index is a constant once unrolled.
                for c in 0..CHAINS - 1 {
                    if let (Some(row), Some(factor)) = (rows_rest.get(c), factors_rest.get(c)) {
                        for i in 0..$n {
                            // SAFETY: as above.
                            let row = unsafe { $load(row.0.as_ptr().add(i * $width)) };
                            chains[c][i] = $add(chains[c][i], $mul(row, $set(*factor)));
                        }
                    }
                }
                let mut out = [0.0; 16];
                for i in 0..$n {
                    let [a, b, c, d] = [chains[0][i], chains[1][i], chains[2][i], chains[3][i]];
                    let sum = $add($add(a, b), $add(c, d));
                    // SAFETY: scales and output have $n times $width numbers.
                    unsafe {
                        let scales = $load(scales.as_ptr().add(i * $width));
                        let scaled = $mul($mul(sum, scales), $set(scale));
                        $store(out.as_mut_ptr().add(i * $width), scaled);
                    }
                }
                out
            }

            #[target_feature(enable = $feature)]
            pub fn $squares(rows: &[PerLane]) -> Lanes<f32> {
                let mut out = [0.0; 16];
                for i in 0..$n {
                    let mut chains = [$zero(); SQUARE_CHAINS];
                    for rows in rows.chunks(SQUARE_CHAINS) {
                        for (sum, row) in chains.iter_mut().zip(rows) {
                            // SAFETY: a row has $n times $width numbers.
                            let x = unsafe { $load(row.0.as_ptr().add(i * $width)) };
                            *sum = $add(*sum, $mul(x, x));
                        }
                    }
                    let mut half = SQUARE_CHAINS / 2;
                    while half > 0 {
                        for c in 0..half {
                            chains[c] = $add(chains[c], chains[c + half]);
                        }
                        half /= 2;
                    }
                    // SAFETY: the output has $n times $width numbers.
                    unsafe { $store(out.as_mut_ptr().add(i * $width), chains[0]) };
                }
                out
            }
        };
    }

    sums!(
        avx512,
        avx512_squares,
        "avx512f",
        1,
        16,
        _mm512_setzero_ps,
        _mm512_loadu_ps,
        _mm512_set1_ps,
        _mm512_mul_ps,
        _mm512_add_ps,
        _mm512_storeu_ps
    );
    sums!(
        avx2,
        avx2_squares,
        "avx2",
        2,
        8,
        _mm256_setzero_ps,
        _mm256_loadu_ps,
        _mm256_set1_ps,
        _mm256_mul_ps,
        _mm256_add_ps,
        _mm256_storeu_ps
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_path_gives_the_same_bits(
            rows in prop::collection::vec(prop::array::uniform16(-1.0f32..1.0).prop_map(PerLane), 0..70),
            scales in prop::array::uniform16(-1.0f32..1.0),
            scale in -2.0f32..2.0,
        ) {
            let factors: Vec<f32> = (0..rows.len()).map(|t| scale / (t + 1) as f32).collect();
            let expected = scaled_sums(Simd::PORTABLE, &rows, &factors, &scales, scale);
            for simd in Simd::available() {
                let own = scaled_sums(simd, &rows, &factors, &scales, scale);
                prop_assert_eq!(own.map(f32::to_bits), expected.map(f32::to_bits));
            }
            let lengths = squares(Simd::PORTABLE, &rows);
            for simd in Simd::available() {
                prop_assert_eq!(squares(simd, &rows).map(f32::to_bits), lengths.map(f32::to_bits));
            }
            for l in 0..16 {
                let products = rows.iter().zip(&factors).map(|(row, f)| f64::from(row.0[l]) * f64::from(*f));
                let exact = products.sum::<f64>() * f64::from(scales[l]) * f64::from(scale);
                prop_assert!((f64::from(expected[l]) - exact).abs() < 1e-4);
                let exact: f64 = rows.iter().map(|row| f64::from(row.0[l]).powi(2)).sum();
                prop_assert!((f64::from(lengths[l]) - exact).abs() < 1e-4);
            }
        }
    }
}
