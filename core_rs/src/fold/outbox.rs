//! What a partition's frames ask of the other parts, by who applies it and with the end of each frame's share, so that
//! all partitions' effects can be applied in log order.

use crate::cooccurrence::draws::Draw;
use crate::fold::ownership::Ownership;
use crate::fold::report::Report;
use crate::ids::{ItemIx, UserIx};
use crate::items::votes::Vote;
use crate::neighbourhood::marginals::{MarginalChange, Partner};
use crate::neighbourhood::user::SessionTouch;

/// How many partners ahead the counts of an item are asked for.
const PARTNERS_AHEAD: usize = 24;

/// The effects of one partition's frames in one segment.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Number of shards, and of relations.
    counts: (usize, usize),
    /// By shard of the target, then by relation.
    draws: Vec<Vec<Draw>>,
    /// By shard.
    votes: Vec<Vec<Vote>>,
    /// Served items by shard, as numbers there: sums, so without regard to frames.
    served: Vec<Vec<u32>>,
    changes: Vec<MarginalChange>,
    /// Partners of all changes, one after the other.
    partners: Vec<Partner>,
    touches: Vec<(UserIx, SessionTouch)>,
    /// Users whose windows join those of a user of this partition.
    joins: Vec<(Box<str>, UserIx)>,
    /// Per frame: the ends of all lists, in the order of [`Outbox::end_frame`].
    ends: Vec<u32>,
    /// Which shards take their effects; those of others are dropped.
    takes: Vec<bool>,
    /// What happened to the events.
    pub report: Report,
}

impl Outbox {
    /// A box for the shards that `ownership` keeps.
    pub fn new(ownership: &Ownership, shards: usize) -> Self {
        Self {
            takes: (0..shards).map(|s| ownership.keeps_shard(s)).collect(),
            ..Self::default()
        }
    }

    /// Empties the box, keeping its memory.
    pub fn clear(&mut self, relations: usize) {
        let shards = self.takes.len();
        self.counts = (shards, relations);
        self.draws.resize_with(shards * relations, Vec::new);
        self.votes.resize_with(shards, Vec::new);
        self.served.resize_with(shards, Vec::new);
        self.served.iter_mut().for_each(Vec::clear);
        self.draws.iter_mut().for_each(Vec::clear);
        self.votes.iter_mut().for_each(Vec::clear);
        self.changes.clear();
        self.partners.clear();
        self.touches.clear();
        self.joins.clear();
        self.ends.clear();
    }

    /// Closes the share of a frame.
    pub fn end_frame(&mut self) {
        self.ends.extend(self.draws.iter().map(|d| d.len() as u32));
        self.ends.extend(self.votes.iter().map(|v| v.len() as u32));
        let lists = [self.changes.len(), self.partners.len(), self.touches.len()];
        self.ends.extend(lists.map(|len| len as u32));
    }

    fn range(&self, frame: usize, list: usize) -> std::ops::Range<usize> {
        let (shards, relations) = self.counts;
        let stride = shards * relations + shards + 3;
        let start = if frame == 0 {
            0
        } else {
            self.ends[(frame - 1) * stride + list]
        };
        start as usize..self.ends[frame * stride + list] as usize
    }

    /// Draws of one frame in one relation whose targets a shard owns.
    pub fn draws_of(&self, frame: usize, shard: usize, relation: usize) -> &[Draw] {
        let list = shard * self.counts.1 + relation;
        &self.draws[list][self.range(frame, list)]
    }

    /// Votes of one frame on items that a shard owns.
    pub fn votes_of(&self, frame: usize, shard: usize) -> &[Vote] {
        let (shards, relations) = self.counts;
        &self.votes[shard][self.range(frame, shards * relations + shard)]
    }

    /// Items that a shard owns and that all frames served, as numbers there.
    pub fn served_of(&self, shard: usize) -> &[u32] {
        &self.served[shard]
    }

    /// Changes of marginals by one frame, each with its partners, and with as many that come [`PARTNERS_AHEAD`] later.
    pub fn changes_of(
        &self,
        frame: usize,
    ) -> impl Iterator<Item = (&MarginalChange, &[Partner], &[Partner])> {
        let (shards, relations) = self.counts;
        let list = shards * relations + shards;
        let partners = &self.partners[self.range(frame, list + 1)];
        let mut start = 0;
        self.changed_of(frame).iter().map(move |change| {
            let end = start + usize::from(change.partners);
            let ahead = (start + PARTNERS_AHEAD).min(partners.len())
                ..(end + PARTNERS_AHEAD).min(partners.len());
            let own = &partners[start..end];
            start = end;
            (change, own, &partners[ahead])
        })
    }

    /// [`Outbox::changes_of`] without the partners.
    pub fn changed_of(&self, frame: usize) -> &[MarginalChange] {
        let (shards, relations) = self.counts;
        &self.changes[self.range(frame, shards * relations + shards)]
    }

    /// Changes of the session index by one frame.
    pub fn touches_of(&self, frame: usize) -> &[(UserIx, SessionTouch)] {
        let (shards, relations) = self.counts;
        &self.touches[self.range(frame, shards * relations + shards + 2)]
    }

