//! Weighted sums of rows of 16 numbers, the inner loop of MMR and DPP: `sum_t rows[t] * factors[t]` for each lane.
//!
//! Row t goes to chain t mod 4; the chains are added as (0 + 1) + (2 + 3). Products and sums are rounded on their own, never
//! fused, so every path gives the same bits. Written with intrinsics because the compiler does not find the vectors.

use crate::simd::Simd;

use super::blocks::Lanes;

const CHAINS: usize = 4;

/// In f32.
#[inline]
pub fn sums_f32(simd: Simd, rows: &[Lanes<f32>], factors: &[f32]) -> Lanes<f32> {
    match simd {
        // SAFETY: a `Simd` is only made for a path that this CPU has.
        #[cfg(target_arch = "x86_64")]
        _ if simd.is_avx512() => unsafe { x86::f32_avx512(rows, factors) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        _ if simd.is_avx2() => unsafe { x86::f32_avx2(rows, factors) },
        _ => portable(rows, factors),
    }
}

/// In f64.
#[inline]
pub fn sums_f64(simd: Simd, rows: &[Lanes<f64>], factors: &[f64]) -> Lanes<f64> {
    match simd {
        // SAFETY: a `Simd` is only made for a path that this CPU has.
        #[cfg(target_arch = "x86_64")]
        _ if simd.is_avx512() => unsafe { x86::f64_avx512(rows, factors) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        _ if simd.is_avx2() => unsafe { x86::f64_avx2(rows, factors) },
        _ => portable(rows, factors),
    }
}

fn portable<T>(rows: &[Lanes<T>], factors: &[T]) -> Lanes<T>
where
    T: Copy + Default + std::ops::Mul<Output = T> + std::ops::Add<Output = T>,
{
    let mut chains = [[T::default(); 16]; CHAINS];
    for (t, (row, factor)) in rows.iter().zip(factors).enumerate() {
        for (sum, x) in chains[t % CHAINS].iter_mut().zip(row) {
            *sum = *sum + *x * *factor;
        }
    }
    let [a, b, c, d] = chains;
    std::array::from_fn(|l| (a[l] + b[l]) + (c[l] + d[l]))
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{CHAINS, Lanes};

    /// One path for one type: `$n` registers of `$width` numbers hold a row.
    macro_rules! sums {
        ($name:ident, $feature:literal, $t:ty, $n:literal, $width:literal,
         $zero:ident, $load:ident, $set:ident, $mul:ident, $add:ident, $store:ident) => {
            #[target_feature(enable = $feature)]
            pub fn $name(rows: &[Lanes<$t>], factors: &[$t]) -> Lanes<$t> {
                let mut chains = [[$zero(); $n]; CHAINS];
                let (rows_whole, rows_rest) = rows.as_chunks::<CHAINS>();
                let (factors_whole, factors_rest) = factors.as_chunks::<CHAINS>();
                for (rows, factors) in rows_whole.iter().zip(factors_whole) {
                    for c in 0..CHAINS {
                        let factor = $set(factors[c]);
                        for i in 0..$n {
                            // SAFETY: a row has $n times $width numbers.
                            let row = unsafe { $load(rows[c].as_ptr().add(i * $width)) };
                            chains[c][i] = $add(chains[c][i], $mul(row, factor));
                        }
                    }
                }
                // At most three: always chains 0 to 2, so the index is a constant once unrolled.
                for c in 0..CHAINS - 1 {
                    if let (Some(row), Some(factor)) = (rows_rest.get(c), factors_rest.get(c)) {
                        for i in 0..$n {
                            // SAFETY: as above.
                            let row = unsafe { $load(row.as_ptr().add(i * $width)) };
                            chains[c][i] = $add(chains[c][i], $mul(row, $set(*factor)));
                        }
                    }
                }
                let mut out = [0.0; 16];
                for i in 0..$n {
                    let [a, b, c, d] = [chains[0][i], chains[1][i], chains[2][i], chains[3][i]];
                    let sum = $add($add(a, b), $add(c, d));
                    // SAFETY: the output has $n times $width numbers.
                    unsafe { $store(out.as_mut_ptr().add(i * $width), sum) };
                }
                out
            }
        };
    }

    sums!(
        f32_avx512,
        "avx512f",
        f32,
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
        f64_avx512,
        "avx512f",
        f64,
        2,
        8,
        _mm512_setzero_pd,
        _mm512_loadu_pd,
        _mm512_set1_pd,
        _mm512_mul_pd,
        _mm512_add_pd,
        _mm512_storeu_pd
    );
    sums!(
        f32_avx2,
        "avx2",
        f32,
        2,
        8,
        _mm256_setzero_ps,
        _mm256_loadu_ps,
        _mm256_set1_ps,
        _mm256_mul_ps,
        _mm256_add_ps,
        _mm256_storeu_ps
    );
    sums!(
        f64_avx2,
        "avx2",
        f64,
        4,
        4,
        _mm256_setzero_pd,
        _mm256_loadu_pd,
        _mm256_set1_pd,
        _mm256_mul_pd,
        _mm256_add_pd,
        _mm256_storeu_pd
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_path_gives_the_same_bits(
            rows in prop::collection::vec(prop::array::uniform16(-1.0f64..1.0), 0..70),
            factor in -2.0f64..2.0,
        ) {
            let factors: Vec<f64> = (0..rows.len()).map(|t| factor / (t + 1) as f64).collect();
            let narrow: Vec<Lanes<f32>> = rows.iter().map(|row| row.map(|x| x as f32)).collect();
            let narrow_factors: Vec<f32> = factors.iter().map(|x| *x as f32).collect();
            let wide = sums_f64(Simd::PORTABLE, &rows, &factors).map(f64::to_bits);
            let thin = sums_f32(Simd::PORTABLE, &narrow, &narrow_factors).map(f32::to_bits);
            for simd in Simd::available() {
                prop_assert_eq!(sums_f64(simd, &rows, &factors).map(f64::to_bits), wide);
                prop_assert_eq!(sums_f32(simd, &narrow, &narrow_factors).map(f32::to_bits), thin);
            }
            for l in 0..16 {
                let exact: f64 = rows.iter().zip(&factors).map(|(row, f)| row[l] * f).sum();
                prop_assert!((f64::from_bits(wide[l]) - exact).abs() < 1e-12);
            }
        }
    }
}
