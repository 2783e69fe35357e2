//! Damaged copies of sound frames and snapshots, and what reading them must be: an answer or a refusal, never a panic,
//! never unbounded memory, and the same each time.

use headwater_core::config::FoldConfig;
use headwater_core::fold::parts;
use headwater_core::frame::body::decode_events;
use headwater_core::frame::header::parse_frame;
use headwater_core::snapshot::file;

use crate::random::Random;
use crate::shop::{self, seal};

const HEADER: usize = 52;

/// A copy of `sound` with a few bytes changed, cut out, doubled, or replaced by numbers at their bounds.
pub fn damaged(random: &mut Random, sound: &[u8]) -> Vec<u8> {
    let mut bytes = sound.to_vec();
    for _ in 0..1 + random.below(6) {
        if bytes.is_empty() {
            break;
        }
        let at = random.below(bytes.len());
        let upto = at + random.below((bytes.len() - at).min(64)) + 1;
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.bits() as u8,
            2 => drop(bytes.drain(at..upto)),
            3 => {
                let part = bytes[at..upto].to_vec();
                bytes.splice(at..at, part);
            }
            // MessagePack's and LEB128's largest lengths and odd markers.
            4 => {
                bytes[at] = [0xff, 0xdd, 0xdf, 0xc6, 0xdb, 0xc1, 0x80, 0x7f][random.below(8)];
            }
            _ => bytes[at..upto].fill(0xff),
        }
    }
    bytes
}

/// Reads damaged copies of a frame: as they are, and with the checksum made to fit, so that the events are reached.
pub fn try_frame(random: &mut Random, sound: &[u8]) {
    let raw = damaged(random, sound);
    read_frame(&raw);
    let body = damaged(random, &sound[HEADER..]);
    let count = u32::from_le_bytes([sound[40], sound[41], sound[42], sound[43]]);
    let count = if random.below(4) == 0 {
        random.bits() as u32 & 0xffff
    } else {
        count
    };
    read_frame(&seal(
        random.below(4) as u8,
        0,
        1,
        i64::MAX / 2,
        count,
        &body,
    ));
}

fn read_frame(bytes: &[u8]) {
    let read = || {
        parse_frame(bytes).and_then(|frame| {
            let events = decode_events(&frame, shop::MAX_FUTURE_MS)?;
            Ok(events.iter().filter(|event| event.is_ok()).count())
        })
    };
    assert_eq!(read(), read(), "a frame is read alike each time");
}

/// Restores from parts of which one is damaged: in its file, or in its contents behind a checksum that fits.
pub fn try_snapshot(
    random: &mut Random,
    config: &FoldConfig,
    generation: u128,
    sound: &[(String, Vec<u8>)],
) {
    let hit = random.below(sound.len());
    let broken = match random.below(3) {
        0 => damaged(random, &sound[hit].1),
        _ => resealed(random, generation, &sound[hit]),
    };
    let files: Vec<(String, &[u8])> = sound
        .iter()
        .enumerate()
        .map(|(i, (name, file))| {
            (
                name.clone(),
                if i == hit { &broken } else { file.as_slice() },
            )
        })
        .collect();
    // Damage that decodes to another sound state is possible behind a checksum that fits; a panic is not.
    let _ = parts::restore(config, generation, &files);
}

/// A part whose contents are damaged and whose envelope fits them.
fn resealed(random: &mut Random, generation: u128, (name, sound): &(String, Vec<u8>)) -> Vec<u8> {
    let resealed = file::open(name, generation, sound)
        .and_then(|(position, raw)| file::seal(name, generation, position, &damaged(random, &raw)));
    resealed.unwrap_or_else(|_| sound.clone())
}
