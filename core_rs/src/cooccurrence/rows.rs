//! Rows of neighbours: for every seed item, the items that one shard owns and that were drawn with it.
//!
//! A row grows through size classes from 4 slots to the shard's share of the relation's capacity. A full row evicts
//! by SpaceSaving (Metwally et al., ICDT 2005): the newcomer takes the smallest count and records it as its possible
//! error. So that a single stray pair cannot push out a settled neighbour, a newcomer is admitted on its *second* hit;
//! the first leaves a fingerprint in a small table that is part of the state.

use crate::decay::EPOCH_HALF_LIVES;
use crate::ids::ItemIx;
use crate::names::Names;
use crate::search::{find, prefetch, smallest};
use crate::snapshot::codec::{PartReader, PartWriter, ReadResult};

const NO_ROW: u32 = u32::MAX;
const HEADER: usize = 3;
const FIRST_CLASS: usize = 4;
const DOORKEEPER_BITS: u32 = 13;
/// Cache lines of a row that are asked for ahead: a full row of the default capacity has eight.
const PREFETCHED_LINES: usize = 6;

/// One draw i -> j on its way to the shard that owns j.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// i.
    pub seed: ItemIx,
    /// j.
    pub target: ItemIx,
    /// Decayed weight in units of `epoch`.
    pub weight: u32,
    /// Epoch of the relation when the draw was made.
    pub epoch: u32,
    /// Which relation.
    pub relation: u8,
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
/// Memory: 4 bytes per item for the directory, and per row 12 bytes + 12 per slot.
#[derive(Debug)]
pub struct RowStore {
    /// Item -> offset of its block in `arena`. A block is `[epoch, len, class, items.., counts.., errors..]`.
    directory: Vec<u32>,
    arena: Vec<u32>,
    /// Offsets of freed blocks, by size class.
    free: Vec<Vec<u32>>,
    classes: Vec<usize>,
    doorkeeper: Vec<u32>,
    rows: usize,
    pairs: usize,
}

const KIND_ROW: u8 = 3;
const KIND_DOOR: u8 = 4;

