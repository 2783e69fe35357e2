//! Which candidates each slot may take.
//!
//! A candidate is open until it is taken, another of its group is, or one of its values is used up; then it never is again.

use super::answer::{PinFault, Shortfall};
use super::request::{NO_GROUP, Pin, Request, Rules};

/// Whether a candidate may be taken, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It may.
    Open,
    /// It is in the slate.
    Taken,
    /// It stands for a pin only.
    Outside,
    /// Another of its group is in the slate.
    Group,
    /// One of its values is used up.
    Cap,
}

/// The candidates of each value of a cap.
#[derive(Debug)]
pub struct Postings {
    starts: Vec<u32>,
    members: Vec<u32>,
}

impl Postings {
    fn new(starts: &[u32], values: &[u32]) -> Self {
        let width = values.iter().max().map_or(0, |most| *most as usize + 1);
        let mut ends = vec![0u32; width + 1];
        for value in values {
            ends[*value as usize + 1] += 1;
        }
        for value in 0..width {
            ends[value + 1] += ends[value];
        }
        let mut members = vec![0; values.len()];
        let mut next = ends.clone();
        for (candidate, bounds) in (0..).zip(starts.windows(2)) {
            for value in &values[bounds[0] as usize..bounds[1] as usize] {
                members[next[*value as usize] as usize] = candidate;
                next[*value as usize] += 1;
            }
        }
        Self {
            starts: ends,
            members,
        }
    }

    /// The candidates with a value.
    pub fn of(&self, value: u32) -> &[u32] {
        let at = value as usize;
        &self.members[self.starts[at] as usize..self.starts[at + 1] as usize]
    }

    fn width(&self) -> usize {
        self.starts.len() - 1
    }
}

/// The rules of a slate as its slots are filled.
#[derive(Clone, Debug)]
pub struct Tracker<'a> {
    rules: &'a Rules<'a>,
    postings: &'a [Postings],
    status: Vec<Status>,
    /// How often each value of each cap is in the slate.
    counts: Vec<Vec<u32>>,
    /// Candidates that are no longer open, in the order of closing.
    closed: Vec<u32>,
}

/// The candidates of each value of each cap.
pub fn postings(rules: &Rules<'_>) -> Vec<Postings> {
    let caps = rules.caps.iter();
    caps.map(|cap| Postings::new(cap.starts, cap.values))
        .collect()
}

impl<'a> Tracker<'a> {
    /// An empty slate.
    pub fn new(request: &'a Request<'a>, candidates: usize, postings: &'a [Postings]) -> Self {
        let counts = postings.iter().map(|p| vec![0; p.width()]).collect();
        let mut tracker = Self {
            rules: &request.rules,
            postings,
            status: vec![Status::Open; candidates],
            counts,
            closed: Vec::new(),
        };
        for (cap, postings) in request.rules.caps.iter().zip(postings) {
            if cap.max == 0 {
                tracker.close(&postings.members, Status::Cap);
            }
        }
        tracker
    }

    /// Keeps the pins, which count from the start. Returns the pin of each slot and those that could not be kept.
    pub fn pin(&mut self, request: &Request<'_>) -> (Vec<Option<u32>>, Vec<(Pin, PinFault)>) {
        let mut pinned = vec![None; request.n];
        let mut skipped = Vec::new();
        for pin in request.rules.pins {
            let fault = match (pinned.get(pin.slot), self.status(pin.candidate)) {
                (None, _) => Some(PinFault::NoSlot),
                (Some(Some(_)), _) => Some(PinFault::SlotTaken),
                (_, Status::Taken) => Some(PinFault::CandidateTaken),
                (_, Status::Group) => Some(PinFault::Group),
                (_, Status::Cap) => Some(PinFault::Cap),
                (_, Status::Open | Status::Outside) => None,
            };
            match fault {
                Some(fault) => skipped.push((*pin, fault)),
                None => {
                    pinned[pin.slot] = Some(pin.candidate);
                    self.take(pin.candidate);
                }
            }
        }
        let outside: Vec<u32> = (request.pool as u32..self.status.len() as u32).collect();
        self.close(&outside, Status::Outside);
        (pinned, skipped)
    }

    /// Whether a candidate may be taken.
    #[inline]
    pub fn status(&self, candidate: u32) -> Status {
        self.status[candidate as usize]
    }

    /// Whether a candidate may be taken.
    #[inline]
    pub fn is_open(&self, candidate: u32) -> bool {
        self.status(candidate) == Status::Open
    }

    /// Candidates that are no longer open, in the order of closing.
    pub fn closed(&self) -> &[u32] {
        &self.closed
    }

    /// How often a value of a cap may still be taken.
    pub fn room(&self, cap: usize, value: u32) -> u32 {
        self.rules.caps[cap].max - self.counts[cap][value as usize]
    }

    /// The candidates with a value of a cap.
    pub fn holders(&self, cap: usize, value: u32) -> &'a [u32] {
        self.postings[cap].of(value)
    }

    /// The candidate is in the slate; closes those that the rules forbid from now on.
    pub fn take(&mut self, candidate: u32) {
        self.close(&[candidate], Status::Taken);
        for mate in mates(self.rules, candidate) {
            self.close(&[mate], Status::Group);
        }
        for (at, cap) in self.rules.caps.iter().enumerate() {
            for value in cap.of(candidate) {
                let count = &mut self.counts[at][*value as usize];
                *count += 1;
                if *count == cap.max {
                    let holders = self.postings[at].of(*value);
                    self.close(holders, Status::Cap);
                }
            }
        }
    }

    fn close(&mut self, candidates: &[u32], why: Status) {
        for candidate in candidates {
            let status = &mut self.status[*candidate as usize];
            let was_open = *status == Status::Open;
            if was_open {
                *status = why;
                self.closed.push(*candidate);
            }
        }
    }

    /// Why a slate with so many empty slots has them.
    pub fn shortfall(&self, pool: usize, empty: usize) -> Shortfall {
        if empty == 0 {
            return Shortfall::default();
        }
        let of = |why: Status| self.status[..pool].iter().filter(|s| **s == why).count();
        Shortfall {
            empty,
            by_group: of(Status::Group),
            by_cap: of(Status::Cap),
        }
    }
}

/// So many groups are compared before anyone looks which of them it was.
const AT_ONCE: usize = 64;

/// The other candidates of a candidate's group.
pub fn mates<'a>(rules: &Rules<'a>, candidate: u32) -> impl Iterator<Item = u32> + use<'a> {
    let groups = rules.groups.unwrap_or(&[]);
    let own = groups.get(candidate as usize).copied();
    let (own, groups) = match own {
        Some(own) if own != NO_GROUP => (own, groups),
        _ => (NO_GROUP, &groups[..0]),
    };
    let has_own = move |part: &[u32]| part.iter().fold(false, |any, group| any | (*group == own));
    let parts = (0u32..).zip(groups.chunks(AT_ONCE));
    let parts = parts.filter(move |(_, part)| has_own(part));
    parts.flat_map(move |(part, groups)| {
        let each = (part * AT_ONCE as u32..).zip(groups);
        let others = each.filter(move |(other, group)| **group == own && *other != candidate);
        others.map(|(other, _)| other)
    })
}
