//! The latest slates that were answered without Python, for `explain`.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use pyo3::prelude::*;

use crate::py::wire::served::{Served, UsualSlate};

#[derive(Default)]
struct Kept {
    slates: HashMap<String, Arc<Served>>,
    /// Ids, the oldest first; also of slates that were forgotten meanwhile.
    order: VecDeque<String>,
}

/// So many of the latest, by id.
#[pyclass(frozen, module = "headwater._core")]
pub struct SlateShelf {
    most: usize,
    kept: Mutex<Kept>,
}

impl SlateShelf {
    /// Keeps one more; the oldest is let go of.
    pub(super) fn put(&self, slate: Arc<Served>) {
        let gone = {
            let mut kept = self.kept.lock();
            kept.order.push_back(slate.id.clone());
            kept.slates.insert(slate.id.clone(), slate);
            let most = self.most;
            let oldest = (kept.order.len() > most).then(|| kept.order.pop_front());
            oldest.flatten().map(|id| kept.slates.remove(&id))
        };
        drop(gone); // after the lock
    }
}

#[pymethods]
impl SlateShelf {
    #[new]
    fn new(most: usize) -> Self {
        Self {
            most,
            kept: Mutex::default(),
        }
    }

    /// The slate of an id, while it is kept.
    fn get(&self, slate: &str) -> Option<UsualSlate> {
        let served = self.kept.lock().slates.get(slate).cloned();
        served.map(UsualSlate)
    }

    /// Lets go of a user's slates. O(slates).
    fn forget(&self, user: &str) {
        self.kept
            .lock()
            .slates
            .retain(|_, slate| slate.user != user);
    }

    /// Lets go of all.
    fn clear(&self) {
        *self.kept.lock() = Kept::default();
    }
}
