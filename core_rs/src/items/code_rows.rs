//! Codes that begin where a cache line does: who reads single vectors of 64 dimensions then waits for one line each, not two.

/// Bytes of a cache line.
pub const LINE: usize = 64;

/// Codes, one after the other. They grow as a vector does; what is new is zero.
#[derive(Debug, Default)]
pub struct CodeRows {
    bytes: Vec<i8>,
    /// Where the first code stands: the allocator promises no line.
    start: usize,
}

impl CodeRows {
    /// All of them.
    #[inline]
    pub fn codes(&self) -> &[i8] {
        &self.bytes[self.start..]
    }

    /// All of them, to be changed.
    pub fn codes_mut(&mut self) -> &mut [i8] {
        &mut self.bytes[self.start..]
    }

    /// Makes room for `len` codes.
    pub fn ensure(&mut self, len: usize) {
        let held = self.codes().len();
        if held >= len {
            return;
        }
        if self.start + len > self.bytes.capacity() {
            let mut grown: Vec<i8> = Vec::with_capacity(len.max(2 * held) + LINE - 1);
            // Where it cannot be told, any place does.
            let start = grown.as_ptr().align_offset(LINE).min(LINE - 1);
            grown.resize(start, 0);
            grown.extend_from_slice(self.codes());
            (self.bytes, self.start) = (grown, start);
        }
        self.bytes.resize(self.start + len, 0);
    }

    /// Bytes held.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_begin_with_a_line_and_grow_by_zeros() {
        let mut rows = CodeRows::default();
        let mut expected: Vec<i8> = Vec::new();
        for len in [0usize, 1, 64, 65, 64, 1000, 100_000, 100_001] {
            rows.ensure(len);
            expected.resize(expected.len().max(len), 0);
            assert_eq!(rows.codes(), expected);
            assert!(len == 0 || rows.codes().as_ptr().addr().is_multiple_of(LINE));
            if let Some(last) = expected.last_mut() {
                *last = len as i8;
                rows.codes_mut()[expected.len() - 1] = len as i8;
            }
        }
    }
}
