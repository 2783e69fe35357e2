//! Co-occurrence: counting, as the difference that relations make to the fold, and a question of ten seeds.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use headwater_bench::shop;
use headwater_core::filter::FilterCache;
use headwater_core::query::plan::Tools;
use headwater_core::query::recommend::recommend;
use headwater_core::query::request::RecommendRequest;

const EVENTS: usize = 200_000;

fn counting(c: &mut Criterion) {
    let Ok(config) = shop::fold_config() else {
        return;
    };
    let mut bare = config.clone();
    bare.relations.clear();
    let frames = shop::frames(EVENTS, 20_000, config.partitions);
    let mut group = c.benchmark_group("cooccurrence");
    group
        .throughput(Throughput::Elements(EVENTS as u64))
        .sample_size(10);
    for (name, config) in [("fold with relations", &config), ("fold without", &bare)] {
        group.bench_function(name, |b| {
            b.iter(|| shop::fold(config, &frames).map(|s| s.position))
        });
    }
    group.finish();
}

fn question(c: &mut Criterion) {
    let (Ok(config), Ok(mut query)) = (shop::fold_config(), shop::query_config()) else {
        return;
    };
    let frames = shop::frames(EVENTS, 2_000, config.partitions);
    let Ok(state) = shop::fold(&config, &frames) else {
        return;
    };
    query.base.sources.retain(|name, _| name == "also_viewed");
    let request = RecommendRequest {
        items: (0..10).map(|i| format!("i{}", i * 7)).collect(),
        n: 10,
        now: state.clock(),
        ..RecommendRequest::default()
    };
    let tools = Tools {
        query: &query,
        filters: &FilterCache::default(),
        graphs: None,
        leading: None,
        helped: false,
    };
    c.bench_function("cooccurrence/query of 10 seeds", |b| {
        b.iter(|| recommend(&state, &tools, &request).map(|answer| answer.items.len()));
    });
}

criterion_group!(benches, counting, question);
criterion_main!(benches);
