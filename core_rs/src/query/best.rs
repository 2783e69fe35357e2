//! The best of many scores, in one total order: by score, equal scores by item id.
//!
//! Scores become numbers that end in the places they stand at, so that [`crate::sorting`] puts them in order without a branch on
//! any of them; what the last bits would have told is settled afterwards, among the few that begin alike.

use std::cell::RefCell;

use crate::ids::ItemIx;
use crate::names::Names;
use crate::query::accumulator::Accumulator;
use crate::simd::Simd;
use crate::sorting::{keep_smallest, sort};

/// The `limit` best of the touched items that `eligible` lets through, each score passed through `adjust`; equal scores
/// by item id.
pub fn top(
    names: &Names,
    scores: &Accumulator,
    limit: usize,
    eligible: impl Fn(ItemIx) -> bool,
    adjust: impl Fn(ItemIx, f64) -> f64,
) -> Vec<(ItemIx, f64)> {
    best_of(scores, limit, ByName(names), eligible, adjust)
}

/// [`top`] of the sums as they are.
pub fn top_sums(
    names: &Names,
    scores: &Accumulator,
    limit: usize,
    eligible: impl Fn(ItemIx) -> bool,
) -> Vec<(ItemIx, f64)> {
    best_of(scores, limit, ByName(names), eligible, |_, sum| sum)
}

/// [`top`] with equal scores ordered by `ties`, which sorts items in one total order. O(scored + limit log limit).
pub fn top_by(
    scores: &Accumulator,
    limit: usize,
    ties: impl Fn(&mut [Key]),
    eligible: impl Fn(ItemIx) -> bool,
    adjust: impl Fn(ItemIx, f64) -> f64,
) -> Vec<(ItemIx, f64)> {
    best_of(scores, limit, By(ties), eligible, adjust)
}

/// The order of keys of equal scores.
trait Ties {
    /// Asks for what the order of a key follows from.
    fn ask(&self, _: &Key) {}
    fn sort(&self, tied: &mut [Key]);
}

/// By item id.
#[derive(Clone, Copy)]
struct ByName<'a>(&'a Names);

impl Ties for ByName<'_> {
    #[inline]
    fn ask(&self, key: &Key) {
        self.0.items.ask_for_beginning(key.item().0);
    }

    fn sort(&self, tied: &mut [Key]) {
        by_name(self.0, tied);
    }
}

/// As a function sorts them.
struct By<F: Fn(&mut [Key])>(F);

impl<F: Fn(&mut [Key])> Ties for By<F> {
    fn sort(&self, tied: &mut [Key]) {
        (self.0)(tied);
    }
}

/// [`top_by`], for any [`Ties`].
fn best_of(
    scores: &Accumulator,
    limit: usize,
    ties: impl Ties,
    eligible: impl Fn(ItemIx) -> bool,
    adjust: impl Fn(ItemIx, f64) -> f64,
) -> Vec<(ItemIx, f64)> {
    let (items, sums) = scores.side_by_side();
    if limit == 0 || items.len() > PLACES {
        return best_of_very_many(scores, limit, ties, eligible, adjust);
    }
    let mut order = ORDER.take();
    order.clear();
    order.resize(items.len(), 0);
    let mut kept = 0;
    for (place, (item, sum)) in (0u64..).zip(items.iter().zip(sums)) {
        let item = ItemIx(*item);
        let score = adjust(item, *sum);
        // Without a branch: which of them may be shown is what a CPU cannot foresee.
        order[kept] = placed(turned(score), place);
        kept += usize::from((score > 0.0) & eligible(item));
    }
    order.truncate(kept);
    let mut keys = KEYS.take();
    let key_at = |place: usize| {
        let item = ItemIx(items[place]);
        key(item, adjust(item, sums[place]))
    };
    sort_placed(&mut order, limit, key_at, &mut keys);
    ORDER.set(order);
    let best = told_apart(&mut keys, limit, &ties);
    KEYS.set(keys);
    best
}

/// [`best_of`] more than there are places for: what is worse than `limit` others is left out as it comes; who is equal to the
/// worst of them may yet be chosen.
fn best_of_very_many(
    scores: &Accumulator,
    limit: usize,
    ties: impl Ties,
    eligible: impl Fn(ItemIx) -> bool,
    adjust: impl Fn(ItemIx, f64) -> f64,
) -> Vec<(ItemIx, f64)> {
    let mut keys: Vec<Key> = Vec::new();
    let (mut worst, mut room) = (u64::MAX, PLACES);
    for (item, sum) in scores.sums() {
        if keys.len() == room {
            if (1..keys.len()).contains(&limit) {
                worst = keys.select_nth_unstable(limit - 1).1.score();
                keys.retain(|key| key.score() <= worst);
            }
            room = room.max(2 * keys.len());
        }
        let score = adjust(ItemIx(item), sum);
        let key = key(ItemIx(item), score);
        if score > 0.0 && key.score() <= worst && eligible(ItemIx(item)) {
            keys.push(key);
        }
    }
    best(&mut keys, limit, ties)
}

