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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_always_gives_the_same_numbers() {
        // ChaCha8 with the key 0: the first bytes of its published key stream, 3e00ef2f895f40d6 7f5bb8e81f09a5a1.
        let draws = Draws::new(0, 3);
        let first = u64::from_le_bytes([0x3e, 0x00, 0xef, 0x2f, 0x89, 0x5f, 0x40, 0xd6]);
        let second = u64::from_le_bytes([0x7f, 0x5b, 0xb8, 0xe8, 0x1f, 0x09, 0xa5, 0xa1]);
        for (slot, bits) in [first, second].into_iter().enumerate() {
            assert_eq!(draws.of(slot), (bits >> 11) as f64 / (1u64 << 53) as f64);
        }
        assert_ne!(Draws::new(1, 1).of(0), draws.of(0));
        assert_eq!(Draws::new(0, 1).of(0), draws.of(0));
    }
}
