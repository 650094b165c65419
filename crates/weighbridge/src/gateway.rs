//! Gateway health: whether the next hops of `route-to` and `reply-to` work.
//!
//! Everything here but [`command`] is pure: moments and random numbers are handed in, packets are
//! handed out. The daemon sends them and tells what came back.

pub mod command;
pub mod health;
pub mod monitor;
pub mod probe;
pub mod settings;