/// Keys held beside the best before these are told from the others.
const SPARE: usize = 64;

thread_local! {
    /// Room for the keys of a list, kept from list to list, and for some of them while they are sorted.
    static KEYS: RefCell<Vec<Key>> = RefCell::default();
    static TIED: RefCell<Vec<Key>> = RefCell::default();
    /// Room for sorting: numbers with their places.
    static ORDER: RefCell<Vec<u64>> = RefCell::default();
}

/// The `limit` best of these, each of which stands there once and has a score above 0; equal scores by item id.
pub fn top_of(names: &Names, found: Vec<(ItemIx, f64)>, limit: usize) -> Vec<(ItemIx, f64)> {
    let found = found.into_iter().filter(|(_, score)| *score > 0.0);
    let mut keys = found.map(|(item, score)| key(item, score)).collect();
    best(&mut keys, limit, ByName(names))
}

/// Sorts by item id. How ids begin lies side by side for all items; whole ids are looked up only for those that begin alike.
fn by_name(names: &Names, tied: &mut [Key]) {
    let beginning = |key: Key| names.items.beginning(key.item().0);
    let whole = |a: &Key, b: &Key| names.item(a.item()).cmp(names.item(b.item()));
    match tied {
        [] | [_] => {}
        [a, b] => {
            let order = beginning(*a).cmp(&beginning(*b));
            if order.then_with(|| whole(a, b)).is_gt() {
                tied.swap(0, 1);
            }
        }
        _ => {
            let apart =
                |a: &Key, b: &Key| beginning(*a).cmp(&beginning(*b)).then_with(|| whole(a, b));
            sort_by(tied, beginning, |alike| alike.sort_unstable_by(apart));
        }
    }
}

/// [`top`] where `lower` never gives a score above the one that it is given. It is asked only for items that may be among
/// the best.
pub fn top_lowered(
    names: &Names,
    scores: &Accumulator,
    limit: usize,
    lower: impl Fn(ItemIx, f64) -> f64,
) -> Vec<(ItemIx, f64)> {
    let (items, sums) = scores.side_by_side();
    if limit == 0 || items.len() > PLACES {
        return top(names, scores, limit, |_| true, lower);
    }
    let mut order = ORDER.take();
    order.clear();
    let all = || (0u64..).zip(sums).filter(|(_, sum)| **sum > 0.0);
    order.extend(all().map(|(place, sum)| placed(turned(*sum), place)));
    let simd = Simd::chosen();
    let most = keep_smallest(simd, &mut order, limit.saturating_add(SPARE), FINE);
    let lowered = |place: usize| {
        let item = ItemIx(items[place]);
        let score = lower(item, sums[place]);
        (score > 0.0).then(|| key(item, score))
    };
    let mut keys = KEYS.take();
    keys.clear();
    keys.extend(order.iter().filter_map(|number| lowered(place(*number))));
    place_all(&keys, Key::score, &mut order);
    let worst = keep_smallest(simd, &mut order, limit, FINE);
    if worst > most {
        // Who was passed over may be better than those that were lowered.
        let others = all().map(|(place, sum)| placed(turned(*sum), place));
        let others = others.filter(|number| (most + 1..=worst).contains(number));
        keys.extend(others.filter_map(|number| lowered(place(number))));
    }
    ORDER.set(order);
    let best = best(&mut keys, limit, ByName(names));
    KEYS.set(keys);
    best
}

/// The `limit` best of these.
fn best(keys: &mut Vec<Key>, limit: usize, ties: impl Ties) -> Vec<(ItemIx, f64)> {
    if limit == 0 {
        return Vec::new();
    }
    if keys.len() > PLACES {
        if keys.len() > limit {
            cut(keys, limit, &ties);
        }
        keys.sort_unstable();
        return told_apart(keys, limit, &ties);
    }
    let mut order = ORDER.take();
    place_all(keys, Key::score, &mut order);
    let mut sorted = TIED.take();
    sort_placed(&mut order, limit, |place| keys[place], &mut sorted);
    std::mem::swap(keys, &mut sorted);
    ORDER.set(order);
    TIED.set(sorted);
    told_apart(keys, limit, &ties)
}

