//! What goes from a session host to item hosts: the head that `python/headwater/cluster/scatter.py` describes, and the
//! core's message.

/// Bytes of the head.
const HEAD: usize = 14;

/// A request to an item host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scattered<'a> {
    /// The position that it must have reached; 0: none.
    pub after: i64,
    /// How long an answer is of use.
    pub deadline_ms: u32,
    /// The core's message.
    pub body: &'a [u8],
}

impl<'a> Scattered<'a> {
    /// Reads one of this layout; `None` for any other.
    pub fn read(data: &'a [u8], layout: u16) -> Option<Self> {
        let (head, body) = data.split_first_chunk::<HEAD>()?;
        let [l0, l1, after @ .., d0, d1, d2, d3] = head;
        (u16::from_le_bytes([*l0, *l1]) == layout).then(|| Self {
            after: i64::from_le_bytes(*after),
            deadline_ms: u32::from_le_bytes([*d0, *d1, *d2, *d3]),
            body,
        })
    }

    /// Its bytes.
    pub fn bytes(&self, layout: u16) -> Vec<u8> {
        let (after, deadline) = (self.after.to_le_bytes(), self.deadline_ms.to_le_bytes());
        [&layout.to_le_bytes()[..], &after, &deadline, self.body].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_survives_its_bytes_and_no_other_layout_reads_it() {
        let asked = Scattered {
            after: 1 << 40,
            deadline_ms: 900,
            body: b"body",
        };
        let bytes = asked.bytes(2);
        assert_eq!(bytes.len(), HEAD + 4);
        assert_eq!(Scattered::read(&bytes, 2), Some(asked));
        assert_eq!(Scattered::read(&bytes, 3), None);
        assert_eq!(Scattered::read(&bytes[..HEAD - 1], 2), None);
    }
}
