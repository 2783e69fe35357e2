//! Sessions: what a user partition knows of each of its users.
//!
//! * [`user`]: the user's recent and consumed items, current session, activity windows, tag affinities, labels.
//! * [`touches`]: distinct items with their latest event, a bounded list.
//! * [`seen`]: which items were touched beyond the exact ring: Bloom blocks in two generations.
//! * [`segments`]: which users' votes are counted apart.
//! * [`affinity`]: decayed weights of the tags that the user cares for.
//! * [`join`]: two users turn out to be one; [`carried`]: what moves between them, as bytes.

pub mod affinity;
pub mod carried;
pub mod join;
pub mod seen;
pub mod segments;
pub mod touches;
pub mod user;
