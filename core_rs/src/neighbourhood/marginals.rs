//! Marginals of a relation: draws from and to each item, units that contain it, and the sum of all draws.

use crate::decay::Decay;
use crate::ids::ItemIx;
use crate::search::{prefetch, prefetch_of_many};
use crate::snapshot::codec::{PartReader, PartWriter, ReadResult};

/// Decayed counts of one item in one relation, all in units of the same epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ItemMarginals {
    /// Epoch of the counts.
    pub epoch: u32,
    /// Draws item -> anything.
    pub out: u64,
    /// Draws anything -> item.
    pub into: u64,
    /// Units with the item on the "from" side.
    pub units_from: u64,
    /// Units with the item on the "to" side.
    pub units_to: u64,
}

impl ItemMarginals {
    /// Those of an item never drawn.
    const NONE: Self = Self {
        epoch: 0,
        out: 0,
        into: 0,
        units_from: 0,
        units_to: 0,
    };

    /// Writes the counts in units of a later epoch; whether they were not.
    #[inline]
    fn carry(&mut self, epoch: u32) -> bool {
        let later = epoch > self.epoch;
        if later {
            for count in [
                &mut self.out,
                &mut self.into,
                &mut self.units_from,
                &mut self.units_to,
            ] {
                *count = Decay::carry(*count, self.epoch, epoch);
            }
            self.epoch = epoch;
        }
        later
    }
}

/// An item that an event's item is drawn with, and the weights of the draws partner -> item and item -> partner.
#[derive(Clone, Copy, Debug)]
pub struct Partner {
    /// The other item.
    pub item: ItemIx,
    /// Weight of partner -> item; 0 if it is not drawn.
    pub into: u16,
    /// Weight of item -> partner; 0 if it is not drawn.
    pub out: u16,
}

/// What one event adds to the counts of one relation, beside its partners' draws.
#[derive(Clone, Copy, Debug)]
pub struct MarginalChange {
    /// The event's item.
    pub item: ItemIx,
    /// Which relation.
    pub relation: u8,
    /// How many partners the item was drawn with.
    pub partners: u16,
    /// Epoch of the weights.
    pub epoch: u32,
    /// Weight of the units that the item came into, on the "from" side.
    pub units_from: u32,
    /// The same on the "to" side.
    pub units_to: u32,
}

/// [`ItemMarginals::units_to`] and its epoch in one word: what a question asks of every neighbour of every seed, five times
/// as close together as whole marginals lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitsTo(u64);

impl UnitsTo {
    const EPOCH_BITS: u32 = 20;
    /// Stands where count or epoch need more room.
    const ELSEWHERE: Self = Self(u64::MAX);

    #[inline]
    fn of(item: &ItemMarginals) -> Self {
        let fits = item.epoch < (1 << Self::EPOCH_BITS) - 1
            && item.units_to < 1 << (u64::BITS - Self::EPOCH_BITS);
        match fits {
            true => Self(item.units_to << Self::EPOCH_BITS | u64::from(item.epoch)),
            false => Self::ELSEWHERE,
        }
    }

    /// Count and epoch.
    #[inline(always)]
    fn get(self) -> Option<(u64, u32)> {
        let epoch = self.0 as u32 & ((1 << Self::EPOCH_BITS) - 1);
        (self != Self::ELSEWHERE).then_some((self.0 >> Self::EPOCH_BITS, epoch))
    }
}

/// All items of one relation. 48 bytes an item.
#[derive(Debug, Default)]
pub struct Marginals {
    items: Vec<ItemMarginals>,
    /// Follows from `items`.
    units_to: Vec<UnitsTo>,
    total: u64,
    total_epoch: u32,
}

const KIND_ITEM: u8 = 2;
const KIND_TOTAL: u8 = 3;

impl Marginals {
    /// Makes room for items numbered below `len`.
    pub fn ensure(&mut self, len: usize) {
        if self.items.len() < len {
            self.items.resize(len, ItemMarginals::default());
            self.units_to.resize(len, UnitsTo::default());
        }
    }

    /// Asks for the counts of an item that change soon.
    #[inline]
    pub fn prefetch(&self, item: ItemIx) {
        prefetch(&self.items, item.0 as usize);
    }

    /// Counts an event's draws with its partners, in both directions. `ahead`: partners of later events, whose counts are
    /// asked for.
    pub fn add(&mut self, change: &MarginalChange, partners: &[Partner], ahead: &[Partner]) {
        ahead.iter().for_each(|partner| self.prefetch(partner.item));
        let (mut out, mut into) = (0u64, 0u64);
        for partner in partners {
            let item = &mut self.items[partner.item.0 as usize];
            if item.carry(change.epoch) {
                self.units_to[partner.item.0 as usize] = UnitsTo::of(item);
            }
            item.out = item.out.saturating_add(u64::from(partner.into));
            item.into = item.into.saturating_add(u64::from(partner.out));
            into += u64::from(partner.into);
            out += u64::from(partner.out);
        }
        let item = &mut self.items[change.item.0 as usize];
        item.carry(change.epoch);
        item.out = item.out.saturating_add(out);
        item.into = item.into.saturating_add(into);
        item.units_from = item.units_from.saturating_add(u64::from(change.units_from));
        item.units_to = item.units_to.saturating_add(u64::from(change.units_to));
        self.units_to[change.item.0 as usize] = UnitsTo::of(item);
        self.total =
            Decay::carry(self.total, self.total_epoch, change.epoch).saturating_add(into + out);
        self.total_epoch = self.total_epoch.max(change.epoch);
    }