impl RowStore {
    /// Rows of at most `capacity` neighbours.
    pub fn new(capacity: usize) -> Self {
        let mut classes = Vec::new();
        let mut size = FIRST_CLASS;
        while size < capacity {
            classes.push(size);
            size *= 2;
        }
        classes.push(capacity.max(1));
        Self {
            directory: Vec::new(),
            arena: Vec::new(),
            free: vec![Vec::new(); classes.len()],
            classes,
            doorkeeper: vec![0; 1 << DOORKEEPER_BITS],
            rows: 0,
            pairs: 0,
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

    /// Asks for the directory entry of a seed whose draw comes soon.
    #[inline]
    pub fn prefetch_directory(&self, seed: ItemIx) {
        prefetch(&self.directory, seed.0 as usize);
    }

    /// Asks for a seed's row: header and items, and the counts behind them.
    #[inline]
    pub fn prefetch_row(&self, seed: ItemIx) {
        let at = self.directory[seed.0 as usize];
        if at != NO_ROW {
            for line in 0..PREFETCHED_LINES {
                prefetch(&self.arena, at as usize + line * 16);
            }
        }
    }

    /// Counts one draw. O(row), one scan.
    pub fn add(&mut self, draw: &Draw, names: &Names) {
        let at = match self.directory[draw.seed.0 as usize] {
            NO_ROW if draw.weight == 0 => return,
            NO_ROW => self.new_row(draw.seed, draw.epoch),
            at => at as usize,
        };
        self.rescale(at, draw.epoch);
        let (len, class) = (self.arena[at + 1] as usize, self.arena[at + 2] as usize);
        let cap = self.classes[class];
        let items = at + HEADER;
        let found = find(&self.arena[items..items + len], draw.target.0);
        if let Some(slot) = found {
            let count = &mut self.arena[items + cap + slot];
            *count = count.saturating_add(draw.weight);
        } else if draw.weight == 0 {
            // A draw too old to count leaves no trace, so that it cannot evict either.
        } else if len < cap {
            self.push(at, cap, len, draw);
        } else if class + 1 < self.classes.len() {
            let at = self.promote(draw.seed, at, class);
            self.push(at, self.classes[class + 1], len, draw);
        } else if self.second_hit(draw, names) {
            self.replace_smallest(at, cap, draw, names);
        }
    }

    fn push(&mut self, at: usize, cap: usize, len: usize, draw: &Draw) {
        let items = at + HEADER;
        self.arena[items + len] = draw.target.0;
        self.arena[items + cap + len] = draw.weight;
        self.arena[items + 2 * cap + len] = 0;
        self.arena[at + 1] = len as u32 + 1;
        self.pairs += 1;
    }

    fn rescale(&mut self, at: usize, epoch: u32) {
        let age = epoch.saturating_sub(self.arena[at]);
        if age == 0 {
            return;
        }
        self.arena[at] = epoch;
        let shift = (u64::from(age) * EPOCH_HALF_LIVES as u64).min(32) as u32;
        let cap = self.classes[self.arena[at + 2] as usize];
        let counts = at + HEADER + cap;
        for value in &mut self.arena[counts..counts + 2 * cap] {
            *value = value.checked_shr(shift).unwrap_or(0);
        }
    }

    fn allocate(&mut self, class: usize) -> usize {
        if let Some(at) = self.free[class].pop() {
            return at as usize;
        }
        let at = self.arena.len();
        self.arena.resize(at + HEADER + 3 * self.classes[class], 0);
        at
    }

    fn new_row(&mut self, seed: ItemIx, epoch: u32) -> usize {
        let at = self.allocate(0);
        self.arena[at] = epoch;
        self.arena[at + 1] = 0;
        self.arena[at + 2] = 0;
        self.directory[seed.0 as usize] = at as u32;
        self.rows += 1;
        at
    }

    /// Moves a full row to the next size class.
    fn promote(&mut self, seed: ItemIx, from: usize, class: usize) -> usize {
        let to = self.allocate(class + 1);
        let (old, new) = (self.classes[class], self.classes[class + 1]);
        self.arena[to] = self.arena[from];
        self.arena[to + 1] = old as u32;
        self.arena[to + 2] = class as u32 + 1;
        for lane in 0..3 {
            let source = from + HEADER + lane * old;
            let target = to + HEADER + lane * new;
            self.arena.copy_within(source..source + old, target);
            self.arena[target + old..target + new].fill(0);
        }
        self.free[class].push(from as u32);
        self.directory[seed.0 as usize] = to as u32;
        to
    }

    /// Whether this newcomer has been here before; if not, it leaves its fingerprint.
    fn second_hit(&mut self, draw: &Draw, names: &Names) -> bool {
        let mixed = (names.item_hash(draw.seed) ^ names.item_hash(draw.target).rotate_left(32))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let slot = (mixed >> (64 - DOORKEEPER_BITS)) as usize;
        let fingerprint = (mixed as u32) | 1;
        if self.doorkeeper[slot] == fingerprint {
            self.doorkeeper[slot] = 0;
            return true;
        }
        self.doorkeeper[slot] = fingerprint;
        false
    }

    fn replace_smallest(&mut self, at: usize, cap: usize, draw: &Draw, names: &Names) {
        let (items, counts) = (at + HEADER, at + HEADER + cap);
        let smallest = smallest(&self.arena[counts..counts + cap]);
        let tied = (0..cap).filter(|slot| self.arena[counts + slot] == smallest);
        let hash = |slot: &usize| names.item_hash(ItemIx(self.arena[items + slot]));
        let Some(slot) = tied.min_by_key(hash) else {
            return;
        };
        self.arena[items + slot] = draw.target.0;
        self.arena[counts + slot] = smallest.saturating_add(draw.weight);
        self.arena[counts + cap + slot] = smallest;
    }

    /// The row of a seed: its epoch and its neighbours in slot order. Empty for a seed without one.
    pub fn row(&self, seed: ItemIx) -> (u32, impl Iterator<Item = Neighbour> + '_) {
        let at = self
            .directory
            .get(seed.0 as usize)
            .copied()
            .unwrap_or(NO_ROW);
        let (epoch, len, cap, items) = if at == NO_ROW {
            (0, 0, 0, 0)
        } else {
            let at = at as usize;
            (
                self.arena[at],
                self.arena[at + 1] as usize,
                self.classes[self.arena[at + 2] as usize],
                at + HEADER,
            )
        };
        let lane = move |k: usize| &self.arena[items + k * cap..items + k * cap + len];
        let neighbours = lane(0)
            .iter()
            .zip(lane(1))
            .zip(lane(2))
            .map(|((item, count), error)| Neighbour {
                item: ItemIx(*item),
                count: *count,
                error: *error,
            });
        (epoch, neighbours)
    }

    /// The neighbour `target` in the row of `seed`, with the row's epoch.
    pub fn pair(&self, seed: ItemIx, target: ItemIx) -> Option<(u32, Neighbour)> {
        let (epoch, mut row) = self.row(seed);
        row.find(|n| n.item == target).map(|n| (epoch, n))
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
                w.uint(u64::from(self.arena[self.directory[seed] as usize + 1]));
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
        let Some(class) = self.classes.iter().position(|cap| *cap >= len) else {
            return Err(r.broken("a row longer than its capacity"));
        };
        self.ensure(seed.0 as usize + 1);
        let at = self.allocate(class);
        let cap = self.classes[class];
        self.arena[at..at + HEADER].copy_from_slice(&[epoch, len as u32, class as u32]);
        for slot in 0..len {
            self.arena[at + HEADER + slot] = r.item()?.0;
            self.arena[at + HEADER + cap + slot] = r.uint32()?;
            self.arena[at + HEADER + 2 * cap + slot] = r.uint32()?;
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

    fn draw(seed: u32, target: u32, weight: u32, epoch: u32) -> Draw {
        Draw {
            seed: ItemIx(seed),
            target: ItemIx(target),
            weight,
            epoch,
            relation: 0,
        }
    }

    #[test]
    fn rows_grow_through_their_classes_and_keep_counts() {
        let (names, mut rows) = setup(100, 40);
        for round in 1..=3u32 {
            for target in 1..=40 {
                rows.add(&draw(0, target, target, 0), &names);
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
            rows.add(&draw(0, target, 100 * target, 0), &names);
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
