//! A question allocates by list and by slot, never by candidate: asked with eight times the candidates, it allocates
//! hardly more often. Counted by the allocator itself.

use headwater_bench::shop;
use headwater_core::filter::FilterCache;
use headwater_core::fold::state::State;
use headwater_core::query::plan::Tools;
use headwater_core::query::recommend::recommend;
use headwater_core::query::request::RecommendRequest;
use headwater_core::scenario::QueryConfig;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

const SLOTS: usize = 20;

/// The system's allocator, counting what each thread asks of it.
struct Counting;

thread_local! {
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends may free after its counter is gone.
    let _ = ASKED.try_with(|asked| asked.set(asked.get() + 1));
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Candidates that were fused, and allocations that the question made.
fn ask(state: &State, query: &QueryConfig, filters: &FilterCache, user: &str) -> (usize, usize) {
    let tools = Tools {
        query,
        filters,
        graphs: None,
        leading: None,
        helped: false,
    };
    let request = RecommendRequest {
        user: Some(user.to_string()),
        n: SLOTS,
        now: 1_700_100_000_000,
        diversity: Some(0.3),
        exploration: Some(0.1),
        filter: Some("'sale' not in categories".to_string()),
        key: "1-1".to_string(),
        brief: true,
        ..RecommendRequest::default()
    };
    let before = ASKED.get();
    let answer = recommend(state, &tools, &request).unwrap();
    let asked = ASKED.get() - before;
    assert_eq!(answer.items.len(), SLOTS);
    (answer.exploring.2, asked)
}

fn with_pool(pool: usize) -> QueryConfig {
    let mut query = shop::query_config().unwrap();
    for scenario in query.named.values_mut().chain([&mut query.base]) {
        (scenario.pool, scenario.slate_pool) = (pool, pool);
    }
    query
}

#[test]
fn eight_times_the_candidates_allocate_hardly_more_often() {
    let config = shop::fold_config().unwrap();
    let state = shop::fold(&config, &shop::frames(40_000, 4_000, config.partitions)).unwrap();
    let filters = FilterCache::default();
    let (few, many) = (with_pool(60), with_pool(480));
    let users: Vec<String> = (0..40).map(|user| format!("u{user}")).collect();
    let mut most = 0;
    for user in &users {
        // The first question of each kind grows what the thread keeps.
        ask(&state, &few, &filters, user);
        ask(&state, &many, &filters, user);
        let (candidates, allocations) = ask(&state, &few, &filters, user);
        let (candidates_of_many, allocations_of_many) = ask(&state, &many, &filters, user);
        let more = candidates_of_many.saturating_sub(candidates);
        let added = allocations_of_many.saturating_sub(allocations);
        most = most.max(more);
        // A slot's item may be named by more of the larger lists, and lists grow by doubling.
        assert!(
            added <= 4 * SLOTS,
            "{user}: {more} more candidates, {added} more allocations ({allocations} before)"
        );
    }
    assert!(most > 300, "the larger pool must be larger: {most}");
}
