//! Snapshot, restore and digest of all parts.

use rayon::prelude::*;

use crate::config::FoldConfig;
use crate::error::CoreError;
use crate::fold::ownership::Ownership;
use crate::fold::state::State;
use crate::ids::{ItemIx, Position};
use crate::snapshot::codec::{PartReader, PartWriter, ReadResult};
use crate::snapshot::file;

/// One part of the state: a unit of ownership, snapshot and rebuild.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Query configuration, running time, outcomes.
    Control,
    /// Item metadata.
    Catalogue,
    /// What a query needs of the whole log.
    Neighbourhood,
    /// One user partition.
    Partition(usize),
    /// One item shard.
    Shard(usize),
    /// What a session host has of control.
    Activation,
    /// The ids of all items that were ever heard of, also of those that nothing was counted of: which they are decides what
    /// may fill in, and what a list or a session is made of.
    Items,
    /// What an item host has of one user partition.
    Admission(usize),
}

impl Part {
    /// The parts of the digest that a state with these counts of partitions and shards has: parts that every process which
    /// has them has alike.
    pub fn digested(ownership: &Ownership, counts: (usize, usize)) -> Vec<Self> {
        let mut parts = match ownership {
            Ownership::Session(_) => vec![Self::Catalogue],
            _ => vec![Self::Control, Self::Catalogue, Self::Neighbourhood],
        };
        if ownership.keeps_users() {
            let own = (0..counts.0).filter(|p| ownership.reads_partition(*p));
            parts.extend(own.map(Self::Partition));
        }
        let own = (0..counts.1).filter(|s| ownership.keeps_shard(*s));
        parts.extend(own.map(Self::Shard));
        parts
    }

    /// The parts of a snapshot: those of the digest, and what a host needs beside them to go on.
    pub fn stored(ownership: &Ownership, counts: (usize, usize)) -> Vec<Self> {
        let mut parts = Self::digested(ownership, counts);
        match ownership {
            Ownership::Whole => parts.push(Self::Items),
            Ownership::Session(_) => parts.push(Self::Activation),
            Ownership::Item(_) => {
                parts.push(Self::Items);
                parts.extend((0..counts.0).map(Self::Admission));
            }
        }
        parts
    }

    /// Name in files and digests.
    pub fn name(self) -> String {
        match self {
            Self::Control => "control".to_string(),
            Self::Catalogue => "catalogue".to_string(),
            Self::Neighbourhood => "neighbourhood".to_string(),
            Self::Partition(p) => format!("partition-{p:02}"),
            Self::Shard(s) => format!("shard-{s}"),
            Self::Activation => "activation".to_string(),
            Self::Items => "items".to_string(),
            Self::Admission(p) => format!("admission-{p:02}"),
        }
    }

    fn write(self, state: &State, w: &mut PartWriter<'_>) {
        match self {
            Self::Control => state.control.write(w),
            Self::Catalogue => {
                state.vectors.write(w);
                state.catalogue.write(w);
            }
            Self::Neighbourhood => state.hood.write(w),
            Self::Partition(p) => state.partitions[p].write(&state.names.users[p], w),
            Self::Shard(s) => state.shards[s].write(w),
            Self::Activation => state.control.write_activation(w),
            Self::Items => w.entity(KIND_ITEMS, |w| {
                w.uint(state.names.items.len() as u64);
                (0..state.names.items.len() as u32).for_each(|ix| w.item(ItemIx(ix)));
            }),
            Self::Admission(p) => state.partitions[p].write_admission(&state.names.users[p], w),
        }
    }
}

const KIND_ITEMS: u8 = 1;

fn counts_of(state: &State) -> (usize, usize) {
    (state.partitions.len(), state.shards.len())
}

/// Runs `f` for every part, in parallel when a pool is given; results in part order.
fn each_part<T: Send>(
    parts: Vec<Part>,
    pool: Option<&rayon::ThreadPool>,
    f: impl Fn(Part) -> T + Sync + Send,
) -> Vec<T> {
    match pool {
        Some(pool) => pool.install(|| parts.into_par_iter().map(f).collect()),
        None => parts.into_iter().map(f).collect(),
    }
}

/// Digest of every part that is kept, by name. The digest of the whole is the wrapping sum of all parts, each once.
pub fn digests(state: &State, pool: Option<&rayon::ThreadPool>) -> Vec<(String, u128)> {
    let parts = Part::digested(&state.ownership, counts_of(state));
    each_part(parts, pool, |part| {
        let mut writer = PartWriter::digest(&state.names);
        part.write(state, &mut writer);
        (part.name(), writer.finish_digest())
    })
}

