//! Working memory that threads lend one another.
//!
//! A query works in arrays as long as the catalogue is wide. Kept per thread each thread has its own for as long as it lives,
//! and makes them anew when it asks for the first time. Here whoever begins takes what this thread gave back last, which most
//! likely lies in its core's cache, or else what any other did.

use std::ops::{Deref, DerefMut};

use parking_lot::Mutex;

/// So many things at most lie idle; what is given back beyond them is dropped.
const IDLE: usize = 16;

thread_local! {
    /// Its place tells threads apart.
    static MARK: u8 = const { 0 };
}

/// Who asks. Of a thread that ended another may have the number: then it is its heir.
fn this_thread() -> usize {
    MARK.with(|mark| std::ptr::from_ref(mark).addr())
}

/// Things of one kind that nobody uses at the moment, and which thread gave each back.
#[derive(Debug)]
pub struct Lender<T>(Mutex<Vec<(usize, T)>>);

impl<T: Default> Lender<T> {
    /// Has nothing yet.
    pub const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// The thing that this thread gave back last, or else any, as it was left; a new one if all are in use. Where threads
    /// give and take in turns, each has what it had before, and no core waits for another's cache.
    pub fn lend(&self) -> Lent<'_, T> {
        let own = this_thread();
        let mut idle = self.0.lock();
        let at = idle.iter().rposition(|(thread, _)| *thread == own);
        let taken = at.map(|at| idle.remove(at)).or_else(|| idle.pop());
        drop(idle);
        let thing = taken.map_or_else(T::default, |(_, thing)| thing);
        Lent { of: self, thing }
    }
}

impl<T: Default> Default for Lender<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// A thing in use; goes back when it is dropped, unless its user panicked: who knows how it was left then.
#[derive(Debug)]
pub struct Lent<'a, T: Default> {
    of: &'a Lender<T>,
    thing: T,
}

impl<T: Default> Deref for Lent<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.thing
    }
}

impl<T: Default> DerefMut for Lent<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.thing
    }
}

impl<T: Default> Drop for Lent<'_, T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let mut idle = self.of.0.lock();
        if idle.len() < IDLE {
            idle.push((this_thread(), std::mem::take(&mut self.thing)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread;

    use super::*;

    static WORDS: Lender<Vec<u8>> = Lender::new();

    #[test]
    fn another_thread_is_lent_what_was_given_back() {
        WORDS.lend().extend([1, 2, 3]);
        let found = thread::spawn(|| WORDS.lend().clone()).join();
        assert_eq!(found.expect("it only reads"), [1, 2, 3]);
    }

    #[test]
    fn a_thread_is_lent_what_it_gave_back_itself() {
        let lender = Lender::<Vec<u8>>::new();
        let (mut own, mut others) = (lender.lend(), lender.lend());
        own.push(1);
        others.push(2);
        drop(own);
        // Given back later, by another thread.
        thread::scope(|scope| drop(scope.spawn(move || drop(others)).join()));
        let own = lender.lend();
        assert_eq!(
            (own.as_slice(), lender.lend().as_slice()),
            (&[1][..], &[2][..])
        );
    }

    #[test]
    fn two_at_once_have_two_things() {
        let lender = Lender::<Vec<u8>>::new();
        let mut first = lender.lend();
        first.push(1);
        assert!(lender.lend().is_empty());
        drop(first);
        assert_eq!(*lender.lend(), [1]);
    }

    #[test]
    fn what_a_panic_left_is_dropped() {
        let lender = Lender::<Vec<u8>>::new();
        let broken = catch_unwind(AssertUnwindSafe(|| {
            lender.lend().push(1);
            lender.lend().resize_with(2, || panic!("halfway"));
        }));
        assert!(broken.is_err());
        assert!(lender.lend().is_empty());
    }

    #[test]
    fn idle_things_are_bounded() {
        let lender = Lender::<Vec<u8>>::new();
        let many: Vec<_> = (0..IDLE + 3).map(|_| lender.lend()).collect();
        drop(many);
        assert_eq!(lender.0.lock().len(), IDLE);
    }
}
