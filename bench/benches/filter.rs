//! Filters over 100,000 items: reading, evaluating, and asking again.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use headwater_bench::random::Random;
use headwater_core::bitmap::Bitmap;
use headwater_core::catalogue::{Catalogue, ItemChange, Label};
use headwater_core::filter::{Filter, FilterCache, Params, Unheard, Value};
use headwater_core::ids::{ItemIx, TagIx};
use headwater_core::names::Names;

const ITEMS: u32 = 100_000;

fn change(random: &mut Random, names: &mut Names) -> ItemChange {
    let mut one_of = |prefix: &str, n: u64| format!("{prefix}{}", random.bits() % n);
    let categories = [one_of("category", 50), one_of("category", 500)];
    let brand = one_of("brand", 2000);
    let price = (random.bits() % 20_000) as f64 / 100.0;
    let labels = [
        ("brand", Label::Text(brand.into())),
        ("price", Label::Float(price)),
        ("on_sale", Label::Bool(price < 20.0)),
    ];
    ItemChange {
        categories: Some(
            categories
                .iter()
                .map(|c| TagIx(names.tags.intern_str(c)))
                .collect(),
        ),
        labels: Some(
            labels
                .into_iter()
                .map(|(name, label)| (name.into(), Some(label)))
                .collect(),
        ),
        ..ItemChange::default()
    }
}

fn shop() -> (Names, Catalogue) {
    let mut names = Names::new(1);
    let mut catalogue = Catalogue::new(&[], true);
    let mut random = Random(1);
    for i in 0..ITEMS {
        let ix = ItemIx(names.items.intern_str(&format!("sku-{i}")));
        let change = change(&mut random, &mut names);
        catalogue.change(ix, change, true, &mut names);
    }
    (names, catalogue)
}

fn filters(c: &mut Criterion) {
    let (mut names, mut catalogue) = shop();
    let params = Params::from([("max".to_string(), Value::Int(50))]);
    let text = "price < $max and 'category1' in categories";
    let mut group = c.benchmark_group("filter");
    group.bench_function("parse and check", |b| {
        b.iter(|| {
            Filter::parse(black_box(text))
                .and_then(|filter| filter.check(&catalogue, &params))
                .map(black_box)
                .is_ok()
        });
    });
    for text in [
        text,
        "price < $max",
        "'category1' in categories",
        "brand == 'brand7' and price < $max",
        "brand in ['brand7', 'brand8', 'brand9'] and price < $max",
        "not (on_sale or price >= $max) and brand is not missing",
    ] {
        let given = if text.contains("$max") {
            params.clone()
        } else {
            Params::new()
        };
        let checked = Filter::parse(text).and_then(|filter| filter.check(&catalogue, &given));
        let checked = checked.unwrap_or_else(|error| panic!("{error}"));
        let mut bits = Bitmap::default();
        group.bench_function(format!("evaluate/{text}"), |b| {
            b.iter(|| {
                checked.evaluate(&catalogue, &names, &mut bits);
                black_box(bits.words()[0])
            });
        });
    }
    let cache = FilterCache::default();
    group.bench_function("cached", |b| {
        b.iter(|| {
            cache
                .evaluate(
                    black_box(text),
                    &params,
                    &catalogue,
                    &names,
                    Unheard::Refused,
                )
                .map(black_box)
                .is_ok()
        });
    });
    group.sample_size(10);
    group.bench_function("first use of two fields", |b| {
        let checked = Filter::parse(text).and_then(|filter| filter.check(&catalogue, &params));
        let checked = checked.unwrap_or_else(|error| panic!("{error}"));
        b.iter_batched_ref(
            shop,
            |(names, catalogue)| {
                let mut bits = Bitmap::default();
                checked.evaluate(catalogue, names, &mut bits);
                black_box(bits.words()[0])
            },
            BatchSize::PerIteration,
        );
    });
    let mut random = Random(2);
    group.bench_function("put with four columns", |b| {
        b.iter(|| {
            let ix = ItemIx((random.bits() % u64::from(ITEMS)) as u32);
            let change = change(&mut random, &mut names);
            catalogue.change(ix, change, true, &mut names);
        });
    });
    group.finish();
}

criterion_group!(benches, filters);
criterion_main!(benches);
