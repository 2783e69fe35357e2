//! The k best of a stream of scores, found while the scores are made: nothing keeps all of them.
//!
//! A [`TopK`] holds a buffer of about 2 k candidates and a *floor*, a score below which nothing can be among the best.
//! Kernels compare whole vectors of scores with the floor and offer the few that reach it. A full buffer is cut back to
//! its k best (quickselect), which raises the floor. Expected cost over n scores in random order: O(n) comparisons and
//! O(k log(n/k)) offers; never more than O(n) offers.
//!
//! Order: higher scores first, equal scores by *rank*: the index itself, or a rank given for each index. It does not
//! depend on the order of the offers.

use std::cmp::Ordering;

/// What decides between equal scores.
#[derive(Clone, Copy, Debug)]
pub enum Ties<'a> {
    /// The smaller index wins.
    Index,
    /// The index with the smaller rank wins; ranks are distinct.
    Ranks(&'a [u64]),
}

/// A candidate as one number: the score's order-preserving bits above the complement of the index, so that a larger
/// number is a better candidate.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Candidate(u64);

impl Candidate {
    #[inline]
    fn new(score: f32, index: u32) -> Self {
        // + 0.0 makes one zero of the two.
        let bits = (score + 0.0).to_bits();
        let ordered = if bits >> 31 == 1 {
            !bits
        } else {
            bits | 1 << 31
        };
        Self(u64::from(ordered) << 32 | u64::from(!index))
    }

    fn ordered(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn score(self) -> f32 {
        let ordered = self.ordered();
        f32::from_bits(if ordered >> 31 == 1 {
            ordered & !(1 << 31)
        } else {
            !ordered
        })
    }

    fn index(self) -> u32 {
        !(self.0 as u32)
    }
}

/// The best `k` offered so far.
#[derive(Clone)]
pub struct TopK<'a> {
    k: usize,
    ties: Ties<'a>,
    floor: f32,
    buffer: Vec<Candidate>,
    room: usize,
}

impl<'a> TopK<'a> {
    /// For the best `k` of at most `offers` offers with scores of at least `min_score` (negative infinity: all).
    pub fn new(k: usize, offers: usize, min_score: f32, ties: Ties<'a>) -> Self {
        let k = k.min(offers);
        // Below a few hundred the cuts would cost more than the memory.
        let room = (2 * k).max(k + 256).min(offers);
        Self {
            k,
            ties,
            floor: if k == 0 { f32::INFINITY } else { min_score },
            buffer: Vec::with_capacity(room),
            room,
        }
    }

    /// Cuts earlier than a stream without a floor would: where the floor lets no more than a few times k through, one that
    /// rises earlier saves more offers than it costs cuts.
    pub fn cut_early(mut self) -> Self {
        self.room = self.room.min((self.k + self.k / 2).max(self.k + 64));
        self
    }

    /// Only scores at or above it need to be offered. It never falls.
    #[inline]
    pub fn floor(&self) -> f32 {
        self.floor
    }

    /// Offers the scores of `lanes` (bit i for `scores[i]`, whose index is `first + i`), all at or above the floor.
    #[inline]
    pub fn offer_lanes(&mut self, mut lanes: u32, scores: &[f32; 16], first: u32) {
        while lanes != 0 {
            let lane = lanes.trailing_zeros();
            lanes &= lanes - 1;
            self.offer(scores[lane as usize & 15], first + lane);
        }
    }

    /// Offers one score. Offers of one stream come by ascending index where the index breaks ties.
    #[inline]
    pub fn offer(&mut self, score: f32, index: u32) {
        if self.k == 0 || score < self.floor {
            return;
        }
        if self.buffer.len() == self.room {
            self.cut();
            if score < self.floor {
                return;
            }
        }
        self.buffer.push(Candidate::new(score, index));
    }

    fn order(ties: Ties<'_>, a: Candidate, b: Candidate) -> Ordering {
        match ties {
            Ties::Index => b.0.cmp(&a.0),
            Ties::Ranks(ranks) => b
                .ordered()
                .cmp(&a.ordered())
                .then_with(|| ranks[a.index() as usize].cmp(&ranks[b.index() as usize])),
        }
    }

    /// Keeps the k best and raises the floor to what could still displace one of them.
    #[cold]
    #[inline(never)]
    fn cut(&mut self) {
        if self.buffer.len() <= self.k {
            return;
        }
        let ties = self.ties;
        let last = match ties {
            Ties::Index => {
                let (_, last, _) = self
                    .buffer
                    .select_nth_unstable_by_key(self.k - 1, |c| std::cmp::Reverse(c.0));
                *last
            }
            Ties::Ranks(_) => {
                let (_, last, _) = self
                    .buffer
                    .select_nth_unstable_by(self.k - 1, |a, b| Self::order(ties, *a, *b));
                *last
            }
        };
        self.buffer.truncate(self.k);
        self.floor = match ties {
            // Whoever comes later has a larger index, so an equal score loses.
            Ties::Index => last.score().next_up(),
            Ties::Ranks(_) => last.score(),
        };
    }

