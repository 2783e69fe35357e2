//! The lines of the NATS protocol that carry messages. Anything else is left to whoever speaks the whole protocol.
//!
//! ```text
//! MSG <subject> <subscription> [reply] <bytes>\r\n<data>\r\n
//! HMSG <subject> <subscription> [reply] <bytes of headers> <bytes>\r\n<headers><data>\r\n
//! PUB <subject> [reply] <bytes>\r\n<data>\r\n
//! ```

use std::io::Write;

/// Of a size or a subscription's number. What is not whole is kept, and no server lets more than 64 MiB pass as one.
const MOST_DIGITS: usize = 8;

/// The longest line that is waited for; nats-py's `MAX_CONTROL_LINE_SIZE`.
const LONGEST_LINE: usize = 4096;

/// A message as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Number of the subscription.
    pub subscription: u64,
    /// Where it was sent to.
    pub subject: &'a [u8],
    /// Where an answer goes; empty for nowhere.
    pub reply: &'a [u8],
    /// Its headers, if it has any.
    pub headers: Option<&'a [u8]>,
    /// What it says.
    pub data: &'a [u8],
}

/// What stands at the beginning of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut<'a> {
    /// A message, and how many bytes it takes.
    Whole(Message<'a>, usize),
    /// The beginning of one; so many bytes at least are wanted, 0 where that is not known yet.
    Part(usize),
    /// Something else, or a message that is not sound.
    Other,
}

/// Looks at the beginning of `bytes`. O(length of its line).
pub fn cut(bytes: &[u8]) -> Cut<'_> {
    let Some(line) = bytes.windows(2).position(|end| end == b"\r\n") else {
        let hopeless = bytes.len() > LONGEST_LINE && !bytes.starts_with(b"INFO");
        return match hopeless {
            true => Cut::Other,
            false => Cut::Part(0),
        };
    };
    let Some(told) = Told::read(&bytes[..line]) else {
        return Cut::Other;
    };
    let start = line + 2;
    let (middle, stop) = (start + told.headers.unwrap_or(0), start + told.size);
    if stop + 2 > bytes.len() {
        return Cut::Part(stop + 2);
    }
    let message = Message {
        subscription: told.subscription,
        subject: told.subject,
        reply: told.reply,
        headers: told.headers.map(|_| &bytes[start..middle]),
        data: &bytes[middle..stop],
    };
    Cut::Whole(message, stop + 2)
}

/// A message's line.
struct Told<'a> {
    subject: &'a [u8],
    subscription: u64,
    reply: &'a [u8],
    headers: Option<usize>,
    size: usize,
}

impl<'a> Told<'a> {
    fn read(line: &'a [u8]) -> Option<Self> {
        let mut tokens = [&line[..0]; 7];
        let mut count = 0;
        for token in line
            .split(u8::is_ascii_whitespace)
            .filter(|token| !token.is_empty())
        {
            *tokens.get_mut(count)? = token;
            count += 1;
        }
        let split = match (tokens[0], count) {
            (b"MSG", 4..=5) => false,
            (b"HMSG", 5..=6) => true,
            _ => return None,
        };
        let size = number(tokens[count - 1])?;
        let headers = match split {
            true => Some(number(tokens[count - 2])?).filter(|headers| *headers <= size),
            false => None,
        };
        if split && headers.is_none() {
            return None;
        }
        Some(Self {
            subject: tokens[1],
            subscription: number(tokens[2])? as u64,
            reply: match count == 5 + usize::from(split) {
                true => tokens[3],
                false => &line[..0],
            },
            headers,
            size,
        })
    }
}

fn number(token: &[u8]) -> Option<usize> {
    let sound = (1..=MOST_DIGITS).contains(&token.len()) && token.iter().all(u8::is_ascii_digit);
    let digit = |sum: usize, digit: &u8| 10 * sum + usize::from(digit - b'0');
    sound.then(|| token.iter().fold(0, digit))
}

/// Adds to `out` what sends `data` to `subject`, with answers to `reply` unless that is empty.
pub fn publish(out: &mut Vec<u8>, subject: &[u8], reply: &[u8], data: &[u8]) {
    out.reserve(subject.len() + reply.len() + data.len() + 24);
    out.extend_from_slice(b"PUB ");
    out.extend_from_slice(subject);
    out.push(b' ');
    if !reply.is_empty() {
        out.extend_from_slice(reply);
        out.push(b' ');
    }
    // Writing to memory does not fail.
    let _ = write!(out, "{}\r\n", data.len());
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message<'a>(
        subject: &'a [u8],
        reply: &'a [u8],
        headers: Option<&'a [u8]>,
        data: &'a [u8],
    ) -> Message<'a> {
        Message {
            subscription: 7,
            subject,
            reply,
            headers,
            data,
        }
    }

    #[test]
    fn messages_are_cut_out() {
        let plain = b"MSG a.b 7 5\r\nhello\r\nMSG";
        let cut_out = Cut::Whole(message(b"a.b", b"", None, b"hello"), plain.len() - 3);
        assert_eq!(cut(plain), cut_out);
        let headed = b"HMSG a 7 there.1 12 17\r\nNATS/1.0\r\n\r\nabcde\r\n";
        let with_headers = message(b"a", b"there.1", Some(b"NATS/1.0\r\n\r\n"), b"abcde");
        assert_eq!(cut(headed), Cut::Whole(with_headers, headed.len()));
    }

    #[test]
    fn what_is_no_sound_message_is_left_alone() {
        let long = [b"MSG a ", &[b'1'; 5000][..]].concat();
        for other in [
            &b"PING\r\n"[..],
            b"MSG a\r\n",
            b"MSG a b 7\r\n",
            b"MSG a 1 2 3 4\r\n",
            b"MSG a 1 2 3 4 5 6 7 8 9\r\n",
            b"HMSG a 1 7\r\n",
            b"HMSG a 1 12 11\r\n",
            b"MSG a 1 100000000\r\n",
            b"MSG a 1 -1\r\n",
            b"\r\n",
            &long,
        ] {
            assert_eq!(cut(other), Cut::Other, "{}", other.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn what_is_published_is_what_is_cut(
            subject in "[a-z.]{1,20}", reply in "[a-z.0-9]{0,20}", data in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut out = Vec::new();
            publish(&mut out, subject.as_bytes(), reply.as_bytes(), &data);
            // The server turns what was published for a subscription into what it sends to it.
            let heard = [b"MSG ", subject.as_bytes(), b" 7 ", &out[5 + subject.len()..]].concat();
            prop_assert_eq!(
                cut(&heard),
                Cut::Whole(message(subject.as_bytes(), reply.as_bytes(), None, &data), heard.len())
            );
            for part in 0..heard.len() {
                let is_part = matches!(cut(&heard[..part]), Cut::Part(wanted) if wanted == 0 || wanted == heard.len());
                prop_assert!(is_part);
            }
        }

        #[test]
        fn whatever_comes_nothing_breaks(bytes in "(MSG|HMSG|PUB|) ?[a-z0-9 \r\n]{0,60}") {
            if let Cut::Whole(_, size) = cut(bytes.as_bytes()) {
                prop_assert!(size <= bytes.len());
            }
        }
    }
}
