//! The neighbourhood: what is remembered of the whole log so that an item's neighbours can be found and scored.
//!
//! * [`user`]: each user's current units, session items and recent votes; turns an event into pair draws.
//! * [`join`]: what the windows of two users make who turn out to be one.
//! * [`marginals`]: how often each item was drawn from, drawn to, and in how many units it stood, per relation.
//! * [`counts`]: marginals and rows of one relation by themselves, fed whole units.
//! * [`sessions`]: the recent-session index behind session kNN; [`postings`]: the sessions of each item; [`sealed`]: an index
//!   by itself, fed whole sessions.
//!
//! It is the same on every item host, so a query needs one scatter. Shards hold the rows (see `cooccurrence`).

pub mod counts;
pub mod join;
pub mod marginals;
pub mod postings;
pub mod sealed;
pub mod sessions;
pub mod user;

use crate::config::{FoldConfig, Unit};
use crate::decay::Decay;
use crate::ids::DAY_MS;
use crate::ids::UserIx;
use crate::names::Names;
use crate::neighbourhood::marginals::Marginals;
use crate::neighbourhood::sessions::SessionIndex;
use crate::neighbourhood::user::HoodUser;
use crate::snapshot::codec::{PartReader, PartWriter, ReadResult};

/// A relation as the fold uses it.
#[derive(Clone, Debug)]
pub struct Relation {
    /// Name in configuration and queries.
    pub name: String,
    /// What bounds "together".
    pub unit: Unit,
    /// How many of the unit's latest distinct items a new one is paired with.
    pub window: usize,
    /// Distinct items after which the unit is closed.
    pub unit_cap: usize,
    /// Longest gap inside a user unit.
    pub gap_ms: i64,
    /// Decay of draws and units.
    pub decay: Decay,
}

impl Relation {
    /// The relations of a configuration.
    pub fn all(config: &FoldConfig) -> Vec<Self> {
        let make = |r: &crate::config::RelationConfig| Self {
            name: r.name.clone(),
            unit: r.unit,
            window: r.window,
            unit_cap: r.unit_cap,
            gap_ms: (r.within_days * DAY_MS) as i64,
            decay: Decay::new(r.half_life_days * DAY_MS),
        };
        config.relations.iter().map(make).collect()
    }
}

/// State of the neighbourhood.
#[derive(Debug)]
pub struct Neighbourhood {
    /// By partition and user number.
    pub users: Vec<Vec<Option<Box<HoodUser>>>>,
    /// Per relation.
    pub marginals: Vec<Marginals>,
    /// Recent sessions.
    pub sessions: SessionIndex,
}

const KIND_USER: u8 = 1;

impl Neighbourhood {
    /// Empty state for this configuration.
    pub fn new(config: &FoldConfig) -> Self {
        Self {
            users: (0..config.partitions).map(|_| Vec::new()).collect(),
            marginals: config
                .relations
                .iter()
                .map(|_| Marginals::default())
                .collect(),
            sessions: SessionIndex::new(&config.session_knn, config.partitions),
        }
    }

    /// Makes room for items numbered below `len`.
    pub fn ensure(&mut self, len: usize) {
        self.marginals.iter_mut().for_each(|m| m.ensure(len));
        self.sessions.ensure(len);
    }

    /// State of one user.
    pub fn user(&self, partition: usize, user: UserIx) -> Option<&HoodUser> {
        self.users[partition].get(user.0 as usize)?.as_deref()
    }

    /// The windows of the user `from` join those of `into`; both by partition and number. Nothing is counted.
    pub fn join(
        &mut self,
        from: (usize, UserIx),
        into: (usize, UserIx),
        relations: &[Relation],
        gap_ms: i64,
        max_items: usize,
    ) {
        let known = self.users[from.0].get_mut(from.1.0 as usize);
        let Some(other) = known.and_then(Option::take) else {
            return;
        };
        let users = &mut self.users[into.0];
        let ix = into.1.0 as usize;
        if users.len() <= ix {
            users.resize_with(ix + 1, || None);
        }
        let own = users[ix].get_or_insert_with(|| Box::new(HoodUser::new(relations.len())));
        let joined = own.join(*other, relations, gap_ms, max_items);
        let items: Vec<u32> = own.session_items().map(|item| item.0).collect();
        self.sessions.join(from, into, joined, &items);
    }

    /// Writes everything.
    pub fn write(&self, w: &mut PartWriter<'_>) {
        let names = w.names();
        for (partition, users) in self.users.iter().enumerate() {
            for (ix, user) in users.iter().enumerate() {
                let Some(user) = user else { continue };
                w.entity(KIND_USER, |w| {
                    w.text(names.users[partition].name(ix as u32));
                    user.write(w);
                });
            }
        }
        for (relation, marginals) in self.marginals.iter().enumerate() {
            marginals.write(relation as u8, w);
        }
        self.sessions.write(w);
    }

    /// Reads what [`Neighbourhood::write`] wrote into this empty state.
    pub fn read(&mut self, r: &mut PartReader<'_>, names: &mut Names) -> ReadResult<()> {
        while let Some(kind) = r.next_entity()? {
            if kind == KIND_USER {
                let name = r.text()?;
                let partition = names.partition_of(name);
                let ix = names.users[partition].intern_str(name) as usize;
                let users = &mut self.users[partition];
                if users.len() <= ix {
                    users.resize_with(ix + 1, || None);
                }
                users[ix] = Some(Box::new(HoodUser::read(r, self.marginals.len())?));
            } else if !Marginals::read(kind, r, &mut self.marginals)?
                && !self.sessions.read(kind, r, names)?
            {
                return Err(r.broken(format!("unknown entity {kind}")));
            }
        }
        Ok(())
    }

    /// Bytes held by users, by marginals and by the session index.
    pub fn memory(&self) -> (usize, usize, usize) {
        let users: usize = self.users.iter().map(|p| p.capacity() * 8).sum::<usize>()
            + self
                .users
                .iter()
                .flatten()
                .flatten()
                .map(|u| u.memory())
                .sum::<usize>();
        (
            users,
            self.marginals.iter().map(Marginals::memory).sum(),
            self.sessions.memory(),
        )
    }
}
