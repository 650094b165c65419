//! The packet filter, pure: `(now, hook, packet) -> decision`.
//!
//! No I/O, no clock, no threads. The same engine runs live, in replay, in tests and under the
//! fuzzer. Behaviour follows pf.conf(5); deviations are listed in `docs/compat.md`.

#![forbid(unsafe_code)]

mod anchors;
mod association;
mod compile;
mod evaluate;
mod hops;
mod installed;
mod key;
mod lifetime;
mod names;
mod nat;
mod nat64;
mod net;
mod pool;
pub mod queue;
mod quota;
mod replay;
mod route;
mod sctp;
mod slab;
mod source;
mod state;
mod syncookie;
mod synproxy;
mod table;
mod tcp;
mod tcpnorm;
mod threshold;
mod track;

pub mod addr;
pub mod anchor;
pub mod bad_state;
pub mod capacity;
pub mod counters;
pub mod criteria;
pub mod decision;
pub mod engine;
pub mod env;
pub mod ether;
pub mod explain;
pub mod flow;
pub mod generate;
pub mod limiter;
pub mod limits;
pub mod norm;
pub mod osfp;
pub mod record;
pub mod rule;
pub mod ruleset;
pub mod time;
pub mod view;
pub mod wire;
