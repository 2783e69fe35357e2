//! Many questions at one state, each answered by one thread.

use std::ops::Range;

use rayon::prelude::*;

use crate::error::CoreError;
use crate::query::plan::Tools;

/// Fewer questions than so many are not worth another thread.
const AT_ONCE: usize = 8;

/// What `answer` says of questions 0 to `count`, in their order, on the threads of `pool`. Errors: that of the first
/// question that has one.
pub fn each<A: Send>(
    count: usize,
    tools: &Tools<'_>,
    pool: Option<&rayon::ThreadPool>,
    answer: impl Fn(&Tools<'_>, usize) -> Result<A, CoreError> + Sync,
) -> Result<Vec<A>, CoreError> {
    let part = |tools: &Tools<'_>, part: Range<usize>| -> Vec<_> {
        part.map(|question| answer(tools, question)).collect()
    };
    parts(count, AT_ONCE, tools, pool, part)
}

/// [`each`], where one thread answers up to `size` neighbouring questions at once.
pub fn parts<A: Send>(
    count: usize,
    size: usize,
    tools: &Tools<'_>,
    pool: Option<&rayon::ThreadPool>,
    answer: impl Fn(&Tools<'_>, Range<usize>) -> Vec<Result<A, CoreError>> + Sync,
) -> Result<Vec<A>, CoreError> {
    // One question a thread: none of them needs a second one. Records of many slates hold no candidates, so all of them
    // must be what a scan finds.
    let tools = &Tools {
        graphs: None,
        helped: false,
        ..*tools
    };
    let part = |part: usize| {
        let first = part * size;
        answer(tools, first..(first + size).min(count))
    };
    let parts = count.div_ceil(size);
    let Some(pool) = pool.filter(|_| count > AT_ONCE) else {
        return (0..parts).flat_map(part).collect();
    };
    // All of them are answered first: which error threads come upon first is chance.
    let all = (0..parts).into_par_iter();
    let answers: Vec<Vec<Result<A, CoreError>>> = pool.install(|| all.map(part).collect());
    answers.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::FilterCache;
    use crate::scenario::QueryConfig;

    #[test]
    fn answers_and_the_first_error_come_in_order_on_any_number_of_threads() {
        let (query, filters) = (QueryConfig::default(), FilterCache::default());
        let threads = rayon::ThreadPoolBuilder::new().num_threads(3);
        let pool = threads.build().unwrap();
        let tools = Tools {
            query: &query,
            filters: &filters,
            graphs: None,
            leading: None,
            helped: true,
        };
        let refused = |at: usize| CoreError::Config(at.to_string());
        for pool in [None, Some(&pool)] {
            let own = |tools: &Tools<'_>, at| Ok((at, tools.helped));
            let answers = each(200, &tools, pool, own).unwrap();
            assert_eq!(answers, (0..200).map(|at| (at, false)).collect::<Vec<_>>());
            let from = |_: &Tools<'_>, at| if at < 3 { Ok(at) } else { Err(refused(at)) };
            let error = each(200, &tools, pool, from).unwrap_err();
            assert_eq!(error.to_string(), refused(3).to_string());
        }
    }
}
