//! Forward decay with landmarks (Cormode et al., "Forward decay", ICDE 2009) in fixed point.
//!
//! An event of time t weighs 2^((t - L) / H) for half-life H and landmark L. Time is cut into *epochs* of
//! [`EPOCH_HALF_LIVES`] half-lives; L is the start of the current epoch, and entering the next one divides every stored
//! count by 2^[`EPOCH_HALF_LIVES`]. Rows do that when they are next touched: floor division by powers of two composes, so
//! a lazy row holds exactly what an eager one would. Which epoch is current is a function of the log (its running
//! maximum of event times), never of a clock.

use crate::decay_table::POW2;
use crate::ids::Millis;

/// Half-lives per epoch, hence the bits that a count is shifted by when an epoch begins.
pub const EPOCH_HALF_LIVES: i64 = 4;

/// Steps of the table per half-life. Times are below 2^53 ms at the door, so a time in steps fits 64 bits.
const STEPS: i64 = 256;

/// What one event weighs at the landmark: 8 fractional bits.
pub const ONE: u32 = 256;

/// A count that is read at a time before it was made doubles with each half-life, at most so often: then a product of four
/// readings, of any counts, is a finite number, and so is every measure and score that is made of them.
const MOST_DOUBLINGS: i64 = 192;

/// One decayed clock: a half-life and the epochs that follow from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decay {
    half_life_ms: i64,
    /// 1 / half-life: an estimate that [`Decay::steps`] makes exact.
    inverse: f64,
}

impl Decay {
    /// A clock of this half-life; at least one millisecond.
    pub fn new(half_life_ms: f64) -> Self {
        let half_life_ms = (half_life_ms as i64).max(1);
        Self {
            half_life_ms,
            inverse: 1.0 / half_life_ms as f64,
        }
    }

    /// Half-life in milliseconds.
    pub fn half_life_ms(&self) -> i64 {
        self.half_life_ms
    }

    /// The epoch that the time falls in. Times before 1970 are refused at the door, so epochs are not negative.
    pub fn epoch(&self, ts: Millis) -> u32 {
        let span = self.half_life_ms * EPOCH_HALF_LIVES;
        let inverse = self.inverse / EPOCH_HALF_LIVES as f64;
        divide(ts, span, inverse).clamp(0, i64::from(u32::MAX)) as u32
    }

    /// Start of an epoch.
    fn landmark(&self, epoch: u32) -> Millis {
        i64::from(epoch) * self.half_life_ms * EPOCH_HALF_LIVES
    }

    /// Table steps from an epoch's landmark to `ts`, rounded towards minus infinity. Every draw and vote asks for it, so
    /// the division is a multiplication whose rounding is put right in integers.
    #[inline]
    fn steps(&self, ts: Millis, epoch: u32) -> i64 {
        let scaled = (ts - self.landmark(epoch)) * STEPS;
        divide(scaled, self.half_life_ms, self.inverse)
    }

    /// Weight of an event of time `ts` in units of the epoch (8 fractional bits at its landmark), at most
    /// `2 * ONE << 4`; an event long before the landmark weighs 0.
    pub fn weight(&self, ts: Millis, epoch: u32) -> u32 {
        Self::weight_of(self.steps(ts, epoch))
    }

    /// [`Decay::weight`] and how long it stays the same: from the first of two times until before the second.
    pub fn weight_span(&self, ts: Millis, epoch: u32) -> WeightSpan {
        let steps = self.steps(ts, epoch);
        // The least time of a step: its share of the half-life, rounded up.
        let start = |steps: i64| {
            let scaled = i128::from(steps) * i128::from(self.half_life_ms) + i128::from(STEPS - 1);
            self.landmark(epoch) + (scaled >> STEPS.trailing_zeros()) as i64
        };
        WeightSpan {
            from: start(steps),
            until: start(steps + 1),
            weight: Self::weight_of(steps),
        }
    }

    fn weight_of(steps: i64) -> u32 {
        let mantissa = POW2[(steps & 255) as usize] >> 8;
        let shift = steps >> 8;
        if shift >= 0 {
            mantissa << shift.min(EPOCH_HALF_LIVES)
        } else if shift > -16 {
            mantissa >> -shift
        } else {
            0
        }
    }

