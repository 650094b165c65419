//! What mail servers ask about their clients and what they tell: pure, without I/O and clock.
//!
//! Observations of TCP handshakes are kept in a bounded store; each look-up protocol is a codec
//! that turns the bytes of a client into questions to that store ([`answer::LookUp`]) and reports
//! of what became of a message ([`outcome::OutcomeSink`]). Sockets, files and threads are in the
//! `weighbridge` crate.

#![forbid(unsafe_code)]

pub mod amavis;
pub mod answer;
pub mod connection;
pub mod dnsbl;
pub mod follow;
pub mod http;
pub mod json;
pub mod line;
pub mod milter;
pub mod opensmtpd;
pub mod outcome;
pub mod p0f_api;
pub mod policy;
pub mod published;
pub mod session;
pub mod statistics;
pub mod store;
pub mod text;
pub mod throttle;
pub mod time;
pub mod unknown;

#[cfg(test)]
mod testing;
