//! Frame repeats: per (producer, epoch) a high-water mark and a bitmap of the 1,024 numbers below it.
//!
//! A number is a repeat only if it was received. Numbers below the bitmap are set aside: a producer never has more than
//! 1,024 frames in flight, so such a number was received before, or its sender broke the rule; either way applying it
//! would be a guess.

use std::collections::BTreeMap;

use crate::fold::report::outcome;
use crate::snapshot::codec::{PartReader, PartWriter, ReadResult};

/// Numbers below the high-water mark that are told apart.
pub const WINDOW: u64 = 1024;
/// (producer, epoch) pairs remembered per partition; the one silent for longest goes first.
pub const MAX_PRODUCERS: usize = 65_536;

const WORDS: usize = (WINDOW / 64) as usize;

/// What to do with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameVerdict {
    /// Apply it.
    Fresh,
    /// Its own number was received before.
    Repeat,
    /// Too far below the high-water mark to tell.
    BeyondWindow,
}

impl FrameVerdict {
    /// The outcome of a frame that must not be applied; `None` for one that must.
    pub fn set_aside(self) -> Option<&'static str> {
        match self {
            Self::Fresh => None,
            Self::Repeat => Some(outcome::REPEAT_FRAME),
            Self::BeyondWindow => Some(outcome::BEYOND_WINDOW),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Received {
    high: u64,
    /// Bit `n % 1024` is set when number n of the last 1,024 was received.
    bits: [u64; WORDS],
    used: u64,
}

impl Received {
    fn bit(&mut self, number: u64) -> (&mut u64, u64) {
        let at = (number % WINDOW) as usize;
        (&mut self.bits[at / 64], 1 << (at % 64))
    }

    fn admit(&mut self, number: u64) -> FrameVerdict {
        if number > self.high {
            let fresh = (number - self.high).min(WINDOW);
            for n in number - fresh + 1..=number {
                let (word, bit) = self.bit(n);
                *word &= !bit;
            }
            self.high = number;
        } else if self.high - number >= WINDOW {
            return FrameVerdict::BeyondWindow;
        }
        let (word, bit) = self.bit(number);
        if *word & bit != 0 {
            return FrameVerdict::Repeat;
        }
        *word |= bit;
        FrameVerdict::Fresh
    }
}

/// All producers of one partition's frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrameLedger {
    producers: BTreeMap<(u64, u64), Received>,
    by_use: BTreeMap<u64, (u64, u64)>,
    uses: u64,
}

impl FrameLedger {
    /// Judges a frame and, if it is fresh, notes it. O(log producers).
    pub fn admit(&mut self, producer: u64, epoch: u64, sequence: u64) -> FrameVerdict {
        let key = (producer, epoch);
        self.uses += 1;
        let uses = self.uses;
        let received = self.producers.entry(key).or_insert(Received {
            high: 0,
            bits: [0; WORDS],
            used: 0,
        });
        self.by_use.remove(&received.used);
        received.used = uses;
        self.by_use.insert(uses, key);
        let verdict = received.admit(sequence);
        if self.producers.len() > MAX_PRODUCERS
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.producers.remove(&oldest);
        }
        verdict
    }

    /// The highest number received from a producer in an epoch.
    pub fn high_water(&self, producer: u64, epoch: u64) -> Option<u64> {
        self.producers.get(&(producer, epoch)).map(|r| r.high)
    }

    /// Writes all producers, least recently used first, as entities of kind `kind`.
    pub fn write(&self, kind: u8, w: &mut PartWriter<'_>) {
        for key in self.by_use.values() {
            let Some(received) = self.producers.get(key) else {
                continue;
            };
            w.entity(kind, |w| {
                w.uint(key.0);
                w.uint(key.1);
                w.uint(received.high);
                w.uint(received.used);
                received.bits.iter().for_each(|word| w.uint(*word));
            });
        }
    }

    /// Reads one entity of the kind that [`FrameLedger::write`] was given.
    pub fn read(&mut self, r: &mut PartReader<'_>) -> ReadResult<()> {
        let key = (r.uint()?, r.uint()?);
        let mut received = Received {
            high: r.uint()?,
            used: r.uint()?,
            bits: [0; WORDS],
        };
        for word in &mut received.bits {
            *word = r.uint()?;
        }
        if !(1..u64::MAX >> 1).contains(&received.used) {
            return Err(r.broken("a use count outside its bounds"));
        }
        self.uses = self.uses.max(received.used);
        let again = self.by_use.insert(received.used, key).is_some();
        if self.producers.insert(key, received).is_some() || again {
            return Err(r.broken("a producer twice"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn gaps_are_not_repeats() {
        let mut ledger = FrameLedger::default();
        assert_eq!(ledger.admit(1, 1, 5), FrameVerdict::Fresh);
        assert_eq!(ledger.admit(1, 1, 3), FrameVerdict::Fresh);
        assert_eq!(ledger.admit(1, 1, 3), FrameVerdict::Repeat);
        assert_eq!(ledger.admit(1, 2, 3), FrameVerdict::Fresh);
        assert_eq!(ledger.admit(1, 1, 5000), FrameVerdict::Fresh);
        assert_eq!(ledger.admit(1, 1, 4000), FrameVerdict::Fresh);
        assert_eq!(ledger.admit(1, 1, 3976), FrameVerdict::BeyondWindow);
        assert_eq!(ledger.high_water(1, 1), Some(5000));
    }

    proptest! {
        #[test]
        fn agrees_with_a_set_of_numbers(numbers in prop::collection::vec(1u64..4000, 1..400)) {
            let mut ledger = FrameLedger::default();
            let mut seen = BTreeSet::new();
            for number in numbers {
                let high = seen.last().copied().unwrap_or(0).max(number);
                let expected = if high - number >= WINDOW {
                    FrameVerdict::BeyondWindow
                } else if seen.contains(&number) {
                    FrameVerdict::Repeat
                } else {
                    FrameVerdict::Fresh
                };
                prop_assert_eq!(ledger.admit(7, 7, number), expected);
                if expected != FrameVerdict::BeyondWindow {
                    seen.insert(number);
                }
            }
        }
    }
}