    /// A stored count of epoch `from` in units of the later epoch `to`.
    pub fn carry(count: u64, from: u32, to: u32) -> u64 {
        let shift = u64::from(to.saturating_sub(from)) * EPOCH_HALF_LIVES as u64;
        if shift >= 64 { 0 } else { count >> shift }
    }

    /// A stored count of `epoch` as a number of full-weight events at `now`: 1.0 is one event at this instant. Long before
    /// the epoch ([`MOST_DOUBLINGS`] half-lives) it no longer grows.
    pub fn read(&self, count: u64, epoch: u32, now: Millis) -> f64 {
        let steps = self.steps(now, epoch);
        let fraction = f64::from(POW2[(steps & 255) as usize]) / 65_536.0;
        let doublings = -(steps >> 8);
        count as f64 / f64::from(ONE) / fraction * power_of_two(doublings.min(MOST_DOUBLINGS))
    }
}

/// What events of a span of time weigh, all of them the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightSpan {
    from: Millis,
    until: Millis,
    weight: u32,
}

impl WeightSpan {
    /// The weight, if an event of time `ts` has it.
    #[inline]
    pub fn of(&self, ts: Millis) -> Option<u32> {
        (self.from <= ts && ts < self.until).then_some(self.weight)
    }

    /// The whole seconds that have the weight: from the first until before the second. Seconds beyond 32 bits are not told.
    #[inline]
    pub fn seconds(&self) -> (u32, u32) {
        let up = |ms: Millis| ((ms + 999).div_euclid(1000)).clamp(0, i64::from(u32::MAX)) as u32;
        (up(self.from), up(self.until))
    }

    /// The weight.
    #[inline]
    pub fn weight(&self) -> u32 {
        self.weight
    }
}

/// A clock that remembers the latest epoch and the latest step: events of a log come in the order of their times, nearly.
#[derive(Clone, Copy, Debug)]
pub struct DecayMemo {
    decay: Decay,
    epoch: u32,
    /// The times that surely have the epoch.
    of_epoch: (Millis, Millis),
    span_epoch: u32,
    span: WeightSpan,
}

impl DecayMemo {
    /// A clock that remembers nothing yet.
    pub fn new(decay: Decay) -> Self {
        Self {
            decay,
            epoch: 0,
            of_epoch: (0, 0),
            span_epoch: 0,
            span: WeightSpan {
                from: 0,
                until: 0,
                weight: 0,
            },
        }
    }

    /// See [`Decay::epoch`].
    #[inline]
    pub fn epoch(&mut self, ts: Millis) -> u32 {
        let (from, until) = self.of_epoch;
        if ts < from || ts >= until {
            self.epoch = self.decay.epoch(ts);
            // The last epoch has no end, and the first none before it: those of times before 1970.
            let last = self.epoch == u32::MAX;
            let next = if last {
                0
            } else {
                self.decay.landmark(self.epoch + 1)
            };
            self.of_epoch = (self.decay.landmark(self.epoch), next);
        }
        self.epoch
    }

    /// See [`Decay::weight`].
    #[inline]
    pub fn weight(&mut self, ts: Millis, epoch: u32) -> u32 {
        match self.span.of(ts) {
            Some(weight) if self.span_epoch == epoch => weight,
            _ => {
                self.span = self.decay.weight_span(ts, epoch);
                self.span_epoch = epoch;
                self.span.weight
            }
        }
    }

    /// See [`DecayedCount::add`].
    #[inline]
    pub fn add(&mut self, count: &mut DecayedCount, ts: Millis, epoch: u32) {
        count.add_weight(u64::from(self.weight(ts, epoch)), epoch);
    }
}

/// Reads many counts at one moment: what a unit of an epoch is worth is worked out once per run of equal epochs.
#[derive(Clone, Copy, Debug)]
pub struct DecayReader {
    decay: Decay,
    now: Millis,
    epoch: u32,
    unit: f64,
}

impl DecayReader {
    /// The times at which a reader reads what this one reads: from the first until before the second.
    pub fn span(&self) -> (Millis, Millis) {
        let now = self.now.max(0);
        let span = self.decay.weight_span(now, self.decay.epoch(now));
        match self.now < 0 {
            true => (self.now, self.now + 1),
            false => (span.from, span.until),
        }
    }

