//! Random numbers that a key decides: ChaCha with 8 rounds, the key as seed, its values fixed by the algorithm.

use chacha20::ChaCha8Rng;
use chacha20::rand_core::{Rng, SeedableRng};

/// One number for each slot, used or not: a pin changes nothing for the slots below.
#[derive(Debug)]
pub struct Draws(Vec<f64>);

impl Draws {
    /// The numbers of a key, for so many slots.
    pub fn new(key: u128, slots: usize) -> Self {
        let mut seed = [0; 32];
        seed[..16].copy_from_slice(&key.to_le_bytes());
        let mut random = ChaCha8Rng::from_seed(seed);
        // The upper 53 bits: every number is a multiple of 2^-53.
        let unit = |bits: u64| (bits >> 11) as f64 * (1.0 / (1u64 << 53) as f64);
        Self((0..slots).map(|_| unit(random.next_u64())).collect())
    }

    /// The number of a slot, 0 to below 1.
    pub fn of(&self, slot: usize) -> f64 {
        self.0[slot]
    }
}
