//! Jaccard similarity of tag sets.

use crate::embedding::store::LANES;
use crate::error::CoreError;
use crate::simd::Simd;

use super::Similarity;
use super::blocks::{Lanes, Order};

/// Candidates as sets: candidate i has the tags `tags[starts[i]..starts[i + 1]]`, strictly ascending. An empty set
/// resembles nothing.
pub struct TagSets<'a> {
    starts: &'a [u32],
    tags: &'a [u32],
    order: Order,
    chosen: Vec<u32>,
}

impl<'a> TagSets<'a> {
    /// Checks the sets and takes them.
    pub fn new(starts: &'a [u32], tags: &'a [u32]) -> Result<Self, CoreError> {
        let refused = |field: &'static str, rule: String| Err(CoreError::Argument { field, rule });
        let whole =
            starts.first() == Some(&0) && starts.last().map(|l| *l as usize) == Some(tags.len());
        if !whole || starts.windows(2).any(|w| w[0] > w[1]) {
            let rule = format!(
                "allowed: from 0 to {}, the number of tags, never falling",
                tags.len()
            );
            return refused("starts", rule);
        }
        for (i, bounds) in starts.windows(2).enumerate() {
            let set = &tags[bounds[0] as usize..bounds[1] as usize];
            if set.windows(2).any(|w| w[0] >= w[1]) {
                return refused("tags", format!("set {i} is not strictly ascending"));
            }
        }
        Ok(Self {
            starts,
            tags,
            order: Order::new(&[]),
            chosen: Vec::new(),
        })
    }

    /// Number of sets.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn set(&self, index: u32) -> &'a [u32] {
        let at = index as usize;
        &self.tags[self.starts[at] as usize..self.starts[at + 1] as usize]
    }
}

fn jaccard(a: &[u32], b: &[u32]) -> f32 {
    let (mut i, mut j, mut common) = (0, 0, 0u32);
    while i < a.len() && j < b.len() {
        common += u32::from(a[i] == b[j]);
        let (x, y) = (a[i], b[j]);
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
    if common == 0 {
        return 0.0;
    }
    common as f32 / (a.len() + b.len() - common as usize) as f32
}

impl Similarity for TagSets<'_> {
    fn arrange(&mut self, order: &Order) {
        self.order = order.clone();
    }

    fn choose(&mut self, block: usize, lane: usize) {
        self.chosen.push(self.order.block(block)[lane]);
    }

    fn forget(&mut self) {
        self.chosen.clear();
    }

    fn with_chosen(&mut self, _: Simd, block: usize, number: usize) -> Lanes<f32> {
        let chosen = self.set(self.chosen[number]);
        let mut out = [0.0; LANES];
        for (similarity, index) in out.iter_mut().zip(self.order.block(block)) {
            *similarity = jaccard(self.set(*index), chosen);
        }
        out
    }
}
