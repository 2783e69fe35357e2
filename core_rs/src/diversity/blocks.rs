//! Candidates in blocks of 16, most relevant first, and the lazy search for the best one.
//!
//! Both methods choose step by step the candidate with the largest value, and a choice can only lower the values of the
//! others. So a value that was right some choices ago is an upper bound. A block is brought up to date only when its
//! bound reaches the best found in this step; blocks of little relevance are hardly ever touched.

use crate::embedding::store::LANES;

/// One number for each candidate of a block.
pub type Lanes<T> = [T; LANES];

/// Candidates by falling relevance, equal ones by index, cut into blocks.
#[derive(Clone, Debug)]
pub struct Order {
    indices: Vec<u32>,
}

impl Order {
    /// Sorts the candidates.
    pub fn new(relevance: &[f32]) -> Self {
        // One integer for relevance and index: falling relevance, rising index. + 0.0 makes one zero of the two.
        let mut keys: Vec<u64> = (0u64..)
            .zip(relevance)
            .map(|(index, r)| {
                let bits = (r + 0.0).to_bits();
                let rising = if bits >> 31 == 1 {
                    !bits
                } else {
                    bits | 1 << 31
                };
                u64::from(!rising) << 32 | index
            })
            .collect();
        keys.sort_unstable();
        Self {
            indices: keys.into_iter().map(|key| key as u32).collect(),
        }
    }

    /// Place of each candidate: its block times 16 plus its lane.
    pub fn places(&self) -> Vec<u32> {
        let mut places = vec![0; self.indices.len()];
        for (place, index) in (0..).zip(&self.indices) {
            places[*index as usize] = place;
        }
        places
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.indices.len().div_ceil(LANES)
    }

    /// Number of candidates.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// Indices of a block's candidates.
    pub fn block(&self, block: usize) -> &[u32] {
        let first = block * LANES;
        &self.indices[first..(first + LANES).min(self.indices.len())]
    }

    /// A number for each candidate of a block, `missing` for lanes without one.
    pub fn lanes<T: Copy>(&self, block: usize, values: impl Fn(u32) -> T, missing: T) -> Lanes<T> {
        let mut lanes = [missing; LANES];
        for (lane, index) in lanes.iter_mut().zip(self.block(block)) {
            *lane = values(*index);
        }
        lanes
    }
}

/// What a method wants to be largest.
pub trait Objective {
    /// The blocks' largest values before the first choice.
    fn bounds(&self) -> Vec<f64>;
    /// Brings the values of a block's candidates up to date with the first `chosen` choices, one by one, as long as the
    /// largest is not below `mark`. Returns the largest and the number of choices that it knows. Negative infinity stands
    /// for candidates that are chosen, excluded, missing or out of question.
    fn update(&mut self, block: usize, chosen: usize, mark: f64) -> (f64, usize);
    /// Brings every block in which a candidate is `open` up to date with the first `chosen` choices. `seen` receives the
    /// values of those blocks; `changed` the open candidates of each block whose value is not the one that was seen before.
    fn advance(
        &mut self,
        chosen: usize,
        open: &[u16],
        seen: &mut [Lanes<f64>],
        changed: &mut [u16],
    ) {
        for (block, open) in open.iter().enumerate() {
            changed[block] = 0;
            if *open != 0 {
                self.update(block, chosen, f64::NEG_INFINITY);
                changed[block] = open & replace(self.values(block), &mut seen[block]);
            }
        }
    }
    /// The values of the last update.
    fn values(&self, block: usize) -> &Lanes<f64>;
    /// The candidate, whose block is up to date, is chosen. Returns whether it counts as a choice: not when it says
    /// nothing new about the others.
    fn choose(&mut self, block: usize, lane: usize) -> bool;
    /// The candidate is never to be proposed again; it may still be chosen.
    fn exclude(&mut self, block: usize, lane: usize);
    /// What a candidate that was not chosen before adds to the method's objective, by the last update: finite, for those
    /// out of question too. Not for excluded ones.
    fn worth(&self, block: usize, lane: usize) -> f64;
    /// [`Objective::worth`] of the candidates of each block whose bits are set; what the others receive means nothing.
    fn worths(&self, wanted: &[u16], out: &mut [Lanes<f64>]) {
        for (block, (wanted, out)) in wanted.iter().zip(out).enumerate() {
            for (lane, out) in out.iter_mut().enumerate() {
                if wanted >> lane & 1 == 1 {
                    *out = self.worth(block, lane);
                }
            }
        }
    }
}

/// Chooses up to `k` candidates; returns their indices and values at the time. `bounds` are the blocks' largest values
/// before the first choice; with `lazy` off, values may also rise, and every block is brought up to date in every step.
pub fn choose(
    order: &Order,
    k: usize,
    lazy: bool,
    bounds: Vec<f64>,
    objective: &mut impl Objective,
) -> Vec<(u32, f64)> {
    let k = k.min(order.len());
    let mut chosen = Vec::with_capacity(k);
    let mut search = Search::new(order, lazy, bounds);
    while chosen.len() < k {
        let Some(best) = search.best(objective) else {
            break;
        };
        search.choose(objective, best.block, best.lane);
        chosen.push((best.index, best.value));
    }
    chosen
}