    /// How many of at most k there are by now.
    pub fn found(&self) -> usize {
        self.buffer.len().min(self.k)
    }

    /// The score of the k-th best, once there are k.
    pub fn worst(&mut self) -> Option<f32> {
        if self.k == 0 || self.buffer.len() < self.k {
            return None;
        }
        self.buffer
            .select_nth_unstable_by_key(self.k - 1, |c| std::cmp::Reverse(c.0));
        Some(self.buffer[self.k - 1].score())
    }

    /// Takes over what another stream of the same scores found.
    pub fn merge(&mut self, other: &TopK<'_>) {
        self.buffer.extend_from_slice(&other.buffer);
    }

    /// The best, best first: calls `put(place, index, score)` and returns how many there are.
    pub fn finish(mut self, mut put: impl FnMut(usize, u32, f32)) -> usize {
        self.cut();
        let ties = self.ties;
        match ties {
            Ties::Index => self.buffer.sort_unstable_by_key(|c| std::cmp::Reverse(c.0)),
            Ties::Ranks(_) => self
                .buffer
                .sort_unstable_by(|a, b| Self::order(ties, *a, *b)),
        }
        for (place, candidate) in self.buffer.iter().enumerate() {
            put(place, candidate.index(), candidate.score());
        }
        self.buffer.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn best(scores: &[f32], k: usize, min: f32, ties: Ties<'_>) -> Vec<(u32, f32)> {
        let mut top = TopK::new(k, scores.len(), min, ties);
        for (i, score) in scores.iter().enumerate() {
            top.offer(*score, i as u32);
        }
        let mut out = Vec::new();
        top.finish(|_, index, score| out.push((index, score)));
        out
    }

    fn sorted(scores: &[f32], k: usize, min: f32, rank: impl Fn(u32) -> u64) -> Vec<(u32, f32)> {
        let mut all: Vec<(u32, f32)> = (0..).zip(scores.iter().copied()).collect();
        all.retain(|(_, score)| *score >= min);
        all.sort_by(|a, b| {
            b.1.partial_cmp(&a.1)
                .unwrap()
                .then_with(|| rank(a.0).cmp(&rank(b.0)))
        });
        all.truncate(k);
        all
    }

    proptest! {
        #[test]
        fn equals_a_full_sort(
            // Few values: ties are the rule. Both zeros are among them.
            raw in prop::collection::vec(-4i8..4, 0..1500),
            k in 0usize..400,
            min in prop::option::of(-2i8..2),
        ) {
            let scores: Vec<f32> = raw.iter().map(|v| f32::from(*v) * -0.5).collect();
            let min = min.map_or(f32::NEG_INFINITY, f32::from);
            prop_assert_eq!(best(&scores, k, min, Ties::Index), sorted(&scores, k, min, u64::from));
            let ranks: Vec<u64> = (0..scores.len() as u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
            let mut early = TopK::new(k, scores.len(), min, Ties::Index).cut_early();
            scores.iter().enumerate().for_each(|(i, score)| early.offer(*score, i as u32));
            let mut found = Vec::new();
            early.finish(|_, index, score| found.push((index, score)));
            prop_assert_eq!(found, sorted(&scores, k, min, u64::from));
            let by_rank = best(&scores, k, min, Ties::Ranks(&ranks));
            prop_assert_eq!(by_rank, sorted(&scores, k, min, |i| ranks[i as usize]));
        }

        #[test]
        fn parts_of_a_stream_merge_to_the_whole(
            raw in prop::collection::vec(-100i32..100, 1..1500),
            k in 1usize..200,
            cut in 0usize..1500,
        ) {
            let scores: Vec<f32> = raw.iter().map(|v| *v as f32).collect();
            let cut = cut.min(scores.len());
            let mut left = TopK::new(k, scores.len(), f32::NEG_INFINITY, Ties::Index);
            let mut right = left.clone();
            for (i, score) in scores.iter().enumerate() {
                let part = if i < cut { &mut left } else { &mut right };
                part.offer(*score, i as u32);
            }
            left.merge(&right);
            let mut merged = Vec::new();
            left.finish(|_, index, score| merged.push((index, score)));
            prop_assert_eq!(merged, best(&scores, k, f32::NEG_INFINITY, Ties::Index));
        }
    }
}
