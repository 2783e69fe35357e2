//! Decoded frames and the numbering of their items: what must happen in log order before partitions go their own ways.

use rayon::prelude::*;

use crate::frame::body::decode_events;
use crate::frame::event::{Decoded, Event};
use crate::frame::header::{Frame, FrameError, Subject, claimed_events, parse_frame};
use crate::ids::{ItemIx, Millis, Position, owner, stable_hash};
use crate::names::Names;
use crate::sessions::carried::Carried;

/// A segment is closed after this many events, so that queries get their turn.
pub const SEGMENT_EVENTS: usize = 16384;
/// Segments that are decoded at a time.
const SEGMENTS_AHEAD: usize = 2;

/// How many frames to decode before they are folded: as many as make some segments. Where more are decoded at a time, they
/// have left the cache when they are folded.
pub fn portion(frames: &[&[u8]]) -> usize {
    let mut taken = 0;
    for _ in 0..SEGMENTS_AHEAD {
        let mut events = 0;
        for frame in &frames[taken..] {
            let more = claimed_events(frame);
            if events > 0 && events + more > SEGMENT_EVENTS {
                break;
            }
            events += more;
            taken += 1;
        }
    }
    taken
}

/// One frame of a batch: decoded once, for every part.
#[derive(Debug)]
pub struct BatchFrame<'a> {
    /// Where it stands in the log.
    pub position: Position,
    /// The frame and its events, or why it is a counted no-op.
    pub content: Result<(Frame<'a>, Vec<Decoded<'a>>), FrameError>,
    /// Of each event, if it is feedback, the stable hashes of its user and its item: worked out while the bytes are at hand.
    pub hashes: Vec<[u64; 2]>,
}

impl BatchFrame<'_> {
    /// Whether all that it can change of known items is how often they were served: it holds slates and impressions, or nothing
    /// that can be read.
    pub fn is_record(&self) -> bool {
        let Ok((frame, events)) = &self.content else {
            return true;
        };
        let record = |event: &Decoded<'_>| match event {
            Ok(Event::SlateServed { .. } | Event::Impression { .. }) | Err(_) => true,
            Ok(_) => false,
        };
        matches!(frame.subject, Subject::Partition(_)) && events.iter().all(record)
    }
}

fn hashes(event: &Decoded<'_>) -> [u64; 2] {
    match event {
        Ok(Event::Feedback(f)) => [f.user, f.item].map(|name| stable_hash(name.as_bytes())),
        _ => [0; 2],
    }
}

/// Decodes frames that stand at consecutive positions from `first`, in parallel when a pool is given.
pub fn decode_frames<'a>(
    first: Position,
    frames: &[&'a [u8]],
    max_future_ms: i64,
    pool: Option<&rayon::ThreadPool>,
) -> Vec<BatchFrame<'a>> {
    let at = |i: usize| Position(first.0 + i as u64);
    decode_frames_at(at, frames, max_future_ms, pool)
}

/// [`decode_frames`] of frames of which the i-th stands at position `at(i)`.
pub fn decode_frames_at<'a>(
    at: impl Fn(usize) -> Position + Sync,
    frames: &[&'a [u8]],
    max_future_ms: i64,
    pool: Option<&rayon::ThreadPool>,
) -> Vec<BatchFrame<'a>> {
    let decode = |(i, bytes): (usize, &&'a [u8])| {
        let content = parse_frame(bytes).and_then(|frame| {
            let events = decode_events(&frame, max_future_ms)?;
            Ok((frame, events))
        });
        let events = content.as_ref().map_or(&[][..], |(_, events)| events);
        BatchFrame {
            position: at(i),
            hashes: events.iter().map(hashes).collect(),
            content,
        }
    };
    match pool {
        Some(pool) if frames.len() > 1 => {
            let each = frames.par_iter().enumerate().with_max_len(1);
            pool.install(|| each.map(decode).collect())
        }
        _ => frames.iter().enumerate().map(decode).collect(),
    }
}

/// How many events ahead names are asked for, twice.
const AHEAD: usize = 6;

/// What log order alone decides of an event: its item's number and the log's running time.
#[derive(Clone, Copy, Debug)]
pub struct Numbered {
    /// Stable hash of the user of feedback or a slate, if the partition owns them.
    pub user: Option<u64>,
    /// Number of the item; meaningless for events that are not feedback of an own user.
    pub item: ItemIx,
    /// Largest event time up to and including this event.
    pub clock: Millis,
}

/// The numbers of one frame.
#[derive(Debug, Default)]
pub struct FrameNumbers {
    /// Of each event.
    pub events: Vec<Numbered>,
    /// The items of all slates of own users, slate after slate.
    pub served: Vec<ItemIx>,
    /// What the frame's only event carries, if it does and decodes.
    pub carried: Option<Box<Carried>>,
}

/// Whether a frame's only event carries what a merge moves: such a frame is the last of its segment, so that all that
/// stands before it is folded everywhere when the windows join. Beside other events it is refused.
pub fn carries(events: &[Decoded<'_>]) -> bool {
    matches!(events, [Ok(Event::MergeCarried { .. })])
}

/// Numbers the items of one partition's admitted frame and carries the running time on. Events of users that the
/// partition does not own are refused later, so they must do neither. A repeat cannot raise the running time: it was
/// counted when it first came. Slates number their items, shown or only claimed to be, and leave the running time alone.
pub fn number(
    events: &[Decoded<'_>],
    hashes: &[[u64; 2]],
    partition: usize,
    names: &mut Names,
    clock: &mut Millis,
    out: &mut FrameNumbers,
) {
    let FrameNumbers {
        events: numbers,
        served,
        carried,
    } = out;
    numbers.clear();
    served.clear();
    *carried = None;
    if let [Ok(Event::MergeCarried { into, state, .. })] = events
        && owner(stable_hash(into.as_bytes()), names.partitions) == partition
    {
        *carried = Carried::decode(state, names).ok().map(Box::new);
    }
    numbers.extend(
        events
            .iter()
            .zip(hashes)
            .enumerate()
            .map(|(i, (event, own))| {
                // Names of a large catalogue lie anywhere in memory.
                if let Some([_, item]) = hashes.get(i + 2 * AHEAD) {
                    names.items.ask_for_place(*item);
                }
                if let Some([_, item]) = hashes.get(i + AHEAD) {
                    names.items.ask_for_name(*item);
                }
                let mut numbered = Numbered {
                    user: None,
                    item: ItemIx(u32::MAX),
                    clock: *clock,
                };
                match event {
                    Ok(Event::Feedback(feedback)) => {
                        let [user, hash] = *own;
                        if owner(user, names.partitions) == partition {
                            *clock = (*clock).max(feedback.ts);
                            numbered = Numbered {
                                user: Some(user),
                                item: ItemIx(names.items.intern(hash, feedback.item)),
                                clock: *clock,
                            };
                        }
                    }
                    Ok(Event::SlateServed { user, items, .. }) => {
                        let user = stable_hash(user.as_bytes());
                        if owner(user, names.partitions) == partition {
                            numbered.user = Some(user);
                            let number = |item: &&str| ItemIx(names.items.intern_str(item));
                            served.extend(items.iter().map(number));
                        }
                    }
                    _ => {}
                }
                numbered
            }),
    );
}