/// The candidate with the largest value.
#[derive(Clone, Copy, Debug)]
pub struct Best {
    /// Its block.
    pub block: usize,
    /// Its place in the block.
    pub lane: usize,
    /// Its index.
    pub index: u32,
    /// Its value.
    pub value: f64,
}

/// The lazy search, between two choices.
pub struct Search<'a> {
    order: &'a Order,
    lazy: bool,
    bounds: Vec<f64>,
    /// The number of choices that a block's bound knows.
    known: Vec<usize>,
    /// The last winner's block.
    leader: usize,
    chosen: usize,
}

/// The bound of such a block knows nothing.
const STALE: usize = usize::MAX;

impl<'a> Search<'a> {
    /// Before the first choice; `lazy` and `bounds` as for [`choose`].
    pub fn new(order: &'a Order, lazy: bool, bounds: Vec<f64>) -> Self {
        Self {
            order,
            lazy,
            known: vec![STALE; bounds.len()],
            bounds,
            leader: 0,
            chosen: 0,
        }
    }

    /// The best candidate; `None` when all are out of question.
    pub fn best(&mut self, objective: &mut (impl Objective + ?Sized)) -> Option<Best> {
        if self.bounds.is_empty() {
            return None;
        }
        let (order, leader) = (self.order, self.leader);
        let (mut best, mut found) = (f64::NEG_INFINITY, leader);
        // The last winner's block first: it makes a high mark for the others.
        for block in std::iter::once(leader).chain(0..self.bounds.len()) {
            if self.lazy && self.bounds[block] < best {
                continue;
            }
            if self.known[block] != self.chosen {
                let mark = if self.lazy { best } else { f64::NEG_INFINITY };
                self.advance(objective, block, mark);
                if self.known[block] < self.chosen {
                    continue;
                }
            }
            let own = self.bounds[block];
            let wins = own > best || {
                let tied = own == best && own > f64::NEG_INFINITY && block != found;
                tied && first_of(objective, order, block, own).0
                    < first_of(objective, order, found, own).0
            };
            if wins {
                (best, found) = (own, block);
            }
        }
        if best == f64::NEG_INFINITY {
            return None;
        }
        let (index, lane) = first_of(objective, order, found, best);
        Some(Best {
            block: found,
            lane,
            index,
            value: best,
        })
    }

    /// The candidate is chosen.
    pub fn choose(&mut self, objective: &mut (impl Objective + ?Sized), block: usize, lane: usize) {
        self.refresh(objective, block);
        if objective.choose(block, lane) {
            self.chosen += 1;
        } else {
            self.known[block] = STALE;
        }
        self.leader = block;
    }

    /// The candidate is not to be proposed again.
    pub fn exclude(
        &mut self,
        objective: &mut (impl Objective + ?Sized),
        block: usize,
        lane: usize,
    ) {
        objective.exclude(block, lane);
        self.known[block] = STALE;
    }

    /// Brings the values of a block up to date.
    pub fn refresh(&mut self, objective: &mut (impl Objective + ?Sized), block: usize) {
        if self.known[block] != self.chosen {
            self.advance(objective, block, f64::NEG_INFINITY);
        }
    }

    fn advance(&mut self, objective: &mut (impl Objective + ?Sized), block: usize, mark: f64) {
        (self.bounds[block], self.known[block]) = objective.update(block, self.chosen, mark);
    }
}

/// Index and lane of the candidate with this value; of several, the one with the smallest index.
fn first_of(
    objective: &(impl Objective + ?Sized),
    order: &Order,
    block: usize,
    value: f64,
) -> (u32, usize) {
    let mut first = (u32::MAX, 0);
    for (lane, index) in order.block(block).iter().enumerate() {
        if objective.values(block)[lane] == value && *index < first.0 {
            first = (*index, lane);
        }
    }
    first
}

/// The largest of a block's values.
#[inline(always)]
pub fn largest(values: &Lanes<f64>) -> f64 {
    let mut max = *values;
    let mut width = LANES / 2;
    while width > 0 {
        for l in 0..width {
            max[l] = if max[l] > max[l + width] {
                max[l]
            } else {
                max[l + width]
            };
        }
        width /= 2;
    }
    max[0]
}

/// Replaces the old values; returns which differ.
#[inline(always)]
pub fn replace(new: &Lanes<f64>, old: &mut Lanes<f64>) -> u16 {
    let mut differ = [0; LANES];
    for lane in 0..LANES {
        differ[lane] = u16::from(new[lane] != old[lane]) << lane;
        old[lane] = new[lane];
    }
    differ.iter().fold(0, |mask, bit| mask | bit)
}