/// The `limit` best of keys that are sorted but for equal scores.
fn told_apart(keys: &mut [Key], limit: usize, ties: &impl Ties) -> Vec<(ItemIx, f64)> {
    // What equal ones are told apart by lies anywhere: asked for all at once, it is waited for once.
    for pair in keys.windows(2) {
        if pair[0].score() == pair[1].score() {
            pair.iter().for_each(|key| ties.ask(key));
        }
    }
    for run in keys.chunk_by_mut(|a, b| a.score() == b.score()) {
        if run.len() > 1 {
            ties.sort(run);
        }
    }
    let best = keys.iter().take(limit);
    best.map(|key| (key.item(), key.value())).collect()
}

/// Bits of a place, in which numbers that are sorted with their places end.
const PLACE_BITS: u32 = 12;
/// So many places at most.
const PLACES: usize = 1 << PLACE_BITS;

/// The bits of a place.
const FINE: u64 = PLACES as u64 - 1;

/// The place that a number ends in.
fn place(number: u64) -> usize {
    (number & FINE) as usize
}

/// A number that ends in a place in place of its last bits. Numbers of one register sort in half the time of those that carry
/// something.
#[inline]
fn placed(number: u64, place: u64) -> u64 {
    number & !FINE | place
}

/// A number of each key, [`placed`].
fn place_all(keys: &[Key], number: impl Fn(Key) -> u64, order: &mut Vec<u64>) {
    order.clear();
    let each = keys.iter().zip(0u64..);
    order.extend(each.map(|(key, place)| placed(number(*key), place)));
}

/// Sorts keys by a number each; `tell_apart` sorts those whose numbers begin alike.
fn sort_by(keys: &mut [Key], number: impl Fn(Key) -> u64, tell_apart: impl Fn(&mut [Key])) {
    if keys.len() > PLACES {
        return tell_apart(keys);
    }
    let mut order = ORDER.take();
    place_all(keys, &number, &mut order);
    sort(Simd::chosen(), &mut order);
    let mut unsorted = TIED.take();
    unsorted.clear();
    unsorted.extend_from_slice(keys);
    for (key, at) in keys.iter_mut().zip(&order) {
        *key = unsorted[place(*at)];
    }
    ORDER.set(order);
    TIED.set(unsorted);
    let begins = |key: &Key| number(*key) & !FINE;
    for alike in keys.chunk_by_mut(|a, b| begins(a) == begins(b)) {
        if alike.len() > 1 {
            tell_apart(alike);
        }
    }
}

/// The keys at the places of `order`, which tells by score, then item; only the `limit` best and their equals, and maybe
/// some more.
fn sort_placed(
    order: &mut Vec<u64>,
    limit: usize,
    key_at: impl Fn(usize) -> Key,
    sorted: &mut Vec<Key>,
) {
    let simd = Simd::chosen();
    keep_smallest(simd, order, limit, FINE);
    sort(simd, order);
    sorted.clear();
    sorted.extend(order.iter().map(|number| key_at(place(*number))));
    for alike in sorted.chunk_by_mut(|a, b| a.coarse() == b.coarse()) {
        if alike.len() > 1 {
            alike.sort_unstable();
        }
    }
}

/// The bits of a score above 0 turned round: larger scores are smaller numbers.
#[inline]
fn turned(score: f64) -> u64 {
    !score.to_bits()
}

/// The bits of a score above 0, turned round: larger scores are smaller numbers, which sort without comparing floats. The
/// item's number below them: one number sorts without a branch, two do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(u128);

impl Key {
    /// The score's bits, turned round.
    #[inline]
    fn score(self) -> u64 {
        (self.0 >> 32) as u64
    }

    /// [`Key::score`] with zeros in place of its last bits.
    #[inline]
    fn coarse(self) -> u64 {
        self.score() & !FINE
    }

    /// The score.
    #[inline]
    fn value(self) -> f64 {
        f64::from_bits(!self.score())
    }

    /// The item.
    #[inline]
    pub fn item(self) -> ItemIx {
        ItemIx(self.0 as u32)
    }
}

#[inline]
fn key(item: ItemIx, score: f64) -> Key {
    Key(u128::from(turned(score)) << 32 | u128::from(item.0))
}

