//! Rows of neighbours: for every seed item, the items that one shard owns and that were drawn with it.
//!
//! A row grows through size classes from 4 slots to the shard's share of the relation's capacity. A full row evicts
//! by SpaceSaving (Metwally et al., ICDT 2005): the newcomer takes the smallest count and records it as its possible
//! error. So that a single stray pair cannot push out a settled neighbour, a newcomer is admitted on its *second* hit;
//! the first leaves a fingerprint at the row's door, which is part of the state. Rows do not know of each other.

#[cfg(target_arch = "x86_64")]
use crate::cooccurrence::block::AtOnce;
use crate::cooccurrence::block::{Door, InGroups, LINE, Layout, Matching, TAGS, tag};
use crate::cooccurrence::draws::{Draw, DrawChains, Run};
use crate::cooccurrence::row::Row;
use crate::ids::ItemIx;
use crate::names::ItemHashes;
use crate::search::{prefetch, prefetch_of_many};
#[cfg(target_arch = "x86_64")]
use crate::simd::Simd;
use crate::snapshot::codec::{PartReader, PartWriter, ReadResult};

const NO_ROW: u32 = u32::MAX;
const FIRST_CLASS: usize = 4;
/// Words of tags that are compared at once, and the slots that they are of.
const TAG_GROUP: usize = 16;
const SLOTS_TAGGED: usize = 64;
/// How many runs of draws ahead rows are asked for, and how many lines of each.
const RUNS_AHEAD: usize = 8;
const LINES_AHEAD: usize = 6;

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
    /// Words that all rows may have come to take, the blocks that they grew out of included. The arena never holds more.
    /// Unlike the arena's length it follows from the rows alone, so it is the same live and after a restore.
    reserved: usize,
    /// Most words that may be reserved: offsets have 32 bits.
    limit: usize,
    rows: usize,
    pairs: usize,
    /// Scratch memory.
    chains: DrawChains,
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
            reserved: LINE - 4,
            limit: NO_ROW as usize,
            chains: DrawChains::default(),
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
        let bytes = (self.directory.capacity() + self.arena.capacity()) * 4;
        (self.rows, self.pairs, bytes)
    }

    /// Whether so many draws surely leave every block at an offset of 32 bits.
    pub fn has_room(&self, draws: usize) -> bool {
        let widest = self.classes.last().map_or(0, |layout| layout.words);
        self.reserved.saturating_add(draws.saturating_mul(widest)) <= self.limit
    }

    /// Counts the draws of `slices`, each row's in order. A slice that there may be no room for leaves no trace; returned
    /// is how many draws that were. Which ones does not depend on how slices are put together: where all together have
    /// room, each of them would have had it.
    pub fn add_all<'a>(
        &mut self,
        slices: impl DoubleEndedIterator<Item = &'a [Draw]> + Clone,
        names: &impl ItemHashes,
    ) -> u64 {
        let draws = slices.clone().map(<[Draw]>::len).sum();
        if draws == 0 {
            return 0;
        }
        if self.has_room(draws) {
            self.add_grouped(slices, names);
            return 0;
        }
        let mut refused = 0;
        for slice in slices {
            if self.has_room(slice.len()) {
                self.add_grouped(std::iter::once(slice), names);
            } else {
                refused += slice.len() as u64;
            }
        }
        refused
    }

    fn add_grouped<'a>(
        &mut self,
        slices: impl DoubleEndedIterator<Item = &'a [Draw]> + Clone,
        names: &impl ItemHashes,
    ) {
        let mut chains = std::mem::take(&mut self.chains);
        chains.fill(slices, self.directory.len());
        #[cfg(target_arch = "x86_64")]
        if Simd::chosen().is_avx512() {
            // SAFETY: a `Simd` is only made for a path that this CPU has.
            unsafe { self.count_avx512(&chains, names) };
            self.chains = chains;
            return;
        }
        self.count_runs(&chains, names, InGroups);
        self.chains = chains;
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn count_avx512(&mut self, chains: &DrawChains, names: &impl ItemHashes) {
        self.count_runs(chains, names, AtOnce::new());
    }

    /// Counts all draws, run by run.
    #[inline(always)]
    fn count_runs(&mut self, chains: &DrawChains, names: &impl ItemHashes, how: impl Matching) {
        if !chains.is_grouped() {
            // A few draws: all rows at once, then one after the other.
            chains.runs().for_each(|run| self.ask_for(run.seed()));
            chains.runs().for_each(|run| self.add_run(run, names, how));
            return;
        }
        // Rows lie far apart in memory, so for each run first its place in the directory is asked for, some runs later its
        // row, and some runs later still it is counted.
        let mut waiting: [Option<Run<'_>>; 2 * RUNS_AHEAD] = [None; 2 * RUNS_AHEAD];
        let rest = std::iter::repeat_n(None, waiting.len());
        for (found, run) in chains.runs().map(Some).chain(rest).enumerate() {
            if let Some(run) = &run {
                prefetch(&self.directory, run.seed().0 as usize);
            }
            if let Some(near) = &waiting[(found + RUNS_AHEAD) % waiting.len()] {
                self.ask_for(near.seed());
            }
            if let Some(due) = std::mem::replace(&mut waiting[found % (2 * RUNS_AHEAD)], run) {
                self.add_run(due, names, how);
            }
        }
    }

    /// Asks for the first lines of a seed's row.
    #[inline(always)]
    fn ask_for(&self, seed: ItemIx) {
        // Without a row this asks for a place outside the arena, which is no harm.
        let at = self.directory[seed.0 as usize] as usize;
        (0..LINES_AHEAD).for_each(|line| prefetch(&self.arena, at + line * LINE));
    }

    /// Counts draws of one seed in order.
    #[inline(always)]
    fn add_run(&mut self, mut run: Run<'_>, names: &impl ItemHashes, how: impl Matching) {
        let seed = run.seed();
        let mut at = self.directory[seed.0 as usize];
        if at == NO_ROW {
            // Draws too old to count make no row.
            let first = loop {
                match run.peek() {
                    None => return,
                    Some(draw) if draw.weight > 0 => break draw,
                    Some(_) => run.step(),
                }
            };
            at = self.new_row(seed, first.epoch) as u32;
        }
        let mut at = at as usize;
        loop {
            let word = self.arena[at + 1];
            let class = (word >> 16) as usize;
            let layout = self.classes[class];
            let mut row = Row::open(&mut self.arena[at..at + layout.words], &layout);
            let fits = row.count(&mut run, names, how);
            self.pairs += ((self.arena[at + 1] & 0xffff) - (word & 0xffff)) as usize;
            if fits {
                return;
            }
            at = self.promote(seed, at, class);
        }
    }

    #[inline]
    fn head(&self, at: usize) -> (usize, Layout) {
        let word = self.arena[at + 1];
        (
            (word & 0xffff) as usize,
            self.classes[(word >> 16) as usize],
        )
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
        self.arena[at..at + TAGS].copy_from_slice(&[epoch, 0, 0, 0]);
        self.directory[seed.0 as usize] = at as u32;
        self.reserved += self.classes[0].words;
        self.rows += 1;
        at
    }

    /// Moves a full row to the next size class.
    fn promote(&mut self, seed: ItemIx, from: usize, class: usize) -> usize {
        let to = self.allocate(class + 1);
        let (old, new) = (self.classes[class], self.classes[class + 1]);
        let head = [
            self.arena[from],
            old.cap as u32 | (class as u32 + 1) << 16,
            0,
            0,
        ];
        self.arena[to..to + TAGS].copy_from_slice(&head);
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
        self.reserved += new.words;
        self.free[class].push(from as u32);
        self.directory[seed.0 as usize] = to as u32;
        to
    }

    /// Asks for the head of a seed's row, by which neighbours are searched: first for where it lies, then, once that is
    /// `found`, for it.
    #[inline]
    pub fn prefetch_head(&self, seed: ItemIx, found: bool) {
        match (found, self.directory.get(seed.0 as usize)) {
            (false, _) => prefetch_of_many(&self.directory, seed.0 as usize),
            // Without a row this asks for a place outside the arena, which is no harm.
            (true, Some(at)) => prefetch_of_many(&self.arena, *at as usize),
            (true, None) => {}
        }
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
        let errors = if layout.evicts { len } else { 0 };
        for (start, words) in [(layout.pairs, 2 * len), (layout.errors, errors)] {
            for word in (start..start + words).step_by(LINE) {
                prefetch_of_many(&self.arena, *at as usize + word);
            }
        }
    }

    /// The row of a seed as it lies in memory: its epoch, (item, count) of every neighbour, and their errors, which may
    /// be absent altogether. Empty for a seed without a row.
    pub fn slots(&self, seed: ItemIx) -> (u32, &[[u32; 2]], &[u32]) {
        let at = self.directory.get(seed.0 as usize).copied();
        match at {
            None | Some(NO_ROW) => (0, &[], &[]),
            Some(at) => {
                let at = at as usize;
                let (len, layout) = self.head(at);
                let pairs = &self.arena[at + layout.pairs..at + layout.pairs + 2 * len];
                let errors = if layout.evicts { len } else { 0 };
                let errors = &self.arena[at + layout.errors..at + layout.errors + errors];
                (self.arena[at], pairs.as_chunks::<2>().0, errors)
            }
        }
    }

    /// The row of a seed: its epoch and its neighbours in slot order. Empty for a seed without one.
    pub fn row(&self, seed: ItemIx) -> (u32, impl Iterator<Item = Neighbour> + '_) {
        let (epoch, pairs, errors) = self.slots(seed);
        let neighbours = pairs.iter().enumerate().map(|(slot, pair)| Neighbour {
            item: ItemIx(pair[0]),
            count: pair[1],
            error: errors.get(slot).copied().unwrap_or(0),
        });
        (epoch, neighbours)
    }

    /// The neighbour `target` in the row of `seed`, with the row's epoch.
    pub fn pair(&self, seed: ItemIx, target: ItemIx) -> Option<(u32, Neighbour)> {
        let (epoch, pairs, errors) = self.slots(seed);
        let at = *self.directory.get(seed.0 as usize)? as usize;
        let slot = self.slot_of(at, pairs, target)?;
        let neighbour = Neighbour {
            item: target,
            count: pairs[slot][1],
            error: errors.get(slot).copied().unwrap_or(0),
        };
        Some((epoch, neighbour))
    }

    /// The slot of a neighbour in the block at `at`, which has these pairs: a tag tells nearly all others from it.
    fn slot_of(&self, at: usize, pairs: &[[u32; 2]], target: ItemIx) -> Option<usize> {
        if pairs.is_empty() {
            return None;
        }
        let (_, layout) = self.head(at);
        let tags = &self.arena[at + TAGS..at + layout.pairs];
        for (group, tags) in tags.chunks(TAG_GROUP).enumerate() {
            let mut like = InGroups.matching(tags, tag(target.0));
            while like != 0 {
                let slot = group * SLOTS_TAGGED + like.trailing_zeros() as usize;
                if pairs.get(slot).is_some_and(|pair| pair[0] == target.0) {
                    return Some(slot);
                }
                like &= like - 1;
            }
        }
        None
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
                w.uint(Door::of(&self.arena[at..]).0);
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
        let grown: usize = self.classes[..=class].iter().map(|l| l.words).sum();
        if self.reserved + grown > self.limit {
            return Err(r.broken("more rows than offsets of 32 bits reach"));
        }
        self.ensure(seed.0 as usize + 1);
        let at = self.allocate(class);
        self.reserved += grown;
        let layout = self.classes[class];
        self.arena[at] = epoch;
        self.arena[at + 1] = len as u32 | (class as u32) << 16;
        let mut row = Row::open(&mut self.arena[at..at + layout.words], &layout);
        row.set_door(door);
        for slot in 0..len {
            let (item, count, error) = (r.item()?, r.uint32()?, r.uint32()?);
            row.put(slot, item, count, error);
        }
        self.directory[seed.0 as usize] = at as u32;
        self.rows += 1;
        self.pairs += len;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
