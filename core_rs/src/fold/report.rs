//! What happened to the events of a log: counts by outcome, and the latest refusals for people to look at.

use std::collections::{BTreeMap, VecDeque};

use crate::ids::EventRef;

/// Names of outcomes that are not refusals. A refusal is named by its error's code.
pub mod outcome {
    /// The event changed the state.
    pub const APPLIED: &str = "applied";
    /// The frame's number was received before.
    pub const REPEAT_FRAME: &str = "repeat-frame";
    /// The frame's number is too old to tell whether it was received.
    pub const BEYOND_WINDOW: &str = "beyond-frame-window";
    /// The event's id was seen before.
    pub const REPEAT_EVENT: &str = "repeat-event";
    /// The event may be a repeat from beyond the horizon.
    pub const BEYOND_HORIZON: &str = "beyond-dedup-horizon";
    /// The same user, item and type within a few seconds.
    pub const RAPID_REPEAT: &str = "rapid-repeat";
    /// An exposure: logged, counted, folded into nothing.
    pub const EXPOSURE: &str = "exposure";
    /// A record that changes no user (slates, impressions, models, merges); of slates, what was served is counted.
    pub const RECORDED: &str = "recorded";
    /// Pair draws, not events: a relation's rows in a shard take no more memory, so these left no trace there.
    pub const NO_ROOM: &str = "pair-without-room";
    /// A merge of a user who is merged into another one already.
    pub const MERGED_ELSEWHERE: &str = "merged-elsewhere";
    /// A merge of a user with themselves.
    pub const MERGED_WITH_ITSELF: &str = "merged-with-itself";
    /// What a merge carried came to a user who was forgotten.
    pub const INTO_FORGOTTEN: &str = "into-forgotten";
    /// What a merge carried does not decode, or shares its frame with other events.
    pub const BAD_CARRIED: &str = "bad-carried-state";
    /// The event stands in a frame of another subject or partition.
    pub const WRONG_SUBJECT: &str = "wrong-subject";
}

/// Refusals kept for people to look at.
pub const KEPT: usize = 256;

/// Counts by outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<&'static str, u64>);

impl Counts {
    /// Counts one outcome.
    pub fn add(&mut self, outcome: &'static str, times: u64) {
        *self.0.entry(outcome).or_default() += times;
    }

    /// Takes over and clears another's counts.
    pub fn absorb(&mut self, other: &mut Self) {
        for (outcome, times) in std::mem::take(&mut other.0) {
            self.add(outcome, times);
        }
    }

    /// All counts, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().map(|(name, times)| (*name, *times))
    }

    /// One count.
    pub fn get(&self, outcome: &str) -> u64 {
        self.0.get(outcome).copied().unwrap_or(0)
    }
}

/// Where an event was refused, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which event; index 0 for a whole frame.
    pub at: EventRef,
    /// Why.
    pub code: &'static str,
}

/// What one call of the fold did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Counts by outcome.
    pub counts: Counts,
    /// The latest refusals and set-asides, oldest first, at most [`KEPT`].
    pub refusals: VecDeque<Refusal>,
}

impl Report {
    /// Counts an event that was refused or set aside.
    pub fn refuse(&mut self, at: EventRef, code: &'static str) {
        self.counts.add(code, 1);
        self.keep(Refusal { at, code });
    }

    fn keep(&mut self, refusal: Refusal) {
        if self.refusals.len() == KEPT {
            self.refusals.pop_front();
        }
        self.refusals.push_back(refusal);
    }

    /// Takes over and clears another's report.
    pub fn absorb(&mut self, other: &mut Self) {
        self.counts.absorb(&mut other.counts);
        for refusal in other.refusals.drain(..) {
            self.keep(refusal);
        }
    }
}
