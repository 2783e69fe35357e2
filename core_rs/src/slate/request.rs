//! What to choose, and how.

use crate::error::CoreError;

/// What makes a candidate good beside those above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Relevance alone.
    Relevance,
    /// Maximal marginal relevance: `(1 - d) relevance - d (largest similarity)`.
    Mmr,
    /// A determinantal point process: each step adds `(1 - d) relevance + d ln(residual)`.
    Dpp,
}

/// A slate to choose.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Slots.
    pub n: usize,
    /// Only the first so many candidates may fill slots; those after them stand for pins. At most as many as there are.
    pub pool: usize,
    /// Relevance alone, MMR or DPP.
    pub method: Method,
    /// d: 0 looks at relevance alone, 1 at similarity alone (a DPP keeps a 512th of relevance).
    pub diversity: f64,
    /// What every slate must obey.
    pub rules: Rules<'a>,
    /// `None` or a share of 0: the greedy slate.
    pub exploration: Option<Exploration>,
}

/// How to explore.
#[derive(Clone, Copy, Debug)]
pub struct Exploration {
    /// e: expected share of slots that differ from the greedy slate, 0 to 1.
    pub share: f64,
    /// Share of an exploring slot's probability that all its candidates divide evenly, above 0 and at most 1.
    pub uniform: f64,
    /// Decides the random numbers: a hash of the slate id.
    pub key: u128,
}

/// No group.
pub const NO_GROUP: u32 = u32::MAX;

/// What every slate must obey.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules<'a> {
    /// Variant group of each candidate, [`NO_GROUP`] for none: at most one of a group in a slate.
    pub groups: Option<&'a [u32]>,
    /// No value more often than its cap allows.
    pub caps: &'a [Cap<'a>],
    /// Candidates with a fixed slot, by falling precedence.
    pub pins: &'a [Pin],
    /// Slots kept for promoted candidates.
    pub promotion: Option<Promotion<'a>>,
}

/// A cap on the values of one field.
#[derive(Clone, Copy, Debug)]
pub struct Cap<'a> {
    /// Candidate i has the values `values[starts[i]..starts[i + 1]]`.
    pub starts: &'a [u32],
    /// Strictly ascending for each candidate. Small numbers: memory and time grow with the largest.
    pub values: &'a [u32],
    /// Most often that one value may be in a slate.
    pub max: u32,
}

impl<'a> Cap<'a> {
    /// The values of a candidate.
    pub fn of(&self, candidate: u32) -> &'a [u32] {
        let at = candidate as usize;
        &self.values[self.starts[at] as usize..self.starts[at + 1] as usize]
    }
}

/// A candidate with a fixed slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Slot, from 0.
    pub slot: usize,
    /// Candidate, in the pool or after it.
    pub candidate: u32,
}

/// Slots kept for promoted candidates.
#[derive(Clone, Copy, Debug)]
pub struct Promotion<'a> {
    /// Which candidates are promoted.
    pub promoted: &'a [bool],
    /// Share of the slots, 0 to 1, spread evenly.
    pub share: f64,
}

impl Promotion<'_> {
    /// Whether a slot is kept: where the promised number of slots reaches its next whole.
    pub fn keeps(&self, slot: usize) -> bool {
        let promised = |slots: usize| (slots as f64 * self.share).floor();
        promised(slot + 1) > promised(slot)
    }
}

/// Most slots of a slate that explores.
pub const MAX_EXPLORING_SLOTS: usize = 128;

fn refuse<T>(field: &'static str, rule: String) -> Result<T, CoreError> {
    Err(CoreError::Argument { field, rule })
}

fn within(field: &'static str, value: f64, allowed: bool, range: &str) -> Result<(), CoreError> {
    if allowed {
        return Ok(());
    }
    refuse(field, format!("{value}; allowed: {range}"))
}

impl Request<'_> {
    /// Checks everything against the number of candidates.
    pub(super) fn check(&self, candidates: usize, has_similarity: bool) -> Result<(), CoreError> {
        if self.pool > candidates {
            let rule = format!("{}; allowed: up to {candidates} candidates", self.pool);
            return refuse("pool", rule);
        }
        let d = self.diversity;
        within("diversity", d, (0.0..=1.0).contains(&d), "0 to 1")?;
        if self.is_diverse() && !has_similarity {
            let rule = format!("{d} without a similarity; allowed: 0");
            return refuse("diversity", rule);
        }
        if let Some(exploration) = &self.exploration {
            self.check_exploration(exploration)?;
        }
        self.rules.check(candidates)
    }

    /// Whether similarity matters.
    pub(super) fn is_diverse(&self) -> bool {
        self.method != Method::Relevance && self.diversity > 0.0
    }

    fn check_exploration(&self, exploration: &Exploration) -> Result<(), CoreError> {
        let Exploration { share, uniform, .. } = *exploration;
        within("exploration", share, (0.0..=1.0).contains(&share), "0 to 1")?;
        let allowed = uniform > 0.0 && uniform <= 1.0;
        within("uniform", uniform, allowed, "above 0 and at most 1")?;
        if share > 0.0 && self.n > MAX_EXPLORING_SLOTS {
            let rule = format!(
                "{} slots; allowed: up to {MAX_EXPLORING_SLOTS} with exploration",
                self.n
            );
            return refuse("n", rule);
        }
        Ok(())
    }
}

impl Rules<'_> {
    fn check(&self, candidates: usize) -> Result<(), CoreError> {
        if let Some(groups) = self.groups {
            one_each("groups", groups.len(), candidates)?;
        }
        for cap in self.caps {
            cap.check(candidates)?;
        }
        let outside = |pin: &&Pin| pin.candidate as usize >= candidates;
        if let Some(pin) = self.pins.iter().find(outside) {
            let rule = format!(
                "candidate {}; allowed: below {candidates}, the number of candidates",
                pin.candidate
            );
            return refuse("pins", rule);
        }
        if let Some(Promotion { promoted, share }) = self.promotion {
            one_each("promoted", promoted.len(), candidates)?;
            let allowed = (0.0..=1.0).contains(&share);
            within("promoted share", share, allowed, "0 to 1")?;
        }
        Ok(())
    }
}

fn one_each(field: &'static str, found: usize, candidates: usize) -> Result<(), CoreError> {
    if found == candidates {
        return Ok(());
    }
    refuse(field, format!("{found} for {candidates} candidates"))
}

impl Cap<'_> {
    fn check(&self, candidates: usize) -> Result<(), CoreError> {
        let (starts, values) = (self.starts, self.values);
        let last = starts.last().map(|last| *last as usize);
        let whole = starts.len() == candidates + 1
            && starts[0] == 0
            && last == Some(values.len())
            && starts.windows(2).all(|pair| pair[0] <= pair[1]);
        if !whole {
            let rule = format!(
                "allowed: {} numbers from 0 to {}, the number of values, never falling",
                candidates + 1,
                values.len()
            );
            return refuse("caps", rule);
        }
        let unsorted = |at: &u32| self.of(*at).windows(2).any(|pair| pair[0] >= pair[1]);
        if let Some(at) = (0..candidates as u32).find(unsorted) {
            let rule = format!("the values of candidate {at} are not strictly ascending");
            return refuse("caps", rule);
        }
        Ok(())
    }
}
