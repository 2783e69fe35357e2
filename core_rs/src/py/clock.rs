//! The clock that the core is handed where it tells how long something took.

use std::time::Instant;

/// Tells microseconds since now.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the shell that hands the core a clock"
)]
pub(super) fn microseconds() -> impl Fn() -> f64 + Sync {
    let start = Instant::now();
    move || start.elapsed().as_secs_f64() * 1e6
}
