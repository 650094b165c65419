//! Normalisation: fragments are put together before they are looked at, and cut again after
//! (pf.conf(5), `set reassemble yes`).

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

mod cut;
mod datagram;
mod reassembler;

pub use self::cut::fragment;
pub use self::datagram::MAX_FRAGMENTS;
pub use self::reassembler::{
    MAX_HELD_BYTES, Outcome, Reassembled, Reassembler, ReassemblyCounters, ReassemblyOptions,
    check_fragment,
};

#[cfg(test)]
mod tests;
