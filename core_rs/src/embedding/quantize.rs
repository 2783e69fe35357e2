//! Symmetric quantisation: `value[i] ~ code[i] * scale`, `scale = max |value| / 127`, codes in -127..=127.

use crate::error::CoreError;
use crate::simd::{Simd, by_simd};

use super::MAX_MAGNITUDE;

/// An int8 vector with its scale: `value[i] = code[i] * scale`.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    /// Length of one code step.
    pub scale: f32,
    /// Codes in -127..=127.
    pub codes: Box<[i8]>,
}

impl Embedding {
    /// Symmetric quantisation of little-endian f32 bytes (already checked: a multiple of four, all finite).
    pub fn quantize(bytes: &[u8]) -> Self {
        let values: Vec<f32> = bytes
            .chunks_exact(4)
            .map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]]))
            .collect();
        let mut codes = vec![0; values.len()].into_boxed_slice();
        let scale = encode(&values, largest(&values), &mut codes);
        Self { scale, codes }
    }
}

/// Quantises one vector into `codes` of the same length and returns its scale. O(d). Division and rounding are IEEE
/// operations in a fixed order, so every CPU gets the same codes. Refuses NaN, infinities and magnitudes above
/// [`MAX_MAGNITUDE`]; `row` names the vector in the message.
pub fn quantize_row(
    simd: Simd,
    field: &'static str,
    row: usize,
    values: &[f32],
    codes: &mut [i8],
) -> Result<f32, CoreError> {
    let scale = by_simd!(simd, fn run(values: &[f32], codes: &mut [i8]) -> Option<f32> = checked);
    scale.ok_or_else(|| refusal(field, row))
}

/// Refuses what [`quantize_row`] would refuse in row-major `values` of dimension `dim`.
pub fn check_rows(
    simd: Simd,
    field: &'static str,
    dim: usize,
    values: &[f32],
) -> Result<(), CoreError> {
    for (row, values) in values.chunks_exact(dim).enumerate() {
        let largest = by_simd!(simd, fn run(values: &[f32]) -> f32 = largest);
        if largest.is_nan() || largest > MAX_MAGNITUDE {
            return Err(refusal(field, row));
        }
    }
    Ok(())
}

fn refusal(field: &'static str, row: usize) -> CoreError {
    let rule = format!(
        "row {row} holds NaN, an infinity or a magnitude above {MAX_MAGNITUDE:e}; allowed: finite numbers"
    );
    CoreError::Argument { field, rule }
}

#[inline(always)]
fn checked(values: &[f32], codes: &mut [i8]) -> Option<f32> {
    let largest = largest(values);
    // False for NaN, which orders above infinity in `largest`.
    (largest <= MAX_MAGNITUDE).then(|| encode(values, largest, codes))
}

/// The largest magnitude; NaN if there is one.
#[inline(always)]
fn largest(values: &[f32]) -> f32 {
    // Without their sign, floats order like their bits, with NaN last: an integer maximum, which vectorises.
    let bits = values
        .iter()
        .fold(0, |max: u32, v| max.max(v.to_bits() & 0x7fff_ffff));
    f32::from_bits(bits)
}

#[inline(always)]
fn encode(values: &[f32], largest: f32, codes: &mut [i8]) -> f32 {
    let scale = largest / 127.0;
    if scale == 0.0 {
        codes.fill(0);
        return 0.0;
    }
    for (code, v) in codes.iter_mut().zip(values) {
        *code = (v / scale).round_ties_even().clamp(-127.0, 127.0) as i32 as i8;
    }
    scale
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn finite() -> impl Strategy<Value = f32> {
        prop_oneof![
            -1.0f32..1.0,
            -1e15f32..1e15,
            -1e-42f32..1e-42,
            Just(0.0),
            Just(-0.0),
            Just(1e15),
        ]
    }

    proptest! {
        #[test]
        fn every_path_gives_the_same_codes(values in prop::collection::vec(finite(), 0..200)) {
            let mut expected = vec![0; values.len()];
            let scale = quantize_row(Simd::PORTABLE, "x", 0, &values, &mut expected).unwrap();
            for simd in Simd::available() {
                let mut codes = vec![1; values.len()];
                let own = quantize_row(simd, "x", 0, &values, &mut codes).unwrap();
                prop_assert_eq!(own.to_bits(), scale.to_bits());
                prop_assert_eq!(&codes, &expected);
            }
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            let embedding = Embedding::quantize(&bytes);
            prop_assert_eq!(&*embedding.codes, &*expected);
            // Half a step, and the rounding of the division; a subnormal scale has few digits.
            for (code, v) in expected.iter().zip(&values) {
                prop_assert!(scale < 1e-36 || (f32::from(*code) * scale - v).abs() <= scale * 0.501);
            }
        }

        #[test]
        fn one_bad_component_is_found_on_every_path(at in 0usize..70, bad in 0usize..5) {
            let mut values = vec![0.5; 70];
            values[at] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.1e15, -f32::NAN][bad];
            for simd in Simd::available() {
                let refused = quantize_row(simd, "x", 7, &values, &mut [0; 70]).unwrap_err();
                prop_assert!(refused.to_string().starts_with("x: row 7 holds NaN"));
            }
        }
    }
}