    /// Where an event of the frame at hand puts its effects. `owners`: shard of each item, and its number there.
    pub fn effects<'a>(&'a mut self, owners: &'a [(u16, u32)]) -> Effects<'a> {
        Effects { owners, out: self }
    }

    /// Items were served. `owners`: shard of each item, and its number there.
    pub fn serve(&mut self, items: &[ItemIx], owners: &[(u16, u32)]) {
        for item in items {
            let (shard, local) = owners[item.0 as usize];
            let shard = usize::from(shard);
            if self.takes[shard] {
                self.served[shard].push(local);
            }
        }
    }

    /// The windows of another user join those of a user of this partition. Only the last frame of a segment does that.
    pub fn join(&mut self, from: &str, into: UserIx) {
        self.joins.push((from.into(), into));
    }

    /// What [`Outbox::join`] noted.
    pub fn take_joins(&mut self) -> Vec<(Box<str>, UserIx)> {
        std::mem::take(&mut self.joins)
    }

    /// A forgotten user's sessions leave the index.
    pub fn forget(&mut self, user: UserIx) {
        self.touches.push((user, SessionTouch::Forget));
    }
}

/// An outbox that knows who owns which item.
pub struct Effects<'a> {
    owners: &'a [(u16, u32)],
    out: &'a mut Outbox,
}

impl Effects<'_> {
    fn shard(&self, item: ItemIx) -> usize {
        usize::from(self.owners[item.0 as usize].0)
    }

    /// Draws an item with all its partners, in both directions, and changes the marginals: of the partners by their
    /// draws, of the item by the sum of them and by its `units` on the "from" and the "to" side. At most 65,535 partners.
    pub fn pair(
        &mut self,
        relation: usize,
        item: ItemIx,
        epoch: u32,
        units: (u32, u32),
        partners: impl Iterator<Item = Partner>,
    ) {
        let (relations, own) = (self.out.counts.1, self.shard(item));
        let out = &mut *self.out;
        let first = out.partners.len();
        out.partners.extend(partners);
        let partners = &out.partners[first..];
        if out.takes[own] {
            let list = &mut out.draws[own * relations + relation];
            let before = list.len();
            list.extend(partners.iter().map(|partner| Draw {
                seed: partner.item,
                target: item,
                weight: partner.into,
                epoch,
            }));
            if partners.iter().any(|partner| partner.into == 0) {
                let mut kept = before;
                for at in before..list.len() {
                    list[kept] = list[at];
                    kept += usize::from(list[kept].weight > 0);
                }
                list.truncate(kept);
            }
        }
        for partner in partners.iter().filter(|p| p.out > 0) {
            let shard = usize::from(self.owners[partner.item.0 as usize].0);
            if out.takes[shard] {
                out.draws[shard * relations + relation].push(Draw {
                    seed: item,
                    target: partner.item,
                    weight: partner.out,
                    epoch,
                });
            }
        }
        let count = partners.len();
        self.change(relation, item, epoch, units, count);
    }

    /// [`Effects::pair`] for what is most frequent: the item came into one unit on both sides, and all draws weigh the
    /// same, which is not nothing. `partners`: in reverse order.
    pub fn pair_evenly(
        &mut self,
        relation: usize,
        item: ItemIx,
        epoch: u32,
        weight: u16,
        partners: &[u32],
    ) {
        let (relations, own) = (self.out.counts.1, self.shard(item));
        let out = &mut *self.out;
        let latest_first = partners.iter().rev().map(|partner| ItemIx(*partner));
        out.partners
            .extend(latest_first.clone().map(|item| Partner {
                item,
                into: weight,
                out: weight,
            }));
        let draw = |seed, target| Draw {
            seed,
            target,
            epoch,
            weight,
        };
        if out.takes[own] {
            let list = &mut out.draws[own * relations + relation];
            list.extend(latest_first.clone().map(|partner| draw(partner, item)));
        }
        for partner in latest_first {
            let shard = usize::from(self.owners[partner.0 as usize].0);
            if out.takes[shard] {
                out.draws[shard * relations + relation].push(draw(item, partner));
            }
        }
        let units = (u32::from(weight), u32::from(weight));
        self.change(relation, item, epoch, units, partners.len());
    }

    fn change(
        &mut self,
        relation: usize,
        item: ItemIx,
        epoch: u32,
        units: (u32, u32),
        partners: usize,
    ) {
        self.out.changes.push(MarginalChange {
            item,
            relation: relation as u8,
            partners: partners as u16,
            epoch,
            units_from: units.0,
            units_to: units.1,
        });
    }

    /// Votes for an item.
    pub fn vote(&mut self, vote: Vote) {
        let shard = self.shard(vote.item);
        if self.out.takes[shard] {
            self.out.votes[shard].push(vote);
        }
    }

    /// Changes the session index.
    pub fn touch(&mut self, user: UserIx, touch: SessionTouch) {
        self.out.touches.push((user, touch));
    }
}
