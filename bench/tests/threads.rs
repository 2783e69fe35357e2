//! However many threads fold a log and wherever it is cut: the same state, part by part.

use std::panic::{AssertUnwindSafe, catch_unwind};

use headwater_bench::shop;
use headwater_core::config::FoldConfig;
use headwater_core::fold::batch::decode_frames;
use headwater_core::fold::parts;
use headwater_core::fold::report::Report;
use headwater_core::fold::state::State;
use headwater_core::ids::Position;

/// Digests of all parts after a log was folded by so many threads, so many frames at a time.
fn digests(
    config: &FoldConfig,
    frames: &[&[u8]],
    threads: usize,
    step: usize,
) -> Vec<(String, u128)> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap();
    let pool = (threads > 1).then_some(&pool);
    let mut state = State::new(config).unwrap();
    let mut report = Report::default();
    let mut first = 1;
    for own in frames.chunks(step) {
        let batch = decode_frames(Position(first), own, shop::MAX_FUTURE_MS, pool);
        let mut rest = batch.as_slice();
        while !rest.is_empty() {
            let taken = state.apply_some(rest, pool, &mut report).unwrap();
            rest = &rest[taken..];
        }
        first += own.len() as u64;
    }
    parts::digests(&state, None)
}

#[test]
fn threads_and_cuts_change_nothing() {
    let mut config = shop::fold_config().unwrap();
    // Frames of one partition follow each other, so that segments have several outboxes of the same partition, and lanes
    // move on while tasks still run.
    for (partitions, shards) in [(2, 3), (7, 8)] {
        (config.partitions, config.shards) = (partitions, shards);
        let mut made = shop::frames(20_000, 300, partitions);
        made.sort_by_key(|frame| u16::from_le_bytes([frame[6], frame[7]]));
        let frames: Vec<&[u8]> = made.iter().map(Vec::as_slice).collect();
        let expected = digests(&config, &frames, 1, frames.len());
        for (threads, step) in [(1, 5), (2, frames.len()), (4, 17)] {
            let found = digests(&config, &frames, threads, step);
            assert_eq!(
                found, expected,
                "{threads} threads, {step} frames at a time"
            );
        }
    }
}

#[test]
fn a_fold_that_broke_off_wakes_all_its_threads_and_is_not_gone_on_with() {
    let config = shop::fold_config().unwrap();
    let made = shop::frames(5_000, 300, config.partitions);
    let frames: Vec<&[u8]> = made.iter().map(Vec::as_slice).collect();
    let batch = decode_frames(Position(1), &frames, shop::MAX_FUTURE_MS, None);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(4)
        .build()
        .unwrap();
    for pool in [None, Some(&pool)] {
        let mut state = State::new(&config).unwrap();
        let mut report = Report::default();
        state.hood.marginals.clear(); // what changes in them finds no place
        let fold = AssertUnwindSafe(|| state.apply_some(&batch, pool, &mut report));
        assert!(catch_unwind(fold).is_err());
        assert_eq!(state.position, Position(0));
        let again = state.apply_some(&batch, pool, &mut report).unwrap_err();
        assert!(again.to_string().contains("broke off"), "{again}");
        assert!(state.check_sound().is_err());
    }
}
