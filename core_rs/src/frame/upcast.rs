//! How many fields each event has in each format version: the seam where older frames become today's events.
//!
//! A writer of the same version that is older leaves out trailing fields; they read as absent. A new field goes to the
//! end with a new number here; a change that is more than that is a new format version with its own table, and the old
//! table stays.

/// The version that is written today.
pub const FORMAT_VERSION: u8 = 1;

/// Fields of an event, its tag included: (at least, at most); `None` for a tag unknown to the version.
pub fn arity(version: u8, tag: i64) -> Option<(u32, u32)> {
    match version {
        1 => arity_v1(tag),
        _ => None,
    }
}

fn arity_v1(tag: i64) -> Option<(u32, u32)> {
    Some(match tag {
        1 => (5, 12),
        2 => (5, 6),
        3 => (4, 5),
        4 => (6, 6),
        5 => (4, 4),
        10 => (3, 10),
        11 => (3, 10),
        12 => (3, 3),
        13 => (4, 5),
        14 => (3, 3),
        20 => (12, 13),
        30 => (4, 4),
        31 => (5, 5),
        _ => return None,
    })
}
