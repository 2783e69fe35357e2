//! Co-occurrence relations as a candidate source.

use crate::cooccurrence::metrics::{PairCounts, cosines};
use crate::cooccurrence::rows::{Neighbour, RowStore};
use crate::decay::{EPOCH_HALF_LIVES, power_of_two};
use crate::fold::state::State;
use crate::ids::{ItemIx, Millis};
use crate::neighbourhood::counts::CooccurrenceCounts;
use crate::neighbourhood::marginals::{ItemMarginals, Marginals};
use crate::query::accumulator::Accumulator;
use crate::query::seeds::Seed;
use crate::scenario::Metric;
use crate::simd::{Simd, by_simd};

/// So many neighbours are worked on at once.
const AT_ONCE: usize = 256;

/// Neighbours of several rows, one after the other.
struct Together {
    len: usize,
    items: [u32; AT_ONCE],
    /// Guaranteed counts, units of the rows' items, and weights, in full-weight events.
    counts: [f64; AT_ONCE],
    units_from: [f64; AT_ONCE],
    weights: [f64; AT_ONCE],
    /// Units of the neighbours, then what they score.
    scores: [f64; AT_ONCE],
}

impl Together {
    #[inline(always)]
    fn new() -> Self {
        Self {
            len: 0,
            items: [0; AT_ONCE],
            counts: [0.0; AT_ONCE],
            units_from: [0.0; AT_ONCE],
            weights: [0.0; AT_ONCE],
            scores: [0.0; AT_ONCE],
        }
    }

    fn room(&self) -> usize {
        AT_ONCE - self.len
    }

    /// Adds neighbours of one row, for which there is room: item and count, of which `errors` are not guaranteed (none where
    /// that is empty); a count is worth `scale`. `from`: units of the row's item, and the weight.
    #[inline(always)]
    fn add(&mut self, pairs: &[[u32; 2]], errors: &[u32], scale: f64, from: (f64, f64)) {
        let new = self.len..self.len + pairs.len();
        self.len = new.end;
        self.units_from[new.clone()].fill(from.0);
        self.weights[new.clone()].fill(from.1);
        let slots = self.items[new.clone()].iter_mut();
        slots.zip(pairs).for_each(|(item, pair)| *item = pair[0]);
        let slots = self.counts[new].iter_mut().zip(pairs);
        if errors.is_empty() {
            slots.for_each(|(count, pair)| *count = f64::from(pair[1]) * scale);
        } else {
            slots
                .zip(errors)
                .for_each(|((count, pair), error)| *count = f64::from(pair[1] - error) * scale);
        }
    }
}

/// So many seeds' rows are asked for before anyone looks into a relation.
const FIRST: usize = 4;

/// Asks for the rows of the first seeds: for where they lie, then, once that is `found`, for their heads.
pub fn ask_ahead(state: &State, relation: usize, seeds: &[Seed], found: bool) {
    for seed in seeds.iter().take(FIRST) {
        let rows = state.shards.iter().map(|shard| &shard.rows[relation]);
        rows.for_each(|rows| rows.prefetch_head(seed.item, found));
    }
}

/// One relation read at one moment: turns stored counts into full-weight events.
pub struct RelationView<'a> {
    /// The rows, by shard of the neighbour.
    rows: Vec<&'a RowStore>,
    marginals: &'a Marginals,
    /// Units with each item on the "to" side in full-weight events, where that is kept; it is the marginals' otherwise.
    units: Option<&'a [f64]>,
    epoch: u32,
    unit: f64,
    total: f64,
}

impl<'a> RelationView<'a> {
    /// The relation as it stands at `now`.
    pub fn new(state: &'a State, relation: usize, now: Millis) -> Self {
        let marginals = &state.hood.marginals[relation];
        let (_, epoch) = marginals.total();
        let unit = state.relations[relation].decay.read(1, epoch, now);
        let rows = state.shards.iter().map(|s| &s.rows[relation]).collect();
        Self::of(rows, marginals, None, unit)
    }

    /// Counts without decay, by themselves.
    pub fn of_counts(counts: &'a CooccurrenceCounts) -> Self {
        let units = Some(counts.units_to());
        Self::of(vec![&counts.rows], &counts.marginals, units, 1.0)
    }

    fn of(
        rows: Vec<&'a RowStore>,
        marginals: &'a Marginals,
        units: Option<&'a [f64]>,
        unit: f64,
    ) -> Self {
        let (total, epoch) = marginals.total();
        Self {
            rows,
            marginals,
            units,
            epoch,
            unit,
            total: total as f64 * unit,
        }
    }

    /// What one stored unit of `epoch` is worth.
    #[inline(always)]
    fn scale(&self, epoch: u32) -> f64 {
        if epoch == self.epoch {
            return self.unit;
        }
        self.unit * power_of_two(-i64::from(self.epoch.saturating_sub(epoch)) * EPOCH_HALF_LIVES)
    }

