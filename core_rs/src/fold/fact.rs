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
    fn explicit_keys_win_over_gaps() {
        let mut run = Run::default();
        assert_eq!(run.step(Some(1), 0, GAP), Boundary::New);
        assert_eq!(run.step(Some(1), 5 * GAP, GAP), Boundary::Same);
        assert_eq!(run.step(Some(2), 5 * GAP, GAP), Boundary::New);
        assert_eq!(run.step(None, 5 * GAP + 1, GAP), Boundary::Same);
        assert_eq!(run.key, Some(2));
    }
}
