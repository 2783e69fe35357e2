//! Rows of neighbours: for every seed item, the items that one shard owns and that were drawn with it.
//!
//! A row grows through size classes from 4 slots to the shard's share of the relation's capacity. A full row evicts
//! by SpaceSaving (Metwally et al., ICDT 2005): the newcomer takes the smallest count and records it as its possible
//! error. So that a single stray pair cannot push out a settled neighbour, a newcomer is admitted on its *second* hit;
//! the first leaves a fingerprint in a small table that is part of the state.

use crate::decay::EPOCH_HALF_LIVES;
use crate::ids::ItemIx;
use crate::names::Names;
use crate::search::prefetch;
use crate::snapshot::codec::{PartReader, PartWriter, ReadResult};

const NO_ROW: u32 = u32::MAX;
const FIRST_CLASS: usize = 4;
const DOORKEEPER_BITS: u32 = 13;
/// Draws that are walked together: enough that a line has come by when it is needed.
const BLOCK: usize = 16;
/// Words of a cache line.
const LINE: usize = 16;
/// Largest share of a row; slots are counted in 16 bits.
const MAX_CAPACITY: usize = 65_535;
/// Where a block's tags begin: behind its epoch and its length and class.
const TAGS: usize = 2;

/// Places of a block's parts, in words: `[epoch, len | class << 16, tags.., (item, count).., errors..]`.
///
/// A tag is one byte of an item's hash. A row's tags share a line with its header, so most draws touch two lines: that
/// one, and the one of their pair.
#[derive(Clone, Copy, Debug)]
struct Layout {
    cap: usize,
    pairs: usize,
    errors: usize,
    words: usize,
}

impl Layout {
    fn new(cap: usize) -> Self {
        let pairs = TAGS + cap.div_ceil(16) * 4;
        let errors = pairs + 2 * cap;
        Self {
            cap,
            pairs,
            errors,
            words: (errors + cap).next_multiple_of(LINE),
        }
    }
}

/// Words of the tags of rows that are approached: those of a row of 48 slots, inside the smallest block.
const NEAR_TAGS: usize = 12;

/// Where a draw's row and pair were when its block was approached.
#[derive(Clone, Copy, Debug)]
struct Guess {
    at: u32,
    pair: u32,
}

impl Guess {
    /// The row is not there, or too wide to be approached.
    const NOTHING: Self = Self {
        at: NO_ROW,
        pair: 0,
    };
    /// The row has no slot with the target's tag.
    const ABSENT: u32 = u32::MAX;
}

#[inline]
fn tag(item: u32) -> u8 {
    (item.wrapping_mul(0x9e37_79b1) >> 24) as u8
}

/// Which of 64 slots have the tag, as a bit set: at most 16 words of four tags, a multiple of four words.
#[inline]
fn matching(tags: &[u32], tag: u8) -> u64 {
    let (groups, _) = tags.as_chunks::<4>();
    groups.iter().enumerate().fold(0, |mask, (g, group)| {
        mask | u64::from(equal_bytes(group, tag)) << (16 * g)
    })
}

/// Which of 16 bytes are equal to `byte`, as a bit set.
#[cfg(target_arch = "x86_64")]
#[inline]
fn equal_bytes(group: &[u32; 4], byte: u8) -> u16 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8};
    // SAFETY: every x86-64 CPU has SSE2, and the load reads the 16 bytes of the array.
    unsafe {
        let group = _mm_loadu_si128(group.as_ptr().cast());
        _mm_movemask_epi8(_mm_cmpeq_epi8(group, _mm_set1_epi8(byte as i8))) as u16
    }
}

/// The same for other CPUs, and for the test that holds both together.
#[cfg(any(not(target_arch = "x86_64"), test))]
fn equal_bytes_portable(group: &[u32; 4], byte: u8) -> u16 {
    let bytes = group.iter().flat_map(|word| word.to_le_bytes());
    bytes
        .enumerate()
        .fold(0, |mask, (at, found)| mask | u16::from(found == byte) << at)
}

#[cfg(not(target_arch = "x86_64"))]
use equal_bytes_portable as equal_bytes;

