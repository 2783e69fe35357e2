//! Co-occurrence relations as a candidate source.

use crate::cooccurrence::metrics::{PairCounts, cosine_row};
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
    fn fetch(&self, seeds: &[Seed], i: usize) {
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
    /// most of the work, so they are done for a whole row at once.
    #[inline(always)]
    fn score_cosine(&self, seeds: &[Seed], shrinkage: f64, scores: &mut Accumulator) {
        let mut values = Vec::new();
        for (i, seed) in seeds.iter().enumerate() {
            self.fetch(seeds, i);
            let from = self.marginals.item(seed.item);
            if from.out == 0 {
                continue;
            }
            let units_from = from.units_from as f64 * self.scale(from.epoch);
            let from = (units_from, seed.weight);
            let mut following = self.rows.first().map(|rows| rows.slots(seed.item));
            for shard in 0..self.rows.len() {
                let Some((epoch, pairs, errors)) = following else {
                    break;
                };
                following = self.rows.get(shard + 1).map(|rows| rows.slots(seed.item));
                // A row's neighbours lie anywhere: those of the next one are asked for while this one is worked on.
                for pair in following.iter().flat_map(|(_, pairs, _)| *pairs) {
                    self.marginals.prefetch_units_to(ItemIx(pair[0]));
                    scores.ask(pair[0]);
                }
                self.units_to(pairs, &mut values);
                let scale = self.scale(epoch);
                cosine_row(&mut values, pairs, errors, scale, from, shrinkage);
                let items = pairs.iter().map(|pair| pair[0]);
                scores.add_all(items.zip(values.iter().copied()));
            }
        }
    }

    /// Units with each neighbour of a row on the "to" side, in full-weight events. A loop over places that are there: what
    /// `extend` calls is compiled apart, for any CPU.
    #[inline(always)]
    fn units_to(&self, pairs: &[[u32; 2]], out: &mut Vec<f64>) {
        out.resize(pairs.len(), 0.0);
        let slots = out.iter_mut().zip(pairs);
        if let Some(units) = self.units {
            slots.for_each(|(out, pair)| *out = units[pair[0] as usize]);
            return;
        }
        for (out, pair) in slots {
            let (units, epoch) = self.marginals.units_to(ItemIx(pair[0]));
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
