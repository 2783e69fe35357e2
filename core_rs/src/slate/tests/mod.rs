//! * [`case`]: random requests, and the rules as they are written. [`obeying`]: what every slate keeps.
//! * [`probabilities`]: small cases in full, and frequencies. [`share`]: how many slots differ.

mod case;
mod obeying;
mod probabilities;
mod share;