    /// Counts of an item; zeros for one never drawn.
    pub fn item(&self, item: ItemIx) -> ItemMarginals {
        self.items.get(item.0 as usize).copied().unwrap_or_default()
    }

    /// [`Marginals::item`] where they lie.
    #[inline]
    pub fn item_ref(&self, item: ItemIx) -> &ItemMarginals {
        static NONE: ItemMarginals = ItemMarginals::NONE;
        self.items.get(item.0 as usize).unwrap_or(&NONE)
    }

    /// Asks for [`Marginals::units_to`] of an item that is read soon.
    #[inline(always)]
    pub fn prefetch_units_to(&self, item: ItemIx) {
        prefetch_of_many(&self.units_to, item.0 as usize);
    }

    /// Units with the item on the "to" side, and the epoch that they are counted in.
    #[inline(always)]
    pub fn units_to(&self, item: ItemIx) -> (u64, u32) {
        let at = item.0 as usize;
        let near = self.units_to.get(at).map_or(Some((0, 0)), |own| own.get());
        near.unwrap_or_else(|| {
            let own = self.item_ref(item);
            (own.units_to, own.epoch)
        })
    }

    /// Sum of all draws and the epoch it is written in.
    pub fn total(&self) -> (u64, u32) {
        (self.total, self.total_epoch)
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        self.items.capacity() * size_of::<ItemMarginals>()
            + self.units_to.capacity() * size_of::<UnitsTo>()
    }

    /// Writes every item with a count.
    pub fn write(&self, relation: u8, w: &mut PartWriter<'_>) {
        w.entity(KIND_TOTAL, |w| {
            w.byte(relation);
            w.uint(self.total);
            w.uint(u64::from(self.total_epoch));
        });
        for (ix, item) in self
            .items
            .iter()
            .enumerate()
            .filter(|(_, m)| **m != ItemMarginals::default())
        {
            w.entity(KIND_ITEM, |w| {
                w.byte(relation);
                w.item(ItemIx(ix as u32));
                w.uint(u64::from(item.epoch));
                for count in [item.out, item.into, item.units_from, item.units_to] {
                    w.uint(count);
                }
            });
        }
    }

    /// Reads one entity of kind `kind` into its relation; `false` if the kind is not ours.
    pub fn read(kind: u8, r: &mut PartReader<'_>, all: &mut [Self]) -> ReadResult<bool> {
        if kind != KIND_ITEM && kind != KIND_TOTAL {
            return Ok(false);
        }
        let relation = usize::from(r.byte()?);
        let marginals = all
            .get_mut(relation)
            .ok_or_else(|| r.broken("a relation outside the configuration"))?;
        if kind == KIND_TOTAL {
            marginals.total = r.uint()?;
            marginals.total_epoch = r.uint32()?;
            return Ok(true);
        }
        let item = r.item()?;
        marginals.ensure(item.0 as usize + 1);
        marginals.items[item.0 as usize] = ItemMarginals {
            epoch: r.uint32()?,
            out: r.uint()?,
            into: r.uint()?,
            units_from: r.uint()?,
            units_to: r.uint()?,
        };
        let at = item.0 as usize;
        marginals.units_to[at] = UnitsTo::of(&marginals.items[at]);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_lie_near_as_they_lie_in_the_marginals() {
        let mut marginals = Marginals::default();
        marginals.ensure(6);
        let mut state = 5u64;
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        for step in 0..4000u32 {
            let partners: Vec<Partner> = (0..random(4))
                .map(|_| Partner {
                    item: ItemIx(random(6) as u32),
                    into: random(300) as u16,
                    out: random(300) as u16,
                })
                .collect();
            let change = MarginalChange {
                item: ItemIx(random(6) as u32),
                relation: 0,
                partners: partners.len() as u16,
                // Epochs move on, and at last need more room than there is.
                epoch: step / 40 + if step > 3900 { 1 << 20 } else { 0 },
                units_from: random(9000) as u32,
                units_to: random(9000) as u32,
            };
            marginals.add(&change, &partners, &[]);
            for item in (0..7).map(ItemIx) {
                let own = marginals.item(item);
                assert_eq!(marginals.units_to(item), (own.units_to, own.epoch));
            }
        }
        let huge = ItemMarginals {
            units_to: 1 << 44,
            ..ItemMarginals::NONE
        };
        assert_eq!(UnitsTo::of(&huge).get(), None);
    }
}
