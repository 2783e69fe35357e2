//! What one frame says of slates and of answers to them, read without copying texts.

use std::collections::HashSet;

use crate::frame::body::decode_events;
use crate::frame::event::{Event, Feedback};
use crate::frame::header::{Frame, parse_frame};
use crate::frame::msgpack::{Cursor, Malformed, Read, Value};
use crate::ids::Millis;

/// What reports count of an event.
#[derive(Debug)]
pub(super) enum Row<'a> {
    /// User and time of feedback that is no answer to a slate and of no wanted type.
    Activity(&'a str, Millis),
    /// Feedback that names a slate or is of a wanted type.
    Answer(Feedback<'a>),
    Slate(Slate<'a>),
    /// Slate, user, time, and the slots that were seen.
    View(&'a str, &'a str, Millis, Vec<u32>),
}

/// A slate record.
#[derive(Debug)]
pub(super) struct Slate<'a> {
    pub slate: &'a str,
    pub user: &'a str,
    pub ts: Millis,
    pub scenario: Option<&'a str>,
    pub variant: Option<&'a str>,
    pub config: Option<&'a str>,
    /// Item and source of each slot.
    pub slots: Vec<(&'a str, Option<&'a str>)>,
}

/// A frame's rows in order, codes of its refused events, and whether it holds events of other kinds.
#[derive(Debug)]
pub(super) struct FrameRows<'a> {
    pub frame: Frame<'a>,
    pub rows: Vec<Row<'a>>,
    pub refused: Vec<&'static str>,
    pub others: bool,
}

/// The rows of a frame. Errors: the code of the fault for which the fold refuses the whole frame.
pub(super) fn frame_rows<'a>(
    bytes: &'a [u8],
    max_future_ms: i64,
    wanted: &HashSet<String>,
) -> Result<FrameRows<'a>, &'static str> {
    let frame = parse_frame(bytes).map_err(|err| err.code())?;
    let events = decode_events(&frame, max_future_ms).map_err(|err| err.code())?;
    let walked = |Malformed| "bad-body";
    let mut found = FrameRows {
        frame,
        rows: Vec::with_capacity(events.len()),
        refused: Vec::new(),
        others: false,
    };
    let mut cursor = Cursor::new(frame.body);
    cursor.array().map_err(walked)?;
    for event in events {
        let row = match event {
            Ok(Event::SlateServed {
                slate,
                user,
                ts,
                items,
            }) => {
                let row = read_slate(&mut cursor, (slate, user, ts), items).map_err(walked)?;
                found.rows.push(Row::Slate(row));
                continue; // its end was reached
            }
            Ok(Event::Impression { user, slate, ts }) => {
                let slots = read_view(&mut cursor).map_err(walked)?;
                found.rows.push(Row::View(slate, user, ts, slots));
                continue;
            }
            Ok(Event::Feedback(feedback)) => {
                if feedback.slate.is_some() || wanted.contains(feedback.ty) {
                    Some(Row::Answer(feedback))
                } else {
                    Some(Row::Activity(feedback.user, feedback.ts))
                }
            }
            Ok(_) => {
                found.others = true;
                None
            }
            Err(fault) => {
                found.refused.push(fault.code());
                None
            }
        };
        found.rows.extend(row);
        cursor.skip().map_err(walked)?;
    }
    Ok(found)
}

/// Reads a sound record whose slate, user, time and items are given, to its end.
fn read_slate<'a>(
    cursor: &mut Cursor<'a>,
    (slate, user, ts): (&'a str, &'a str, Millis),
    items: Vec<&'a str>,
) -> Read<Slate<'a>> {
    let fields = cursor.array()?;
    for _ in 0..4 {
        cursor.skip()?; // tag, slate, user, time
    }
    let scenario = scenario(cursor)?;
    let variant = text(cursor)?;
    let config = text(cursor)?;
    for _ in 0..4 {
        cursor.skip()?; // scorer, positions, left out, candidates
    }
    cursor.array()?;
    let mut slots = Vec::with_capacity(items.len());
    for item in items {
        let fields = cursor.array()?;
        for _ in 0..fields.min(2) {
            cursor.skip()?; // item, score
        }
        let source = if fields > 2 { text(cursor)? } else { None };
        for _ in 3..fields {
            cursor.skip()?;
        }
        slots.push((item, source));
    }
    for _ in 12..fields {
        cursor.skip()?;
    }
    Ok(Slate {
        slate,
        user,
        ts,
        scenario,
        variant,
        config,
        slots,
    })
}

/// Reads an impression to its end: the slots that it names.
fn read_view(cursor: &mut Cursor<'_>) -> Read<Vec<u32>> {
    let fields = cursor.array()?;
    for _ in 0..4 {
        cursor.skip()?; // tag, user, slate, time
    }
    let mut slots = Vec::new();
    for _ in 0..cursor.array()? {
        let value = cursor.value()?;
        cursor.skip_rest(value)?;
        if let Value::Int(slot) = value {
            slots.push(u32::try_from(slot).unwrap_or(super::NO_SLOT));
        }
    }
    for _ in 5..fields {
        cursor.skip()?;
    }
    Ok(slots)
}

/// The next value, if it is a text.
fn text<'a>(cursor: &mut Cursor<'a>) -> Read<Option<&'a str>> {
    let value = cursor.value()?;
    cursor.skip_rest(value)?;
    Ok(match value {
        Value::Str(raw) => std::str::from_utf8(raw).ok(),
        _ => None,
    })
}

/// The scenario that a request names.
fn scenario<'a>(cursor: &mut Cursor<'a>) -> Read<Option<&'a str>> {
    let head = cursor.value()?;
    let Value::Map(entries) = head else {
        cursor.skip_rest(head)?;
        return Ok(None);
    };
    let mut found = None;
    for _ in 0..entries {
        if text(cursor)? == Some("scenario") {
            found = text(cursor)?;
        } else {
            cursor.skip()?;
        }
    }
    Ok(found)
}
