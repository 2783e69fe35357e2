//! The recent-session index behind session kNN (VMIS-kNN: Kersbergen et al., "Serenade", SIGMOD 2022), kept per event.
//!
//! A session enters an item's posting when it touches the item, from its second distinct item on; postings are in log
//! order of the touch and nothing waits for a session to close. Sessions are numbered as they enter; the oldest number is
//! overwritten when the ring is full, and postings of overwritten sessions are skipped when read.

use crate::config::SessionKnnConfig;
use crate::fold::fact::Joined;
use crate::ids::{ItemIx, UserIx};
use crate::names::Names;
use crate::neighbourhood::postings::{KIND_POSTING, Postings};
use crate::neighbourhood::user::SessionTouch;
use crate::search::prefetch_of_many;
use crate::snapshot::codec::{PartReader, PartWriter, ReadResult};

/// Number of an indexed session; later sessions have larger numbers.
pub type SessionNo = u64;

#[derive(Clone, Debug)]
struct Session {
    partition: u16,
    user: UserIx,
    items: Vec<u32>,
}

/// Items -> recent sessions -> items.
#[derive(Debug)]
pub struct SessionIndex {
    postings: Postings,
    ring: Vec<Session>,
    next: SessionNo,
    /// By partition and user: number + 1 of the session in progress, 0 for none.
    open: Vec<Vec<u64>>,
    max_sessions: usize,
}

const KIND_SESSION: u8 = 5;
const KIND_NEXT: u8 = 6;

impl SessionIndex {
    /// Bytes an item in the tables that reach up to the largest one.
    pub const ITEM_BYTES: usize = Postings::ITEM_BYTES;

    /// An empty index with the configured bounds.
    pub fn new(config: &SessionKnnConfig, partitions: usize) -> Self {
        Self {
            postings: Postings::new(config.postings),
            ring: Vec::new(),
            next: 0,
            open: (0..partitions).map(|_| Vec::new()).collect(),
            max_sessions: config.max_sessions,
        }
    }

    /// Makes room for items numbered below `len`.
    pub fn ensure(&mut self, len: usize) {
        self.postings.ensure(len);
    }

    /// Sessions ever indexed, and those still held.
    pub fn len(&self) -> (u64, usize) {
        (self.next, self.ring.len())
    }

    /// Whether no session is held.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Applies one change of one user's session.
    pub fn touch(&mut self, partition: usize, user: UserIx, touch: SessionTouch) {
        match touch {
            SessionTouch::Close => self.set_open(partition, user, 0),
            SessionTouch::Forget => self.forget(partition, user),
            SessionTouch::Start(first, second) => {
                let number = self.next;
                self.next += 1;
                let session = Session {
                    partition: partition as u16,
                    user,
                    items: vec![first.0, second.0],
                };
                let slot = (number % self.max_sessions as u64) as usize;
                if slot < self.ring.len() {
                    self.ring[slot] = session;
                } else {
                    self.ring.push(session);
                }
                for item in [first, second] {
                    self.postings.push(item, number as u32);
                }
                self.set_open(partition, user, number + 1);
            }
            SessionTouch::Append(item) => {
                let Some(number) = self.open_session(partition, user) else {
                    return;
                };
                let slot = (number % self.max_sessions as u64) as usize;
                self.ring[slot].items.push(item.0);
                self.postings.push(item, number as u32);
            }
        }
    }

    /// Asks for the posting of an item that a session touches soon: first for where it lies, then, on the second call, for
    /// its end.
    #[inline]
    pub fn ask_for_posting(&self, touch: SessionTouch, found: bool) {
        if let SessionTouch::Append(item) = touch {
            self.postings.prefetch_end(item, found);
        }
    }

    /// Whose a held session is.
    pub fn owner_of(&self, number: SessionNo) -> (usize, UserIx) {
        let session = &self.ring[(number % self.max_sessions as u64) as usize];
        (usize::from(session.partition), session.user)
    }

    /// Forgets whose sessions these were: their items leave the index.
    pub fn forget(&mut self, partition: usize, user: UserIx) {
        for session in &mut self.ring {
            if session.partition == partition as u16 && session.user == user {
                session.items = Vec::new();
            }
        }
        self.set_open(partition, user, 0);
    }

    /// Two users turned out to be one. Whose session goes on says `joined`; its items, if it is one with the other's, are
    /// `items`. It belongs to the user `into` from here on; a session that it took in leaves the index.
    pub fn join(
        &mut self,
        from: (usize, UserIx),
        into: (usize, UserIx),
        joined: Joined,
        items: &[u32],
    ) {
        let own = self.open_session(into.0, into.1);
        let their = self.open_session(from.0, from.1);
        self.set_open(from.0, from.1, 0);
        let goes_on = match joined {
            Joined::Own => return,
            Joined::Other => their,
            Joined::Both => own.or(their),
        };
        self.set_open(into.0, into.1, goes_on.map_or(0, |number| number + 1));
        if let Some(number) = goes_on {
            let session = self.held_mut(number);
            (session.partition, session.user) = (into.0 as u16, into.1);
        }
        if joined == Joined::Other {
            return;
        }
        match (own, their, goes_on, items) {
            (Some(_), Some(taken_in), ..) => self.held_mut(taken_in).items = Vec::new(),
            (_, _, None, [first, second]) => {
                let start = SessionTouch::Start(ItemIx(*first), ItemIx(*second));
                return self.touch(into.0, into.1, start);
            }
            _ => {}
        }
        let Some(number) = goes_on else { return };
        for item in items {
            if !self.items_of(number).contains(item) {
                self.touch(into.0, into.1, SessionTouch::Append(ItemIx(*item)));
            }
        }
    }