/// Place and fingerprint of a pair at the door.
#[inline]
fn door(draw: &Draw, names: &Names) -> (usize, u32) {
    let mixed = (names.item_hash(draw.seed) ^ names.item_hash(draw.target).rotate_left(32))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed >> (64 - DOORKEEPER_BITS)) as usize, mixed as u32 | 1)
}

/// One draw i -> j on its way to the shard that owns j.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// i.
    pub seed: ItemIx,
    /// j.
    pub target: ItemIx,
    /// Decayed weight in units of `epoch`.
    pub weight: u16,
    /// Epoch of the relation when the draw was made.
    pub epoch: u32,
}

/// One neighbour as read from a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// j.
    pub item: ItemIx,
    /// Stored count in units of the row's epoch.
    pub count: u32,
    /// How much of the count may belong to evicted neighbours.
    pub error: u32,
}

/// The rows of one relation in one shard.
///
/// Memory: 4 bytes per item for the directory, and per row a [`Layout`] of 12 bytes a slot, 1 byte a slot of tags, 8
/// bytes of header, in whole cache lines.
#[derive(Debug)]
pub struct RowStore {
    /// Item -> offset of its block in `arena`.
    directory: Vec<u32>,
    arena: Vec<u32>,
    /// Offsets of freed blocks, by size class.
    free: Vec<Vec<u32>>,
    classes: Vec<Layout>,
    doorkeeper: Vec<u32>,
    rows: usize,
    pairs: usize,
    /// Whether a pair was put anywhere since the block at hand was approached.
    changed: bool,
}

const KIND_ROW: u8 = 3;
const KIND_DOOR: u8 = 4;

impl RowStore {
    /// Rows of at most `capacity` neighbours.
    pub fn new(capacity: usize) -> Self {
        let mut classes = Vec::new();
        let mut size = FIRST_CLASS;
        while size < capacity {
            classes.push(Layout::new(size));
            size *= 2;
        }
        classes.push(Layout::new(capacity.clamp(1, MAX_CAPACITY)));
        Self {
            directory: Vec::new(),
            // Large allocations of common allocators begin 16 bytes into a page: blocks begin where a line does.
            arena: vec![0; LINE - 4],
            free: vec![Vec::new(); classes.len()],
            classes,
            doorkeeper: vec![0; 1 << DOORKEEPER_BITS],
            rows: 0,
            pairs: 0,
            changed: false,
        }
    }

    /// A shard's share of a row of `capacity` over `shards` shards: an equal part plus a quarter of slack, because the
    /// hash does not spread a row's neighbours evenly.
    pub fn share(capacity: usize, shards: usize) -> usize {
        (capacity * 5)
            .div_ceil(shards * 4)
            .max(FIRST_CLASS)
            .min(capacity)
    }

    /// Makes room for seeds numbered below `len`.
    pub fn ensure(&mut self, len: usize) {
        if self.directory.len() < len {
            self.directory.resize(len, NO_ROW);
        }
    }

    /// Number of rows, neighbours and bytes held.
    pub fn size(&self) -> (usize, usize, usize) {
        let bytes =
            (self.directory.capacity() + self.arena.capacity() + self.doorkeeper.capacity()) * 4;
        (self.rows, self.pairs, bytes)
    }

    /// Counts draws in order, each as [`RowStore::add`] does.
    ///
    /// Rows lie far apart in memory, so a block of draws is walked three times: where are the rows, which pair of each
    /// does the tag lead to, count. Each walk asks for the lines that the next one needs.
    pub fn add_all(&mut self, draws: &[Draw], names: &Names) {
        let mut guesses = [Guess::NOTHING; BLOCK];
        for start in (0..draws.len()).step_by(BLOCK) {
            let block = &draws[start..draws.len().min(start + BLOCK)];
            for draw in &draws[start + block.len()..draws.len().min(start + 2 * BLOCK)] {
                prefetch(&self.directory, draw.seed.0 as usize);
            }
            for draw in block {
                // Without a row this asks for a place outside the arena, which is no harm.
                prefetch(&self.arena, self.directory[draw.seed.0 as usize] as usize);
            }
            for (draw, guess) in block.iter().zip(&mut guesses) {
                *guess = self.approach(draw, names);
            }
            self.changed = false;
            for (draw, guess) in block.iter().zip(&guesses) {
                self.add_near(draw, *guess, names);
            }
        }
    }

