//! Random requests, and the rules as they are written.

use proptest::prelude::*;

use crate::diversity::codes::Codes;
use crate::simd::Simd;
use crate::slate::answer::Slate;
use crate::slate::request::*;

/// A request with everything that it borrows.
#[derive(Clone, Debug)]
pub struct Case {
    pub dim: usize,
    pub codes: Vec<i8>,
    pub relevance: Vec<f32>,
    pub n: usize,
    pub pool: usize,
    pub method: Method,
    pub diversity: f64,
    pub groups: Option<Vec<u32>>,
    /// Starts, values, most.
    pub caps: Vec<(Vec<u32>, Vec<u32>, u32)>,
    pub pins: Vec<Pin>,
    pub promoted: Option<(Vec<bool>, f64)>,
    pub exploration: Option<Exploration>,
}

impl Case {
    /// Candidates without rules, by relevance.
    pub fn plain(relevance: Vec<f32>, n: usize) -> Self {
        Self {
            dim: 1,
            codes: vec![1; relevance.len()],
            n,
            pool: relevance.len(),
            relevance,
            method: Method::Relevance,
            diversity: 0.0,
            groups: None,
            caps: Vec::new(),
            pins: Vec::new(),
            promoted: None,
            exploration: None,
        }
    }

    /// The same, exploring.
    pub fn exploring(self, share: f64, uniform: f64, key: u128) -> Self {
        let exploration = Exploration {
            share,
            uniform,
            key,
        };
        Self {
            exploration: Some(exploration),
            ..self
        }
    }

    /// Hands out the request.
    pub fn with<T>(&self, act: impl FnOnce(&Request<'_>) -> T) -> T {
        let caps: Vec<Cap<'_>> = self
            .caps
            .iter()
            .map(|(starts, values, max)| Cap {
                starts,
                values,
                max: *max,
            })
            .collect();
        let promotion = self.promoted.as_ref().map(|(promoted, share)| Promotion {
            promoted,
            share: *share,
        });
        act(&Request {
            n: self.n,
            pool: self.pool,
            method: self.method,
            diversity: self.diversity,
            rules: Rules {
                groups: self.groups.as_deref(),
                caps: &caps,
                pins: &self.pins,
                promotion,
            },
            exploration: self.exploration,
        })
    }

    /// Similarity by codes.
    pub fn codes<'a>(&'a self) -> Codes<impl Fn(usize) -> &'a [i8]> {
        Codes::new(self.dim, |at: usize| {
            &self.codes[at * self.dim..][..self.dim]
        })
    }

    /// The slate.
    pub fn choose(&self, simd: Simd) -> Slate {
        let mut codes = self.codes();
        self.with(|request| {
            crate::slate::choose(simd, &self.relevance, Some(&mut codes), request).unwrap()
        })
    }

    /// The probabilities of a slate.
    pub fn probability_of(&self, simd: Simd, slots: &[Option<u32>]) -> Vec<f64> {
        let mut codes = self.codes();
        self.with(|request| {
            let similarity = Some(&mut codes as &mut dyn crate::diversity::Similarity);
            crate::slate::probability_of(simd, &self.relevance, similarity, request, slots).unwrap()
        })
    }

    /// Whether the rules let a candidate stand beside others.
    pub fn allows(&self, others: &[u32], candidate: u32) -> bool {
        let same_group = |other: &u32| {
            self.groups.as_ref().is_some_and(|groups| {
                let group = groups[candidate as usize];
                group != NO_GROUP && groups[*other as usize] == group
            })
        };
        let caps_hold = self.caps.iter().all(|(starts, values, max)| {
            let of = |c: u32| &values[starts[c as usize] as usize..starts[c as usize + 1] as usize];
            of(candidate).iter().all(|value| {
                let used = others.iter().filter(|o| of(**o).contains(value)).count();
                used < *max as usize
            })
        });
        !others.contains(&candidate) && !others.iter().any(same_group) && caps_hold
    }

    /// The pins that can be kept.
    pub fn kept_pins(&self) -> Vec<Pin> {
        let mut kept: Vec<Pin> = Vec::new();
        for pin in &self.pins {
            let others: Vec<u32> = kept.iter().map(|p| p.candidate).collect();
            let is_free = pin.slot < self.n && kept.iter().all(|p| p.slot != pin.slot);
            if is_free && self.allows(&others, pin.candidate) {
                kept.push(*pin);
            }
        }
        kept
    }

    /// The candidates that the rules allow in a slot, beside those above and all pins.
    pub fn feasible(&self, slot: usize, others: &[u32]) -> Vec<u32> {
        let open = |c: &u32| self.allows(others, *c);
        let all: Vec<u32> = (0..self.pool as u32).filter(open).collect();
        let Some((promoted, share)) = &self.promoted else {
            return all;
        };
        let promised = |slots: usize| (slots as f64 * share).floor();
        let kept: Vec<u32> = all
            .iter()
            .copied()
            .filter(|c| promoted[*c as usize])
            .collect();
        if promised(slot + 1) > promised(slot) && !kept.is_empty() {
            kept
        } else {
            all
        }
    }
}

