//! Session kNN: a question of six items with up to 500 sessions each.

use criterion::{Criterion, criterion_group, criterion_main};
use headwater_bench::shop;
use headwater_core::filter::FilterCache;
use headwater_core::query::plan::Tools;
use headwater_core::query::recommend::recommend;
use headwater_core::query::request::RecommendRequest;

fn question(c: &mut Criterion) {
    let (Ok(mut config), Ok(mut query)) = (shop::fold_config(), shop::query_config()) else {
        return;
    };
    config.relations.clear();
    query.base.sources.retain(|name, _| name == "session-knn");
    let frames = shop::frames(400_000, 2_000, config.partitions);
    let Ok(state) = shop::fold(&config, &frames) else {
        return;
    };
    let request = RecommendRequest {
        items: (0..6).map(|i| format!("i{}", i * 11)).collect(),
        n: 20,
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
    c.bench_function("knn/query of 6 items, m = 500", |b| {
        b.iter(|| recommend(&state, &tools, &request).map(|answer| answer.items.len()));
    });
}

criterion_group!(benches, question);
criterion_main!(benches);