    /// Asks for the pair that the draw's tag leads to, or for its place at the door.
    #[inline]
    fn approach(&self, draw: &Draw, names: &Names) -> Guess {
        let at = self.directory[draw.seed.0 as usize];
        if at == NO_ROW {
            return Guess::NOTHING;
        }
        let word = self.arena[at as usize + 1];
        let (len, layout) = (
            (word & 0xffff) as usize,
            self.classes[(word >> 16) as usize],
        );
        let Some(tags) = self.arena[at as usize + TAGS..].first_chunk::<NEAR_TAGS>() else {
            return Guess::NOTHING;
        };
        if len > 4 * NEAR_TAGS {
            return Guess::NOTHING;
        }
        let slot = (matching(tags, tag(draw.target.0)) & ((1 << len) - 1)).trailing_zeros();
        if slot < 64 {
            let pair = at + layout.pairs as u32 + 2 * slot;
            prefetch(&self.arena, pair as usize);
            return Guess { at, pair };
        }
        if len == layout.cap {
            prefetch(&self.doorkeeper, door(draw, names).0);
        }
        Guess {
            at,
            pair: Guess::ABSENT,
        }
    }

    /// [`RowStore::add`] with a guess that other draws of the block may have made wrong.
    #[inline]
    fn add_near(&mut self, draw: &Draw, guess: Guess, names: &Names) {
        let at = guess.at as usize;
        let same = guess.at != NO_ROW && self.directory[draw.seed.0 as usize] == guess.at;
        if !same || self.arena[at] != draw.epoch {
            return self.add(draw, names);
        }
        if guess.pair == Guess::ABSENT {
            if self.changed {
                return self.add(draw, names);
            }
            return self.admit(at, draw, names);
        }
        let pair = guess.pair as usize;
        if self.arena[pair] != draw.target.0 {
            return self.add(draw, names);
        }
        self.arena[pair + 1] = self.arena[pair + 1].saturating_add(u32::from(draw.weight));
    }

    #[inline]
    fn head(&self, at: usize) -> (usize, Layout) {
        let word = self.arena[at + 1];
        (
            (word & 0xffff) as usize,
            self.classes[(word >> 16) as usize],
        )
    }

    #[inline]
    fn find(&self, at: usize, len: usize, layout: Layout, item: u32) -> Option<usize> {
        let (tags, pairs) = self.arena[at + TAGS..at + layout.errors].split_at(layout.pairs - TAGS);
        for (chunk, tags) in tags.chunks(LINE).enumerate() {
            let mut matches = matching(tags, tag(item));
            while matches != 0 {
                let slot = chunk * 4 * LINE + matches.trailing_zeros() as usize;
                if slot < len && pairs[2 * slot] == item {
                    return Some(slot);
                }
                matches &= matches - 1;
            }
        }
        None
    }

    /// Counts one draw. O(row), one scan of its tags.
    #[inline]
    pub fn add(&mut self, draw: &Draw, names: &Names) {
        let at = match self.directory[draw.seed.0 as usize] {
            NO_ROW if draw.weight == 0 => return,
            NO_ROW => self.new_row(draw.seed, draw.epoch),
            at => at as usize,
        };
        if draw.epoch > self.arena[at] {
            self.rescale(at, draw.epoch);
        }
        let (len, layout) = self.head(at);
        match self.find(at, len, layout, draw.target.0) {
            Some(slot) => {
                let count = &mut self.arena[at + layout.pairs + 2 * slot + 1];
                *count = count.saturating_add(u32::from(draw.weight));
            }
            None => self.admit(at, draw, names),
        }
    }

    /// Takes in a draw whose target is not in the row. One too old to count leaves no trace, so that it cannot evict.
    fn admit(&mut self, at: usize, draw: &Draw, names: &Names) {
        let (len, layout) = self.head(at);
        let weight = u32::from(draw.weight);
        if weight == 0 {
            return;
        }
        if len < layout.cap {
            self.put(at, layout, len, draw.target, weight, 0);
            self.arena[at + 1] += 1;
            self.pairs += 1;
        } else {
            self.add_to_full(at, layout, draw, names);
        }
    }

