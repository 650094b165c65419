//! Passive fingerprints of operating systems: what a TCP handshake tells about the stack that
//! sent it.
//!
//! [`features`] reads one packet; the matchers compare what it found with a list of signatures.
//! Nothing here allocates or panics on behalf of a packet.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

pub mod features;
pub mod p0f;
pub mod pfos;
