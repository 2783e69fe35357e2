//! Slot by slot the best candidate that the rules allow.

use crate::diversity::blocks::{Objective, Search};
use crate::embedding::store::LANES;

use super::answer::Slot;
use super::rules::Tracker;
use super::stage::{Mask, Stage, lanes_of, mask};

/// Fills the slots. A slot stays empty when no candidate is open. Candidates that the method has put out of question
/// (under a DPP, combinations of those above) come after all others, by relevance.
pub fn greedy(
    stage: &Stage<'_>,
    objective: &mut dyn Objective,
    tracker: &mut Tracker<'_>,
) -> Vec<Slot> {
    let mut walk = Walk {
        search: Search::new(stage.order, true, objective.bounds()),
        stage,
        objective,
        tracker,
        excluded: 0,
    };
    walk.exclude_closed();
    (0..stage.request.n)
        .filter_map(|slot| match stage.pinned[slot] {
            Some(pin) => Some(walk.place_pin(slot, pin)),
            None => walk.fill(slot),
        })
        .collect()
}

struct Walk<'w, 'a, 't> {
    stage: &'w Stage<'a>,
    objective: &'w mut dyn Objective,
    tracker: &'w mut Tracker<'t>,
    search: Search<'a>,
    /// How many of the closed candidates the search knows.
    excluded: usize,
}

impl Walk<'_, '_, '_> {
    fn place_pin(&mut self, slot: usize, pin: u32) -> Slot {
        let (block, lane) = self.stage.place(pin);
        self.search.choose(self.objective, block, lane);
        certain(
            slot,
            pin,
            f64::from(self.stage.relevance[pin as usize]),
            true,
            false,
        )
    }

    fn fill(&mut self, slot: usize) -> Option<Slot> {
        let kept = self.best_kept(slot);
        let (block, lane) = kept.or_else(|| self.best())?;
        self.search.refresh(self.objective, block);
        let value = self.objective.worth(block, lane);
        let candidate = self.stage.order.block(block)[lane];
        self.search.choose(self.objective, block, lane);
        self.tracker.take(candidate);
        self.exclude_closed();
        Some(certain(slot, candidate, value, false, kept.is_some()))
    }

    fn exclude_closed(&mut self) {
        for candidate in &self.tracker.closed()[self.excluded..] {
            let (block, lane) = self.stage.place(*candidate);
            self.search.exclude(self.objective, block, lane);
        }
        self.excluded = self.tracker.closed().len();
    }

    fn best(&mut self) -> Option<(usize, usize)> {
        match self.search.best(self.objective) {
            Some(best) => Some((best.block, best.lane)),
            None => {
                let open = |block| mask(self.stage.order, block, |c| self.tracker.is_open(c));
                best_of(self.stage, self.objective, open)
            }
        }
    }

    /// The best promoted candidate, if the slot is kept for one and one is open.
    fn best_kept(&mut self, slot: usize) -> Option<(usize, usize)> {
        let promoted = self.stage.kept_for(slot)?;
        let open =
            |block| promoted(block) & mask(self.stage.order, block, |c| self.tracker.is_open(c));
        for block in 0..self.stage.order.blocks() {
            if open(block) != 0 {
                self.search.refresh(self.objective, block);
            }
        }
        best_of(self.stage, self.objective, open)
    }
}

/// The best of the candidates in the masks, whose blocks are up to date: the largest value, then the smallest index; when
/// all are out of question the most relevant.
pub fn best_of(
    stage: &Stage<'_>,
    objective: &dyn Objective,
    masks: impl Fn(usize) -> Mask,
) -> Option<(usize, usize)> {
    let mut best: Option<(f64, u32, usize)> = None;
    for block in 0..stage.order.blocks() {
        let values = objective.values(block);
        for lane in lanes_of(masks(block)) {
            let (value, candidate) = (values[lane], stage.order.block(block)[lane]);
            let wins = best.is_none_or(|(most, first, _)| {
                let tied = value == most && value > f64::NEG_INFINITY;
                value > most || tied && candidate < first
            });
            if wins {
                best = Some((value, candidate, block * LANES + lane));
            }
        }
    }
    best.map(|(_, _, place)| (place / LANES, place % LANES))
}

/// A slot without chance.
pub fn certain(slot: usize, candidate: u32, value: f64, pinned: bool, promoted: bool) -> Slot {
    Slot {
        slot,
        candidate,
        value,
        propensity: 1.0,
        propensity_cascade: 1.0,
        pinned,
        promoted,
        greedy: true,
    }
}
