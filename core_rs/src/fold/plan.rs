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
    pub events_up_to: Vec<usize>,
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