    /// Counts of the pair i -> j, whose guaranteed count (count - error) is `pair` in units of `pair_epoch`.
    #[inline]
    fn counts(
        &self,
        i: &ItemMarginals,
        j: &ItemMarginals,
        pair: u32,
        pair_epoch: u32,
    ) -> PairCounts {
        let (from, to) = (self.scale(i.epoch), self.scale(j.epoch));
        PairCounts {
            pair: f64::from(pair) * self.scale(pair_epoch),
            out: i.out as f64 * from,
            into: j.into as f64 * to,
            total: self.total,
            units_from: i.units_from as f64 * from,
            units_to: j.units_to as f64 * to,
        }
    }

    /// Adds weight x metric of every neighbour of every seed. O(sum of row lengths).
    pub fn score(&self, seeds: &[Seed], metric: Metric, shrinkage: f64, scores: &mut Accumulator) {
        let view = self;
        // One loop per metric: each then reads only the counts that its measure needs.
        match metric {
            Metric::Cosine => by_simd!(Simd::chosen(), fn run(
                view: &RelationView<'_>,
                seeds: &[Seed],
                shrinkage: f64,
                scores: &mut Accumulator,
            ) = RelationView::score_cosine),
            Metric::Jaccard => {
                self.score_by(seeds, scores, |c| c.score(Metric::Jaccard, shrinkage))
            }
            Metric::Conditional => {
                self.score_by(seeds, scores, |c| c.score(Metric::Conditional, shrinkage));
            }
            other => self.score_by(seeds, scores, |c| c.score(other, shrinkage)),
        }
    }

    /// Asks for rows before they are read: where those of seed i + 4 lie, the first lines of those of seed i + 2, all lines of
    /// those of seed i + 1.
    #[inline(always)]
    pub fn fetch(&self, seeds: &[Seed], i: usize) {
        let places = if i == 0 { 0..5 } else { i + 4..i + 5 };
        for seed in seeds.iter().take(places.end).skip(places.start) {
            let rows = self.rows.iter();
            rows.for_each(|rows| rows.prefetch_head(seed.item, false));
        }
        let heads = if i == 0 { 0..3 } else { i + 2..i + 3 };
        for seed in seeds.iter().take(heads.end).skip(heads.start) {
            let rows = self.rows.iter();
            rows.for_each(|rows| rows.prefetch_head(seed.item, true));
        }
        let rows = if i == 0 { 0..2 } else { i + 1..i + 2 };
        for seed in seeds.iter().take(rows.end).skip(rows.start) {
            self.rows.iter().for_each(|rows| rows.prefetch(seed.item));
        }
    }

    /// [`RelationView::score_by`] for the default measure, with the same results. A division and a root a neighbour are
    /// most of the arithmetic, and a neighbour's units and sum lie anywhere: rows, which are short where there are many
    /// shards, are put together until there are enough of them to be worked on at once.
    #[inline(always)]
    fn score_cosine(&self, seeds: &[Seed], shrinkage: f64, scores: &mut Accumulator) {
        for seed in seeds {
            self.marginals.prefetch(seed.item);
        }
        let mut together = Together::new();
        for (i, seed) in seeds.iter().enumerate() {
            self.fetch(seeds, i);
            let from = self.marginals.item(seed.item);
            if from.out == 0 {
                continue;
            }
            let units_from = from.units_from as f64 * self.scale(from.epoch);
            for rows in &self.rows {
                let (epoch, mut pairs, mut errors) = rows.slots(seed.item);
                let scale = self.scale(epoch);
                while !pairs.is_empty() {
                    let part = pairs.len().min(together.room());
                    let (own, rest) = pairs.split_at(part);
                    let (own_errors, rest_errors) = errors.split_at(part.min(errors.len()));
                    (pairs, errors) = (rest, rest_errors);
                    together.add(own, own_errors, scale, (units_from, seed.weight));
                    // Asked for while the rows after this one are put beside it.
                    for pair in own {
                        self.marginals.prefetch_units_to(ItemIx(pair[0]));
                        scores.ask(pair[0]);
                    }
                    if together.room() == 0 {
                        self.score_together(&mut together, shrinkage, scores);
                    }
                }
            }
        }
        self.score_together(&mut together, shrinkage, scores);
    }

    /// Adds what all neighbours that were put together count, and forgets them.
    #[inline(always)]
    fn score_together(&self, of: &mut Together, shrinkage: f64, scores: &mut Accumulator) {
        let (items, slots) = (&of.items[..of.len], &mut of.scores[..of.len]);
        self.units_to(items, slots);
        let (counts, from) = (&of.counts[..of.len], &of.units_from[..of.len]);
        cosines(slots, counts, from, &of.weights[..of.len], shrinkage);
        scores.add_all(items.iter().copied().zip(slots.iter().copied()));
        of.len = 0;
    }

    /// Units with each item on the "to" side, in full-weight events. A loop over places that are there: what `extend` calls
    /// is compiled apart, for any CPU.
    #[inline(always)]
    fn units_to(&self, items: &[u32], out: &mut [f64]) {
        let slots = out.iter_mut().zip(items);
        if let Some(units) = self.units {
            slots.for_each(|(out, item)| *out = units[*item as usize]);
            return;
        }
        for (out, item) in slots {
            let (units, epoch) = self.marginals.units_to(ItemIx(*item));
            *out = units as f64 * self.scale(epoch);
        }
    }

