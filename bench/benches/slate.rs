//! Slates: 20 of 500 candidates with codes of 64 dimensions, by rules and with exploration.

use criterion::{Criterion, criterion_group, criterion_main};
use headwater_bench::random::Random;
use headwater_core::diversity::codes::Codes;
use headwater_core::simd::Simd;
use headwater_core::slate::choose;
use headwater_core::slate::request::{
    Cap, Exploration, Method, NO_GROUP, Pin, Promotion, Request, Rules,
};

const COUNT: usize = 500;
const DIM: usize = 64;

/// Relevance falls as fused ranks do; candidates lie around 20 topics.
struct Pool {
    codes: Vec<i8>,
    relevance: Vec<f32>,
    groups: Vec<u32>,
    starts: Vec<u32>,
    values: Vec<u32>,
    promoted: Vec<bool>,
}

impl Pool {
    fn new() -> Self {
        let mut random = Random(1);
        let topics = random.vectors(20, DIM);
        let topic: Vec<usize> = (0..COUNT).map(|_| random.below(20)).collect();
        let codes = (0..COUNT * DIM)
            .map(|at| ((topics[topic[at / DIM] * DIM + at % DIM] + random.unit()) * 60.0) as i8)
            .collect();
        let group = |_| {
            if random.below(10) == 0 {
                random.below(40) as u32
            } else {
                NO_GROUP
            }
        };
        Self {
            codes,
            relevance: (0..COUNT).map(|rank| 60.0 / (60.0 + rank as f32)).collect(),
            groups: (0..COUNT).map(group).collect(),
            starts: (0..=COUNT as u32).map(|i| i * 2).collect(),
            // Each in a category and of a brand.
            values: topic
                .iter()
                .flat_map(|t| [*t as u32, 20 + random.below(100) as u32])
                .collect(),
            promoted: (0..COUNT).map(|_| random.below(20) == 0).collect(),
        }
    }
}

fn slates(c: &mut Criterion) {
    let pool = Pool::new();
    let caps = [Cap {
        starts: &pool.starts,
        values: &pool.values,
        max: 3,
    }];
    let rules = Rules {
        groups: Some(&pool.groups),
        caps: &caps,
        pins: &[Pin {
            slot: 4,
            candidate: 77,
        }],
        promotion: Some(Promotion {
            promoted: &pool.promoted,
            share: 0.1,
        }),
    };
    let exploration = Exploration {
        share: 0.1,
        uniform: 0.1,
        key: 7,
    };
    let mut group = c.benchmark_group("slate");
    for simd in Simd::available() {
        for (name, method, rules, exploration) in [
            ("relevance", Method::Relevance, Rules::default(), None),
            ("mmr", Method::Mmr, Rules::default(), None),
            ("mmr_rules", Method::Mmr, rules, None),
            (
                "mmr_exploring",
                Method::Mmr,
                Rules::default(),
                Some(exploration),
            ),
            ("mmr_rules_exploring", Method::Mmr, rules, Some(exploration)),
            ("dpp_rules", Method::Dpp, rules, None),
            ("dpp_rules_exploring", Method::Dpp, rules, Some(exploration)),
            (
                "relevance_exploring",
                Method::Relevance,
                Rules::default(),
                Some(exploration),
            ),
        ] {
            let request = Request {
                n: 20,
                pool: COUNT,
                method,
                diversity: 0.3,
                rules,
                exploration,
            };
            group.bench_function(format!("{name}/{}", simd.name()), |b| {
                b.iter(|| {
                    let mut codes = Codes::new(DIM, |at: usize| &pool.codes[at * DIM..][..DIM]);
                    choose(simd, &pool.relevance, Some(&mut codes), &request)
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, slates);
criterion_main!(benches);
