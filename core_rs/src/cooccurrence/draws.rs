//! Pair draws on their way to the rows of a shard.

use crate::ids::ItemIx;
use crate::search::prefetch;

/// One draw i -> j on its way to the shard that owns j.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Draw {
    /// i.
    pub seed: ItemIx,
    /// j.
    pub target: ItemIx,
    /// Epoch of the relation when the draw was made.
    pub epoch: u32,
    /// Decayed weight in units of `epoch`.
    pub weight: u16,
}

/// Below this many draws they are taken as they come.
const WORTH_GROUPING: usize = 256;
/// Most chains: their heads fit the first-level cache.
const MAX_CHAINS: usize = 4096;
/// The end of a chain.
const END: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    draw: Draw,
    next: u32,
}

/// Draws of many frames in an order that visits each row once: grouped by seed, and of each seed in log order.
///
/// Rows do not know of each other, so only the order inside a row can be seen in the state; grouped, a row is loaded once
/// a segment and not once a draw. Each seed's draws are chained, latest first, so that one pass in reverse leaves them in
/// log order. Seeds of a catalogue larger than [`MAX_CHAINS`] share chains, neighbours in number.
#[derive(Debug, Default)]
pub struct DrawChains {
    /// In reverse log order.
    links: Vec<Link>,
    /// The earliest draw of each chain.
    heads: Vec<u32>,
    /// Whether no two seeds share a chain.
    one_seed: bool,
}

impl DrawChains {
    /// Takes the draws of all `slices` for seeds numbered below `items`, in place of those before. O(draws).
    pub fn fill<'a>(
        &mut self,
        slices: impl DoubleEndedIterator<Item = &'a [Draw]> + Clone,
        items: usize,
    ) {
        let total = slices.clone().map(<[Draw]>::len).sum::<usize>();
        let items = items.max(1).next_power_of_two();
        let chains = match total < WORTH_GROUPING {
            true => 1,
            false => items.min(total.next_power_of_two()).min(MAX_CHAINS),
        };
        let shift = items.ilog2() - chains.ilog2();
        self.one_seed = chains == items;
        self.heads.clear();
        self.heads.resize(chains, END);
        self.links.clear();
        self.links.reserve(total);
        let heads = self.heads.as_mut_slice();
        for slice in slices.rev() {
            for draw in slice.iter().rev() {
                let head = &mut heads[(draw.seed.0 >> shift) as usize & (chains - 1)];
                let next = std::mem::replace(head, self.links.len() as u32);
                self.links.push(Link { draw: *draw, next });
            }
        }
    }

    /// Whether equal seeds are together, because there are enough draws for that to pay.
    pub fn is_grouped(&self) -> bool {
        self.links.len() >= WORTH_GROUPING
    }

    /// The runs of equal seeds, chain after chain.
    pub fn runs(&self) -> Runs<'_> {
        Runs {
            chains: self,
            heads: self.heads.iter().enumerate(),
            rest: END,
        }
    }
}

/// See [`DrawChains::runs`].
pub struct Runs<'a> {
    chains: &'a DrawChains,
    heads: std::iter::Enumerate<std::slice::Iter<'a, u32>>,
    /// Where the chain at hand goes on.
    rest: u32,
}

impl<'a> Iterator for Runs<'a> {
    type Item = Run<'a>;

    #[inline]
    fn next(&mut self) -> Option<Run<'a>> {
        let links = &self.chains.links;
        while self.rest == END {
            let (chain, head) = self.heads.next()?;
            if *head != END && self.chains.one_seed {
                // Nothing of it need be read to know whose draws it has and where it ends.
                prefetch(links, *head as usize);
                let seed = ItemIx(chain as u32);
                return Some(Run {
                    links,
                    at: *head,
                    seed,
                });
            }
            self.rest = *head;
        }
        let seed = links.get(self.rest as usize)?.draw.seed;
        let run = Run {
            links,
            at: self.rest,
            seed,
        };
        let mut walk = run;
        while walk.peek().is_some() {
            walk.step();
        }
        self.rest = walk.at;
        Some(run)
    }
}

/// Draws of one seed, in log order.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    links: &'a [Link],
    at: u32,
    seed: ItemIx,
}

impl<'a> Run<'a> {
    /// Whose draws these are.
    pub fn seed(&self) -> ItemIx {
        self.seed
    }

    /// The next draw.
    #[inline]
    pub fn peek(&self) -> Option<&'a Draw> {
        let link = self.links.get(self.at as usize)?;
        (link.draw.seed == self.seed).then_some(&link.draw)
    }

    /// Whether there are at least so many draws.
    #[inline]
    pub fn has(mut self, draws: usize) -> bool {
        (1..draws).for_each(|_| self.step());
        self.peek().is_some()
    }

    /// Goes on behind the next draw.
    #[inline]
    pub fn step(&mut self) {
        self.at = self
            .links
            .get(self.at as usize)
            .map_or(END, |link| link.next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_together_and_each_in_log_order() {
        for items in [1usize, 3, 1000, 1024, 1025, 5000, 100_000] {
            let mut state = 1u64;
            let draws: Vec<Draw> = (0..2000)
                .map(|i| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    Draw {
                        seed: ItemIx(((state >> 33) as usize % items) as u32),
                        target: ItemIx(i),
                        ..Draw::default()
                    }
                })
                .collect();
            let mut chains = DrawChains::default();
            let mut grouped = |slices: &mut dyn FnMut(&mut DrawChains)| -> Vec<Draw> {
                slices(&mut chains);
                let mut all = Vec::new();
                for mut run in chains.runs() {
                    while let Some(draw) = run.peek() {
                        assert_eq!(draw.seed, run.seed());
                        all.push(*draw);
                        run.step();
                    }
                }
                all
            };
            let sorted = grouped(&mut |chains| chains.fill(draws.chunks(300), items));
            let of = |all: &[Draw], seed| -> Vec<Draw> {
                all.iter().copied().filter(|d| d.seed == seed).collect()
            };
            for seed in draws.iter().map(|d| d.seed).take(200) {
                assert_eq!(of(&sorted, seed), of(&draws, seed));
            }
            assert_eq!(sorted.len(), draws.len());
            let few = grouped(&mut |chains| chains.fill(draws[..100].chunks(7), items));
            assert_eq!(few, draws[..100]);
        }
    }
}
