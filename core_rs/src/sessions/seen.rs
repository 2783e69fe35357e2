//! Items touched or consumed so long ago that the exact ring has let go of them.
//!
//! Split-block Bloom blocks of 256 bits, [`KEYS_PER_BLOCK`] items each, so that a user pays for what they touched:
//! 2 bytes an item at a false-positive rate of about 6e-4 a block. Two generations, rotated by event time. A false
//! positive hides or demotes one item; it never drops an event.

use serde::{Deserialize, Serialize};

use crate::bloom::{any_contains, block_insert};
use crate::ids::Millis;
use crate::snapshot::codec::{PartReader, PartWriter, ReadResult};

/// Items per 256-bit block.
pub const KEYS_PER_BLOCK: usize = 16;
/// Blocks per generation: beyond 1,024 items a generation rotates early.
const MAX_BLOCKS: usize = 64;
/// So many of the items inserted last, of one generation's time, are surely remembered.
pub const SEEN_SURELY: usize = MAX_BLOCKS * KEYS_PER_BLOCK;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Generation {
    number: i64,
    keys: u32,
    blocks: Vec<[u32; 8]>,
}

impl Generation {
    fn contains(&self, hash: u32) -> bool {
        any_contains(&self.blocks, hash)
    }

    /// Whether its event time ends at `since` or later; never for one without keys.
    fn reaches(&self, since: Millis, generation_ms: i64) -> bool {
        let end = self
            .number
            .saturating_add(1)
            .saturating_mul(generation_ms.max(1));
        self.keys > 0 && end > since
    }

    /// Takes in another's blocks. The last block of either counts as full, so that the next key opens a block.
    fn append(&mut self, other: Self) {
        self.blocks.extend(other.blocks);
        let over = self.blocks.len().saturating_sub(MAX_BLOCKS);
        self.blocks.drain(..over);
        self.keys = (self.blocks.len() * KEYS_PER_BLOCK) as u32;
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

    /// Whether the item with this stable hash may have been inserted at `since` or later. A generation that ended before is
    /// passed over; of one that reaches beyond, everything counts: what was inserted a little earlier does too, nothing
    /// later is ever missed, as long as the filter [has not let go of it](Self::lets_go_since).
    pub fn contains_since(&self, item_hash: u64, since: Millis, generation_ms: i64) -> bool {
        let hash = fold(item_hash);
        let within = |generation: &Generation| generation.reaches(since, generation_ms);
        within(&self.current) && self.current.contains(hash)
            || within(&self.previous) && self.previous.contains(hash)
    }

    /// Whether items inserted at `since` or later may be forgotten: a generation was full before its time was over.
    pub fn lets_go_since(&self, since: Millis, generation_ms: i64) -> bool {
        self.previous.blocks.len() == MAX_BLOCKS && self.previous.reaches(since, generation_ms)
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

    /// Takes in what another filter remembers. Of up to four generations the two newest stay, equal ones become one, each
    /// with its latest [`MAX_BLOCKS`] blocks: what rotation would have let go of is let go of here too.
    pub fn join(&mut self, other: &Self) {
        let mut all = [self.clone(), other.clone()]
            .into_iter()
            .flat_map(|filter| [filter.current, filter.previous])
            .filter(|generation| generation.keys > 0)
            .collect::<Vec<_>>();
        all.sort_by_key(|generation| std::cmp::Reverse(generation.number));
        let mut kept: Vec<Generation> = Vec::new();
        for generation in all {
            match kept.last_mut() {
                Some(last) if last.number == generation.number => last.append(generation),
                _ => kept.push(generation),
            }
        }
        let mut kept = kept.into_iter();
        self.current = kept.next().unwrap_or_default();
        self.previous = kept.next().unwrap_or_default();
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
            let blocks = generation.blocks.len();
            if blocks > MAX_BLOCKS || (generation.keys as usize).div_ceil(KEYS_PER_BLOCK) != blocks
            {
                return Err(r.broken("a filter whose blocks do not hold its keys"));
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
    use crate::names::Names;

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
    fn joined_filters_know_what_either_knew() {
        let hash = |i: u32| stable_hash(&i.to_le_bytes());
        let (mut a, mut b) = (SeenFilter::default(), SeenFilter::default());
        (0..20).for_each(|i| a.insert(hash(i), 50, 100));
        (20..30).for_each(|i| a.insert(hash(i), 150, 100));
        (30..70).for_each(|i| b.insert(hash(i), 170, 100));
        b.insert(hash(70), 250, 100);
        a.join(&b);
        assert!((20..=70).all(|i| a.contains(hash(i))));
        assert!(
            !a.contains(hash(0)),
            "its generation would have gone by now"
        );
        a.insert(hash(71), 260, 100);
        assert!(a.contains(hash(71)) && a.contains(hash(70)) && a.contains(hash(25)));
        let mut full = SeenFilter::default();
        (0..1024).for_each(|i| full.insert(hash(1000 + i), 270, 100));
        a.join(&full);
        assert!(a.current.blocks.len() == MAX_BLOCKS && a.contains(hash(2023)));
        a.insert(hash(72), 280, 100);
        assert!(a.contains(hash(72)) && a.contains(hash(2023)));
    }

    #[test]
    fn blocks_that_do_not_hold_their_keys_are_refused() {
        let read = |keys, blocks| {
            let current = Generation {
                number: 1,
                keys,
                blocks: vec![[0; 8]; blocks],
            };
            let filter = SeenFilter {
                current,
                ..SeenFilter::default()
            };
            let mut names = Names::new(1);
            let mut w = PartWriter::snapshot(&names);
            w.entity(1, |w| filter.write(w));
            let bytes = w.finish_snapshot();
            let mut r = PartReader::new("test", &bytes, &mut names).unwrap();
            r.next_entity().unwrap();
            SeenFilter::read(&mut r).map(|read| assert_eq!(read, filter))
        };
        for (keys, blocks) in [(0, 0), (1, 1), (16, 1), (17, 2), (1024, 64)] {
            assert!(read(keys, blocks).is_ok(), "{keys} keys, {blocks} blocks");
        }
        for (keys, blocks) in [(5, 0), (0, 1), (16, 2), (u32::MAX, 1), (1040, 65)] {
            assert!(read(keys, blocks).is_err(), "{keys} keys, {blocks} blocks");
        }
    }

    #[test]
    fn what_was_inserted_since_is_never_missed_and_old_generations_are_passed_over() {
        let mut filter = SeenFilter::default();
        filter.insert(1, 50, 100);
        filter.insert(2, 150, 100);
        filter.insert(3, 20, 100); // late: in the generation that is current
        let since = |hash, since| filter.contains_since(hash, since, 100);
        assert!(since(1, 0) && since(1, 50) && since(1, 99) && !since(1, 100));
        assert!(since(2, 0) && since(2, 150) && since(2, 199) && !since(2, 200));
        assert!(since(3, 20) && since(3, 199) && !since(4, 0));
        assert!(!filter.lets_go_since(0, 100));
        let mut full = SeenFilter::default();
        let hash = |i: u32| stable_hash(&i.to_le_bytes());
        (0..2049).for_each(|i| full.insert(hash(i), 150, 100));
        assert!(full.lets_go_since(0, 100) && full.lets_go_since(199, 100));
        assert!(!full.lets_go_since(200, 100));
        assert!((1024..2049).all(|i| full.contains(hash(i))));
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
