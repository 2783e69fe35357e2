//! The frames of a segment, and which outbox takes the effects of each.

use crate::admission::frames::FrameVerdict;

/// An outbox takes no further frame once it has the effects of so many events.
const OUTBOX_EVENTS: usize = 1024;

/// One frame of a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentFrame {
    /// Its place in the batch.
    pub frame: usize,
    /// Whose frame it is.
    pub partition: usize,
    /// Whether it counts.
    pub verdict: FrameVerdict,
    /// Which outbox of the segment takes its effects.
    pub outbox: usize,
    /// Its place among the frames of that outbox.
    pub place: usize,
}

/// The frames of a segment in log order, and which outbox takes the effects of each.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub frames: Vec<SegmentFrame>,
    /// The same frames by partition; memory that is used again.
    pub by_partition: Vec<SegmentFrame>,
    /// Events up to each frame, that included.
    events_up_to: Vec<usize>,
    /// Of each outbox: its partition, and how many frames it takes.
    outboxes: Vec<(usize, usize)>,
    /// Of each partition its latest outbox, and how many events are for it.
    latest: Vec<Option<(usize, usize)>>,
}

impl Plan {
    /// Forgets the segment before.
    pub fn clear(&mut self, partitions: usize) {
        for (partition, _) in self.outboxes.drain(..) {
            self.latest[partition] = None;
        }
        self.latest.resize(partitions, None);
        self.frames.clear();
        self.events_up_to.clear();
    }

    /// Events so far.
    pub fn events(&self) -> usize {
        self.events_up_to.last().copied().unwrap_or(0)
    }

    /// Adds a frame of so many events.
    pub fn push(&mut self, frame: usize, partition: usize, verdict: FrameVerdict, events: usize) {
        let (outbox, held) = match self.latest[partition] {
            Some((outbox, held)) if held < OUTBOX_EVENTS => (outbox, held),
            _ => {
                self.outboxes.push((partition, 0));
                (self.outboxes.len() - 1, 0)
            }
        };
        self.latest[partition] = Some((outbox, held + events));
        let place = self.outboxes[outbox].1;
        self.outboxes[outbox].1 += 1;
        self.events_up_to.push(self.events() + events);
        self.frames.push(SegmentFrame {
            frame,
            partition,
            verdict,
            outbox,
            place,
        });
    }

    /// The frames from the first that is not done up to those that are ready, where they hold a quarter of the segment's
    /// events or are its last; `None` where they do not. The fewer frames are ready, the less is gained by taking them now.
    ///
    /// `ready` may lie behind `done`: who asks looked at it before others did the frames.
    pub fn portion(&self, done: usize, ready: usize) -> Option<&[SegmentFrame]> {
        let frames = self.frames.get(done..ready)?;
        let before = |frames: usize| {
            frames
                .checked_sub(1)
                .map_or(0, |last| self.events_up_to[last])
        };
        let last = ready == self.frames.len();
        let worth = last || 4 * (before(ready) - before(done)) >= self.events();
        (worth && !frames.is_empty()).then_some(frames)
    }

    /// How many outboxes it takes.
    pub fn outboxes(&self) -> usize {
        self.outboxes.len()
    }

    /// Outbox and partition of the last frame.
    pub fn last(&self) -> Option<(usize, usize)> {
        self.frames
            .last()
            .map(|frame| (frame.outbox, frame.partition))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(events: &[usize]) -> Plan {
        let mut plan = Plan::default();
        plan.clear(2);
        for (frame, events) in events.iter().enumerate() {
            plan.push(frame, frame % 2, FrameVerdict::Fresh, *events);
        }
        plan
    }

    #[test]
    fn a_portion_is_a_quarter_of_the_events_or_the_last() {
        let plan = plan(&[10, 10, 10, 10, 40, 0, 20]);
        let frames = |done, ready| {
            let frames = plan.portion(done, ready)?;
            Some(frames.iter().map(|frame| frame.frame).collect::<Vec<_>>())
        };
        assert_eq!(frames(0, 2), None, "20 of 100 events");
        assert_eq!(frames(0, 3), Some(vec![0, 1, 2]));
        assert_eq!(frames(3, 5), Some(vec![3, 4]));
        assert_eq!(frames(5, 6), None);
        assert_eq!(frames(6, 7), Some(vec![6]), "the last");
        assert_eq!(
            (frames(7, 7), frames(3, 3), frames(0, 0)),
            (None, None, None)
        );
    }

    #[test]
    fn who_looked_before_others_went_on_has_nothing_to_do() {
        let plan = plan(&[10, 10, 10, 10]);
        for (done, ready) in [(1, 0), (3, 1), (4, 0), (4, 3)] {
            assert!(plan.portion(done, ready).is_none());
        }
    }
}
