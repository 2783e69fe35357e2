//! One bit for each item: bit i is `ItemIx(i)`, counted from the lowest bit of the first word.
//!
//! Bits at and beyond the length are always zero, so words may be counted, combined and handed to a scan as they are.

use crate::simd::{Simd, by_simd};

/// A set of items numbered below a length. Combining two is O(n / 64).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bitmap {
    words: Vec<u64>,
    len: usize,
}

const BITS: usize = 64;

impl Bitmap {
    /// No bit set.
    pub fn zeros(len: usize) -> Self {
        Self {
            words: vec![0; len.div_ceil(BITS)],
            len,
        }
    }

    /// Every bit below `len` set.
    pub fn ones(len: usize) -> Self {
        let mut all = Self {
            words: vec![u64::MAX; len.div_ceil(BITS)],
            len,
        };
        all.trim();
        all
    }

    /// Number of bits, set or not.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the length is 0.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether bit `i` is set; false beyond the length.
    #[inline]
    pub fn get(&self, i: usize) -> bool {
        self.words
            .get(i / BITS)
            .is_some_and(|word| word >> (i % BITS) & 1 == 1)
    }

    /// Sets bit `i`; beyond the length nothing happens.
    #[inline]
    pub fn set(&mut self, i: usize) {
        if i < self.len {
            self.words[i / BITS] |= 1 << (i % BITS);
        }
    }

    /// Clears bit `i`; beyond the length nothing happens.
    #[inline]
    pub fn clear(&mut self, i: usize) {
        if i < self.len {
            self.words[i / BITS] &= !(1 << (i % BITS));
        }
    }

    /// Sets or clears bit `i`.
    #[inline]
    pub fn put(&mut self, i: usize, value: bool) {
        if value { self.set(i) } else { self.clear(i) }
    }

    /// Changes the length; new bits are `value`.
    pub fn resize(&mut self, len: usize, value: bool) {
        let old = self.len;
        if value && len > old && !old.is_multiple_of(BITS) {
            self.words[old / BITS] |= u64::MAX << (old % BITS);
        }
        let fill = if value { u64::MAX } else { 0 };
        self.words.resize(len.div_ceil(BITS), fill);
        self.len = len;
        self.trim();
    }

    /// Becomes `len` zeros, keeping its memory.
    pub fn reset(&mut self, len: usize) {
        self.words.clear();
        self.words.resize(len.div_ceil(BITS), 0);
        self.len = len;
    }

    /// Becomes a copy of another, keeping its memory.
    pub fn copy_from(&mut self, other: &Self) {
        self.words.clone_from(&other.words);
        self.len = other.len;
    }

    /// Keeps what both have. A shorter one has nothing beyond its length.
    pub fn and(&mut self, other: &Self) {
        let both = self.words.len().min(other.words.len());
        let (words, beyond) = self.words.split_at_mut(both);
        for (word, also) in words.iter_mut().zip(&other.words) {
            *word &= also;
        }
        beyond.fill(0);
    }

    /// Adds what the other has below this one's length.
    pub fn or(&mut self, other: &Self) {
        for (word, more) in self.words.iter_mut().zip(&other.words) {
            *word |= more;
        }
        self.trim();
    }

    /// Removes what the other has.
    pub fn and_not(&mut self, other: &Self) {
        for (word, less) in self.words.iter_mut().zip(&other.words) {
            *word &= !less;
        }
    }

    /// Turns every bit below the length round.
    pub fn not(&mut self) {
        self.words.iter_mut().for_each(|word| *word = !*word);
        self.trim();
    }

    /// How many bits are set.
    pub fn count(&self) -> usize {
        let words = &*self.words;
        by_simd!(Simd::chosen(), fn run(words: &[u64]) -> usize = count)
    }

    /// Whether any bit is set.
    pub fn any(&self) -> bool {
        self.words.iter().any(|word| *word != 0)
    }

    /// The set bits in ascending order.
    pub fn iter_ones(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(w, word)| {
            std::iter::successors(Some(*word), |left| Some(left & left.wrapping_sub(1)))
                .take_while(|left| *left != 0)
                .map(move |left| w * BITS + left.trailing_zeros() as usize)
        })
    }

    /// The words, `len.div_ceil(64)` of them: what a filtered scan takes.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Replaces word after word by what `word(w)` says; bits beyond the length are dropped.
    #[inline(always)]
    pub fn fill_words(&mut self, mut word: impl FnMut(usize) -> u64) {
        for (w, slot) in self.words.iter_mut().enumerate() {
            *slot = word(w);
        }
        self.trim();
    }

    /// Bytes held, for the memory report.
    pub fn memory(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }

    fn trim(&mut self) {
        if !self.len.is_multiple_of(BITS)
            && let Some(last) = self.words.last_mut()
        {
            *last &= (1 << (self.len % BITS)) - 1;
        }
    }
}

/// Set bits. What counts them in a word at once, not every CPU has.
#[inline(always)]
fn count(words: &[u64]) -> usize {
    let counts = words.iter().map(|word| word.count_ones() as usize);
    counts.sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bitmap(bits: &[bool]) -> Bitmap {
        let mut out = Bitmap::zeros(bits.len());
        for (i, bit) in bits.iter().enumerate() {
            out.put(i, *bit);
        }
        out
    }

    fn bits(bitmap: &Bitmap) -> Vec<bool> {
        (0..bitmap.len()).map(|i| bitmap.get(i)).collect()
    }

    fn clean(bitmap: &Bitmap) -> bool {
        bitmap.words.len() == bitmap.len.div_ceil(64)
            && bitmap.count() == bits(bitmap).iter().filter(|bit| **bit).count()
    }

    #[test]
    fn nothing_is_set_beyond_the_length() {
        for len in [0, 1, 63, 64, 65, 128, 130] {
            let mut all = Bitmap::ones(len);
            assert_eq!((all.count(), all.len()), (len, len));
            all.set(len);
            all.set(len + 64);
            assert_eq!(all.count(), len);
            assert!(!all.get(len) && !all.get(len + 1000));
            all.not();
            assert!(!all.any());
            all.not();
            all.resize(len + 7, true);
            assert_eq!(all.count(), len + 7);
            all.resize(len + 100, false);
            assert_eq!(all.count(), len + 7);
        }
    }

    proptest! {
        #[test]
        fn agrees_with_vectors_of_bool(
            a in prop::collection::vec(any::<bool>(), 0..200),
            b in prop::collection::vec(any::<bool>(), 0..200),
            len in 0usize..300,
            value: bool,
        ) {
            let other = bitmap(&b);
            let at = |i: usize| b.get(i).copied().unwrap_or(false);
            let combine = |apply: fn(&mut Bitmap, &Bitmap), slow: fn(bool, bool) -> bool| {
                let mut fast = bitmap(&a);
                apply(&mut fast, &other);
                assert!(clean(&fast));
                let slow: Vec<bool> = a.iter().enumerate().map(|(i, x)| slow(*x, at(i))).collect();
                assert_eq!(bits(&fast), slow);
            };
            combine(Bitmap::and, |x, y| x && y);
            combine(Bitmap::or, |x, y| x || y);
            combine(Bitmap::and_not, |x, y| x && !y);
            let mut longer = bitmap(&a);
            longer.resize(len, value);
            prop_assert!(clean(&longer));
            let mut slow = a.clone();
            slow.resize(len, value);
            prop_assert_eq!(bits(&longer), slow);
            let ones: Vec<usize> = (0..a.len()).filter(|i| a[*i]).collect();
            prop_assert_eq!(bitmap(&a).iter_ones().collect::<Vec<_>>(), ones);
        }
    }
}
