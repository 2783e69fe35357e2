//! MMR and greedy DPP: 50 of 500 candidates.

use criterion::{Criterion, criterion_group, criterion_main};
use headwater_bench::random::Random;
use headwater_core::diversity::dpp::{Dpp, dpp};
use headwater_core::diversity::mmr::{Mmr, mmr};
use headwater_core::diversity::vectors::Vectors;
use headwater_core::simd::Simd;

const COUNT: usize = 500;
const DIM: usize = 64;

fn choose(c: &mut Criterion) {
    let mut group = c.benchmark_group("diversity");
    let mut random = Random(1);
    let rows = random.vectors(COUNT, DIM);
    let relevance = random.vectors(COUNT, 1);
    for simd in Simd::available() {
        group.bench_function(format!("mmr/{}", simd.name()), |b| {
            let how = Mmr {
                k: 50,
                trade_off: 0.7,
                window: None,
            };
            b.iter(|| {
                Vectors::new(simd, &rows, DIM).and_then(|v| mmr(simd, v, &relevance, COUNT, &how))
            });
        });
        group.bench_function(format!("dpp/{}", simd.name()), |b| {
            let how = Dpp { k: 50, theta: 0.5 };
            b.iter(|| {
                Vectors::new(simd, &rows, DIM).and_then(|v| dpp(simd, v, &relevance, COUNT, &how))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, choose);
criterion_main!(benches);
