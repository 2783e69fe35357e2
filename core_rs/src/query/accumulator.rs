//! Scores by dense number, cleared in the time of what was touched.

use crate::bitmap::Bitmap;
use crate::lent::Lender;
use crate::search::prefetch_of_many;

/// Sums of numbers, side by side in the order of their first touch, and where the sum of each number stands.
///
/// A question adds to a few thousand of all items, which lie anywhere. Places of two bytes keep what is looked up at random
/// small enough for a core's own cache, where sums of all items are not: of 100,000 items 200 kB in place of 800.
#[derive(Debug, Default)]
pub struct Accumulator {
    /// Place of each number's sum, or [`Place::NONE`]; all of them are where the places are wide.
    narrow: Vec<u16>,
    /// The same for more sums than two bytes tell apart, `is_wide` while it is in use.
    wide: Vec<u32>,
    is_wide: bool,
    /// The first `count` are in use, as of `touched`; one more than there may be.
    sums: Vec<f64>,
    touched: Vec<u32>,
    count: usize,
}

/// Where a sum stands.
trait Place: Copy + PartialEq {
    /// Stands where no sum is.
    const NONE: Self;
    /// So many sums have a place.
    const ROOM: usize;
    fn of(at: usize) -> Self;
    fn at(self) -> usize;
}

macro_rules! place {
    ($of:ty) => {
        impl Place for $of {
            const NONE: Self = <$of>::MAX;
            const ROOM: usize = <$of>::MAX as usize;
            #[inline(always)]
            fn of(at: usize) -> Self {
                at as $of
            }
            #[inline(always)]
            fn at(self) -> usize {
                self as usize
            }
        }
    };
}
place!(u16);
place!(u32);

/// Adds to sums one after the other, until there are no more values, or no place for another sum. Returns how many sums
/// there are, and whether values may be left.
#[inline(always)]
fn add_to<P: Place>(
    places: &mut [P],
    sums: &mut [f64],
    touched: &mut [u32],
    mut count: usize,
    values: &mut impl Iterator<Item = (u32, f64)>,
) -> (usize, bool) {
    while count < P::ROOM {
        let Some((number, value)) = values.next() else {
            return (count, false);
        };
        // Without a branch: which of a query's items are new is what a CPU cannot foresee.
        let place = &mut places[number as usize];
        let new = *place == P::NONE;
        let at = if new { count } else { place.at() };
        *place = P::of(at);
        let known = u64::from(new).wrapping_sub(1);
        sums[at] = f64::from_bits(sums[at].to_bits() & known) + value;
        touched[count] = number;
        count += usize::from(new);
    }
    (count, true)
}

impl Accumulator {
    /// Forgets all sums and makes room for numbers below `len`.
    pub fn reset(&mut self, len: usize) {
        let touched = &self.touched[..self.count];
        if self.is_wide {
            touched
                .iter()
                .for_each(|n| self.wide[*n as usize] = u32::NONE);
        } else {
            touched
                .iter()
                .for_each(|n| self.narrow[*n as usize] = u16::NONE);
        }
        (self.count, self.is_wide) = (0, false);
        if self.narrow.len() < len {
            self.narrow.resize(len, u16::NONE);
            self.touched.resize(len + 1, 0);
            self.sums.resize(len.min(u16::ROOM) + 1, 0.0);
        }
    }

    /// Adds to a sum.
    #[inline]
    pub fn add(&mut self, at: u32, value: f64) {
        self.add_all(std::iter::once((at, value)));
    }

    /// Adds to sums, one after the other.
    #[inline]
    pub fn add_all(&mut self, mut values: impl Iterator<Item = (u32, f64)>) {
        if !self.is_wide {
            let (places, touched) = (&mut self.narrow, &mut self.touched);
            let (count, more) = add_to(places, &mut self.sums, touched, self.count, &mut values);
            self.count = count;
            if !more {
                return;
            }
        }
        self.add_wide(values);
    }

    #[cold]
    fn add_wide(&mut self, mut values: impl Iterator<Item = (u32, f64)>) {
        if !self.is_wide {
            self.is_wide = true;
            self.wide.resize(self.narrow.len(), u32::NONE);
            self.sums.resize(self.touched.len(), 0.0);
            for (at, number) in self.touched[..self.count].iter().enumerate() {
                self.narrow[*number as usize] = u16::NONE;
                self.wide[*number as usize] = u32::of(at);
            }
        }
        let (places, touched) = (&mut self.wide, &mut self.touched);
        (self.count, _) = add_to(places, &mut self.sums, touched, self.count, &mut values);
    }

    /// Asks for a sum that is added to soon.
    #[inline(always)]
    pub fn ask(&self, at: u32) {
        prefetch_of_many(&self.narrow, at as usize);
    }

    /// The sum, if the number was touched.
    #[inline]
    pub fn get(&self, at: u32) -> Option<f64> {
        fn known<P: Place>(places: &[P], at: u32) -> Option<usize> {
            let place = places.get(at as usize).filter(|place| **place != P::NONE)?;
            Some(place.at())
        }
        let place = match self.is_wide {
            true => known(&self.wide, at),
            false => known(&self.narrow, at),
        };
        place.map(|place| self.sums[place])
    }

    /// How many numbers were touched.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Numbers and their sums, in the order of their first touch.
    pub fn side_by_side(&self) -> (&[u32], &[f64]) {
        (&self.touched[..self.count], &self.sums[..self.count])
    }

    /// Numbers with their sums, in the order of their first touch.
    pub fn sums(&self) -> impl Iterator<Item = (u32, f64)> + '_ {
        let (touched, sums) = self.side_by_side();
        touched.iter().copied().zip(sums.iter().copied())
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
    use std::collections::HashMap;

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

    #[test]
    fn more_numbers_than_narrow_places_are_summed_like_few() {
        const LEN: usize = 3 * u16::ROOM / 2;
        let mut sums = Accumulator::default();
        for (round, values) in [40, 200_000, u16::ROOM, 300_000, 7].into_iter().enumerate() {
            sums.reset(LEN);
            assert!(sums.is_empty());
            let (mut known, mut order): (HashMap<u32, f64>, Vec<u32>) = Default::default();
            let number = |value: usize| (value * (2 * round + 1) % LEN) as u32;
            let each = (0..values).map(|value| (number(value), value as f64 / 3.0));
            for (number, value) in each.clone() {
                let sum = known.entry(number).or_insert_with(|| {
                    order.push(number);
                    0.0
                });
                *sum += value;
            }
            sums.add_all(each.clone().take(values / 2));
            each.skip(values / 2)
                .for_each(|(at, value)| sums.add(at, value));
            let expected: Vec<(u32, f64)> = order.iter().map(|n| (*n, known[n])).collect();
            assert_eq!(sums.len(), expected.len());
            assert_eq!(sums.sums().collect::<Vec<_>>(), expected);
            for number in (0..LEN as u32).step_by(11) {
                assert_eq!(sums.get(number), known.get(&number).copied());
            }
        }
        assert_eq!(sums.get(LEN as u32), None);
    }
}