/// Keeps the `limit` best of more, above 0; where equal scores lie across the cut, `ties` decides which of them stay.
fn cut(keys: &mut Vec<Key>, limit: usize, ties: &impl Ties) {
    let (_, last, rest) = keys.select_nth_unstable(limit - 1);
    let worst = last.score();
    if rest.iter().any(|key| key.score() == worst) {
        let better = keys.iter().filter(|key| key.score() < worst).count();
        let tied = keys.iter().filter(|key| key.score() == worst);
        let mut tied: Vec<Key> = tied.copied().collect();
        ties.sort(&mut tied);
        keys.retain(|key| key.score() < worst);
        keys.extend(tied.into_iter().take(limit - better));
    } else {
        keys.truncate(limit);
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Higher scores first, equal ones by item id.
    fn order(names: &Names, a: &(ItemIx, f64), b: &(ItemIx, f64)) -> Ordering {
        b.1.total_cmp(&a.1)
            .then_with(|| names.item(a.0).cmp(names.item(b.0)))
    }

    #[test]
    fn the_best_that_pass_are_those_of_a_full_sort() {
        let mut names = Names::new(1);
        let mut scores = Accumulator::default();
        scores.reset(3000);
        let mut state = 5u64;
        for i in 0..3000u32 {
            let beginning = ["i", "a-long-beginning-", ""][i as usize % 3];
            let id = format!("{beginning}{}", i * 7 % 3000);
            names.items.intern_str(&id);
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            scores.add(i, f64::from((state >> 40) as u32 % 200) - 10.0);
        }
        for (limit, every) in [(1, 1), (10, 3), (200, 50), (200, 1), (5000, 2), (10, 4000)] {
            let eligible = |item: ItemIx| item.0.is_multiple_of(every);
            let mut expected: Vec<(ItemIx, f64)> = (0..3000)
                .map(|i| (ItemIx(i), scores.get(i).unwrap_or_default()))
                .filter(|(item, score)| *score > 0.0 && eligible(*item))
                .collect();
            expected.sort_by(|a, b| order(&names, a, b));
            expected.truncate(limit);
            assert_eq!(top(&names, &scores, limit, eligible, |_, s| s), expected);
            assert_eq!(top_sums(&names, &scores, limit, eligible), expected);
        }
    }

    #[test]
    fn ties_are_in_the_order_of_their_ids() {
        let mut names = Names::new(1);
        let ids: Vec<String> = (0..5000u32)
            .map(|i| match i % 3 {
                0 => format!("{}", i * 7919 % 5003),
                1 => format!("beginsal{}", i * 7919 % 5003),
                _ => format!("begins{i}"),
            })
            .collect();
        for id in &ids {
            names.items.intern_str(id);
        }
        for count in [0, 1, 2, 3, 700, PLACES, 5000] {
            let mut tied: Vec<Key> = (0..count as u32).map(|i| key(ItemIx(i), 1.0)).collect();
            by_name(&names, &mut tied);
            let mut expected = ids[..count].to_vec();
            expected.sort_unstable();
            let found = tied.iter().map(|key| names.item(key.item()));
            assert!(found.eq(expected.iter().map(String::as_str)), "{count}");
        }
    }

    #[test]
    fn keys_that_begin_alike_are_sorted_too() {
        let mut state = 3u64;
        for count in [0, 1, 2, 300, 4096, 4097, 6000] {
            let keys = (0..count).map(|i| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let (coarse, fine) = ((state >> 40) as u32 % 9, (state >> 50) as u32 % 5);
                let score = f64::from(coarse) + 1.0 + f64::from(fine) * 1e-15;
                key(ItemIx(i * 7919 % 6007), score)
            });
            let mut keys: Vec<Key> = keys.collect();
            let mut expected = keys.clone();
            expected.sort_unstable();
            sort_by(&mut keys, |key| key.score(), |alike| alike.sort_unstable());
            assert_eq!(keys, expected);
        }
    }

    proptest! {
        #[test]
        fn scores_that_are_lowered_are_as_if_all_were(
            given in vec((0u32..900, 1u32..40, 0u32..4), 1..700),
            limit in 0usize..130,
        ) {
            let mut names = Names::new(1);
            for i in 0..900 {
                names.items.intern_str(&format!("i{}", i * 7 % 900));
            }
            let mut scores = Accumulator::default();
            scores.reset(900);
            let mut factors = [1.0; 900];
            for (item, score, lowered) in given {
                scores.add(item, f64::from(score) / 7.0);
                factors[item as usize] = [1.0, 0.5, 0.01, 0.0][lowered as usize];
            }
            let lower = |item: ItemIx, score: f64| score * factors[item.0 as usize];
            prop_assert_eq!(
                top_lowered(&names, &scores, limit, lower),
                top(&names, &scores, limit, |_| true, lower)
            );
        }
    }
}
