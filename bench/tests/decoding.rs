//! Frames and snapshots of any content: read alike each time or refused, never a panic.

use headwater_bench::mutation::{try_frame, try_snapshot};
use headwater_bench::random::Random;
use headwater_bench::shop;
use headwater_core::fold::parts;
use headwater_core::frame::body::decode_events;
use headwater_core::frame::header::parse_frame;
use proptest::prelude::*;

#[test]
fn sound_frames_fold_completely() {
    let config = shop::fold_config().unwrap();
    let frames = shop::frames(3_000, 200, config.partitions);
    let events: usize = frames
        .iter()
        .map(|bytes| {
            let frame = parse_frame(bytes).unwrap();
            let events = decode_events(&frame, shop::MAX_FUTURE_MS).unwrap();
            events.iter().filter(|event| event.is_ok()).count()
        })
        .sum();
    assert!(events >= 3_000);
    let state = shop::fold(&config, &frames).unwrap();
    assert_eq!(state.position.0, frames.len() as u64);
}

#[test]
fn damaged_frames_and_snapshots_are_refused_or_read_alike() {
    let mut config = shop::fold_config().unwrap();
    (config.partitions, config.shards) = (2, 2);
    let frames = shop::frames(1_500, 150, config.partitions);
    let state = shop::fold(&config, &frames).unwrap();
    let sound = parts::snapshot(&state, None).seal(1, None).unwrap();
    let mut random = Random(7);
    for round in 0..3_000 {
        try_frame(&mut random, &frames[round % frames.len()]);
        if round % 30 == 0 {
            try_snapshot(&mut random, &config, 1, &sound);
        }
    }
}

proptest! {
    #[test]
    fn bodies_of_any_bytes_are_refused_or_read(body in prop::collection::vec(any::<u8>(), 0..300), kind in 0u8..4, count in 0u32..20) {
        let bytes = shop::seal(kind, 0, 1, 0, count, &body);
        if let Ok(frame) = parse_frame(&bytes) {
            let first = decode_events(&frame, shop::MAX_FUTURE_MS);
            prop_assert_eq!(first, decode_events(&frame, shop::MAX_FUTURE_MS));
        }
    }
}
