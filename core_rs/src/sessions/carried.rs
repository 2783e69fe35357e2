//! What moves from one user to another in a merge, as bytes inside an event.
//!
//! The bytes are those of a snapshot part (own dictionary, then one entity) and belong to one `FOLD_VERSION`: a log is
//! only folded by the version that it was made for, and the next generation makes them anew from its own state.

use crate::config::FOLD_VERSION;
use crate::frame::event::MAX_CARRIED;
use crate::ids::Millis;
use crate::intern::Interner;
use crate::names::Names;
use crate::sessions::touches::{Touch, Touches};
use crate::sessions::user::{UserLimits, UserState};
use crate::snapshot::codec::{PartReader, PartWriter, ReadResult};

const KIND: u8 = 1;
const PART: &str = "carried state";
/// Times and windows that arithmetic must stay clear of.
const MAX_TIME: i64 = 1 << 53;

/// One user's state without the user.
#[derive(Clone, Debug, PartialEq)]
pub struct Carried {
    /// Types of events by the numbers that `state` uses.
    pub types: Vec<String>,
    /// Counted events of late, for rapid repeats.
    pub rapid: Vec<(u64, Millis)>,
    /// Everything else.
    pub state: UserState,
}

impl Carried {
    /// The state of a user of a partition with these types, as the partition numbers them.
    pub fn of(state: &UserState, rapid: &[(u64, Millis)], types: &Interner) -> Self {
        let mut carried = Self {
            types: Vec::new(),
            rapid: rapid.to_vec(),
            state: state.clone(),
        };
        let mut used: Vec<u16> = Vec::new();
        carried.each_touch(|touch| {
            let place = used.iter().position(|ty| *ty == touch.ty);
            touch.ty = place.unwrap_or_else(|| {
                used.push(touch.ty);
                used.len() - 1
            }) as u16;
        });
        let names = used.iter().map(|ty| types.name(u32::from(*ty)).to_string());
        carried.types = names.collect();
        carried
    }

    /// Changes every touch.
    pub fn each_touch(&mut self, change: impl FnMut(&mut Touch)) {
        let state = &mut self.state;
        let lists = [&mut state.recent, &mut state.consumed, &mut state.rejected];
        lists
            .into_iter()
            .flat_map(Touches::each_mut)
            .for_each(change);
    }

    /// At most [`MAX_CARRIED`] bytes. Where ids are so long that not all of it fits, the oldest items become known by the
    /// filters alone, then labels stay behind. O(items in the process) for the dictionary.
    pub fn encode(mut self, limits: &UserLimits, names: &Names) -> Vec<u8> {
        loop {
            let bytes = self.written(names);
            if bytes.len() <= MAX_CARRIED || !self.shrink(limits, names) {
                return bytes;
            }
        }
    }

    /// Lets go of the older half of the longest list; `false` when nothing is left to let go of.
    fn shrink(&mut self, limits: &UserLimits, names: &Names) -> bool {
        let state = &mut self.state;
        let (recent, consumed) = (state.recent.len(), state.consumed.len());
        let longest = recent.max(consumed).max(state.rejected.len());
        if longest == 0 {
            return !std::mem::take(&mut state.labels).is_empty();
        }
        for _ in 0..longest.div_ceil(2) {
            if consumed == longest
                && let Some(gone) = state.consumed.pop_oldest()
            {
                let hash = names.item_hash(gone.item);
                state
                    .consumed_seen
                    .insert(hash, gone.ts, limits.generation_ms);
            } else if recent == longest
                && let Some(gone) = state.recent.pop_oldest()
            {
                let hash = names.item_hash(gone.item);
                state.seen.insert(hash, gone.ts, limits.generation_ms);
            } else {
                state.rejected.pop_oldest();
            }
        }
        true
    }

    fn written(&self, names: &Names) -> Vec<u8> {
        let mut w = PartWriter::snapshot(names);
        w.entity(KIND, |w| self.write(w));
        w.finish_snapshot()
    }

    fn write(&self, w: &mut PartWriter<'_>) {
        w.uint(u64::from(FOLD_VERSION));
        w.uint(self.types.len() as u64);
        self.types.iter().for_each(|name| w.text(name));
        w.uint(self.rapid.len() as u64);
        for (key, ts) in &self.rapid {
            w.uint(*key);
            w.int(*ts);
        }
        self.state.write(w);
    }