    #[inline(always)]
    fn score_by(
        &self,
        seeds: &[Seed],
        scores: &mut Accumulator,
        measure: impl Fn(PairCounts) -> f64,
    ) {
        let marginals = self.marginals;
        for (i, seed) in seeds.iter().enumerate() {
            self.fetch(seeds, i);
            let from = marginals.item(seed.item);
            if from.out == 0 {
                continue;
            }
            for rows in &self.rows {
                let (epoch, row) = rows.row(seed.item);
                scores.add_all(row.map(|neighbour| {
                    let to = marginals.item_ref(neighbour.item);
                    let counts = self.counts(&from, to, neighbour.count - neighbour.error, epoch);
                    (neighbour.item.0, seed.weight * measure(counts))
                }));
            }
        }
    }

    /// What one seed says of one item of `shard`: score, count and error bound in full-weight events.
    pub fn pair(
        &self,
        shard: usize,
        seed: ItemIx,
        item: ItemIx,
        metric: Metric,
        shrinkage: f64,
    ) -> Option<(f64, f64, f64)> {
        let (epoch, neighbour) = self.rows[shard].pair(seed, item)?;
        let from = self.marginals.item(seed);
        self.read(&from, epoch, &neighbour, metric, shrinkage)
    }

    /// [`RelationView::pair`] of one seed with every item that `place_of` gives a place, handed to `with` by place. O(row).
    pub fn pairs(
        &self,
        seed: ItemIx,
        place_of: impl Fn(ItemIx) -> Option<usize>,
        metric: Metric,
        shrinkage: f64,
        mut with: impl FnMut(usize, (f64, f64, f64)),
    ) {
        let from = self.marginals.item(seed);
        for rows in &self.rows {
            let (epoch, row) = rows.row(seed);
            for neighbour in row {
                if let Some(place) = place_of(neighbour.item)
                    && let Some(read) = self.read(&from, epoch, &neighbour, metric, shrinkage)
                {
                    with(place, read);
                }
            }
        }
    }

    fn read(
        &self,
        from: &ItemMarginals,
        epoch: u32,
        neighbour: &Neighbour,
        metric: Metric,
        shrinkage: f64,
    ) -> Option<(f64, f64, f64)> {
        let to = self.marginals.item(neighbour.item);
        let counts = self.counts(from, &to, neighbour.count - neighbour.error, epoch);
        let scale = self.scale(epoch);
        let score = counts.score(metric, shrinkage);
        (score != 0.0).then(|| {
            (
                score,
                f64::from(neighbour.count) * scale,
                f64::from(neighbour.error) * scale,
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csr::ItemLists;

    /// Rows longer than what is worked on at once, shorter ones, and none.
    #[test]
    fn rows_put_together_score_like_their_pairs() -> Result<(), Box<dyn std::error::Error>> {
        const ITEMS: u32 = 900;
        let mut state = 3u64;
        let units: Vec<Vec<u32>> = (0..4000u32)
            .map(|unit| {
                let others = (0..4).map(|_| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    ((state >> 33) % u64::from(ITEMS)) as u32
                });
                [unit % 7].into_iter().chain(others).collect()
            })
            .collect();
        let starts: Vec<i64> = (0..=units.len()).map(|unit| 5 * unit as i64).collect();
        let items = units.concat();
        // With errors of evicted neighbours, and without.
        for capacity in [1000, 300] {
            let mut counts = CooccurrenceCounts::new(capacity, 10, 100);
            counts.add(ItemLists::new(&starts, &items, ITEMS as usize)?)?;
            let view = RelationView::of_counts(&counts);
            let seeds: Vec<Seed> = [3, 500, 0, ITEMS + 5, 6, 77]
                .into_iter()
                .zip(1u32..)
                .map(|(item, weight)| Seed {
                    item: ItemIx(item),
                    weight: 1.0 / f64::from(weight),
                    in_session: true,
                    event: None,
                })
                .collect();
            let (mut found, mut expected) = (Accumulator::default(), Accumulator::default());
            found.reset(ITEMS as usize);
            expected.reset(ITEMS as usize);
            view.score(&seeds, Metric::Cosine, 5.0, &mut found);
            for seed in &seeds {
                for neighbour in counts.rows.row(seed.item).1 {
                    let pair = view.pair(0, seed.item, neighbour.item, Metric::Cosine, 5.0);
                    let score = pair.map_or(0.0, |(score, _, _)| score);
                    expected.add(neighbour.item.0, seed.weight * score);
                }
            }
            assert!(counts.rows.row(ItemIx(3)).1.count() > AT_ONCE);
            assert_eq!(
                found.sums().collect::<Vec<_>>(),
                expected.sums().collect::<Vec<_>>()
            );
        }
        Ok(())
    }
}
