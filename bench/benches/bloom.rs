//! Split-block Bloom filters and the set of event ids.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use headwater_bench::random::Random;
use headwater_core::admission::events::{EventLedger, EventVerdict};
use headwater_core::bloom::SplitBlockBloom;
use headwater_core::simd::Simd;

fn filters(c: &mut Criterion) {
    let mut group = c.benchmark_group("bloom");
    for keys in [100_000, 10_000_000] {
        let mut random = Random(1);
        let hashes: Vec<u64> = (0..keys).map(|_| random.bits()).collect();
        let mut present = vec![false; keys];
        group
            .throughput(Throughput::Elements(keys as u64))
            .sample_size(10);
        for simd in Simd::available() {
            let mut filter = SplitBlockBloom::with_capacity(keys, 16.0);
            group.bench_function(format!("test_and_insert/{keys}/{}", simd.name()), |b| {
                b.iter(|| {
                    filter.clear();
                    filter.test_and_insert_many(simd, &hashes, &mut present);
                    black_box(present[0])
                });
            });
        }
    }
    group.finish();
}

fn ledger(c: &mut Criterion) {
    let mut group = c.benchmark_group("dedup");
    let count = 1_000_000;
    let mut random = Random(2);
    let ids: Vec<u128> = (0..count)
        .map(|_| u128::from(random.bits()) << 64 | u128::from(random.bits()))
        .collect();
    let ts = vec![0; count];
    let mut verdicts = vec![EventVerdict::Fresh; count];
    group
        .throughput(Throughput::Elements(count as u64))
        .sample_size(10);
    group.bench_function("fresh ids from empty", |b| {
        b.iter_batched_ref(
            || EventLedger::new(count as u64),
            |ledger| ledger.admit_many(&ids, &ts, &mut verdicts),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, filters, ledger);
criterion_main!(benches);
