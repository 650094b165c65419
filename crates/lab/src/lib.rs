//! Test hosts in network namespaces: for end-to-end tests, benches, `make run` and `make soak`.
//!
//! [`Lab::new`] builds the network of the article "Stupid Bridge Tricks #1" on one machine:
//!
//! ```text
//!  h34 h99 h10 h50                             +-------+ T1   +----------+
//!   |   |   |   |                   fxp0 ------| cisco |------|          |
//!  +-------------+  uplink   em1 +-----+       +-------+      | internet |
//!  | sw (switch) |---------------| box |       +--------+ DSL |          |
//!  +-------------+               +-----+ em0 --| modem1 |-----|          |
//!                                        em3 --| modem2 |-----|          |
//!                                        em4 --| modem3 |-----|          |
//!                                              +--------+     +----------+
//! ```
//!
//! Every name carries the id of its run; everything goes away when the [`Lab`] is dropped, on
//! Ctrl-C and, after a `kill -9`, with [`identity::clean`]. Nothing of it touches the network of
//! the machine it runs on.

#![forbid(unsafe_code)]

pub mod article;
pub mod beats;
pub mod capture;
pub mod client;
pub mod clock;
pub mod command;
pub mod counters;
pub mod daemon;
pub mod frame;
pub mod guest;
pub mod identity;
pub mod job;
pub mod namespace;
pub mod requirements;
pub mod roles;
pub mod service;
pub mod soak;
mod topology;

pub use capture::{Capture, RawSender};
pub use client::{Download, Host, LineClient};
pub use daemon::{Configuration, FastPath, Weighbridge};
pub use roles::Role;
pub use topology::{Lab, LabConfig};