    /// A reader of this clock's counts at `now`.
    pub fn new(decay: Decay, now: Millis) -> Self {
        let epoch = decay.epoch(now.max(0));
        Self {
            decay,
            now,
            epoch,
            unit: decay.read(1, epoch, now),
        }
    }

    /// The count as a number of full-weight events.
    #[inline]
    pub fn read(&mut self, count: &DecayedCount) -> f64 {
        if count.epoch != self.epoch {
            self.epoch = count.epoch;
            self.unit = self.decay.read(1, count.epoch, self.now);
        }
        count.count as f64 * self.unit
    }
}

/// `a` / `b` rounded towards minus infinity. `inverse`, nearly 1 / `b`, gives an estimate that integers put right.
#[inline]
fn divide(a: i64, b: i64, inverse: f64) -> i64 {
    let estimate = (a as f64 * inverse) as i64;
    let quotient = estimate - i64::from(a < 0);
    let rest = a.wrapping_sub(quotient.wrapping_mul(b));
    if (0..b).contains(&rest) {
        quotient
    } else {
        a.div_euclid(b)
    }
}

/// 2^exponent, exactly, for what a double can hold; 0 or the largest power beyond.
pub fn power_of_two(exponent: i64) -> f64 {
    if exponent < -1022 {
        return 0.0;
    }
    f64::from_bits(((exponent.min(1023) + 1023) as u64) << 52)
}

/// A decayed count together with the epoch that it is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecayedCount {
    /// Fixed-point count, 8 fractional bits at the epoch's landmark.
    pub count: u64,
    /// Epoch of the count.
    pub epoch: u32,
}

impl DecayedCount {
    /// Adds an event of time `ts` when the log's running time is in `epoch`.
    pub fn add(&mut self, decay: &Decay, ts: Millis, epoch: u32) {
        self.add_weight(u64::from(decay.weight(ts, epoch)), epoch);
    }

    /// Adds a weight already in units of `epoch`.
    pub fn add_weight(&mut self, weight: u64, epoch: u32) {
        self.count = self.at(epoch).saturating_add(weight);
        self.epoch = self.epoch.max(epoch);
    }

    /// The count in units of `epoch`, which must not be before the stored one.
    pub fn at(&self, epoch: u32) -> u64 {
        Decay::carry(self.count, self.epoch, epoch)
    }

