//! Rows of neighbours: for every seed item, the items that one shard owns and that were drawn with it.
//!
//! A row grows through size classes from 4 slots to the shard's share of the relation's capacity. A full row evicts
//! by SpaceSaving (Metwally et al., ICDT 2005): the newcomer takes the smallest count and records it as its possible
//! error. So that a single stray pair cannot push out a settled neighbour, a newcomer is admitted on its *second* hit;
//! the first leaves a fingerprint at the row's door, which is part of the state. Rows do not know of each other.

use crate::cooccurrence::block::{
    DOOR, Door, LINE, Layout, NEAR_SLOTS, NEAR_TAGS, TAGS, matching, tag,
};
use crate::cooccurrence::draws::{Draw, DrawSorter};
use crate::decay::EPOCH_HALF_LIVES;
use crate::ids::ItemIx;
use crate::names::Names;
use crate::search::prefetch;
use crate::snapshot::codec::{PartReader, PartWriter, ReadResult};

const NO_ROW: u32 = u32::MAX;
const FIRST_CLASS: usize = 4;
/// Draws that are walked together: enough that a line has come by when it is needed.
const BLOCK: usize = 32;

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
/// Memory: 4 bytes per item for the directory, and per row a block ([`Layout`]) of 16 bytes and 9 a slot, 13 in the
/// widest class, in whole cache lines.
#[derive(Debug)]
pub struct RowStore {
    /// Item -> offset of its block in `arena`.
    directory: Vec<u32>,
    arena: Vec<u32>,
    /// Offsets of freed blocks, by size class.
    free: Vec<Vec<u32>>,
    classes: Vec<Layout>,
    rows: usize,
    pairs: usize,
    /// Scratch memory.
    sorter: DrawSorter,
    /// Whether a pair was put anywhere since the block at hand was approached.
    changed: bool,
}

const KIND_ROW: u8 = 3;

