//! int8 scoring: one query and sixteen, on every path of this CPU.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use headwater_bench::random::Random;
use headwater_core::embedding::scan::{Search, search};
use headwater_core::embedding::store::PackedVectors;
use headwater_core::error::CoreError;
use headwater_core::simd::Simd;
use headwater_core::topk::Ties;

const COUNT: usize = 100_000;
const DIM: usize = 64;

fn store(simd: Simd) -> Result<PackedVectors, CoreError> {
    let mut store = PackedVectors::new(DIM, COUNT)?;
    store.add(simd, &Random(1).vectors(COUNT, DIM))?;
    Ok(store)
}

fn scan(c: &mut Criterion) {
    let mut group = c.benchmark_group("scan");
    let how = Search {
        k: 100,
        min_score: f32::NEG_INFINITY,
        filter: None,
        ties: Ties::Index,
        threads: 1,
    };
    for simd in Simd::available() {
        let Ok(store) = store(simd) else { continue };
        for queries in [1, 16] {
            let asked = Random(2).vectors(queries, DIM);
            group.throughput(Throughput::Elements((COUNT * queries) as u64));
            group.bench_function(format!("top100/{queries}/{}", simd.name()), |b| {
                b.iter(|| {
                    let mut best = 0.0;
                    let found = search(simd, &store, &asked, &how, |_, _, _, score| best += score);
                    (found.is_ok(), best)
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, scan);
criterion_main!(benches);
