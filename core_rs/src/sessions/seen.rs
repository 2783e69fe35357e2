//! Items touched or consumed so long ago that the exact ring has let go of them.
//!
//! Split-block Bloom blocks of 256 bits, [`KEYS_PER_BLOCK`] items each, so that a user pays for what they touched:
//! 2 bytes an item at a false-positive rate of about 6e-4 a block. Two generations, rotated by event time. A false
//! positive hides or demotes one item; it never drops an event.

use serde::{Deserialize, Serialize};

use crate::bloom::{block_contains, block_insert};
use crate::ids::Millis;
use crate::snapshot::codec::{PartReader, PartWriter, ReadResult};

/// Items per 256-bit block.
pub const KEYS_PER_BLOCK: usize = 16;
/// Blocks per generation: beyond 1,024 items a generation rotates early.
const MAX_BLOCKS: usize = 64;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Generation {
    number: i64,
    keys: u32,
    blocks: Vec<[u32; 8]>,
}

impl Generation {
    fn contains(&self, hash: u32) -> bool {
        self.blocks.iter().any(|block| block_contains(block, hash))
    }

    fn insert(&mut self, hash: u32) {
        if (self.keys as usize).is_multiple_of(KEYS_PER_BLOCK) {
            self.blocks.push([0; 8]);
        }
        self.keys += 1;
        if let Some(block) = self.blocks.last_mut() {
            block_insert(block, hash);
        }
    }
}

/// Two generations of blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenFilter {
    current: Generation,
    previous: Generation,
}

impl SeenFilter {
    /// Whether the item with this stable hash may have been inserted in the current or the previous generation.
    pub fn contains(&self, item_hash: u64) -> bool {
        let hash = fold(item_hash);
        self.current.contains(hash) || self.previous.contains(hash)
    }

    /// Inserts an item touched at `ts`; generations are `generation_ms` of event time long.
    pub fn insert(&mut self, item_hash: u64, ts: Millis, generation_ms: i64) {
        let number = ts / generation_ms.max(1);
        let full = self.current.blocks.len() == MAX_BLOCKS
            && (self.current.keys as usize).is_multiple_of(KEYS_PER_BLOCK);
        if self.current.keys == 0 {
            self.current.number = number;
        } else if number > self.current.number || full {
            let fresh = Generation {
                number: number.max(self.current.number),
                ..Generation::default()
            };
            self.previous = std::mem::replace(&mut self.current, fresh);
        }
        let hash = fold(item_hash);
        if !self.current.contains(hash) {
            self.current.insert(hash);
        }
    }

    /// Bytes held beyond the struct itself.
    pub fn memory(&self) -> usize {
        (self.current.blocks.capacity() + self.previous.blocks.capacity()) * 32
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.current.keys == 0 && self.previous.keys == 0
    }

    /// Writes both generations.
    pub fn write(&self, w: &mut PartWriter<'_>) {
        for generation in [&self.current, &self.previous] {
            w.int(generation.number);
            w.uint(u64::from(generation.keys));
            w.uint(generation.blocks.len() as u64);
            for lane in generation.blocks.iter().flatten() {
                w.uint(u64::from(*lane));
            }
        }
    }

    /// Reads both generations.
    pub fn read(r: &mut PartReader<'_>) -> ReadResult<Self> {
        let mut generations = [Generation::default(), Generation::default()];
        for generation in &mut generations {
            generation.number = r.int()?;
            generation.keys = r.uint32()?;
            for _ in 0..r.len(8)? {
                let mut block = [0; 8];
                for lane in &mut block {
                    *lane = r.uint32()?;
                }
                generation.blocks.push(block);
            }
        }
        let [current, previous] = generations;
        Ok(Self { current, previous })
    }
}

fn fold(hash: u64) -> u32 {
    (hash ^ hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::stable_hash;

    #[test]
    fn nothing_inserted_is_forgotten_within_two_generations() {
        let mut filter = SeenFilter::default();
        let hashes: Vec<u64> = (0..1500u32)
            .map(|i| stable_hash(&i.to_le_bytes()))
            .collect();
        hashes
            .iter()
            .for_each(|h| filter.insert(*h, 1000, 1_000_000));
        assert!(hashes.iter().all(|h| filter.contains(*h)));
        let false_positives = (10_000..20_000u32)
            .filter(|i| filter.contains(stable_hash(&i.to_le_bytes())))
            .count();
        assert!(false_positives < 900, "{false_positives} of 10,000");
    }

    #[test]
    fn generations_rotate_by_event_time() {
        let mut filter = SeenFilter::default();
        filter.insert(1, 0, 100);
        filter.insert(2, 150, 100);
        assert!(filter.contains(1) && filter.contains(2));
        filter.insert(3, 250, 100);
        assert!(!filter.contains(1) && filter.contains(2) && filter.contains(3));
    }
}
