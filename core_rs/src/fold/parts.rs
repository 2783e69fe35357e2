//! Snapshot, restore and digest of all parts.

use rayon::prelude::*;

use crate::config::FoldConfig;
use crate::error::CoreError;
use crate::fold::state::State;
use crate::ids::Position;
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
}

impl Part {
    /// All parts of a state with these counts.
    pub fn all(partitions: usize, shards: usize) -> Vec<Self> {
        let mut parts = vec![Self::Control, Self::Catalogue, Self::Neighbourhood];
        parts.extend((0..partitions).map(Self::Partition));
        parts.extend((0..shards).map(Self::Shard));
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
        }
    }
}

/// Runs `f` for every part, in parallel when a pool is given; results in part order.
fn each_part<T: Send>(
    state: &State,
    pool: Option<&rayon::ThreadPool>,
    f: impl Fn(Part) -> T + Sync + Send,
) -> Vec<T> {
    let parts = Part::all(state.partitions.len(), state.shards.len());
    match pool {
        Some(pool) => pool.install(|| parts.into_par_iter().map(f).collect()),
        None => parts.into_iter().map(f).collect(),
    }
}

/// Digest of every part by name. The digest of the whole is their wrapping sum.
pub fn digests(state: &State, pool: Option<&rayon::ThreadPool>) -> Vec<(String, u128)> {
    each_part(state, pool, |part| {
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

/// Writes all parts out.
pub fn snapshot(state: &State, pool: Option<&rayon::ThreadPool>) -> RawSnapshot {
    let parts = each_part(state, pool, |part| {
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

/// The state that [`snapshot`] wrote. Every part must be there, sound, of this generation and at the same position.
pub fn restore(
    config: &FoldConfig,
    generation: u128,
    files: &[(String, &[u8])],
) -> Result<State, CoreError> {
    let mut state = State::new(config)?;
    let mut position: Option<Position> = None;
    for part in Part::all(config.partitions, config.shards) {
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
        Part::Control => state.control.read(&mut reader),
        Part::Catalogue => state
            .catalogue
            .read(&mut reader, &mut state.names, &mut state.vectors),
        Part::Neighbourhood => state.hood.read(&mut reader, &mut state.names),
        Part::Partition(p) => state.partitions[p].read(&mut reader, &mut state.names),
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
