//! A user partition as a part of a snapshot: all of it, or what an item host keeps.

use crate::fold::light_user::LightUser;
use crate::fold::partition::{Partition, slot};
use crate::ids::UserIx;
use crate::intern::Interner;
use crate::names::Names;
use crate::sessions::user::UserState;
use crate::snapshot::codec::{PartReader, PartWriter, ReadResult};

const KIND_FRAMES: u8 = 1;
const KIND_USER: u8 = 3;
const KIND_TYPE: u8 = 4;
const KIND_LIGHT_USER: u8 = 7;

impl Partition {
    /// Writes the partition.
    pub fn write(&self, users: &Interner, w: &mut PartWriter<'_>) {
        self.frames.write(KIND_FRAMES, w);
        self.events.write(w);
        for ix in 0..self.types.len() as u32 {
            w.entity(KIND_TYPE, |w| {
                w.uint(u64::from(ix));
                w.text(self.types.name(ix));
            });
        }
        for (ix, user) in self.users.iter().enumerate() {
            let Some(state) = user else { continue };
            w.entity(KIND_USER, |w| {
                w.text(users.name(ix as u32));
                self.rapid.write_user(UserIx(ix as u32), w);
                state.write(w);
            });
        }
        self.identities.write(users, w);
    }

    /// Writes what an item host keeps of the partition: admission, and the segments of users.
    pub fn write_admission(&self, users: &Interner, w: &mut PartWriter<'_>) {
        self.frames.write(KIND_FRAMES, w);
        self.events.write(w);
        for ix in 0..users.len() as u32 {
            let light = self.light.get(ix as usize).and_then(Option::as_ref);
            if light.is_none() && !self.rapid.remembers(UserIx(ix)) {
                continue;
            }
            w.entity(KIND_LIGHT_USER, |w| {
                w.text(users.name(ix));
                self.rapid.write_user(UserIx(ix), w);
                w.byte(u8::from(light.is_some()));
                if let Some(light) = light {
                    light.write(w);
                }
            });
        }
        self.identities.write(users, w);
    }

    /// Reads what [`Partition::write_admission`] wrote into this empty partition.
    pub fn read_admission(&mut self, r: &mut PartReader<'_>, names: &mut Names) -> ReadResult<()> {
        while let Some(kind) = r.next_entity()? {
            match kind {
                KIND_LIGHT_USER => {
                    let user = self.read_own(r, names)?;
                    self.rapid.read_user(user, r)?;
                    if r.byte()? != 0 {
                        let light = LightUser::read(r, &self.segments)?;
                        *slot(&mut self.light, user) = Some(light);
                    }
                }
                KIND_FRAMES => self.frames.read(r)?,
                _ if self.read_identity(kind, r, names)? => {}
                _ if self.events.read(kind, r)? => {}
                _ => return Err(r.broken(format!("unknown entity {kind}"))),
            }
        }
        Ok(())
    }

    /// Reads the name of a user, who must be this partition's.
    fn read_own(&self, r: &mut PartReader<'_>, names: &mut Names) -> ReadResult<UserIx> {
        let name = r.text()?;
        if names.partition_of(name) != self.number {
            return Err(r.broken("a user of another partition"));
        }
        Ok(UserIx(names.users[self.number].intern_str(name)))
    }

    /// Reads what [`Partition::write`] wrote into this empty partition.
    pub fn read(&mut self, r: &mut PartReader<'_>, names: &mut Names) -> ReadResult<()> {
        while let Some(kind) = r.next_entity()? {
            match kind {
                KIND_TYPE => {
                    let (ix, name) = (r.uint32()?, r.text()?);
                    if self.types.intern_str(name) != ix {
                        return Err(r.broken("event types out of order"));
                    }
                }
                KIND_USER => {
                    let user = self.read_own(r, names)?;
                    self.rapid.read_user(user, r)?;
                    let mut state = UserState::read(r)?;
                    state.segment = self.segments.of(&state.labels);
                    *slot(&mut self.users, user) = Some(Box::new(state));
                }
                KIND_FRAMES => self.frames.read(r)?,
                _ if self.read_identity(kind, r, names)? => {}
                _ if self.events.read(kind, r)? => {}
                _ => return Err(r.broken(format!("unknown entity {kind}"))),
            }
        }
        let types = self.types.len();
        let known = |ty: u16| usize::from(ty) < types;
        let known_users = self.users.iter().flatten().map(|user| &**user);
        let touches = known_users.chain(self.identities.sealed()).flat_map(|u| {
            u.recent
                .iter()
                .chain(u.consumed.iter())
                .chain(u.rejected.iter())
        });
        if touches.into_iter().all(|t| known(t.ty)) {
            Ok(())
        } else {
            Err(r.broken("an event type outside its dictionary"))
        }
    }

    fn read_identity(
        &mut self,
        kind: u8,
        r: &mut PartReader<'_>,
        names: &mut Names,
    ) -> ReadResult<bool> {
        let own = self.number;
        self.identities.read(kind, r, &mut |name| {
            let here = names.partition_of(name) == own;
            here.then(|| UserIx(names.users[own].intern_str(name)))
        })
    }
}
