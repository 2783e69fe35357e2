//! Scores by dense number, cleared in the time of what was touched.

use crate::bitmap::Bitmap;
use crate::lent::Lender;
use crate::search::prefetch;

/// What stands where no sum is: a NaN that no arithmetic makes.
const NONE: u64 = u64::MAX;
/// Sums lie anywhere: so many places ahead they are asked for.
const AHEAD: usize = 16;

/// A dense array of sums and the list of numbers that have one.
#[derive(Debug, Default)]
pub struct Accumulator {
    /// Bits of the sums, or [`NONE`].
    sums: Vec<u64>,
    /// The first `count` are in use; one more place than numbers.
    touched: Vec<u32>,
    count: usize,
}

impl Accumulator {
    /// Forgets all sums and makes room for numbers below `len`.
    pub fn reset(&mut self, len: usize) {
        for at in &self.touched[..self.count] {
            self.sums[*at as usize] = NONE;
        }
        self.count = 0;
        if self.sums.len() < len {
            self.sums.resize(len, NONE);
            self.touched.resize(len + 1, 0);
        }
    }

    /// Adds to a sum.
    #[inline]
    pub fn add(&mut self, at: u32, value: f64) {
        self.add_all(std::iter::once((at, value)));
    }

    /// Adds to sums, one after the other.
    #[inline]
    pub fn add_all(&mut self, values: impl Iterator<Item = (u32, f64)>) {
        let (sums, touched) = (self.sums.as_mut_slice(), self.touched.as_mut_slice());
        let mut count = self.count;
        for (at, value) in values {
            // Without a branch: which of a query's items are new is what a CPU cannot foresee.
            let sum = &mut sums[at as usize];
            let new = *sum == NONE;
            let known = u64::from(new).wrapping_sub(1);
            *sum = (f64::from_bits(*sum & known) + value).to_bits();
            touched[count] = at;
            count += usize::from(new);
        }
        self.count = count;
    }

    /// Asks for a sum that is added to soon.
    #[inline(always)]
    pub fn ask(&self, at: u32) {
        prefetch(&self.sums, at as usize);
    }

    /// The sum, if the number was touched.
    #[inline]
    pub fn get(&self, at: u32) -> Option<f64> {
        let sum = self.sums.get(at as usize).filter(|sum| **sum != NONE)?;
        Some(f64::from_bits(*sum))
    }

    /// How many numbers were touched.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Numbers with their sums, in the order of their first touch.
    pub fn sums(&self) -> impl Iterator<Item = (u32, f64)> + '_ {
        let touched = &self.touched[..self.count];
        touched.iter().enumerate().map(|(place, at)| {
            if let Some(next) = touched.get(place + AHEAD) {
                self.ask(*next);
            }
            (*at, f64::from_bits(self.sums[*at as usize]))
        })
    }
}

/// The arrays of one query, lent from query to query so that none allocates per candidate.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Raw scores of the source at hand.
    pub scores: Accumulator,
    /// Fused scores.
    pub fused: Accumulator,
    /// Items that the asker handed in.
    pub excluded: Accumulator,
    /// Items that may be shown.
    pub allowed: Bitmap,
    /// The part of them that a source looks at.
    pub filter: Bitmap,
    /// Items that the visitor touched.
    pub touched: Bitmap,
}

static SCRATCH: Lender<Scratch> = Lender::new();

/// Runs a query with a scratch that is ready for `items` items.
pub fn with_scratch<T>(items: usize, query: impl FnOnce(&mut Scratch) -> T) -> T {
    let mut scratch = SCRATCH.lend();
    scratch.scores.reset(items);
    scratch.fused.reset(items);
    scratch.excluded.reset(items);
    query(&mut scratch)
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
        assert_eq!(sums.sums().collect::<Vec<_>>(), [(2, 1.5)]);
        sums.add_all([(0, 2.0), (2, -1.5), (0, 1.0)].into_iter());
        assert_eq!(sums.sums().collect::<Vec<_>>(), [(2, 0.0), (0, 3.0)]);
        sums.reset(4);
        assert_eq!(sums.get(2), None);
    }
}
