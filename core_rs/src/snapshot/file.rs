//! The envelope of one part on disk.
//!
//! ```text
//!  0  8  magic "HWSNAP01"
//!  8 u32 FOLD_VERSION            12 u128 generation
//! 28 u64 position                36 u64 raw length      44 u64 body length
//! 52  u8 length of the name      53 name                .. body (zstd)
//!    u128 XXH3-128 over everything before it
//! ```

use xxhash_rust::xxh3::xxh3_128;

use crate::config::FOLD_VERSION;
use crate::error::CoreError;
use crate::ids::Position;

const MAGIC: &[u8; 8] = b"HWSNAP01";
const FIXED: usize = 53;
const SUM: usize = 16;
/// zstd's fastest ordinary level: snapshots are written often and read rarely, and the disk is the slower part.
const LEVEL: i32 = 1;
/// A part larger than this when unpacked is refused before memory is asked for.
const MAX_RAW: u64 = 1 << 36;

/// Packs one part.
pub fn seal(
    part: &str,
    generation: u128,
    position: Position,
    raw: &[u8],
) -> Result<Vec<u8>, CoreError> {
    let body = zstd::bulk::compress(raw, LEVEL)
        .map_err(|err| broken(part, format!("does not compress: {err}")))?;
    let mut out = Vec::with_capacity(FIXED + part.len() + body.len() + SUM);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&FOLD_VERSION.to_le_bytes());
    out.extend_from_slice(&generation.to_le_bytes());
    out.extend_from_slice(&position.0.to_le_bytes());
    out.extend_from_slice(&(raw.len() as u64).to_le_bytes());
    out.extend_from_slice(&(body.len() as u64).to_le_bytes());
    out.push(part.len() as u8);
    out.extend_from_slice(part.as_bytes());
    out.extend_from_slice(&body);
    let sum = xxh3_128(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    Ok(out)
}

/// Checks and unpacks one part: its position and raw body. Errors say what is wrong, checksum first.
pub fn open(part: &str, generation: u128, file: &[u8]) -> Result<(Position, Vec<u8>), CoreError> {
    if file.len() < FIXED + SUM {
        return Err(broken(
            part,
            format!("{} bytes are too short for a snapshot part", file.len()),
        ));
    }
    if &file[..8] != MAGIC {
        return Err(broken(part, "not a Headwater snapshot part (magic)"));
    }
    let (content, sum) = file.split_at(file.len() - SUM);
    if u128_at(sum, 0) != xxh3_128(content) {
        return Err(broken(part, "checksum does not match"));
    }
    let version = u32::from_le_bytes([content[8], content[9], content[10], content[11]]);
    if version != FOLD_VERSION {
        return Err(broken(
            part,
            format!("fold version {version}, this code folds version {FOLD_VERSION}"),
        ));
    }
    let found = u128_at(content, 12);
    if found != generation {
        return Err(broken(
            part,
            format!("generation {found:032x}, expected {generation:032x}"),
        ));
    }
    let (raw_len, body_len) = (u64_at(content, 36), u64_at(content, 44));
    let name_end = FIXED + usize::from(content[52]);
    if name_end > content.len() || &content[FIXED..name_end] != part.as_bytes() {
        return Err(broken(part, "is another part's file"));
    }
    let body = &content[name_end..];
    if body.len() as u64 != body_len || raw_len > MAX_RAW {
        return Err(broken(part, "lengths do not match"));
    }
    let raw = zstd::bulk::decompress(body, raw_len as usize)
        .map_err(|err| broken(part, format!("does not decompress: {err}")))?;
    if raw.len() as u64 != raw_len {
        return Err(broken(part, "unpacks to another length"));
    }
    Ok((Position(u64_at(content, 28)), raw))
}

fn broken(part: &str, reason: impl Into<String>) -> CoreError {
    CoreError::Snapshot {
        part: part.to_string(),
        reason: reason.into(),
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

fn u128_at(bytes: &[u8], at: usize) -> u128 {
    let mut word = [0; 16];
    word.copy_from_slice(&bytes[at..at + 16]);
    u128::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_byte_is_noticed() {
        let file = seal(
            "shard-3",
            7,
            Position(42),
            b"some state, some state, some state",
        )
        .unwrap();
        let (position, raw) = open("shard-3", 7, &file).unwrap();
        assert_eq!(
            (position.0, raw.as_slice()),
            (42, b"some state, some state, some state".as_slice())
        );
        for at in 0..file.len() {
            let mut bad = file.clone();
            bad[at] ^= 0x10;
            assert!(open("shard-3", 7, &bad).is_err(), "byte {at}");
        }
        assert!(open("shard-4", 7, &file).is_err());
        assert!(open("shard-3", 8, &file).is_err());
        assert!(open("shard-3", 7, &file[..file.len() - 1]).is_err());
    }
}