    fn held_mut(&mut self, number: SessionNo) -> &mut Session {
        &mut self.ring[(number % self.max_sessions as u64) as usize]
    }

    /// The session that the user is in, if it is indexed and still held.
    pub fn open_session(&self, partition: usize, user: UserIx) -> Option<SessionNo> {
        let open = self.open[partition]
            .get(user.0 as usize)
            .copied()
            .unwrap_or(0);
        let number = open.checked_sub(1)?;
        (self.next - number <= self.max_sessions as u64).then_some(number)
    }

    /// Calls `with` for the sessions that touched the item, latest touch first, with at most the configured number of
    /// postings.
    #[inline]
    pub fn each_session_of(&self, item: ItemIx, mut with: impl FnMut(SessionNo)) {
        let Some(sessions) = self.postings.newest_first(item) else {
            return;
        };
        let (next, held) = (self.next, self.next.min(self.max_sessions as u64));
        sessions.for_each(|low| {
            // The full number is the only one with these low bits among the sessions still held.
            let age = u64::from((next as u32).wrapping_sub(low));
            if age >= 1 && age <= held {
                with(next - age);
            }
        });
    }

    /// The bound of an item's postings.
    pub fn max_postings(&self) -> usize {
        self.postings.cap()
    }

    /// Number of postings of an item, at most the bound: how common it is among recent sessions.
    pub fn frequency(&self, item: ItemIx) -> usize {
        self.postings.frequency(item)
    }

    /// Asks for the postings of an item that are read soon: first for where they lie, then, once that is `found`, for them.
    #[inline]
    pub fn prefetch_postings(&self, item: ItemIx, found: bool) {
        self.postings.prefetch_end(item, found);
    }

    /// Asks for the frequency of an item that is read soon.
    #[inline]
    pub fn prefetch_frequency(&self, item: ItemIx) {
        self.postings.prefetch_frequency(item);
    }

    /// Asks for the items of a session that are read soon: first for where they lie, then, on the second call, for them.
    pub fn prefetch(&self, number: SessionNo, found: bool) {
        let slot = (number % self.max_sessions as u64) as usize;
        if !found {
            return prefetch_of_many(&self.ring, slot);
        }
        if let Some(session) = self.ring.get(slot) {
            prefetch_of_many(&session.items, 0);
        }
    }

    /// Distinct items of a held session, in order of first touch.
    pub fn items_of(&self, number: SessionNo) -> &[u32] {
        &self.ring[(number % self.max_sessions as u64) as usize].items
    }

    fn set_open(&mut self, partition: usize, user: UserIx, value: u64) {
        let open = &mut self.open[partition];
        let ix = user.0 as usize;
        if open.len() <= ix {
            if value == 0 {
                return;
            }
            open.resize(ix + 1, 0);
        }
        open[ix] = value;
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        self.postings.memory()
            + self
                .ring
                .iter()
                .map(|s| size_of::<Session>() + s.items.capacity() * 4)
                .sum::<usize>()
            + self.open.iter().map(|o| o.capacity() * 8).sum::<usize>()
    }

    /// Writes postings and sessions.
    pub fn write(&self, w: &mut PartWriter<'_>) {
        w.entity(KIND_NEXT, |w| w.uint(self.next));
        self.postings.write(w);
        let names = w.names();
        for number in self.next - self.ring.len() as u64..self.next {
            let session = &self.ring[(number % self.max_sessions as u64) as usize];
            let open =
                self.open_session(usize::from(session.partition), session.user) == Some(number);
            w.entity(KIND_SESSION, |w| {
                w.uint(number);
                w.uint(u64::from(session.partition));
                w.text(names.users[usize::from(session.partition)].name(session.user.0));
                w.byte(u8::from(open));
                w.uint(session.items.len() as u64);
                session.items.iter().for_each(|item| w.item(ItemIx(*item)));
            });
        }
    }

