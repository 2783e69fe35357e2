//! Whole and floating-point numbers in one order, compared exactly: no i64 is ever rounded into an f64.

use std::cmp::Ordering;

/// A number of a label or of a filter. Never NaN.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// A whole number.
    Int(i64),
    /// Any other; infinities are allowed here.
    Float(f64),
}

/// Beyond every i64, in both directions.
const I64_END: f64 = 9_223_372_036_854_775_808.0;

impl Number {
    /// The f64 of exactly this value, if there is one.
    pub fn exact_f64(self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(value),
            Self::Int(value) => {
                let rounded = value as f64;
                (compare(value, rounded) == Ordering::Equal).then_some(rounded)
            }
        }
    }
}

/// An integer against a float that is not NaN.
fn compare(int: i64, float: f64) -> Ordering {
    if float >= I64_END {
        Ordering::Less
    } else if float < -I64_END {
        Ordering::Greater
    } else {
        // The whole part fits now; what is cut off decides between equals.
        let whole = float.trunc();
        let rest = 0.0f64.partial_cmp(&(float - whole));
        int.cmp(&(whole as i64))
            .then(rest.unwrap_or(Ordering::Equal))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        match (*self, *other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(&b),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
            (Self::Int(a), Self::Float(b)) => compare(a, b),
            (Self::Float(a), Self::Int(b)) => compare(b, a).reverse(),
        }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

/// All numbers between two ends, both included, kept apart by how a column stores them: those that are an f64, and
/// those i64 that are none. An end before the start is empty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// First and last f64.
    pub floats: (f64, f64),
    /// First and last i64.
    pub ints: (i64, i64),
}

impl Interval {
    /// Every number.
    pub const ALL: Self = Self {
        floats: (f64::NEG_INFINITY, f64::INFINITY),
        ints: (i64::MIN, i64::MAX),
    };

    /// Exactly this number.
    pub fn only(value: Number) -> Self {
        let int = floor(value).1.filter(|int| Number::Int(*int) == value);
        Self {
            floats: value.exact_f64().map_or((1.0, 0.0), |float| (float, float)),
            ints: int.map_or((1, 0), |int| (int, int)),
        }
    }

    /// Numbers above `value`, and `value` itself if `included`.
    pub fn from(value: Number, included: bool) -> Self {
        let bare = floor(value);
        // The largest f64 and i64 that are not above; the interval begins behind them, unless they are the value.
        let float = if included && Number::Float(bare.0) == value {
            bare.0
        } else {
            bare.0.next_up()
        };
        let int = match bare.1 {
            None => Some(i64::MIN),
            Some(int) if included && Number::Int(int) == value => Some(int),
            Some(int) => int.checked_add(1),
        };
        Self {
            floats: (float, f64::INFINITY),
            ints: int.map_or((1, 0), |int| (int, i64::MAX)),
        }
    }

    /// Numbers below `value`, and `value` itself if `included`.
    pub fn up_to(value: Number, included: bool) -> Self {
        let above = Self::from(value, !included);
        let int = if above.ints.0 > above.ints.1 {
            Some(i64::MAX)
        } else {
            above.ints.0.checked_sub(1)
        };
        Self {
            floats: (f64::NEG_INFINITY, above.floats.0.next_down()),
            ints: int.map_or((1, 0), |int| (i64::MIN, int)),
        }
    }

    /// Whether it holds this f64; false for NaN.
    #[inline(always)]
    pub fn has_float(&self, value: f64) -> bool {
        self.floats.0 <= value && value <= self.floats.1
    }

    /// Whether it holds this i64.
    #[inline(always)]
    pub fn has_int(&self, value: i64) -> bool {
        self.ints.0 <= value && value <= self.ints.1
    }
}

/// The largest f64 not above a finite value, and the largest i64 not above it (`None` below all of them).
fn floor(value: Number) -> (f64, Option<i64>) {
    match value {
        Number::Int(int) => {
            let rounded = int as f64;
            let float = if compare(int, rounded) == Ordering::Less {
                rounded.next_down()
            } else {
                rounded
            };
            (float, Some(int))
        }
        Number::Float(float) if float < -I64_END => (float, None),
        // `as` saturates, which is right above all of them.
        Number::Float(float) => (float, Some(float.floor() as i64)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Where rounding goes wrong: around 2^53, 2^63, zero, and anything.
    pub fn number() -> impl Strategy<Value = Number> {
        let near = |centre: i64| (-3i64..4).prop_map(move |d| centre.saturating_add(d));
        let int = prop_oneof![
            near(0),
            near(1 << 53),
            near(-(1 << 53)),
            near(i64::MAX),
            near(i64::MIN),
            near((1 << 60) + 511),
            any::<i64>()
        ];
        let steps = |float: f64| {
            (-2i32..3).prop_map(move |d| {
                (0..d.abs()).fold(
                    float,
                    |f, _| if d > 0 { f.next_up() } else { f.next_down() },
                )
            })
        };
        let float = prop_oneof![
            steps(0.0),
            steps(1.0),
            steps((1i64 << 53) as f64),
            steps(I64_END),
            steps(-I64_END),
            (-5i32..6).prop_map(|half| f64::from(half) / 2.0),
            int.clone().prop_map(|int| int as f64),
            prop::num::f64::NORMAL,
        ];
        prop_oneof![int.prop_map(Number::Int), float.prop_map(Number::Float)]
    }

    #[test]
    fn big_integers_are_not_rounded() {
        let (even, odd) = (1i64 << 53, (1i64 << 53) + 1);
        assert_eq!(odd as f64, even as f64);
        assert!(Number::Int(odd) > Number::Float(even as f64));
        assert!(Number::Int(even) == Number::Float(even as f64));
        assert!(Number::Int(i64::MAX) < Number::Float(I64_END));
        assert!(Number::Int(i64::MIN) == Number::Float(-I64_END));
        assert!(Number::Int(-1) > Number::Float(-1.5) && Number::Int(-2) < Number::Float(-1.5));
        assert_eq!(Number::Int(odd).exact_f64(), None);
        assert!(Number::Float(-0.0) == Number::Int(0));
    }

    proptest! {
        #[test]
        fn order_is_total(a in number(), b in number(), c in number()) {
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
        }

        #[test]
        fn intervals_hold_what_compares_so(a in number(), x in number()) {
            let holds = |interval: Interval| match (x, x.exact_f64()) {
                (_, Some(float)) => interval.has_float(float),
                (Number::Int(int), None) => interval.has_int(int),
                (Number::Float(_), None) => unreachable!(),
            };
            prop_assert_eq!(holds(Interval::only(a)), x == a);
            prop_assert_eq!(holds(Interval::from(a, false)), x > a);
            prop_assert_eq!(holds(Interval::from(a, true)), x >= a);
            prop_assert_eq!(holds(Interval::up_to(a, false)), x < a);
            prop_assert_eq!(holds(Interval::up_to(a, true)), x <= a);
            if let Number::Int(int) = x {
                prop_assert_eq!(Interval::up_to(a, true).has_int(int), x <= a);
                prop_assert_eq!(Interval::from(a, false).has_int(int), x > a);
            }
        }
    }
}
