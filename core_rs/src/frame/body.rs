//! The events of a frame's body, read without copying.
//!
//! A body that cannot be walked to its end refuses the whole frame; an event that can be walked but breaks a rule is a
//! counted no-op of its own, and its neighbours count.

use crate::frame::event::{Decoded, Event, EventError, Feedback, MAX_CARRIED};
use crate::frame::header::{Frame, FrameError};
use crate::frame::item::{fields, labels};
use crate::frame::msgpack::{Cursor, Malformed, Read, Value};
use crate::frame::upcast::arity;
use crate::ids::{EventRef, Millis};

/// Bytes of a feedback event's context.
const MAX_CONTEXT: usize = 4096;
/// Bytes of what a slate record holds beside its fixed fields.
const MAX_EXTRA: usize = 65_536;

/// Reads all events of a frame in order; entry i is event i. `max_future_ms` is how far an event's time may be ahead of
/// the frame's append time. Time and memory are linear in the frame's size.
pub fn decode_events<'a>(
    frame: &Frame<'a>,
    max_future_ms: i64,
) -> Result<Vec<Decoded<'a>>, FrameError> {
    let mut cursor = Cursor::new(frame.body);
    let count = cursor.array().map_err(|Malformed| FrameError::BadBody)?;
    if count != u32::from(frame.count) {
        return Err(FrameError::BadCount);
    }
    let mut events = Vec::with_capacity(usize::from(frame.count));
    let latest = frame.appended.saturating_add(max_future_ms);
    for _ in 0..count {
        let event = decode_event(&mut cursor, frame.version, latest)
            .map_err(|Malformed| FrameError::BadBody)?;
        events.push(event);
    }
    if cursor.remaining() > 0 {
        return Err(FrameError::BadBody);
    }
    Ok(events)
}

#[inline(always)]
fn decode_event<'a>(cursor: &mut Cursor<'a>, version: u8, latest: Millis) -> Read<Decoded<'a>> {
    let start = *cursor;
    let head = cursor.value()?;
    let Value::Array(len) = head else {
        cursor.skip_rest(head)?;
        return Ok(Err(EventError::BadEvent));
    };
    let tag = match cursor.value() {
        Ok(Value::Int(tag)) if len > 0 => tag,
        _ => return refuse(cursor, start),
    };
    match arity(version, tag) {
        Some((least, most)) if (least..=most).contains(&len) => {}
        _ => return refuse(cursor, start),
    }
    let mut reader = Fields {
        cursor,
        left: len - 1,
        fault: None,
        latest,
    };
    let event = match tag {
        1 => reader.feedback()?,
        10 | 11 => reader.item(tag == 10)?,
        20 => reader.slate_served()?,
        13 => reader.user_put()?,
        _ => reader.other(tag)?,
    };
    reader.skip_left()?;
    Ok(match reader.fault {
        Some(fault) => Err(fault),
        None => Ok(event),
    })
}

/// Walks over the whole event and refuses it.
fn refuse<'a>(cursor: &mut Cursor<'a>, start: Cursor<'a>) -> Read<Decoded<'a>> {
    *cursor = start;
    cursor.skip()?;
    Ok(Err(EventError::BadEvent))
}

/// Reads fields in order; the first broken rule is kept, and the rest is still walked.
struct Fields<'c, 'a> {
    cursor: &'c mut Cursor<'a>,
    left: u32,
    fault: Option<EventError>,
    latest: Millis,
}