/// All parts written out by name at the state's position, not packed yet: what must happen while nothing folds.
pub struct RawSnapshot {
    /// Where the state stood.
    pub position: Position,
    parts: Vec<(String, Vec<u8>)>,
}

/// Writes all parts out that are kept.
pub fn snapshot(state: &State, pool: Option<&rayon::ThreadPool>) -> RawSnapshot {
    let parts = Part::stored(&state.ownership, counts_of(state));
    let parts = each_part(parts, pool, |part| {
        let mut writer = PartWriter::snapshot(&state.names);
        part.write(state, &mut writer);
        (part.name(), writer.finish_snapshot())
    });
    RawSnapshot {
        position: state.position,
        parts,
    }
}

impl RawSnapshot {
    /// Packs all parts into files.
    pub fn seal(
        self,
        generation: u128,
        pool: Option<&rayon::ThreadPool>,
    ) -> Result<Vec<(String, Vec<u8>)>, CoreError> {
        let position = self.position;
        let seal = |(name, raw): (String, Vec<u8>)| {
            let file = file::seal(&name, generation, position, &raw)?;
            Ok((name, file))
        };
        match pool {
            Some(pool) => pool.install(|| self.parts.into_par_iter().map(seal).collect()),
            None => self.parts.into_iter().map(seal).collect(),
        }
    }
}

/// The whole state that [`snapshot`] wrote. Every part must be there, sound, of this generation and at the same position.
pub fn restore(
    config: &FoldConfig,
    generation: u128,
    files: &[(String, &[u8])],
) -> Result<State, CoreError> {
    restore_owned(config, generation, Ownership::Whole, files)
}

/// [`restore`] of one host. Files of parts that are another's are passed over.
pub fn restore_owned(
    config: &FoldConfig,
    generation: u128,
    ownership: Ownership,
    files: &[(String, &[u8])],
) -> Result<State, CoreError> {
    let mut state = State::owned(config, ownership)?;
    let mut position: Option<Position> = None;
    for part in Part::stored(&state.ownership, counts_of(&state)) {
        let name = part.name();
        let broken = |reason: String| CoreError::Snapshot {
            part: name.clone(),
            reason,
        };
        let Some((_, file)) = files.iter().find(|(found, _)| *found == name) else {
            return Err(broken("is missing".to_string()));
        };
        let (at, raw) = file::open(&name, generation, file)?;
        if *position.get_or_insert(at) != at {
            return Err(broken(format!(
                "stands at position {}, another part at {}",
                at.0,
                position.unwrap_or(at).0
            )));
        }
        read_part(part, &name, &raw, &mut state)?;
    }
    state.position = position.unwrap_or_default();
    state.derive()?;
    Ok(state)
}

fn read_part(part: Part, name: &str, raw: &[u8], state: &mut State) -> ReadResult<()> {
    let mut reader = PartReader::new(name, raw, &mut state.names)?;
    state.settle_items();
    match part {
        Part::Control | Part::Activation => state.control.read(&mut reader),
        Part::Catalogue => state
            .catalogue
            .read(&mut reader, &mut state.names, &mut state.vectors),
        Part::Neighbourhood => state.hood.read(&mut reader, &mut state.names),
        Part::Partition(p) => state.partitions[p].read(&mut reader, &mut state.names),
        Part::Admission(p) => state.partitions[p].read_admission(&mut reader, &mut state.names),
        Part::Items => {
            // The part's dictionary has numbered them.
            while let Some(kind) = reader.next_entity()? {
                if kind != KIND_ITEMS {
                    return Err(reader.broken(format!("unknown entity {kind}")));
                }
                for _ in 0..reader.len(1)? {
                    reader.item()?;
                }
            }
            Ok(())
        }
        Part::Shard(s) => {
            let owners = state.owners().to_vec();
            while let Some(kind) = reader.next_entity()? {
                state.shards[s].read(kind, &mut reader, &|item| match owners[item.0 as usize] {
                    (owner, local) if usize::from(owner) == s => Ok(local),
                    _ => Err(CoreError::Snapshot {
                        part: name.to_string(),
                        reason: "an item of another shard".to_string(),
                    }),
                })?;
            }
            Ok(())
        }
    }
}