    /// Reads what [`Carried::encode`] wrote, numbering its items and tags in `names`. Every bound is checked: these bytes
    /// come from a log.
    pub fn decode(bytes: &[u8], names: &mut Names) -> ReadResult<Self> {
        let mut r = PartReader::new(PART, bytes, names)?;
        if r.next_entity()? != Some(KIND) || r.uint()? != u64::from(FOLD_VERSION) {
            return Err(r.broken("of another version of the fold"));
        }
        let (mut types, mut rapid) = (Vec::new(), Vec::new());
        for _ in 0..r.len(1)? {
            types.push(r.text()?.to_string());
        }
        for _ in 0..r.len(2)? {
            rapid.push((r.uint()?, r.int()?));
        }
        let state = UserState::read(&mut r)?;
        if r.next_entity()?.is_some() {
            return Err(r.broken("more than one state"));
        }
        let mut carried = Self {
            types,
            rapid,
            state,
        };
        if !carried.is_sound() {
            return Err(r.broken("a number outside its bounds"));
        }
        Ok(carried)
    }

    fn is_sound(&mut self) -> bool {
        let in_time = |ts: i64| (0..MAX_TIME).contains(&ts);
        let types = self.types.len();
        let mut sound = types <= 256 && self.rapid.iter().all(|(_, ts)| in_time(*ts));
        self.each_touch(|touch| sound &= usize::from(touch.ty) < types && in_time(touch.ts));
        let s = &self.state;
        let times = [s.clock, s.window, s.session.started, s.session.dwell_ms];
        sound && times.into_iter().chain(s.session.run.last).all(in_time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decay::Decay;
    use crate::ids::{EventRef, ItemIx};
    use crate::sessions::touches::Roles;

    fn limits() -> UserLimits {
        UserLimits {
            recent: 1000,
            consumed: 1000,
            generation_ms: 1 << 40,
            gap_ms: 1,
            affinity: Decay::new(1e9),
        }
    }

    fn state(items: u32, long: usize, names: &mut Names) -> UserState {
        let mut state = UserState {
            labels: vec![("country".into(), crate::catalogue::Label::Int(3))],
            ..UserState::default()
        };
        for i in 0..items {
            let item = ItemIx(names.items.intern_str(&format!("{i:0long$}")));
            let touch = Touch {
                item,
                ty: (i % 2) as u16,
                roles: Roles(Roles::CONSUMED),
                weight: 1,
                ts: 1000 + i64::from(i),
                at: EventRef(u64::from(i) + 1),
                session: 1,
            };
            state.recent.remember(touch, 1000);
            state.consumed.remember(touch, 1000);
        }
        state
    }

    #[test]
    fn a_state_survives_the_way_through_an_event() {
        let mut names = Names::new(1);
        let state = state(3, 1, &mut names);
        let mut types = Interner::default();
        types.intern_str("view");
        types.intern_str("cart");
        let carried = Carried::of(&state, &[(7, 1000)], &types);
        assert_eq!(carried.types, ["view", "cart"]);
        let bytes = carried.clone().encode(&limits(), &names);
        assert_eq!(Carried::decode(&bytes, &mut names).unwrap(), carried);
        for cut in 0..bytes.len() {
            assert!(Carried::decode(&bytes[..cut], &mut names).is_err());
        }
    }

    #[test]
    fn what_does_not_fit_is_still_known_to_have_been_touched() {
        let mut names = Names::new(1);
        let state = state(900, 500, &mut names);
        let types = {
            let mut types = Interner::default();
            types.intern_str("view");
            types.intern_str("cart");
            types
        };
        let bytes = Carried::of(&state, &[], &types).encode(&limits(), &names);
        assert!(bytes.len() <= MAX_CARRIED);
        let carried = Carried::decode(&bytes, &mut names).unwrap();
        assert!((1..900).contains(&carried.state.recent.len()));
        let touched = |i: u32| carried.state.touched(ItemIx(i), &names);
        assert!((0..900).all(touched));
        assert!(carried.state.recent.contains(ItemIx(899)));
        assert_eq!(carried.state.labels, state.labels);
    }
}