    /// The count as a number of full-weight events at `now`.
    pub fn read(&self, decay: &Decay, now: Millis) -> f64 {
        decay.read(self.count, self.epoch, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;

    /// Numbers that look drawn, the same ones each time.
    fn drawn() -> impl Iterator<Item = u64> {
        std::iter::successors(Some(1u64), |last| {
            let next = last.wrapping_mul(6_364_136_223_846_793_005);
            Some(next.wrapping_add(1))
        })
        .skip(1)
    }

    /// Times, each with an epoch in which something of it may be counted.
    fn counted(
        decay: Decay,
        drawn: &mut impl Iterator<Item = u64>,
    ) -> impl Iterator<Item = (Millis, u32)> {
        drawn.map(move |random| {
            let ts = (random >> 24) as i64 % (1 << 45);
            (ts, decay.epoch(ts).saturating_add((random & 3) as u32))
        })
    }

    #[test]
    fn table_is_the_binary_exponential() {
        assert_eq!(POW2[0], 65_536);
        for i in 1..256usize {
            assert!(POW2[i] > POW2[i - 1]);
            let product = u64::from(POW2[i]) * u64::from(POW2[256 - i]);
            let expected = 2u64 << 32;
            assert!(
                product.abs_diff(expected) < 1 << 18,
                "2^(i/256) * 2^(1-i/256) = 2 at {i}"
            );
        }
    }

    #[test]
    fn steps_are_the_exact_quotient() {
        let mut drawn = drawn();
        for half_life in [1.0, 7.0, 3_600_000.0, 86_400_000.0, 30.0 * DAY as f64] {
            let decay = Decay::new(half_life);
            for (ts, epoch) in counted(decay, &mut drawn).take(10_000) {
                let exact = ((ts - decay.landmark(epoch)) * STEPS).div_euclid(decay.half_life_ms);
                assert_eq!(decay.steps(ts, epoch), exact, "{half_life} {ts}");
            }
        }
    }

    #[test]
    fn a_weight_stays_as_long_as_its_span_says() {
        let mut drawn = drawn();
        for half_life in [1.0, 7.0, 1000.0, 3_600_000.0, 30.0 * DAY as f64] {
            let decay = Decay::new(half_life);
            for (ts, epoch) in counted(decay, &mut drawn).take(2_000) {
                let span = decay.weight_span(ts, epoch);
                let steps = decay.steps(ts, epoch);
                assert_eq!(span.of(ts), Some(decay.weight(ts, epoch)));
                for near in [span.from - 1, span.from, span.until - 1, span.until] {
                    let same = decay.steps(near, epoch) == steps;
                    assert_eq!(span.of(near).is_some(), same, "{half_life} {ts} {near}");
                    let (first, until) = span.seconds();
                    let second = (near / 1000).clamp(0, i64::from(u32::MAX) - 1) as u32;
                    let within = first <= second && second < until;
                    assert_eq!(within, span.of(i64::from(second) * 1000).is_some());
                }
            }
        }
    }

    #[test]
    fn a_clock_that_remembers_says_what_one_says_that_does_not() {
        let mut drawn = drawn();
        for half_life in [1.0, 1000.0, 3_600_000.0, 30.0 * DAY as f64] {
            let decay = Decay::new(half_life);
            let mut memo = DecayMemo::new(decay);
            let mut now = 0;
            for random in drawn.by_ref().take(5_000) {
                now += (random >> 20) as i64 % (1 << (random >> 58));
                let (ts, later) = (now - (random >> 40) as i64 % 2_000_000, now);
                assert_eq!(memo.epoch(later), decay.epoch(later));
                let epoch = decay.epoch(later);
                assert_eq!(memo.weight(ts, epoch), decay.weight(ts, epoch));
                let reader = DecayReader::new(decay, later);
                let (from, until) = reader.span();
                assert!(from <= later && later < until);
                for same in [from, until - 1] {
                    let same = DecayReader::new(decay, same);
                    let count = DecayedCount {
                        count: 77,
                        epoch: epoch.saturating_sub(1),
                    };
                    assert_eq!(same.unit, reader.unit);
                    assert_eq!({ same }.read(&count), { reader }.read(&count));
                }
            }
        }
    }

    #[test]
    fn weight_halves_per_half_life_and_grows_with_time() {
        let decay = Decay::new(30.0 * DAY as f64);
        let now = 19_000 * DAY;
        let epoch = decay.epoch(now);
        let mut last = 0;
        for day in -400..0 {
            let weight = decay.weight(now + day * DAY, epoch);
            assert!(weight >= last);
            last = weight;
        }
        let (full, half) = (
            decay.weight(now, epoch),
            decay.weight(now - 30 * DAY, epoch),
        );
        assert!(full.abs_diff(half * 2) <= 2);
    }

    #[test]
    fn lazy_and_eager_rescaling_agree() {
        for count in [0u64, 1, 15, 16, 17, 255, 256, 12_345, u64::MAX] {
            let eager = (0..5).fold(count, |c, _| Decay::carry(c, 7, 8));
            assert_eq!(Decay::carry(count, 3, 8), eager);
        }
    }

    #[test]
    fn reading_gives_events_at_now() {
        let decay = Decay::new(DAY as f64);
        let now = 20_000 * DAY + 12_345;
        let mut count = DecayedCount::default();
        for _ in 0..100 {
            count.add(&decay, now, decay.epoch(now));
        }
        assert!((count.read(&decay, now) - 100.0).abs() < 1.0);
        assert!((count.read(&decay, now + DAY) - 50.0).abs() < 1.0);
        assert!((count.read(&decay, now + 3 * DAY) - 12.5).abs() < 0.2);
    }

    #[test]
    fn a_reading_from_long_before_is_a_number() {
        let decay = Decay::new(3_600_000.0);
        let now = 20_000 * DAY;
        let read = |at| decay.read(u64::MAX, decay.epoch(now), at);
        assert!(read(1).powi(4).is_finite());
        let before =
            |half_lives: i64| read(decay.landmark(decay.epoch(now)) - half_lives * 3_600_000);
        assert_eq!(
            before(MOST_DOUBLINGS),
            before(0) * power_of_two(MOST_DOUBLINGS)
        );
        assert_eq!(before(MOST_DOUBLINGS + 9), before(MOST_DOUBLINGS));
    }
}
