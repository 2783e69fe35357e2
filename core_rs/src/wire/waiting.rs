//! Questions that were scattered and whose item hosts have not all replied. Times are microseconds of a monotonic clock.

use std::collections::HashMap;

use crate::ids::Millis;
use crate::wire::message::Message;
use crate::wire::usual::{Encoding, Usual};

/// A question on its way, with all that an answer, or whoever has to go on with it, needs.
#[derive(Clone, Debug)]
pub struct Question {
    /// Where the answer goes.
    pub reply: Vec<u8>,
    /// Its headers, as they came.
    pub headers: Option<Vec<u8>>,
    /// Itself, as it came.
    pub data: Vec<u8>,
    /// What was read in it.
    pub usual: Usual,
    /// How it was written.
    pub encoding: Encoding,
    /// The id that its slate gets.
    pub key: String,
    /// Its time of day.
    pub now: Millis,
    /// What the item hosts were sent.
    pub sent: Vec<u8>,
    /// Where the owner stood then.
    pub made_at: u64,
    /// When it came.
    pub began: u64,
    /// Until when the item hosts are waited for.
    pub due: u64,
    /// Until when an answer is of use.
    pub until: u64,
}

/// What an item host replied, with its headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replied {
    /// Bytes.
    pub data: Vec<u8>,
    /// As they came.
    pub headers: Option<Vec<u8>>,
}

impl Replied {
    /// Whether it may be a host's candidates: they are an array without headers, while errors are maps, and whoever says that
    /// nobody is there says so in headers.
    pub fn is_plain(&self) -> bool {
        self.headers.is_none() && matches!(self.data.first(), Some(0x90..=0x9f | 0xdc))
    }
}

/// A question with what was replied so far, by host.
#[derive(Clone, Debug)]
pub struct Waited {
    /// The question.
    pub question: Question,
    /// `None` for a host that has not replied.
    pub replies: Vec<Option<Replied>>,
}

/// All that are waited for.
#[derive(Debug, Default)]
pub struct Waiting {
    questions: HashMap<u64, Waited>,
    last: u64,
}

impl Waiting {
    /// Waits for `hosts` replies to a question; its number.
    pub fn begin(&mut self, question: Question, hosts: usize) -> u64 {
        self.last += 1;
        let replies = vec![None; hosts];
        self.questions
            .insert(self.last, Waited { question, replies });
        self.last
    }

    /// Takes a reply; the question when it was the last. Replies that nobody waits for are dropped.
    pub fn heard(&mut self, number: u64, host: usize, message: &Message<'_>) -> Option<Waited> {
        let waited = self.questions.get_mut(&number)?;
        *waited.replies.get_mut(host)? = Some(Replied {
            data: message.data.to_vec(),
            headers: message.headers.map(<[u8]>::to_vec),
        });
        let is_whole = waited.replies.iter().all(Option::is_some);
        is_whole.then(|| self.questions.remove(&number)).flatten()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.questions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.questions.is_empty()
    }

    /// When the next one is waited for no longer. O(questions).
    pub fn next_due(&self) -> Option<u64> {
        let due = |waited: &Waited| waited.question.due;
        self.questions.values().map(due).min()
    }

    /// Those that are waited for no longer, in the order in which they came. O(questions).
    pub fn overdue(&mut self, now: u64) -> Vec<Waited> {
        let is_over = |_: &u64, waited: &mut Waited| waited.question.due <= now;
        let mut over: Vec<_> = self.questions.extract_if(is_over).collect();
        over.sort_unstable_by_key(|(number, _)| *number);
        over.into_iter().map(|(_, waited)| waited).collect()
    }
}

/// What the name of a reply's subject ends with: see [`place`].
pub fn ending(number: u64, host: usize) -> String {
    format!("u{number}-{host}")
}

/// Which question's which host a reply is of, by what its subject ends with; `None` where it is no reply to these.
pub fn place(ending: &[u8]) -> Option<(u64, usize)> {
    let text = std::str::from_utf8(ending.strip_prefix(b"u")?).ok()?;
    let (number, host) = text.split_once('-')?;
    Some((number.parse().ok()?, host.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(due: u64) -> Question {
        let (usual, encoding) = Usual::read(br#"{"user": "a"}"#).unwrap();
        Question {
            reply: b"there".to_vec(),
            headers: None,
            data: Vec::new(),
            usual,
            encoding,
            key: String::new(),
            now: 0,
            sent: Vec::new(),
            made_at: 0,
            began: 0,
            due,
            until: due,
        }
    }

    fn reply<'a>(data: &'a [u8], headers: Option<&'a [u8]>) -> Message<'a> {
        Message {
            subscription: 1,
            subject: b"",
            reply: b"",
            headers,
            data,
        }
    }

    #[test]
    fn a_question_is_over_with_its_last_reply() {
        let mut waiting = Waiting::default();
        let number = waiting.begin(question(10), 2);
        let other = waiting.begin(question(5), 1);
        assert_eq!((waiting.len(), waiting.next_due()), (2, Some(5)));
        assert!(waiting.heard(number, 1, &reply(&[0x90], None)).is_none());
        assert!(waiting.heard(number, 1, &reply(&[0x91], None)).is_none());
        assert!(waiting.heard(number, 2, &reply(&[0x90], None)).is_none());
        assert!(waiting.heard(99, 0, &reply(&[0x90], None)).is_none());
        let whole = waiting
            .heard(number, 0, &reply(b"", Some(b"NATS/1.0 503")))
            .unwrap();
        assert_eq!(whole.replies[1].as_ref().unwrap().data, [0x91]);
        assert!(!whole.replies[0].as_ref().unwrap().is_plain());
        assert!(waiting.overdue(4).is_empty());
        assert_eq!(waiting.overdue(5).len(), 1);
        assert!(waiting.heard(other, 0, &reply(&[0x90], None)).is_none());
        assert!(waiting.is_empty() && waiting.next_due().is_none());
    }

    #[test]
    fn replies_find_their_question_by_name() {
        assert_eq!(place(ending(7, 1).as_bytes()), Some((7, 1)));
        for other in ["", "7", "u7", "u-1", "u7-", "ux-1", "u7-1x"] {
            assert_eq!(place(other.as_bytes()), None, "{other}");
        }
    }
}
