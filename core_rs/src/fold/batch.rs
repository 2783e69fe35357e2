//! Decoded frames and the numbering of their items: what must happen in log order before partitions go their own ways.

use rayon::prelude::*;

use crate::frame::event::{Decoded, Event, decode_events};
use crate::frame::header::{Frame, FrameError, parse_frame};
use crate::ids::{ItemIx, Millis, Position, stable_hash};
use crate::names::Names;

/// One frame of a batch: decoded once, for every part.
#[derive(Debug)]
pub struct BatchFrame<'a> {
    /// Where it stands in the log.
    pub position: Position,
    /// The frame and its events, or why it is a counted no-op.
    pub content: Result<(Frame<'a>, Vec<Decoded<'a>>), FrameError>,
}

/// Decodes frames that stand at consecutive positions, in parallel when a pool is given.
pub fn decode_frames<'a>(
    first: Position,
    frames: &[&'a [u8]],
    max_future_ms: i64,
    pool: Option<&rayon::ThreadPool>,
) -> Vec<BatchFrame<'a>> {
    let decode = |(i, bytes): (usize, &&'a [u8])| BatchFrame {
        position: Position(first.0 + i as u64),
        content: parse_frame(bytes).and_then(|frame| {
            let events = decode_events(&frame, max_future_ms)?;
            Ok((frame, events))
        }),
    };
    match pool {
        Some(pool) if frames.len() > 1 => {
            pool.install(|| frames.par_iter().enumerate().map(decode).collect())
        }
        _ => frames.iter().enumerate().map(decode).collect(),
    }
}

/// What log order alone decides of an event: its item's number and the log's running time.
#[derive(Clone, Copy, Debug)]
pub struct Numbered {
    /// Number of the item; meaningless for events that are not feedback.
    pub item: ItemIx,
    /// Largest event time up to and including this event.
    pub clock: Millis,
}

/// Numbers the items of one frame's feedback and carries the running time on. A repeat cannot raise the running time: it
/// was counted when it first came.
pub fn number(
    events: &[Decoded<'_>],
    names: &mut Names,
    clock: &mut Millis,
    out: &mut Vec<Numbered>,
) {
    out.clear();
    out.extend(events.iter().map(|event| {
        let Ok(Event::Feedback(feedback)) = event else {
            return Numbered {
                item: ItemIx(u32::MAX),
                clock: *clock,
            };
        };
        *clock = (*clock).max(feedback.ts);
        let hash = stable_hash(feedback.item.as_bytes());
        Numbered {
            item: ItemIx(names.items.intern(hash, feedback.item)),
            clock: *clock,
        }
    }));
}
