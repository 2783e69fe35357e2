//! Pair draws on their way to the rows of a shard.

use crate::ids::ItemIx;

/// One draw i -> j on its way to the shard that owns j.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Draw {
    /// i.
    pub seed: ItemIx,
    /// j.
    pub target: ItemIx,
    /// Epoch of the relation when the draw was made.
    pub epoch: u32,
    /// Decayed weight in units of `epoch`.
    pub weight: u16,
}

/// Below this many draws they are taken as they come.
const WORTH_SORTING: usize = 256;
/// Most buckets: their ends fit the first-level cache.
const MAX_BUCKETS: usize = 4096;

/// Draws of many frames in an order that visits each row once: grouped by seed, and of each seed in log order.
///
/// Rows do not know of each other, so only the order inside a row can be seen in the state; grouped, a row is loaded once
/// a segment and not once a draw. Seeds of a catalogue larger than [`MAX_BUCKETS`] share buckets, neighbours in number.
#[derive(Debug, Default)]
pub struct DrawSorter {
    sorted: Vec<Draw>,
    ends: Vec<u32>,
}

impl DrawSorter {
    /// The draws of all `slices` for seeds numbered below `items`, in row order. O(draws).
    pub fn sort<'a>(
        &mut self,
        slices: impl Iterator<Item = &'a [Draw]> + Clone,
        items: usize,
    ) -> &[Draw] {
        let total = slices.clone().map(<[Draw]>::len).sum::<usize>();
        if total < WORTH_SORTING {
            self.sorted.clear();
            slices.for_each(|slice| self.sorted.extend_from_slice(slice));
            return &self.sorted;
        }
        let items = items.max(1).next_power_of_two();
        let buckets = items.min(total.next_power_of_two()).min(MAX_BUCKETS);
        let shift = items.ilog2() - buckets.ilog2();
        self.ends.clear();
        self.ends.resize(buckets, 0);
        let ends = self.ends.as_mut_slice();
        let bucket = |draw: &Draw| (draw.seed.0 >> shift) as usize & (buckets - 1);
        for slice in slices.clone() {
            slice.iter().for_each(|draw| ends[bucket(draw)] += 1);
        }
        let mut start = 0;
        for end in ends.iter_mut() {
            start += std::mem::replace(end, start);
        }
        if self.sorted.len() < total {
            self.sorted.resize(total, Draw::default());
        }
        let sorted = &mut self.sorted[..total];
        for slice in slices {
            for draw in slice {
                let place = &mut ends[bucket(draw)];
                sorted[*place as usize] = *draw;
                *place += 1;
            }
        }
        sorted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_together_and_each_in_log_order() {
        for items in [1usize, 3, 1000, 1024, 1025, 5000, 100_000] {
            let mut state = 1u64;
            let draws: Vec<Draw> = (0..2000)
                .map(|i| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    Draw {
                        seed: ItemIx(((state >> 33) as usize % items) as u32),
                        target: ItemIx(i),
                        ..Draw::default()
                    }
                })
                .collect();
            let mut sorter = DrawSorter::default();
            let sorted = sorter.sort(draws.chunks(300), items).to_vec();
            let of = |all: &[Draw], seed| -> Vec<Draw> {
                all.iter().copied().filter(|d| d.seed == seed).collect()
            };
            for seed in draws.iter().map(|d| d.seed).take(200) {
                assert_eq!(of(&sorted, seed), of(&draws, seed));
            }
            assert_eq!(sorted.len(), draws.len());
            let few = DrawSorter::default()
                .sort(draws[..100].chunks(7), items)
                .to_vec();
            assert_eq!(few, draws[..100]);
        }
    }
}
