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
    /// Brings a block up to date with the first `chosen` choices and returns the values of its candidates, negative
    /// infinity for those that are chosen, missing or out of question.
    fn values(&mut self, block: usize, chosen: usize) -> Lanes<f64>;
    /// The candidate is chosen.
    fn choose(&mut self, block: usize, lane: usize);
}

#[derive(Clone, Copy)]
struct Best {
    value: f64,
    lane: usize,
    index: u32,
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
    let mut chosen = Vec::with_capacity(k.min(order.len()));
    let mut bests: Vec<Best> = bounds
        .into_iter()
        .map(|value| Best {
            value,
            lane: 0,
            index: 0,
        })
        .collect();
    // The number of choices that a block's entry knows; none knows its lane yet.
    let mut known = vec![usize::MAX; bests.len()];
    let mut leader = 0;
    while chosen.len() < k.min(order.len()) {
        let mut best = Best {
            value: f64::NEG_INFINITY,
            lane: 0,
            index: u32::MAX,
        };
        let mut found = None;
        // The last winner's block first: it makes a high mark for the others.
        for block in std::iter::once(leader).chain((0..bests.len()).filter(|b| *b != leader)) {
            if lazy && bests[block].value < best.value {
                continue;
            }
            if known[block] != chosen.len() {
                let values = objective.values(block, chosen.len());
                bests[block] = best_lane(&values, order.block(block));
                known[block] = chosen.len();
            }
            let own = bests[block];
            if own.value > best.value || (own.value == best.value && own.index < best.index) {
                best = own;
                found = Some(block);
            }
        }
        let Some(block) = found.filter(|_| best.value > f64::NEG_INFINITY) else {
            break;
        };
        objective.choose(block, best.lane);
        chosen.push((best.index, best.value));
        leader = block;
    }
    chosen
}

fn best_lane(values: &Lanes<f64>, indices: &[u32]) -> Best {
    let mut best = Best {
        value: f64::NEG_INFINITY,
        lane: 0,
        index: u32::MAX,
    };
    for (lane, (value, index)) in values.iter().zip(indices).enumerate() {
        if *value > best.value || (*value == best.value && *index < best.index) {
            best = Best {
                value: *value,
                lane,
                index: *index,
            };
        }
    }
    best
}