    fn add_to_full(&mut self, at: usize, layout: Layout, draw: &Draw, names: &Names) {
        let class = (self.arena[at + 1] >> 16) as usize;
        if let Some(wider) = self.classes.get(class + 1).copied() {
            let to = self.promote(draw.seed, at, class);
            self.put(
                to,
                wider,
                layout.cap,
                draw.target,
                u32::from(draw.weight),
                0,
            );
            self.arena[to + 1] += 1;
            self.pairs += 1;
        } else if self.second_hit(draw, names) {
            self.replace_smallest(at, layout, draw, names);
        }
    }

    #[inline]
    fn put(
        &mut self,
        at: usize,
        layout: Layout,
        slot: usize,
        item: ItemIx,
        count: u32,
        error: u32,
    ) {
        self.changed = true;
        let shift = slot % 4 * 8;
        let tags = &mut self.arena[at + TAGS + slot / 4];
        *tags = *tags & !(0xff << shift) | u32::from(tag(item.0)) << shift;
        self.arena[at + layout.pairs + 2 * slot] = item.0;
        self.arena[at + layout.pairs + 2 * slot + 1] = count;
        self.arena[at + layout.errors + slot] = error;
    }

    fn rescale(&mut self, at: usize, epoch: u32) {
        let age = epoch - self.arena[at];
        self.arena[at] = epoch;
        let shift = (u64::from(age) * EPOCH_HALF_LIVES as u64).min(32) as u32;
        let halve = |value: &mut u32| *value = value.checked_shr(shift).unwrap_or(0);
        let (len, layout) = self.head(at);
        let pairs = &mut self.arena[at + layout.pairs..at + layout.pairs + 2 * len];
        pairs.iter_mut().skip(1).step_by(2).for_each(halve);
        let errors = &mut self.arena[at + layout.errors..at + layout.errors + len];
        errors.iter_mut().for_each(halve);
    }

    fn allocate(&mut self, class: usize) -> usize {
        if let Some(at) = self.free[class].pop() {
            return at as usize;
        }
        let (at, words) = (self.arena.len(), self.classes[class].words);
        if self.arena.capacity() < at + words {
            // An eighth more instead of twice as much: rows are most of the memory.
            self.arena.reserve_exact(words.max(at / 8));
        }
        self.arena.resize(at + words, 0);
        at
    }

    fn new_row(&mut self, seed: ItemIx, epoch: u32) -> usize {
        let at = self.allocate(0);
        self.arena[at] = epoch;
        self.arena[at + 1] = 0;
        self.directory[seed.0 as usize] = at as u32;
        self.rows += 1;
        at
    }

    /// Moves a full row to the next size class.
    fn promote(&mut self, seed: ItemIx, from: usize, class: usize) -> usize {
        let to = self.allocate(class + 1);
        let (old, new) = (self.classes[class], self.classes[class + 1]);
        self.arena[to] = self.arena[from];
        self.arena[to + 1] = old.cap as u32 | (class as u32 + 1) << 16;
        for (source, target, words) in [
            (TAGS, TAGS, old.pairs - TAGS),
            (old.pairs, new.pairs, 2 * old.cap),
            (old.errors, new.errors, old.cap),
        ] {
            self.arena
                .copy_within(from + source..from + source + words, to + target);
        }
        self.free[class].push(from as u32);
        self.directory[seed.0 as usize] = to as u32;
        to
    }

    /// Whether this newcomer has been here before; if not, it leaves its fingerprint.
    fn second_hit(&mut self, draw: &Draw, names: &Names) -> bool {
        let (slot, fingerprint) = door(draw, names);
        let known = self.doorkeeper[slot] == fingerprint;
        self.doorkeeper[slot] = if known { 0 } else { fingerprint };
        known
    }

