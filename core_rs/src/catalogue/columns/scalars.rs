//! Booleans and numbers of a field. A column ends at the last item that has a value; every item behind has none.

use super::scan::fill;
use crate::bitmap::Bitmap;
use crate::catalogue::number::{Interval, Number};
use crate::simd::Simd;

/// Booleans: who has one, and who has `true`.
#[derive(Clone, Debug, Default)]
pub struct BoolColumn {
    present: Bitmap,
    truth: Bitmap,
}

impl BoolColumn {
    /// Sets or removes an item's value.
    pub fn set(&mut self, i: usize, value: Option<bool>) {
        if value.is_some() && self.present.len() <= i {
            self.present.resize(i + 1, false);
            self.truth.resize(i + 1, false);
        }
        self.present.put(i, value.is_some());
        self.truth.put(i, value == Some(true));
    }

    /// Items with this value.
    pub fn equal(&self, value: bool, out: &mut Bitmap) {
        out.fill_words(|_| 0);
        out.or(if value { &self.truth } else { &self.present });
        if !value {
            out.and_not(&self.truth);
        }
    }

    /// Adds the items that have any.
    pub fn add_present(&self, out: &mut Bitmap) {
        out.or(&self.present);
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        self.present.memory() + self.truth.memory()
    }
}

/// What numbers are compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum NumberTest {
    /// Inside an interval.
    Inside(Interval),
    /// Any number outside of it.
    Outside(Interval),
    /// One of these, ascending.
    OneOf(Box<[Number]>),
}

/// Numbers as f64 where that is exact, which is nearly always; other i64 beside.
#[derive(Clone, Debug, Default)]
pub struct NumberColumn {
    /// NaN where there is none.
    floats: Vec<f64>,
    wide: Bitmap,
    ints: Vec<i64>,
}

impl NumberColumn {
    /// Sets or removes an item's value.
    pub fn set(&mut self, i: usize, value: Option<Number>) {
        let float = value.and_then(Number::exact_f64);
        if float.is_some() && self.floats.len() <= i {
            self.floats.resize(i + 1, f64::NAN);
        }
        if let Some(slot) = self.floats.get_mut(i) {
            *slot = float.unwrap_or(f64::NAN);
        }
        match (value, float) {
            (Some(Number::Int(int)), None) => {
                if self.ints.len() <= i {
                    self.ints.resize(i + 1, 0);
                    self.wide.resize(i + 1, false);
                }
                self.ints[i] = int;
                self.wide.set(i);
            }
            _ => self.wide.clear(i),
        }
    }

    /// Items whose number passes. O(n), for `OneOf` O(n log values).
    pub fn scan(&self, simd: Simd, test: &NumberTest, out: &mut Bitmap) {
        match test {
            NumberTest::Inside(interval) => {
                let interval = *interval;
                fill(simd, &self.floats, out, |x| interval.has_float(x));
                self.add_wide(out, |int| interval.has_int(int));
            }
            NumberTest::Outside(interval) => {
                let interval = *interval;
                // Not `!has_float`: NaN is outside of everything and has no value.
                fill(simd, &self.floats, out, |x| {
                    x < interval.floats.0 || x > interval.floats.1
                });
                self.add_wide(out, |int| !interval.has_int(int));
            }
            NumberTest::OneOf(values) => {
                // Adding zero makes one of both zeros, which the total order below would tell apart.
                let floats: Vec<f64> = values
                    .iter()
                    .filter_map(|v| v.exact_f64().map(|v| v + 0.0))
                    .collect();
                let find = |x: f64| floats.binary_search_by(|v| v.total_cmp(&(x + 0.0))).is_ok();
                fill(simd, &self.floats, out, |x| !x.is_nan() && find(x));
                self.add_wide(out, |int| values.binary_search(&Number::Int(int)).is_ok());
            }
        }
    }

    /// Adds the items that have any.
    pub fn add_present(&self, simd: Simd, out: &mut Bitmap) {
        let mut floats = Bitmap::zeros(out.len());
        fill(simd, &self.floats, &mut floats, |x| !x.is_nan());
        out.or(&floats);
        out.or(&self.wide);
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        (self.floats.capacity() + self.ints.capacity()) * 8 + self.wide.memory()
    }

    fn add_wide(&self, out: &mut Bitmap, test: impl Fn(i64) -> bool) {
        for i in self.wide.iter_ones() {
            if test(self.ints[i]) {
                out.set(i);
            }
        }
    }
}
