//! The control socket: what pfctl says to the daemon and what it answers.

pub mod client;
pub mod health;
pub mod protocol;
pub(crate) mod question;
pub mod queueing;
pub mod server;
pub mod service;