impl<'a> Fields<'_, 'a> {
    /// The next field; nil when a shorter, older event has no such field.
    #[inline]
    fn next(&mut self) -> Read<Value<'a>> {
        if self.left == 0 {
            return Ok(Value::Nil);
        }
        self.left -= 1;
        self.cursor.value()
    }

    fn skip_left(&mut self) -> Read<()> {
        for _ in 0..std::mem::take(&mut self.left) {
            self.cursor.skip()?;
        }
        Ok(())
    }

    #[inline]
    fn blame(&mut self, fault: EventError) {
        self.fault = self.fault.or(Some(fault));
    }

    /// A text with 1 to `limit` bytes and no control characters.
    #[inline]
    fn text(&mut self, limit: usize, fault: EventError) -> Read<&'a str> {
        let value = self.next()?;
        if let Value::Str(raw) = value {
            if let Some(text) = clean(raw, limit) {
                return Ok(text);
            }
        } else {
            self.cursor.skip_rest(value)?;
        }
        self.blame(fault);
        Ok("")
    }

    #[inline]
    fn optional_text(&mut self, limit: usize) -> Read<Option<&'a str>> {
        let value = self.next()?;
        match value {
            Value::Nil => return Ok(None),
            Value::Str(raw) => {
                if let Some(text) = clean(raw, limit) {
                    return Ok(Some(text));
                }
            }
            _ => self.cursor.skip_rest(value)?,
        }
        self.blame(EventError::BadId);
        Ok(None)
    }

    #[inline]
    fn id(&mut self) -> Read<&'a str> {
        self.text(MAX_ID, EventError::BadId)
    }

    #[inline]
    fn ts(&mut self) -> Read<Millis> {
        let value = self.next()?;
        match value {
            Value::Int(ts) if (0..1 << 53).contains(&ts) => {
                if ts > self.latest {
                    self.blame(EventError::FutureTime);
                }
                return Ok(ts);
            }
            _ => self.cursor.skip_rest(value)?,
        }
        self.blame(EventError::BadTime);
        Ok(0)
    }

    #[inline(always)]
    fn feedback(&mut self) -> Read<Event<'a>> {
        let ty = self.text(64, EventError::BadType)?;
        let (user, item) = (self.id()?, self.id()?);
        let ts = self.ts()?;
        let value = self.next()?;
        let value = match value {
            Value::Nil => None,
            Value::Float(float) if float.is_finite() => Some(float),
            Value::Int(int) => Some(int as f64),
            other => {
                self.cursor.skip_rest(other)?;
                self.blame(EventError::BadValue);
                None
            }
        };
        let (event_id, session) = (self.optional_text(MAX_ID)?, self.optional_text(MAX_ID)?);
        let (basket, slate) = (self.optional_text(MAX_ID)?, self.optional_text(MAX_ID)?);
        let slot = self.next()?;
        let slot = match slot {
            Value::Nil => None,
            Value::Int(slot) if (0..=i64::from(u32::MAX)).contains(&slot) => Some(slot as u32),
            other => {
                self.cursor.skip_rest(other)?;
                self.blame(EventError::BadField);
                None
            }
        };
        self.document(MAX_CONTEXT)?;
        Ok(Event::Feedback(Feedback {
            ty,
            user,
            item,
            ts,
            value,
            event_id,
            session,
            basket,
            slate,
            slot,
        }))
    }

    /// A map of at most `limit` bytes, or nothing; walked over.
    #[inline]
    fn document(&mut self, limit: usize) -> Read<()> {
        let before = self.cursor.remaining();
        let head = self.next()?;
        self.cursor.skip_rest(head)?;
        let small = before - self.cursor.remaining() <= limit;
        if !matches!(head, Value::Nil | Value::Map(_)) || !small {
            self.blame(EventError::BadField);
        }
        Ok(())
    }

    fn item(&mut self, put: bool) -> Read<Event<'a>> {
        let (item, ts) = (self.id()?, self.ts()?);
        let outcome = fields(self.cursor, std::mem::take(&mut self.left))?;
        let fields = match outcome {
            Ok(fields) => Box::new(fields),
            Err(fault) => {
                self.blame(fault);
                Box::default()
            }
        };
        Ok(if put {
            Event::ItemPut { item, ts, fields }
        } else {
            Event::ItemPatch { item, ts, fields }
        })
    }

    fn user_put(&mut self) -> Read<Event<'a>> {
        let (user, ts) = (self.id()?, self.ts()?);
        let head = self.next()?;
        let outcome = match head {
            Value::Nil => Ok(Vec::new()),
            Value::Map(len) => labels(self.cursor, len)?,
            _ => {
                self.cursor.skip_rest(head)?;
                Err(EventError::BadField)
            }
        };
        let labels = outcome.unwrap_or_else(|fault| {
            self.blame(fault);
            Vec::new()
        });
        Ok(Event::UserPut { user, ts, labels })
    }

    fn slate_served(&mut self) -> Read<Event<'a>> {
        let (slate, user) = (self.id()?, self.id()?);
        let ts = self.ts()?;
        // Request, variant, two versions, positions, hosts left out, candidates: not for the fold.
        for _ in 0..7 {
            let value = self.next()?;
            self.cursor.skip_rest(value)?;
        }
        let items = self.slots()?;
        self.document(MAX_EXTRA)?;
        Ok(Event::SlateServed {
            slate,
            user,
            ts,
            items,
        })
    }

    /// The items of a slate's slots; each slot is an array that begins with its item.
    fn slots(&mut self) -> Read<Vec<&'a str>> {
        let head = self.next()?;
        let Value::Array(count) = head else {
            self.cursor.skip_rest(head)?;
            self.blame(EventError::BadField);
            return Ok(Vec::new());
        };
        let mut items = Vec::new();
        for _ in 0..count {
            let slot = self.cursor.value()?;
            let Value::Array(fields @ 1..) = slot else {
                self.cursor.skip_rest(slot)?;
                self.blame(EventError::BadField);
                continue;
            };
            let item = self.cursor.value()?;
            self.cursor.skip_rest(item)?;
            for _ in 1..fields {
                self.cursor.skip()?;
            }
            let item = match item {
                Value::Str(raw) => clean(raw, MAX_ID),
                _ => None,
            };
            match item {
                Some(item) => items.push(item),
                None => self.blame(EventError::BadField),
            }
        }
        Ok(items)
    }

    fn other(&mut self, tag: i64) -> Read<Event<'a>> {
        Ok(match tag {
            2 => {
                let (user, slate) = (self.id()?, self.id()?);
                Event::Impression {
                    user,
                    slate,
                    ts: self.ts()?,
                }
            }
            3 => {
                let (from, into) = (self.id()?, self.id()?);
                Event::UserMerge {
                    from,
                    into,
                    ts: self.ts()?,
                }
            }
            4 => {
                let (from, into) = (self.id()?, self.id()?);
                let (ts, sealed) = (self.ts()?, self.event_ref()?);
                Event::MergeCarried {
                    from,
                    into,
                    ts,
                    sealed,
                    state: self.carried()?,
                }
            }
            5 => {
                let (from, ts) = (self.id()?, self.ts()?);
                Event::MergeSettled {
                    from,
                    ts,
                    sealed: self.event_ref()?,
                }
            }
            12 => Event::ItemDelete {
                item: self.id()?,
                ts: self.ts()?,
            },
            14 => Event::UserForget {
                user: self.id()?,
                ts: self.ts()?,
            },
            30 => {
                let ts = self.ts()?;
                let version = self.id()?;
                Event::ConfigActivated {
                    ts,
                    version,
                    body: self.body()?,
                }
            }
            _ => {
                let ts = self.ts()?;
                let (kind, uri) = (self.id()?, self.id()?);
                Event::ModelActivated {
                    ts,
                    kind,
                    uri,
                    content_hash: self.id()?,
                }
            }
        })
    }

    /// An event's name, packed.
    fn event_ref(&mut self) -> Read<EventRef> {
        let value = self.next()?;
        match value {
            Value::Int(packed) if packed >= 0 => return Ok(EventRef(packed as u64)),
            _ => self.cursor.skip_rest(value)?,
        }
        self.blame(EventError::BadField);
        Ok(EventRef::default())
    }

    /// Bytes that a merge carries.
    fn carried(&mut self) -> Read<&'a [u8]> {
        let value = self.next()?;
        match value {
            Value::Bin(raw) if (1..=MAX_CARRIED).contains(&raw.len()) => return Ok(raw),
            _ => self.cursor.skip_rest(value)?,
        }
        self.blame(EventError::BadField);
        Ok(&[])
    }

    /// A document of text inside an event: any UTF-8 up to the frame's size.
    fn body(&mut self) -> Read<&'a str> {
        let value = self.next()?;
        if let Value::Str(raw) = value {
            if let Ok(text) = std::str::from_utf8(raw) {
                return Ok(text);
            }
        } else {
            self.cursor.skip_rest(value)?;
        }
        self.blame(EventError::BadField);
        Ok("")
    }
}

/// The most bytes of an id.
pub const MAX_ID: usize = 512;

/// A text of 1 to `limit` bytes of UTF-8 without control characters; `None` if it is another.
#[inline]
pub fn clean(raw: &[u8], limit: usize) -> Option<&str> {
    if raw.is_empty() || raw.len() > limit || raw.iter().any(|b| *b < 0x20 || *b == 0x7f) {
        return None;
    }
    std::str::from_utf8(raw).ok()
}
