//! From ranked candidates to a slate: rules, diversity, exploration with exact propensities.
//!
//! # Map
//!
//! * [`choose`] makes a slate, [`probability_of`] says how probable a given one was: one code path.
//! * [`request`]: what to choose, and how; [`answer`]: the slate.
//! * [`rules`]: which candidates each slot may take. [`stage`]: what all slots of a slate share.
//! * [`greedy`]: slot by slot the best.
//! * [`explore`]: slot by slot a drawn one; [`table`]: what each candidate is worth, and its weight; [`temperature`]: how
//!   sharp; [`exponential`]: `exp` of whole blocks; [`lane_sums`]: sums over some lanes; [`charges`]: which slots of the greedy slate a choice costs;
//!   [`budget`]: how much may be spent; [`draws`]: the random numbers.
//!
//! Candidates are numbered from 0 by their caller, and ties go to the smaller number. Nothing here has state, a clock or
//! chance: the same input gives the same slate, on every CPU path.

pub mod answer;
mod budget;
mod charges;
mod draws;
mod explore;
mod exponential;
mod greedy;
mod lane_sums;
pub mod request;
mod rules;
mod stage;
mod table;
mod temperature;

use crate::diversity::Similarity;
use crate::error::CoreError;
use crate::simd::Simd;

use answer::{Slate, Slot};
use explore::Pick;
use request::Request;
use stage::run;

/// Chooses a slate of up to `request.n` candidates. `relevance` has one number for each candidate, best in 0..=1;
/// `similarity` tells candidates apart and may be left out where diversity is 0. Errors: relevance that is not finite,
/// and what breaks the rules of its field in the request.
/// O(N log N + N n d) for N candidates of d dimensions under MMR, O(N log N + N n (d + n)) under a DPP.
pub fn choose(
    simd: Simd,
    relevance: &[f32],
    similarity: Option<&mut dyn Similarity>,
    request: &Request<'_>,
) -> Result<Slate, CoreError> {
    choose_unless(simd, relevance, similarity, request, |_| false, |_| ()).map(|(slate, _)| slate)
}

/// [`choose`], unless `wanting` says of the greedy slate's slots that they are not what a slate should be: then the greedy
/// slate comes back, and `false`. `filled` hears of each slot's candidate as soon as it stands there.
pub fn choose_unless(
    simd: Simd,
    relevance: &[f32],
    similarity: Option<&mut dyn Similarity>,
    request: &Request<'_>,
    wanting: impl FnOnce(&[Slot]) -> bool,
    filled: impl Fn(u32),
) -> Result<(Slate, bool), CoreError> {
    run(simd, relevance, similarity, request, |mut chooser| {
        let greedy = chooser.greedy();
        if wanting(&greedy.slots) {
            return (greedy, false);
        }
        let slate = match chooser.exploration() {
            None => {
                greedy.slots.iter().for_each(|slot| filled(slot.candidate));
                greedy
            }
            Some(exploration) => {
                let mut pick = Pick::draw(exploration.key, request.n);
                chooser.explore(&exploration, &greedy.slots, &mut pick, &filled)
            }
        };
        (slate, true)
    })
}

/// The probability of each slot of a slate, given the slots above: the propensities that [`choose`] would have reported,
/// had it drawn these candidates. `slots[k]` is the candidate of slot k, `None` where it is empty. From the first slot
/// that is impossible on, all are 0. Errors: as of [`choose`], and when there are not `request.n` slots.
pub fn probability_of(
    simd: Simd,
    relevance: &[f32],
    similarity: Option<&mut dyn Similarity>,
    request: &Request<'_>,
    slots: &[Option<u32>],
) -> Result<Vec<f64>, CoreError> {
    if slots.len() != request.n {
        let rule = format!(
            "{}; allowed: {}, the number asked for",
            slots.len(),
            request.n
        );
        return Err(CoreError::Argument {
            field: "slots",
            rule,
        });
    }
    run(
        simd,
        relevance,
        similarity,
        request,
        |mut chooser| match chooser.exploration() {
            None => {
                let greedy = chooser.greedy();
                let differs = |slot: &usize| greedy.at(*slot).map(|s| s.candidate) != slots[*slot];
                let same = (0..slots.len()).find(differs).unwrap_or(slots.len());
                (0..slots.len())
                    .map(|slot| f64::from(u8::from(slot < same)))
                    .collect()
            }
            Some(exploration) => {
                let mut pick = Pick::given(slots);
                let greedy = chooser.greedy();
                chooser.explore(&exploration, &greedy.slots, &mut pick, &|_| ());
                pick.probabilities()
            }
        },
    )
}

#[cfg(test)]
mod tests;
