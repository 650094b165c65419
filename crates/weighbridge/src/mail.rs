//! The mail side: a process of its own, so that nothing that a mail server or its clients do can
//! touch the data path. The codecs, the store and the arithmetic are in the `mail` crate; here
//! are their sockets, files and the one clock.

pub mod ask;
pub mod clock;
pub mod dnsbl;
mod files;
pub mod filter;
pub mod fingerprints;
pub mod fleet;
pub mod follow;
pub mod http;
pub mod listen;
pub mod os;
pub mod outcomes;
pub mod report;
pub mod reputation;
pub mod serve;
pub mod settings;
pub mod shared;
pub mod shared_memory;
pub mod spammers;
pub mod storage;
pub mod stream;
pub mod tell;
#[cfg(test)]
mod testing;
mod throttle;
pub mod watch;
