//! An admitted piece of feedback, with its names already numbered.

use crate::fold::rules::Flags;
use crate::ids::{EventRef, ItemIx, Millis, UserIx};

/// One admitted feedback event, ready for every part.
#[derive(Clone, Copy, Debug)]
pub struct Fact {
    /// Who, inside the partition.
    pub user: UserIx,
    /// What.
    pub item: ItemIx,
    /// Number of the event type in the partition's dictionary.
    pub ty: u16,
    /// What it counts for.
    pub flags: Flags,
    /// Weight for tag affinities, fixed point.
    pub affinity: u32,
    /// Event time.
    pub ts: Millis,
    /// Running maximum of event times over the whole log, this event included.
    pub clock: Millis,
    /// Where it stands in the log.
    pub at: EventRef,
    /// Hash of the explicit session id.
    pub session: Option<u64>,
    /// Hash of the basket id.
    pub basket: Option<u64>,
    /// Segment of the user.
    pub segment: Option<u8>,
}

/// How an event relates to the run of events before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// Belongs to the current run.
    Same,
    /// Begins a new run.
    New,
    /// So late that it belongs to a run that is over: it counts for itself and joins nothing.
    Late,
}

/// A run of one user's events, bounded by an explicit key or by gaps in event time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// Hash of the explicit key that opened or joined the run.
    pub key: Option<u64>,
    /// Latest event time in the run; `None` before the first event.
    pub last: Option<Millis>,
}

impl Run {
    /// Places the next event, and takes it in unless it is late. An explicit key that differs from the run's key begins
    /// a new run, an equal one continues it over any gap; without keys the gap decides, in both directions of time.
    pub fn step(&mut self, key: Option<u64>, ts: Millis, gap_ms: i64) -> Boundary {
        let boundary = match (self.last, self.key, key) {
            (None, _, _) => Boundary::New,
            (Some(_), Some(own), Some(asked)) if own == asked => Boundary::Same,
            (Some(_), Some(_), Some(_)) => Boundary::New,
            (Some(last), _, _) if ts > last + gap_ms => Boundary::New,
            (Some(last), _, _) if ts < last - gap_ms => Boundary::Late,
            _ => Boundary::Same,
        };
        match boundary {
            Boundary::New => {
                *self = Self {
                    key,
                    last: Some(ts),
                }
            }
            Boundary::Same => {
                *self = Self {
                    key: key.or(self.key),
                    last: self.last.max(Some(ts)),
                }
            }
            Boundary::Late => {}
        }
        boundary
    }

    /// Which of two users' runs goes on when the users turn out to be one, and the run that it is then. The runs are one
    /// if their explicit keys are equal, or if they do not contradict each other and the gap between their latest events
    /// allows it; otherwise the one with the later event goes on, this one if they are equally late.
    pub fn join(&self, other: &Self, gap_ms: i64) -> (Joined, Self) {
        let (Some(own), Some(their)) = (self.last, other.last) else {
            return match other.last {
                Some(_) => (Joined::Other, *other),
                None => (Joined::Own, *self),
            };
        };
        let together = match (self.key, other.key) {
            (Some(a), Some(b)) => a == b,
            _ => own.abs_diff(their) <= gap_ms.unsigned_abs(),
        };
        if together {
            let run = Self {
                key: self.key.or(other.key),
                last: Some(own.max(their)),
            };
            (Joined::Both, run)
        } else if their > own {
            (Joined::Other, *other)
        } else {
            (Joined::Own, *self)
        }
    }
}

/// Whose run goes on when two users become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// The runs are one.
    Both,
    /// The one that is joined.
    Own,
    /// The one that joins it.
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: i64 = 1_800_000;

    #[test]
    fn gaps_bound_runs_in_both_directions() {
        let mut run = Run::default();
        assert_eq!(run.step(None, 10 * GAP, GAP), Boundary::New);
        assert_eq!(run.step(None, 11 * GAP, GAP), Boundary::Same);
        assert_eq!(run.step(None, 10 * GAP, GAP), Boundary::Same);
        assert_eq!(run.step(None, 9 * GAP, GAP), Boundary::Late);
        assert_eq!(run.last, Some(11 * GAP));
        assert_eq!(run.step(None, 12 * GAP + 1, GAP), Boundary::New);
    }

    #[test]
    fn runs_join_where_one_user_would_have_had_one() {
        let run = |key, last| Run { key, last };
        let (a, b) = (run(None, Some(10)), run(Some(2), Some(10 + GAP)));
        assert_eq!(a.join(&b, GAP), (Joined::Both, run(Some(2), b.last)));
        assert_eq!(b.join(&a, GAP), (Joined::Both, run(Some(2), b.last)));
        assert_eq!(a.join(&b, GAP - 1), (Joined::Other, b));
        assert_eq!(b.join(&a, GAP - 1), (Joined::Own, b));
        let far = run(Some(2), Some(99 * GAP));
        assert_eq!(b.join(&far, GAP), (Joined::Both, far));
        assert_eq!(run(Some(1), far.last).join(&far, GAP).0, Joined::Own);
        assert_eq!(Run::default().join(&a, GAP), (Joined::Other, a));
        assert_eq!(a.join(&Run::default(), GAP), (Joined::Own, a));
    }

    #[test]
    fn explicit_keys_win_over_gaps() {
        let mut run = Run::default();
        assert_eq!(run.step(Some(1), 0, GAP), Boundary::New);
        assert_eq!(run.step(Some(1), 5 * GAP, GAP), Boundary::Same);
        assert_eq!(run.step(Some(2), 5 * GAP, GAP), Boundary::New);
        assert_eq!(run.step(None, 5 * GAP + 1, GAP), Boundary::Same);
        assert_eq!(run.key, Some(2));
    }
}
