//! What all slots of a slate share: the order of the candidates, the pins, the method.

use crate::diversity::blocks::{Lanes, Objective, Order};
use crate::diversity::dpp::{self, Dpp};
use crate::diversity::mmr::{self, Mmr};
use crate::diversity::{Similarity, check_relevance};
use crate::embedding::store::LANES;
use crate::error::CoreError;
use crate::simd::Simd;

use super::answer::{PinFault, Slate, Slot};
use super::explore::{Explorer, Pick};
use super::greedy::greedy;
use super::request::{Exploration, Method, Pin, Request};
use super::rules::{Tracker, postings};

/// One bit for each lane of a block.
pub type Mask = u16;

/// The closest that a DPP comes to relevance alone: beyond it weights of candidates with no relevance vanish.
const MAX_THETA: f64 = 511.0 / 512.0;

/// What all slots of a slate share.
pub struct Stage<'a> {
    /// CPU path.
    pub simd: Simd,
    /// Relevance of each candidate.
    pub relevance: &'a [f32],
    /// What is asked for.
    pub request: &'a Request<'a>,
    /// The candidates in blocks.
    pub order: &'a Order,
    /// Place of each candidate in the order: block times 16 plus lane.
    pub places: &'a [u32],
    /// The pinned candidate of each slot.
    pub pinned: &'a [Option<u32>],
}

/// A stage that is set, before the first slot.
pub struct Chooser<'a, 's> {
    stage: Stage<'a>,
    /// The rules, with all pins kept.
    tracker: Tracker<'a>,
    skipped: Vec<(Pin, PinFault)>,
    similarity: &'s mut dyn Similarity,
}

/// Checks everything, sets the stage and acts.
pub fn run<T>(
    simd: Simd,
    relevance: &[f32],
    similarity: Option<&mut dyn Similarity>,
    request: &Request<'_>,
    act: impl FnOnce(Chooser<'_, '_>) -> T,
) -> Result<T, CoreError> {
    check_relevance(relevance, relevance.len())?;
    request.check(relevance.len(), similarity.is_some())?;
    let order = Order::new(relevance);
    let places = order.places();
    let mut unlike = Unlike;
    let similarity = match similarity {
        Some(similarity) if request.is_diverse() => similarity,
        _ => &mut unlike,
    };
    similarity.arrange(&order);
    let postings = postings(&request.rules);
    let mut tracker = Tracker::new(request, relevance.len(), &postings);
    let (pinned, skipped) = tracker.pin(request);
    let stage = Stage {
        simd,
        relevance,
        request,
        order: &order,
        places: &places,
        pinned: &pinned,
    };
    Ok(act(Chooser {
        stage,
        tracker,
        skipped,
        similarity,
    }))
}

impl Chooser<'_, '_> {
    /// How to explore, if at all.
    pub fn exploration(&self) -> Option<Exploration> {
        self.stage.request.exploration.filter(|e| e.share > 0.0)
    }

    /// The greedy slate.
    pub fn greedy(&mut self) -> Slate {
        let mut tracker = self.tracker.clone();
        let mut objective = self.stage.objective(self.similarity);
        let slots = greedy(&self.stage, objective.as_mut(), &mut tracker);
        drop(objective);
        self.slate(slots, &tracker)
    }

    /// A slate as it is picked. `greedy`: the slots of the greedy one. `filled` hears of each slot's candidate.
    pub fn explore(
        self,
        exploration: &Exploration,
        greedy: &[Slot],
        pick: &mut Pick<'_>,
        filled: &dyn Fn(u32),
    ) -> Slate {
        self.similarity.forget();
        let mut objective = self.stage.objective(self.similarity);
        let tracker = self.tracker.clone();
        let stage = &self.stage;
        let mut explorer = Explorer::new(stage, objective.as_mut(), tracker, exploration, greedy);
        let slots = explorer.run(pick, filled);
        let (temperature, floor) = explorer.measures();
        let tracker = explorer.into_tracker();
        drop(objective);
        Slate {
            temperature,
            floor,
            ..self.slate(slots, &tracker)
        }
    }

    fn slate(&self, slots: Vec<Slot>, tracker: &Tracker<'_>) -> Slate {
        let empty = self.stage.request.n - slots.len();
        Slate {
            slots,
            temperature: 0.0,
            floor: 0.0,
            skipped: self.skipped.clone(),
            shortfall: tracker.shortfall(self.stage.request.pool, empty),
        }
    }
}

impl<'a> Stage<'a> {
    /// Where a candidate stands.
    pub fn place(&self, candidate: u32) -> (usize, usize) {
        let place = self.places[candidate as usize] as usize;
        (place / LANES, place % LANES)
    }

    /// The promoted candidates of each block, if the slot is kept for them.
    pub fn kept_for(&self, slot: usize) -> Option<impl Fn(usize) -> Mask> {
        let promotion = self.request.rules.promotion.filter(|p| p.keeps(slot))?;
        Some(move |block: usize| mask(self.order, block, |c| promotion.promoted[c as usize]))
    }

    /// The method before the first choice.
    fn objective<'o>(&self, similarity: &'o mut dyn Similarity) -> Box<dyn Objective + 'o>
    where
        'a: 'o,
    {
        let Self {
            simd,
            relevance,
            request,
            order,
            ..
        } = *self;
        let (k, d) = (request.n, request.diversity);
        if request.method == Method::Dpp && d > 0.0 {
            let theta = (1.0 - d).min(MAX_THETA);
            let how = Dpp { k, theta };
            return Box::new(dpp::State::new(simd, similarity, relevance, order, &how));
        }
        let diversity = if request.is_diverse() { d } else { 0.0 };
        let how = Mmr {
            k,
            trade_off: (1.0 - diversity) as f32,
            window: None,
        };
        Box::new(mmr::State::new(simd, similarity, relevance, order, &how))
    }
}

/// The candidates of a block that pass, one bit each.
pub fn mask(order: &Order, block: usize, pass: impl Fn(u32) -> bool) -> Mask {
    let lanes = order.block(block).iter().enumerate();
    lanes.fold(0, |mask, (lane, candidate)| {
        mask | Mask::from(pass(*candidate)) << lane
    })
}

/// The lanes of a mask.
pub fn lanes_of(mut mask: Mask) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lane = mask.trailing_zeros() as usize;
        mask &= mask.wrapping_sub(1);
        (lane < LANES).then_some(lane)
    })
}

/// Nothing resembles anything: for slates by relevance alone.
struct Unlike;

impl Similarity for Unlike {
    fn arrange(&mut self, _: &Order) {}

    fn choose(&mut self, _: usize, _: usize) {}

    fn forget(&mut self) {}

    fn with_chosen(&mut self, _: Simd, _: usize, _: usize) -> Lanes<f32> {
        [0.0; LANES]
    }
}
