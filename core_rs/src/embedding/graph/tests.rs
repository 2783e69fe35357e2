use super::*;
use crate::ids::stable_hash;

struct Table {
    dim: usize,
    codes: Vec<i8>,
    scales: Vec<f32>,
}

impl Rows for Table {
    fn codes(&self, id: u32) -> &[i8] {
        &self.codes[id as usize * self.dim..][..self.dim]
    }

    fn scale(&self, id: u32) -> f32 {
        self.scales[id as usize]
    }
}

/// Vectors around a hundred centres, of lengths that differ.
fn table(count: usize, dim: usize) -> Table {
    around(100, count, dim)
}

fn around(centres: usize, count: usize, dim: usize) -> Table {
    let many = centres as i32;
    let mut state = 7u64;
    let mut random = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as i32
    };
    let centres: Vec<i32> = (0..centres * dim).map(|_| random() % 160 - 80).collect();
    let mut codes = Vec::with_capacity(count * dim);
    let mut scales = Vec::with_capacity(count);
    for _ in 0..count {
        let centre = (random() % many) as usize;
        codes.extend((0..dim).map(|d| (centres[centre * dim + d] + random() % 40 - 20) as i8));
        scales.push(0.5 + (random() % 100) as f32 / 100.0);
    }
    Table { dim, codes, scales }
}

/// What nine tenths of the vectors are no longer than.
fn usual_length(table: &Table) -> f32 {
    let length = |id: u32| {
        let codes = table.codes(id);
        (dot(Simd::PORTABLE, codes, codes) as f32).sqrt() * table.scale(id)
    };
    let mut lengths: Vec<f32> = (0..table.scales.len() as u32).map(length).collect();
    lengths.sort_by(f32::total_cmp);
    lengths[lengths.len() * 9 / 10]
}

fn linked(table: &Table, ids: impl Iterator<Item = u32>) -> Graph {
    let mut graph = Graph::new(Simd::best(), usual_length(table));
    let mut visited = Bitmap::default();
    ids.for_each(|id| graph.link(table, id, stable_hash(&id.to_le_bytes()), &mut visited));
    graph
}

/// Mean share of the exact best `k` that the graph finds, of ids that pass.
fn recall(table: &Table, graph: &Graph, k: usize, passes: impl Fn(u32) -> bool + Copy) -> f64 {
    let count = table.scales.len() as u32;
    let (mut found, mut visited) = (0, Bitmap::default());
    for asked in 0..20u32 {
        let query = table.codes(asked * 31).to_vec();
        let score = |id: u32| dot(Simd::PORTABLE, &query, table.codes(id)) as f32 * table.scale(id);
        let mut exact: Vec<u32> = (0..count).filter(|id| passes(*id)).collect();
        exact.sort_by(|a, b| score(*b).total_cmp(&score(*a)).then(a.cmp(b)));
        let bounds = (2 * k, usize::MAX);
        let near = graph.nearest(table, &query, &[], bounds, &mut visited, passes);
        let near = near.unwrap();
        assert!(
            near.iter().all(|id| passes(*id)),
            "a filter is never broken"
        );
        found += exact[..k].iter().filter(|id| near.contains(id)).count();
    }
    found as f64 / (20 * k) as f64
}

#[test]
fn finds_nearly_all_of_the_best_with_and_without_a_filter() {
    let table = table(3000, 24);
    let graph = linked(&table, 0..3000);
    let all = recall(&table, &graph, 20, |_| true);
    assert!(all > 0.95, "{all}");
    let tenth = recall(&table, &graph, 20, |id| id % 10 == 3);
    assert!(tenth > 0.9, "{tenth}");
}

#[test]
fn a_mean_of_vectors_far_apart_finds_what_is_near_each_of_them() {
    let mut table = around(12, 4800, 32);
    table.scales.fill(1.0);
    let graph = linked(&table, 0..4800);
    let mut visited = Bitmap::default();
    let (mut from_top, mut from_each) = (0, 0);
    for asked in 0..20u32 {
        let seeds = [asked * 3, asked * 3 + 1, asked * 3 + 2];
        let mean = |d: usize| -> i32 {
            let codes = seeds.iter().map(|seed| table.codes(*seed)[d]);
            codes.map(i32::from).sum()
        };
        let query: Vec<i8> = (0..32).map(|d| (mean(d) / 3) as i8).collect();
        let score = |id: u32| dot(Simd::PORTABLE, &query, table.codes(id)) as f32 * table.scale(id);
        let mut exact: Vec<u32> = (0..4800).collect();
        exact.sort_by(|a, b| score(*b).total_cmp(&score(*a)).then(a.cmp(b)));
        let mut found = |starts: &[u32]| {
            let bounds = (100, usize::MAX);
            let near = graph.nearest(&table, &query, starts, bounds, &mut visited, |_| true);
            let near = near.unwrap();
            exact[..50].iter().filter(|id| near.contains(id)).count()
        };
        from_top += found(&[]);
        from_each += found(&seeds);
    }
    assert!(
        from_each > 900 && from_each > from_top + 20,
        "{from_each}, {from_top} of 1000"
    );
}

#[test]
fn what_changed_is_found_where_it_went_once_it_is_linked_anew() {
    let mut table = table(1500, 16);
    let mut graph = linked(&table, 0..1500);
    let mut visited = Bitmap::default();
    for id in (0..1500u32).step_by(3) {
        let from = ((id + 750) % 1500) as usize * 16;
        let codes: Vec<i8> = table.codes[from..][..16].to_vec();
        table.codes[id as usize * 16..][..16].copy_from_slice(&codes);
        graph.link(&table, id, stable_hash(&id.to_le_bytes()), &mut visited);
    }
    let share = recall(&table, &graph, 10, |_| true);
    assert!(share > 0.9, "{share}");
}

#[test]
fn the_same_links_make_the_same_graph_and_a_search_is_bounded() {
    let table = table(1000, 8);
    let (a, b) = (linked(&table, 0..1000), linked(&table, 0..1000));
    assert_eq!((&a.base, &a.upper, a.entry), (&b.base, &b.upper, b.entry));
    let mut visited = Bitmap::default();
    let query = table.codes(5).to_vec();
    assert!(
        a.nearest(&table, &query, &[], (50, 10), &mut visited, |_| true)
            .is_none()
    );
    let few = a.nearest(&table, &query, &[], (50, 2000), &mut visited, |id| id < 3);
    assert!(few.is_some_and(|few| few.len() <= 3));
    let none = Graph::new(Simd::best(), 1.0);
    let none = none.nearest(&table, &query, &[], (5, 5), &mut visited, |_| true);
    assert_eq!(none, Some(Vec::new()));
}

#[test]
fn gaps_between_ids_are_no_nodes() {
    let table = table(500, 8);
    let graph = linked(&table, (0..500).step_by(5));
    let mut visited = Bitmap::default();
    let found = graph.nearest(
        &table,
        table.codes(7),
        &[],
        (200, 5000),
        &mut visited,
        |_| true,
    );
    let found = found.unwrap();
    assert!(found.iter().all(|id| id % 5 == 0) && found.len() > 90);
}
