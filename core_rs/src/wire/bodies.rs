//! Bodies of frames, from events that are encoded already.

use crate::frame::header::{HEADER_LEN, MAX_FRAME};

/// Events of one frame at most; `headwater.events.frame` says the same.
const MAX_EVENTS: usize = u16::MAX as usize;

/// The head of a MessagePack array of any length up to [`MAX_EVENTS`] takes so many bytes at most.
const HEAD: usize = 3;

/// Events that share a frame, each with what it is known by.
struct Body<T> {
    of: Vec<T>,
    events: Vec<u8>,
}

/// As few bodies as hold all events in their order. An event that no frame can hold has a body of its own, larger than allowed.
pub struct Bodies<T>(Vec<Body<T>>);

impl<T> Default for Bodies<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Bodies<T> {
    /// Adds an event, MessagePack.
    pub fn add(&mut self, of: T, event: &[u8]) {
        let most = MAX_FRAME - HEADER_LEN - HEAD;
        match self.0.last_mut() {
            Some(body) if body.events.len() + event.len() <= most && body.of.len() < MAX_EVENTS => {
                body.of.push(of);
                body.events.extend_from_slice(event);
            }
            _ => self.0.push(Body {
                of: vec![of],
                events: event.to_vec(),
            }),
        }
    }

    /// What each body holds, and its bytes: a MessagePack array.
    pub fn finish(self) -> Vec<(Vec<T>, Vec<u8>)> {
        let whole = |body: Body<T>| {
            let mut bytes = Vec::with_capacity(HEAD + body.events.len());
            match body.of.len() {
                few @ 0..16 => bytes.push(0x90 | few as u8),
                many => {
                    bytes.push(0xdc);
                    bytes.extend_from_slice(&(many as u16).to_be_bytes());
                }
            }
            bytes.extend_from_slice(&body.events);
            (body.of, bytes)
        };
        self.0.into_iter().map(whole).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(sizes: &[usize]) -> Vec<(Vec<usize>, Vec<u8>)> {
        let mut bodies = Bodies::default();
        for (number, size) in sizes.iter().enumerate() {
            bodies.add(number, &vec![0xc0; *size]);
        }
        bodies.finish()
    }

    #[test]
    fn events_stand_in_an_array_as_messagepack_has_it() {
        for count in [1, 15, 16, 300] {
            let found = bodies(&vec![1; count]);
            let expected = rmp_serde::to_vec(&vec![(); count]).unwrap();
            assert_eq!(found, [((0..count).collect(), expected)]);
        }
        assert!(bodies(&[]).is_empty());
    }

    #[test]
    fn no_body_is_larger_than_a_frame_but_of_one_event() {
        let most = MAX_FRAME - HEADER_LEN;
        let found = bodies(&[100_000, 100_000, 100_000, most + 1, 10, 10]);
        let of: Vec<_> = found.iter().map(|(of, _)| of.clone()).collect();
        assert_eq!(of, [vec![0, 1], vec![2], vec![3], vec![4, 5]]);
        let sizes: Vec<_> = found.iter().map(|(_, body)| body.len()).collect();
        assert_eq!(sizes, [200_001, 100_001, most + 2, 21]);
        let found = bodies(&vec![1; MAX_EVENTS + 1]);
        assert_eq!(
            found.iter().map(|(of, _)| of.len()).collect::<Vec<_>>(),
            [MAX_EVENTS, 1]
        );
    }
}
