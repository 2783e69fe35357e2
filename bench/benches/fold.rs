//! Frames in memory: decoding alone, and the whole fold on one thread.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use headwater_bench::shop;
use headwater_core::fold::batch::decode_frames;
use headwater_core::ids::Position;

const EVENTS: usize = 200_000;

fn fold(c: &mut Criterion) {
    let Ok(config) = shop::fold_config() else {
        return;
    };
    let frames = shop::frames(EVENTS, 20_000, config.partitions);
    let bytes: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    let mut group = c.benchmark_group("fold");
    group
        .throughput(Throughput::Elements(EVENTS as u64))
        .sample_size(10);
    group.bench_function("decode", |b| {
        b.iter(|| decode_frames(Position(1), &bytes, shop::MAX_FUTURE_MS, None).len());
    });
    group.bench_function("everything", |b| {
        b.iter(|| shop::fold(&config, &frames).map(|state| state.position));
    });
    group.finish();
}

criterion_group!(benches, fold);
criterion_main!(benches);
