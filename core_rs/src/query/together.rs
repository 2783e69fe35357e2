//! Vector neighbours of many visitors by one scan: what costs most of a scan is reading the vectors.
//!
//! Visitors who ask the same differ in a few items that they may not see. So what any of them may see is scanned for all of
//! them at once, for as many more items as one of them may lack; each then keeps those that it may see. That is exactly
//! what a scan of its own finds: both order all items alike.

use crate::bitmap::Bitmap;
use crate::error::CoreError;
use crate::ids::ItemIx;
use crate::items::vectors::ItemVectors;
use crate::query::vectors::{reach, scan};

/// A visitor who may not see so many more items than the others asks alone.
const MOST_LACKING: usize = 512;

/// One visitor's question.
pub struct Asked {
    /// The visitor's vector.
    pub query: Vec<f32>,
    /// What may be found.
    pub filter: Bitmap,
    /// How many are wanted.
    pub limit: usize,
}

/// Items by falling score.
pub type Scanned = Vec<(ItemIx, f64)>;

/// What [`crate::query::vectors::found`] finds for each, equal scores by `ranks`; `None` for those who had better ask alone.
pub fn found_together(
    vectors: &ItemVectors,
    ranks: &[u64],
    asked: &[Asked],
) -> Result<Vec<Option<Scanned>>, CoreError> {
    let mut union = Bitmap::default();
    union.reset(asked.iter().map(|own| own.filter.len()).max().unwrap_or(0));
    asked.iter().for_each(|own| union.or(&own.filter));
    let all = union.count();
    let lacking: Vec<usize> = asked.iter().map(|own| all - own.filter.count()).collect();
    let joins = |at: &usize| lacking[*at] <= MOST_LACKING;
    let joined: Vec<usize> = (0..asked.len()).filter(joins).collect();
    let mut found: Vec<Option<Scanned>> = asked.iter().map(|_| None).collect();
    if joined.len() < 2 {
        return Ok(found);
    }
    let mut queries = Vec::with_capacity(joined.len() * vectors.dim);
    let mut k = 0;
    for at in &joined {
        let wanted = reach(asked[*at].limit);
        queries.extend_from_slice(&asked[*at].query);
        k = k.max(wanted + lacking[*at]);
        found[*at] = Some(Vec::with_capacity(wanted));
    }
    scan(vectors, ranks, &queries, &union, k, |q, item, score| {
        let own = &asked[joined[q]];
        if let Some(found) = &mut found[joined[q]]
            && found.len() < reach(own.limit)
            && own.filter.get(item.0 as usize)
        {
            found.push((item, score));
        }
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedding::Embedding;
    use crate::items::vectors::Vectors;

    const ITEMS: usize = 3000;
    const DIM: usize = 6;

    fn alone(vectors: &ItemVectors, ranks: &[u64], own: &Asked) -> Scanned {
        let mut found = Vec::new();
        let k = reach(own.limit);
        scan(
            vectors,
            ranks,
            &own.query,
            &own.filter,
            k,
            |_, item, score| {
                found.push((item, score));
            },
        )
        .unwrap();
        found
    }

    #[test]
    fn everyone_finds_what_a_scan_of_their_own_finds() {
        let mut state = 11u64;
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        let mut all = Vectors::default();
        for item in 0..ITEMS as u32 {
            // Few different vectors: equal scores are the rule.
            let codes = (0..DIM).map(|_| random(4) as i8 - 1).collect();
            all.update(
                ItemIx(item),
                &[("e".into(), Embedding { scale: 1.0, codes })],
            );
        }
        let vectors = all.get("e").unwrap();
        let ranks: Vec<u64> = (0..ITEMS as u64)
            .map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .collect();
        let mut common = Bitmap::ones(ITEMS);
        (0..ITEMS)
            .filter(|_| random(3) == 0)
            .for_each(|item| common.clear(item));
        let asked: Vec<Asked> = (0..21)
            .map(|at| {
                let mut filter = common.clone();
                // The last sees far less than the others.
                let hidden = if at == 20 { ITEMS as u64 } else { random(200) };
                (0..hidden).for_each(|_| filter.clear(random(ITEMS as u64) as usize));
                let query = (0..DIM).map(|_| random(9) as f32 - 3.0).collect();
                let limit = if at % 2 == 0 { 50 } else { 7 };
                Asked {
                    query,
                    filter,
                    limit,
                }
            })
            .collect();
        let found = found_together(vectors, &ranks, &asked).unwrap();
        assert_eq!(found[20], None);
        for (own, found) in asked.iter().zip(&found).take(20) {
            assert_eq!(found.as_ref(), Some(&alone(vectors, &ranks, own)));
        }
        assert_eq!(
            found_together(vectors, &ranks, &asked[..1]).unwrap(),
            [None]
        );
    }
}
