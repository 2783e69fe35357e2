//! A cursor over MessagePack. It trusts no length, allocates nothing and stops at the first byte that is out of place.

/// Deepest nesting that is walked.
pub const MAX_DEPTH: u32 = 16;

/// The bytes are not the MessagePack that was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Result of a read.
pub type Read<T> = Result<T, Malformed>;

/// A scalar or the head of a container.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// nil
    Nil,
    /// bool
    Bool(bool),
    /// Any signed integer, and unsigned ones that fit.
    Int(i64),
    /// Unsigned integers beyond `i64`.
    Big(u64),
    /// float 32 or 64
    Float(f64),
    /// str, as raw bytes: whether it is UTF-8 is for the reader of the field to say.
    Str(&'a [u8]),
    /// bin
    Bin(&'a [u8]),
    /// ext: nothing of ours, walked over.
    Ext,
    /// Head of an array.
    Array(u32),
    /// Head of a map.
    Map(u32),
}

/// Position in a byte slice.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// A cursor at the beginning.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    fn byte(&mut self) -> Read<u8> {
        let (first, rest) = self.rest.split_first().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*first)
    }

    #[inline]
    fn take(&mut self, len: usize) -> Read<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(Malformed)?;
        self.rest = rest;
        Ok(head)
    }

    #[inline]
    fn fixed<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*head)
    }

    /// Reads one value; of a container only its head.
    #[inline]
    pub fn value(&mut self) -> Read<Value<'a>> {
        let marker = self.byte()?;
        Ok(match marker {
            0x00..=0x7f => Value::Int(i64::from(marker)),
            0xe0..=0xff => Value::Int(i64::from(marker as i8)),
            0xa0..=0xbf => Value::Str(self.take(usize::from(marker & 0x1f))?),
            0x90..=0x9f => Value::Array(u32::from(marker & 0x0f)),
            0x80..=0x8f => Value::Map(u32::from(marker & 0x0f)),
            0xc0 => Value::Nil,
            _ => self.long_value(marker)?,
        })
    }

    fn long_value(&mut self, marker: u8) -> Read<Value<'a>> {
        Ok(match marker {
            0xc2 => Value::Bool(false),
            0xc3 => Value::Bool(true),
            0xc4 => Value::Bin(self.sized8()?),
            0xc5 => Value::Bin(self.sized16()?),
            0xc6 => Value::Bin(self.sized32()?),
            0xca => Value::Float(f64::from(f32::from_be_bytes(self.fixed()?))),
            0xcb => Value::Float(f64::from_be_bytes(self.fixed()?)),
            0xcc => Value::Int(i64::from(self.byte()?)),
            0xcd => Value::Int(i64::from(u16::from_be_bytes(self.fixed()?))),
            0xce => Value::Int(i64::from(u32::from_be_bytes(self.fixed()?))),
            0xcf => {
                let value = u64::from_be_bytes(self.fixed()?);
                i64::try_from(value).map_or(Value::Big(value), Value::Int)
            }
            0xd0 => Value::Int(i64::from(self.byte()? as i8)),
            0xd1 => Value::Int(i64::from(i16::from_be_bytes(self.fixed()?))),
            0xd2 => Value::Int(i64::from(i32::from_be_bytes(self.fixed()?))),
            0xd3 => Value::Int(i64::from_be_bytes(self.fixed()?)),
            0xd9 => Value::Str(self.sized8()?),
            0xda => Value::Str(self.sized16()?),
            0xdb => Value::Str(self.sized32()?),
            0xdc => Value::Array(u32::from(u16::from_be_bytes(self.fixed()?))),
            0xdd => Value::Array(u32::from_be_bytes(self.fixed()?)),
            0xde => Value::Map(u32::from(u16::from_be_bytes(self.fixed()?))),
            0xdf => Value::Map(u32::from_be_bytes(self.fixed()?)),
            0xd4..=0xd8 => self.ext(1 << (marker - 0xd4))?,
            0xc7 => {
                let len = usize::from(self.byte()?);
                self.ext(len)?
            }
            0xc8 => {
                let len = usize::from(u16::from_be_bytes(self.fixed()?));
                self.ext(len)?
            }
            0xc9 => {
                let len = u32::from_be_bytes(self.fixed()?) as usize;
                self.ext(len)?
            }
            _ => return Err(Malformed),
        })
    }

    fn sized8(&mut self) -> Read<&'a [u8]> {
        let len = usize::from(self.byte()?);
        self.take(len)
    }

    fn sized16(&mut self) -> Read<&'a [u8]> {
        let len = usize::from(u16::from_be_bytes(self.fixed()?));
        self.take(len)
    }

    fn sized32(&mut self) -> Read<&'a [u8]> {
        let len = u32::from_be_bytes(self.fixed()?) as usize;
        self.take(len)
    }

    fn ext(&mut self, len: usize) -> Read<Value<'a>> {
        self.byte()?;
        self.take(len)?;
        Ok(Value::Ext)
    }

    /// Head of an array.
    pub fn array(&mut self) -> Read<u32> {
        match self.value()? {
            Value::Array(len) => Ok(len),
            _ => Err(Malformed),
        }
    }

    /// Walks over one whole value.
    pub fn skip(&mut self) -> Read<()> {
        self.skip_to(MAX_DEPTH)
    }

    /// Walks over what belongs to a value whose head was read.
    pub fn skip_rest(&mut self, head: Value<'a>) -> Read<()> {
        self.skip_children(head, MAX_DEPTH)
    }

    fn skip_to(&mut self, depth: u32) -> Read<()> {
        let head = self.value()?;
        self.skip_children(head, depth)
    }

    fn skip_children(&mut self, head: Value<'a>, depth: u32) -> Read<()> {
        let children = match head {
            Value::Array(len) => u64::from(len),
            Value::Map(len) => u64::from(len) * 2,
            _ => return Ok(()),
        };
        // Each child takes a byte at least: a head that promises more than there is left fails before the loop.
        if depth == 0 || children > self.rest.len() as u64 {
            return Err(Malformed);
        }
        for _ in 0..children {
            self.skip_to(depth - 1)?;
        }
        Ok(())
    }
}
