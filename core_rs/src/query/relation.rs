//! Co-occurrence relations as a candidate source.

use crate::config::Metric;
use crate::cooccurrence::metrics::{PairCounts, cosine};
use crate::decay::{Decay, EPOCH_HALF_LIVES, power_of_two};
use crate::fold::state::State;
use crate::ids::{ItemIx, Millis};
use crate::neighbourhood::marginals::ItemMarginals;
use crate::query::accumulator::Accumulator;
use crate::query::seeds::Seed;

/// One relation read at one moment: turns stored counts into full-weight events.
pub struct RelationView<'a> {
    state: &'a State,
    relation: usize,
    epoch: u32,
    unit: f64,
    total: f64,
}

impl<'a> RelationView<'a> {
    /// The relation as it stands at `now`.
    pub fn new(state: &'a State, relation: usize, now: Millis) -> Self {
        let (total, epoch) = state.hood.marginals[relation].total();
        let decay: &Decay = &state.relations[relation].decay;
        let unit = decay.read(1, epoch, now);
        Self {
            state,
            relation,
            epoch,
            unit,
            total: total as f64 * unit,
        }
    }

    /// What one stored unit of `epoch` is worth.
    #[inline]
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
        // One loop per metric: each then reads only the counts that its measure needs.
        match metric {
            Metric::Cosine => self.score_cosine(seeds, shrinkage, scores),
            Metric::Jaccard => {
                self.score_by(seeds, scores, |c| c.score(Metric::Jaccard, shrinkage))
            }
            Metric::Conditional => {
                self.score_by(seeds, scores, |c| c.score(Metric::Conditional, shrinkage));
            }
            other => self.score_by(seeds, scores, |c| c.score(other, shrinkage)),
        }
    }

    /// [`RelationView::score_by`] for the default measure, with the same results. A division and a root a neighbour are
    /// most of the work, so they are done for a whole row at once, where the compiler makes vector code of them.
    fn score_cosine(&self, seeds: &[Seed], shrinkage: f64, scores: &mut Accumulator) {
        let marginals = &self.state.hood.marginals[self.relation];
        let rows = || self.state.shards.iter().map(|s| &s.rows[self.relation]);
        let (mut items, mut pairs, mut units) = (Vec::new(), Vec::new(), Vec::new());
        for (i, seed) in seeds.iter().enumerate() {
            if let Some(next) = seeds.get(i + 1) {
                rows().for_each(|rows| rows.prefetch(next.item));
            }
            let from = marginals.item(seed.item);
            if from.out == 0 {
                continue;
            }
            items.clear();
            pairs.clear();
            units.clear();
            for rows in rows() {
                let (epoch, row) = rows.row(seed.item);
                let scale = self.scale(epoch);
                for neighbour in row {
                    let to = marginals.item(neighbour.item);
                    items.push(neighbour.item.0);
                    pairs.push(f64::from(neighbour.count - neighbour.error) * scale);
                    units.push(to.units_to as f64 * self.scale(to.epoch));
                }
            }
            let units_from = from.units_from as f64 * self.scale(from.epoch);
            for (pair, units_to) in pairs.iter_mut().zip(&units) {
                *pair = cosine(*pair, units_from, *units_to, shrinkage);
            }
            for (item, value) in items.iter().zip(&pairs).filter(|(_, value)| **value > 0.0) {
                scores.add(*item, seed.weight * value);
            }
        }
    }

    #[inline(always)]
    fn score_by(
        &self,
        seeds: &[Seed],
        scores: &mut Accumulator,
        measure: impl Fn(PairCounts) -> f64,
    ) {
        let marginals = &self.state.hood.marginals[self.relation];
        let rows = || self.state.shards.iter().map(|s| &s.rows[self.relation]);
        for (i, seed) in seeds.iter().enumerate() {
            if let Some(next) = seeds.get(i + 1) {
                rows().for_each(|rows| rows.prefetch(next.item));
            }
            let from = marginals.item(seed.item);
            if from.out == 0 {
                continue;
            }
            for rows in rows() {
                let (epoch, row) = rows.row(seed.item);
                for neighbour in row {
                    let to = marginals.item(neighbour.item);
                    let counts = self.counts(&from, &to, neighbour.count - neighbour.error, epoch);
                    let value = measure(counts);
                    if value != 0.0 {
                        scores.add(neighbour.item.0, seed.weight * value);
                    }
                }
            }
        }
    }

    /// What one seed says of one item: score, count and error bound in full-weight events.
    pub fn pair(
        &self,
        seed: ItemIx,
        item: ItemIx,
        metric: Metric,
        shrinkage: f64,
    ) -> Option<(f64, f64, f64)> {
        let (shard, _) = self.state.owner(item);
        let (epoch, neighbour) = self.state.shards[shard].rows[self.relation].pair(seed, item)?;
        let marginals = &self.state.hood.marginals[self.relation];
        let (from, to) = (marginals.item(seed), marginals.item(item));
        let counts = self.counts(&from, &to, neighbour.count - neighbour.error, epoch);
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
