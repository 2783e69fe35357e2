//! The header of a frame, and why a whole frame is refused.
//!
//! ```text
//!  0  3  magic "HWF"      3 u8 format version     4 u8 subject kind      5 u8 flags (0)      6 u16 partition
//!  8 u64 producer        16 u64 epoch            24 u64 sequence        32 i64 append time, UTC ms
//! 40 u32 events          44 u32 body length      48 u32 CRC-32C over 0..48 and the body      52 body
//! ```

use thiserror::Error;

use crate::frame::upcast::FORMAT_VERSION;
use crate::ids::Millis;

/// Bytes before the body.
pub const HEADER_LEN: usize = 52;
/// Bytes of the largest frame.
pub const MAX_FRAME: usize = 262_144;

/// What a frame is about, hence who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Events of one user partition.
    Partition(u16),
    /// The catalogue.
    Catalogue,
    /// Control: configuration, models, merges.
    Control,
}

/// Why a whole frame is a counted no-op.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FrameError {
    #[error("shorter than a header")]
    ShortHeader,
    #[error("does not begin with the magic")]
    BadMagic,
    #[error("unknown format version")]
    UnknownVersion,
    #[error("unknown flags")]
    UnknownFlags,
    #[error("unknown subject")]
    UnknownSubject,
    #[error("larger than a frame may be")]
    TooLarge,
    #[error("body length does not match")]
    LengthMismatch,
    #[error("checksum does not match")]
    BadCrc,
    #[error("number of events does not match")]
    BadCount,
    #[error("body is not one well-formed array")]
    BadBody,
}

impl FrameError {
    /// Stable short name.
    pub fn code(self) -> &'static str {
        match self {
            Self::ShortHeader => "short-header",
            Self::BadMagic => "bad-magic",
            Self::UnknownVersion => "unknown-version",
            Self::UnknownFlags => "unknown-flags",
            Self::UnknownSubject => "unknown-subject",
            Self::TooLarge => "too-large",
            Self::LengthMismatch => "length-mismatch",
            Self::BadCrc => "bad-crc",
            Self::BadCount => "bad-count",
            Self::BadBody => "bad-body",
        }
    }
}

/// A frame whose header is sound and whose checksum holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Format version, at most [`FORMAT_VERSION`].
    pub version: u8,
    /// Subject.
    pub subject: Subject,
    /// Stable hash of the producer's name.
    pub producer: u64,
    /// The producer's epoch.
    pub epoch: u64,
    /// Number within (producer, epoch, subject), from 1.
    pub sequence: u64,
    /// When it was appended.
    pub appended: Millis,
    /// Number of events.
    pub count: u16,
    /// One MessagePack array of events.
    pub body: &'a [u8],
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// How many events a frame says that it has, at least 1. Nothing is checked: the number is good for estimates only.
pub fn claimed_events(bytes: &[u8]) -> usize {
    let count = bytes.get(40..44).and_then(|count| count.first_chunk());
    count.map_or(1, |count| {
        (u32::from_le_bytes(*count) as usize).clamp(1, 1 << 16)
    })
}

/// Checks and splits a frame. The order of checks is part of the contract: the first failing one names the reason.
pub fn parse_frame(bytes: &[u8]) -> Result<Frame<'_>, FrameError> {
    if bytes.len() < HEADER_LEN {
        return Err(FrameError::ShortHeader);
    }
    if &bytes[..3] != b"HWF" {
        return Err(FrameError::BadMagic);
    }
    if bytes.len() > MAX_FRAME {
        return Err(FrameError::TooLarge);
    }
    let body = &bytes[HEADER_LEN..];
    let version = bytes[3];
    if version == 0 || version > FORMAT_VERSION {
        return Err(FrameError::UnknownVersion);
    }
    if bytes[5] != 0 {
        return Err(FrameError::UnknownFlags);
    }
    let partition = u16::from_le_bytes(array(bytes, 6));
    let subject = match (bytes[4], partition) {
        (0, p) => Subject::Partition(p),
        (1, 0) => Subject::Catalogue,
        (2, 0) => Subject::Control,
        _ => return Err(FrameError::UnknownSubject),
    };
    if u32::from_le_bytes(array(bytes, 44)) as usize != body.len() {
        return Err(FrameError::LengthMismatch);
    }
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..48]), body);
    if u32::from_le_bytes(array(bytes, 48)) != crc {
        return Err(FrameError::BadCrc);
    }
    let count = u16::try_from(u32::from_le_bytes(array(bytes, 40))).unwrap_or(0);
    if count == 0 {
        return Err(FrameError::BadCount);
    }
    Ok(Frame {
        version,
        subject,
        producer: u64::from_le_bytes(array(bytes, 8)),
        epoch: u64::from_le_bytes(array(bytes, 16)),
        sequence: u64::from_le_bytes(array(bytes, 24)),
        appended: i64::from_le_bytes(array(bytes, 32)),
        count,
        body,
    })
}