    /// Reads one entity of kind `kind`; `false` if the kind is not ours.
    pub fn read(
        &mut self,
        kind: u8,
        r: &mut PartReader<'_>,
        names: &mut Names,
    ) -> ReadResult<bool> {
        match kind {
            KIND_NEXT => self.next = r.uint()?,
            KIND_POSTING => self.postings.read(r)?,
            KIND_SESSION => self.read_session(r, names)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn read_session(&mut self, r: &mut PartReader<'_>, names: &mut Names) -> ReadResult<()> {
        let number = r.uint()?;
        let partition = r.uint()? as usize;
        if partition >= names.users.len() || number >= self.next {
            return Err(r.broken("a session outside its bounds"));
        }
        let user = UserIx(names.users[partition].intern_str(r.text()?));
        let open = r.byte()? == 1;
        let mut items = Vec::new();
        for _ in 0..r.len(1)? {
            items.push(r.item()?.0);
        }
        let slot = (number % self.max_sessions as u64) as usize;
        if slot > self.ring.len() && self.ring.len() < self.max_sessions && self.ring.is_empty() {
            // The ring is full and begins elsewhere: lay out all slots before the first is filled.
            let empty = Session {
                partition: 0,
                user: UserIx(0),
                items: Vec::new(),
            };
            self.ring.resize(self.max_sessions, empty);
        }
        let session = Session {
            partition: partition as u16,
            user,
            items,
        };
        if slot < self.ring.len() {
            self.ring[slot] = session;
        } else if slot == self.ring.len() {
            self.ring.push(session);
        } else {
            return Err(r.broken("sessions out of order"));
        }
        if open {
            self.set_open(partition, user, number + 1);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(postings: usize, sessions: usize) -> SessionIndex {
        let config = SessionKnnConfig {
            postings,
            max_sessions: sessions,
            max_session_items: 50,
        };
        let mut index = SessionIndex::new(&config, 1);
        index.ensure(10);
        index
    }

    fn sessions_of(index: &SessionIndex, item: u32) -> Vec<SessionNo> {
        let mut found = Vec::new();
        index.each_session_of(ItemIx(item), |number| found.push(number));
        found
    }

    fn start(index: &mut SessionIndex, user: u32, a: u32, b: u32) {
        index.touch(0, UserIx(user), SessionTouch::Start(ItemIx(a), ItemIx(b)));
    }

    #[test]
    fn postings_are_newest_first_and_bounded() {
        let mut index = index(3, 100);
        for user in 0..5 {
            start(&mut index, user, 1, 2);
        }
        assert_eq!(sessions_of(&index, 1), [4, 3, 2]);
        index.touch(0, UserIx(0), SessionTouch::Append(ItemIx(3)));
        assert_eq!(sessions_of(&index, 3), [0]);
        assert_eq!(index.items_of(0), [1, 2, 3]);
    }

    #[test]
    fn overwritten_sessions_are_skipped() {
        let mut index = index(10, 2);
        for user in 0..5 {
            start(&mut index, user, 1, 2);
        }
        assert_eq!(sessions_of(&index, 1), [4, 3]);
        assert_eq!(index.open_session(0, UserIx(0)), None);
        assert_eq!(index.open_session(0, UserIx(4)), Some(4));
        index.touch(0, UserIx(0), SessionTouch::Append(ItemIx(3)));
        assert_eq!(sessions_of(&index, 3).len(), 0);
    }

    #[test]
    fn joined_sessions_are_one() {
        let (from, into) = ((0, UserIx(0)), (0, UserIx(1)));
        let open = |index: &SessionIndex, user: (usize, UserIx)| index.open_session(user.0, user.1);
        let mut both = index(10, 10);
        start(&mut both, 0, 1, 2);
        start(&mut both, 1, 2, 3);
        both.join(from, into, Joined::Both, &[2, 3, 1]);
        assert_eq!(both.items_of(1), [2, 3, 1]);
        assert!(both.items_of(0).is_empty());
        assert_eq!((open(&both, from), open(&both, into)), (None, Some(1)));

        let mut taken = index(10, 10);
        start(&mut taken, 0, 1, 2);
        taken.join(from, into, Joined::Both, &[4, 1, 2]);
        assert_eq!(taken.items_of(0), [1, 2, 4]);
        assert_eq!((open(&taken, from), open(&taken, into)), (None, Some(0)));

        let mut begun = index(10, 10);
        begun.join(from, into, Joined::Both, &[4, 1]);
        assert_eq!(begun.items_of(0), [4, 1]);
        assert_eq!(open(&begun, into), Some(0));

        let mut other = index(10, 10);
        start(&mut other, 1, 1, 2);
        start(&mut other, 0, 5, 6);
        other.join(from, into, Joined::Other, &[5, 6]);
        assert_eq!((open(&other, from), open(&other, into)), (None, Some(1)));
        assert_eq!(other.items_of(0), [1, 2]);

        let mut own = index(10, 10);
        start(&mut own, 1, 1, 2);
        start(&mut own, 0, 5, 6);
        own.join(from, into, Joined::Own, &[1, 2]);
        assert_eq!((open(&own, from), open(&own, into)), (None, Some(0)));
        assert_eq!(own.items_of(1), [5, 6]);
    }

    #[test]
    fn forgetting_empties_the_users_sessions() {
        let mut index = index(10, 10);
        start(&mut index, 0, 1, 2);
        start(&mut index, 1, 1, 3);
        index.forget(0, UserIx(0));
        assert!(index.items_of(0).is_empty());
        assert_eq!(index.items_of(1), [1, 3]);
        assert_eq!(index.open_session(0, UserIx(0)), None);
    }
}