impl RowStore {
    /// Rows of at most `capacity` neighbours.
    pub fn new(capacity: usize) -> Self {
        let classes = Layout::classes(capacity);
        Self {
            directory: Vec::new(),
            // Large allocations of common allocators begin 16 bytes into a page: blocks begin where a line does.
            arena: vec![0; LINE - 4],
            free: vec![Vec::new(); classes.len()],
            classes,
            sorter: DrawSorter::default(),
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
        let bytes = (self.directory.capacity() + self.arena.capacity()) * 4;
        (self.rows, self.pairs, bytes)
    }

    /// Counts the draws of `slices`, each row's in order, as [`RowStore::add`] does.
    ///
    /// Rows lie far apart in memory, so a block of draws is walked three times: where are the rows, which pair of each
    /// does the tag lead to, count. Each walk asks for the lines that the next one needs.
    pub fn add_all<'a>(&mut self, slices: impl Iterator<Item = &'a [Draw]> + Clone, names: &Names) {
        let mut sorter = std::mem::take(&mut self.sorter);
        let draws = sorter.sort(slices, self.directory.len());
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
                *guess = self.approach(draw);
            }
            self.changed = false;
            for (draw, guess) in block.iter().zip(&guesses) {
                self.add_near(draw, *guess, names);
            }
        }
        self.sorter = sorter;
    }

    /// Asks for the pair that the draw's tag leads to.
    #[inline]
    fn approach(&self, draw: &Draw) -> Guess {
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
        if len > NEAR_SLOTS {
            return Guess::NOTHING;
        }
        let slot = (matching(tags, tag(draw.target.0)) & ((1 << len) - 1)).trailing_zeros();
        if slot < 64 {
            let pair = at + layout.pairs as u32 + 2 * slot;
            prefetch(&self.arena, pair as usize);
            return Guess { at, pair };
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

    /// The slot of an item.
    #[inline]
    fn find(&self, at: usize, len: usize, layout: Layout, item: u32) -> Option<usize> {
        let pairs = &self.arena[at + layout.pairs..at + layout.pairs + 2 * len];
        let check = |mut matches: u64, first: usize| {
            while matches != 0 {
                let slot = first + matches.trailing_zeros() as usize;
                if pairs.get(2 * slot) == Some(&item) {
                    return Some(slot);
                }
                matches &= matches - 1;
            }
            None
        };
        let tags = &self.arena[at + TAGS..];
        if len <= NEAR_SLOTS {
            let tags = tags.first_chunk::<NEAR_TAGS>()?;
            return check(matching(tags, tag(item)), 0);
        }
        let tags = tags[..layout.pairs - TAGS].chunks(LINE).enumerate();
        tags.map(|(chunk, tags)| check(matching(tags, tag(item)), chunk * 4 * LINE))
            .find_map(|slot| slot)
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
        } else if self.second_hit(at, draw, names) {
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
        if layout.evicts {
            self.arena[at + layout.errors + slot] = error;
        }
    }

    fn rescale(&mut self, at: usize, epoch: u32) {
        let age = epoch - self.arena[at];
        self.arena[at] = epoch;
        let shift = (u64::from(age) * EPOCH_HALF_LIVES as u64).min(32) as u32;
        let halve = |value: &mut u32| *value = value.checked_shr(shift).unwrap_or(0);
        let (len, layout) = self.head(at);
        let pairs = &mut self.arena[at + layout.pairs..at + layout.pairs + 2 * len];
        pairs.iter_mut().skip(1).step_by(2).for_each(halve);
        if layout.evicts {
            let errors = &mut self.arena[at + layout.errors..at + layout.errors + len];
            errors.iter_mut().for_each(halve);
        }
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
        self.set_door(at, Door::default());
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
        self.set_door(to, Door::default());
        for (source, target, words) in [
            (TAGS, TAGS, old.pairs - TAGS),
            (old.pairs, new.pairs, 2 * old.cap),
        ] {
            self.arena
                .copy_within(from + source..from + source + words, to + target);
        }
        if new.evicts {
            self.arena[to + new.errors..to + new.errors + new.cap].fill(0);
        }
        self.free[class].push(from as u32);
        self.directory[seed.0 as usize] = to as u32;
        to
    }

    /// Whether this newcomer has been at the row's door before.
    fn second_hit(&mut self, at: usize, draw: &Draw, names: &Names) -> bool {
        let mut door = self.door(at);
        let known = door.second_hit(names.item_hash(draw.target));
        self.set_door(at, door);
        known
    }

    fn door(&self, at: usize) -> Door {
        Door(u64::from(self.arena[at + DOOR]) | u64::from(self.arena[at + DOOR + 1]) << 32)
    }

    fn set_door(&mut self, at: usize, door: Door) {
        self.arena[at + DOOR] = door.0 as u32;
        self.arena[at + DOOR + 1] = (door.0 >> 32) as u32;
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

    /// Asks for the row of a seed that is read soon.
    pub fn prefetch(&self, seed: ItemIx) {
        let Some(at) = self
            .directory
            .get(seed.0 as usize)
            .filter(|at| **at != NO_ROW)
        else {
            return;
        };
        let (len, layout) = self.head(*at as usize);
        let end = layout.pairs + 2 * len;
        for word in (LINE..end).step_by(LINE) {
            prefetch(&self.arena, *at as usize + word);
        }
    }

    /// The row of a seed: its epoch and its neighbours in slot order. Empty for a seed without one.
    pub fn row(&self, seed: ItemIx) -> (u32, impl Iterator<Item = Neighbour> + '_) {
        let at = self.directory.get(seed.0 as usize).copied();
        let (epoch, pairs, errors): (u32, &[u32], &[u32]) = match at {
            None | Some(NO_ROW) => (0, &[], &[]),
            Some(at) => {
                let at = at as usize;
                let (len, layout) = self.head(at);
                let pairs = &self.arena[at + layout.pairs..at + layout.pairs + 2 * len];
                let errors = if layout.evicts { len } else { 0 };
                let errors = &self.arena[at + layout.errors..at + layout.errors + errors];
                (self.arena[at], pairs, errors)
            }
        };
        let (pairs, _) = pairs.as_chunks::<2>();
        let neighbours = pairs.iter().enumerate().map(|(slot, pair)| Neighbour {
            item: ItemIx(pair[0]),
            count: pair[1],
            error: errors.get(slot).copied().unwrap_or(0),
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
            error: if layout.evicts {
                self.arena[at + layout.errors + slot]
            } else {
                0
            },
        };
        Some((self.arena[at], neighbour))
    }

    /// Writes all rows of relation `relation`.
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
                let at = self.directory[seed] as usize;
                w.uint(self.door(at).0);
                w.uint(u64::from(self.arena[at + 1] & 0xffff));
                for neighbour in row {
                    w.item(neighbour.item);
                    w.uint(u64::from(neighbour.count));
                    w.uint(u64::from(neighbour.error));
                }
            });
        }
    }

    /// Reads one entity of kind `kind` whose relation byte was read already; `false` if the kind is not ours.
    pub fn read(&mut self, kind: u8, r: &mut PartReader<'_>) -> ReadResult<bool> {
        if kind != KIND_ROW {
            return Ok(false);
        }
        self.read_row(r)?;
        Ok(true)
    }

    fn read_row(&mut self, r: &mut PartReader<'_>) -> ReadResult<()> {
        let seed = r.item()?;
        let epoch = r.uint32()?;
        let door = Door(r.uint()?);
        let len = r.len(3)?;
        let Some(class) = self.classes.iter().position(|layout| layout.cap >= len) else {
            return Err(r.broken("a row longer than its capacity"));
        };
        self.ensure(seed.0 as usize + 1);
        let at = self.allocate(class);
        let layout = self.classes[class];
        self.arena[at] = epoch;
        self.arena[at + 1] = len as u32 | (class as u32) << 16;
        self.set_door(at, door);
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