fn caps(count: usize) -> impl Strategy<Value = Vec<(Vec<u32>, Vec<u32>, u32)>> {
    let values = prop::collection::btree_set(0u32..5, 0..3);
    let cap = (prop::collection::vec(values, count), 0u32..4).prop_map(|(sets, max)| {
        let mut starts = vec![0];
        let mut values = Vec::new();
        for set in sets {
            values.extend(set);
            starts.push(values.len() as u32);
        }
        (starts, values, max)
    });
    prop::collection::vec(cap, 0..3)
}

fn exploration() -> impl Strategy<Value = Option<Exploration>> {
    let share = prop_oneof![Just(0.0), Just(1.0), 0.001f64..1.0];
    let some = (share, prop_oneof![Just(1.0), 0.01f64..1.0], any::<u128>());
    prop::option::of(some.prop_map(|(share, uniform, key)| Exploration {
        share,
        uniform,
        key,
    }))
}

/// Requests with few values: ties, repeated vectors, broken pins and rules that leave little are common.
pub fn case(most: usize, most_slots: usize) -> impl Strategy<Value = Case> {
    let method = prop_oneof![
        Just(Method::Relevance),
        Just(Method::Mmr),
        Just(Method::Dpp)
    ];
    let diversity = prop_oneof![Just(0.0), Just(1.0), 0.0f64..1.0];
    let first = (
        1usize..5,
        1..=most,
        0..=most_slots,
        0usize..3,
        method,
        diversity,
    );
    first.prop_flat_map(|(dim, count, n, only_pins, method, diversity)| {
        let relevance = prop_oneof![Just(0.5f32), Just(0.0), Just(1.0), 0.0f32..1.0];
        let pin =
            (0usize..14, 0..count as u32).prop_map(|(slot, candidate)| Pin { slot, candidate });
        let group = prop_oneof![3 => Just(NO_GROUP), 1 => 0u32..4];
        let promoted = (prop::collection::vec(any::<bool>(), count), 0.0f64..=1.0);
        (
            prop::collection::vec(-2i8..3, dim * count),
            prop::collection::vec(relevance, count),
            prop::option::of(prop::collection::vec(group, count)),
            caps(count),
            prop::collection::vec(pin, 0..4),
            prop::option::of(promoted),
            exploration(),
        )
            .prop_map(
                move |(codes, relevance, groups, caps, pins, promoted, exploration)| Case {
                    dim,
                    codes,
                    relevance,
                    n,
                    pool: count.saturating_sub(only_pins),
                    method,
                    diversity,
                    groups,
                    caps,
                    pins,
                    promoted,
                    exploration,
                },
            )
    })
}