    fn replace_smallest(&mut self, at: usize, layout: Layout, draw: &Draw, names: &Names) {
        let pairs = &self.arena[at + layout.pairs..at + layout.errors];
        let (pairs, _) = pairs.as_chunks::<2>();
        let smallest = pairs
            .iter()
            .fold(u32::MAX, |least, pair| least.min(pair[1]));
        let tied = (0..layout.cap).filter(|slot| pairs[*slot][1] == smallest);
        let hash = |slot: &usize| names.item_hash(ItemIx(pairs[*slot][0]));
        let Some(slot) = tied.min_by_key(hash) else {
            return;
        };
        let count = smallest.saturating_add(u32::from(draw.weight));
        self.put(at, layout, slot, draw.target, count, smallest);
    }

    /// The row of a seed: its epoch and its neighbours in slot order. Empty for a seed without one.
    pub fn row(&self, seed: ItemIx) -> (u32, impl Iterator<Item = Neighbour> + '_) {
        let at = self.directory.get(seed.0 as usize).copied();
        let (epoch, pairs, errors): (u32, &[u32], &[u32]) = match at {
            None | Some(NO_ROW) => (0, &[], &[]),
            Some(at) => {
                let at = at as usize;
                let (len, layout) = self.head(at);
                let (pairs, errors) = (at + layout.pairs, at + layout.errors);
                (
                    self.arena[at],
                    &self.arena[pairs..pairs + 2 * len],
                    &self.arena[errors..errors + len],
                )
            }
        };
        let (pairs, _) = pairs.as_chunks::<2>();
        let neighbours = pairs.iter().zip(errors).map(|(pair, error)| Neighbour {
            item: ItemIx(pair[0]),
            count: pair[1],
            error: *error,
        });
        (epoch, neighbours)
    }

    /// The neighbour `target` in the row of `seed`, with the row's epoch.
    pub fn pair(&self, seed: ItemIx, target: ItemIx) -> Option<(u32, Neighbour)> {
        let at = *self
            .directory
            .get(seed.0 as usize)
            .filter(|at| **at != NO_ROW)? as usize;
        let (len, layout) = self.head(at);
        let slot = self.find(at, len, layout, target.0)?;
        let neighbour = Neighbour {
            item: target,
            count: self.arena[at + layout.pairs + 2 * slot + 1],
            error: self.arena[at + layout.errors + slot],
        };
        Some((self.arena[at], neighbour))
    }

    /// Writes all rows of relation `relation` and its fingerprints.
    pub fn write(&self, relation: u8, w: &mut PartWriter<'_>) {
        for seed in 0..self.directory.len() {
            if self.directory[seed] == NO_ROW {
                continue;
            }
            let (epoch, row) = self.row(ItemIx(seed as u32));
            w.entity(KIND_ROW, |w| {
                w.byte(relation);
                w.item(ItemIx(seed as u32));
                w.uint(u64::from(epoch));
                w.uint(u64::from(
                    self.arena[self.directory[seed] as usize + 1] & 0xffff,
                ));
                for neighbour in row {
                    w.item(neighbour.item);
                    w.uint(u64::from(neighbour.count));
                    w.uint(u64::from(neighbour.error));
                }
            });
        }
        for (slot, fingerprint) in self.doorkeeper.iter().enumerate().filter(|(_, f)| **f != 0) {
            w.entity(KIND_DOOR, |w| {
                w.byte(relation);
                w.uint(slot as u64);
                w.uint(u64::from(*fingerprint));
            });
        }
    }

