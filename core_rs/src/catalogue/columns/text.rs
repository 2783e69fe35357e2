//! Texts of a field, one for each item, as dictionary codes.

use super::scan::fill;
use crate::bitmap::Bitmap;
use crate::intern::Interner;
use crate::simd::Simd;

/// No text.
const NONE: u32 = u32::MAX;

/// A code for each item. A column ends at the last item that has a value.
#[derive(Clone, Debug, Default)]
pub struct TextColumn {
    dictionary: Interner,
    codes: Vec<u32>,
    live: usize,
}

/// What texts are compared with.
#[derive(Clone, Copy, Debug)]
pub enum TextTest<'a> {
    /// This text.
    Equal(&'a str),
    /// Any other text.
    Different(&'a str),
}

impl TextColumn {
    /// Sets or removes an item's text.
    pub fn set(&mut self, i: usize, value: Option<&str>) {
        let code = value.map_or(NONE, |text| self.dictionary.intern_str(text));
        if code != NONE && self.codes.len() <= i {
            self.codes.resize(i + 1, NONE);
        }
        if let Some(slot) = self.codes.get_mut(i) {
            self.live -= usize::from(*slot != NONE);
            self.live += usize::from(code != NONE);
            *slot = code;
        }
    }

    /// Items whose text passes. O(n).
    pub fn scan(&self, simd: Simd, test: TextTest<'_>, out: &mut Bitmap) {
        match test {
            TextTest::Equal(text) => match self.dictionary.get(text) {
                Some(wanted) => fill(simd, &self.codes, out, |code| code == wanted),
                None => out.fill_words(|_| 0),
            },
            TextTest::Different(text) => {
                let other = self.dictionary.get(text).unwrap_or(NONE);
                fill(simd, &self.codes, out, |code| code != other && code != NONE);
            }
        }
    }

    /// Items whose text passes a test of any kind, which is asked once for each different text. O(n + texts).
    pub fn scan_by(&self, simd: Simd, test: impl Fn(&str) -> bool, out: &mut Bitmap) {
        let mut passes = vec![false; self.dictionary.len()];
        for (code, pass) in passes.iter_mut().enumerate() {
            *pass = test(self.dictionary.name(code as u32));
        }
        fill(simd, &self.codes, out, |code| {
            passes.get(code as usize).copied().unwrap_or(false)
        });
    }

    /// Adds the items that have any.
    pub fn add_present(&self, simd: Simd, out: &mut Bitmap) {
        let mut present = Bitmap::zeros(out.len());
        fill(simd, &self.codes, &mut present, |code| code != NONE);
        out.or(&present);
    }

    /// Whether most of the dictionary belongs to texts that no item has any more.
    pub fn overgrown(&self) -> bool {
        self.dictionary.len() > 2 * self.live + super::SLACK
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        self.dictionary.memory() + self.codes.capacity() * 4
    }
}
