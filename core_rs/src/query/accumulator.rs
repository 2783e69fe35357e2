//! Scores by dense number, cleared in the time of what was touched.

use std::cell::RefCell;

/// A dense array of sums and the list of numbers that have one.
#[derive(Debug, Default)]
pub struct Accumulator {
    values: Vec<f64>,
    stamps: Vec<u32>,
    stamp: u32,
    touched: Vec<u32>,
}

impl Accumulator {
    /// Forgets all sums and makes room for numbers below `len`.
    pub fn reset(&mut self, len: usize) {
        if self.values.len() < len {
            self.values.resize(len, 0.0);
            self.stamps.resize(len, 0);
        }
        self.touched.clear();
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == 0 {
            self.stamps.fill(0);
            self.stamp = 1;
        }
    }

    /// Adds to a sum.
    #[inline]
    pub fn add(&mut self, at: u32, value: f64) {
        let ix = at as usize;
        if self.stamps[ix] == self.stamp {
            self.values[ix] += value;
        } else {
            self.stamps[ix] = self.stamp;
            self.values[ix] = value;
            self.touched.push(at);
        }
    }

    /// The sum, if the number was touched.
    #[inline]
    pub fn get(&self, at: u32) -> Option<f64> {
        let ix = at as usize;
        (self.stamps.get(ix) == Some(&self.stamp)).then(|| self.values[ix])
    }

    /// Numbers with a sum, in the order of their first touch.
    pub fn touched(&self) -> &[u32] {
        &self.touched
    }
}

/// The arrays of one query, kept per thread so that a query allocates nothing per candidate.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Raw scores of the source at hand.
    pub scores: Accumulator,
    /// Fused scores.
    pub fused: Accumulator,
    /// Items that must not be shown.
    pub excluded: Accumulator,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Runs a query with this thread's scratch, ready for `items` items.
pub fn with_scratch<T>(items: usize, query: impl FnOnce(&mut Scratch) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.scores.reset(items);
        scratch.fused.reset(items);
        scratch.excluded.reset(items);
        query(scratch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_forgets() {
        let mut sums = Accumulator::default();
        sums.reset(4);
        sums.add(2, 1.0);
        sums.add(2, 0.5);
        assert_eq!((sums.get(2), sums.get(1)), (Some(1.5), None));
        assert_eq!(sums.touched(), [2]);
        sums.reset(4);
        assert_eq!(sums.get(2), None);
    }
}