    /// Reads one entity of kind `kind` whose relation byte was read already; `false` if the kind is not ours.
    pub fn read(&mut self, kind: u8, r: &mut PartReader<'_>) -> ReadResult<bool> {
        match kind {
            KIND_ROW => self.read_row(r)?,
            KIND_DOOR => {
                let slot = r.uint()? as usize;
                let fingerprint = r.uint32()?;
                *self
                    .doorkeeper
                    .get_mut(slot)
                    .ok_or_else(|| r.broken("a fingerprint outside its table"))? = fingerprint;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn read_row(&mut self, r: &mut PartReader<'_>) -> ReadResult<()> {
        let seed = r.item()?;
        let epoch = r.uint32()?;
        let len = r.len(3)?;
        let Some(class) = self.classes.iter().position(|layout| layout.cap >= len) else {
            return Err(r.broken("a row longer than its capacity"));
        };
        self.ensure(seed.0 as usize + 1);
        let at = self.allocate(class);
        let layout = self.classes[class];
        self.arena[at] = epoch;
        self.arena[at + 1] = len as u32 | (class as u32) << 16;
        for slot in 0..len {
            let (item, count, error) = (r.item()?, r.uint32()?, r.uint32()?);
            self.put(at, layout, slot, item, count, error);
        }
        self.directory[seed.0 as usize] = at as u32;
        self.rows += 1;
        self.pairs += len;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(items: usize, capacity: usize) -> (Names, RowStore) {
        let mut names = Names::new(1);
        for i in 0..items {
            names.items.intern_str(&format!("i{i}"));
        }
        let mut rows = RowStore::new(capacity);
        rows.ensure(items);
        (names, rows)
    }

    fn draw(seed: u32, target: u32, weight: u16, epoch: u32) -> Draw {
        Draw {
            seed: ItemIx(seed),
            target: ItemIx(target),
            weight,
            epoch,
        }
    }

    #[test]
    fn bytes_are_compared_alike_everywhere() {
        let mut state = 7u32;
        for _ in 0..1000 {
            let group = [0u32; 4].map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state >> 8 & 0x0303_0303
            });
            for byte in 0..4 {
                assert_eq!(
                    equal_bytes(&group, byte),
                    equal_bytes_portable(&group, byte)
                );
            }
        }
    }

    #[test]
    fn wide_rows_keep_counts_and_evict() {
        let (names, mut rows) = setup(400, 200);
        for round in 1..=2u32 {
            for target in 1..=200 {
                rows.add(&draw(0, target, target as u16, 0), &names);
            }
            let (_, row) = rows.row(ItemIx(0));
            assert!(row.into_iter().all(|n| n.count == n.item.0 * round));
        }
        for _ in 0..2 {
            rows.add(&draw(0, 399, 5, 0), &names);
        }
        assert!(rows.pair(ItemIx(0), ItemIx(1)).is_none());
        let (_, newcomer) = rows.pair(ItemIx(0), ItemIx(399)).unwrap();
        assert_eq!((newcomer.count, newcomer.error), (7, 2));
        assert_eq!(rows.row(ItemIx(0)).1.count(), 200);
    }

    #[test]
    fn rows_grow_through_their_classes_and_keep_counts() {
        let (names, mut rows) = setup(100, 40);
        for round in 1..=3u32 {
            for target in 1..=40 {
                rows.add(&draw(0, target, target as u16, 0), &names);
            }
            let (_, row) = rows.row(ItemIx(0));
            let row: Vec<Neighbour> = row.collect();
            assert_eq!(row.len(), 40);
            assert!(
                row.iter()
                    .all(|n| n.count == n.item.0 * round && n.error == 0)
            );
        }
        assert_eq!(rows.size().1, 40);
    }

    #[test]
    fn a_full_row_admits_on_the_second_hit_only() {
        let (names, mut rows) = setup(100, 4);
        for target in 1..=4 {
            rows.add(&draw(0, target, 100 * target as u16, 0), &names);
        }
        rows.add(&draw(0, 9, 50, 0), &names);
        assert!(rows.pair(ItemIx(0), ItemIx(9)).is_none());
        rows.add(&draw(0, 9, 50, 0), &names);
        let (_, neighbour) = rows.pair(ItemIx(0), ItemIx(9)).unwrap();
        assert_eq!((neighbour.count, neighbour.error), (150, 100));
        assert!(rows.pair(ItemIx(0), ItemIx(1)).is_none());
    }

    #[test]
    fn counts_halve_by_epochs_when_touched() {
        let (names, mut rows) = setup(4, 4);
        rows.add(&draw(0, 1, 256, 0), &names);
        rows.add(&draw(0, 2, 256, 1), &names);
        assert_eq!(rows.pair(ItemIx(0), ItemIx(1)).unwrap().1.count, 16);
        rows.add(&draw(0, 2, 1, 40), &names);
        assert_eq!(rows.pair(ItemIx(0), ItemIx(1)).unwrap().1.count, 0);
        assert_eq!(rows.pair(ItemIx(0), ItemIx(2)).unwrap().1.count, 1);
    }
}
