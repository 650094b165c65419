//! `libweighbridge-os`: what `weighbridge watch` knows of a client, without asking it.
//!
//! The daemon keeps its answers in a file in memory (`[shared-memory]` of `mail.toml`; its form is
//! [`mail::published`]). [`Reader`] looks them up with two to four `pread(2)`. It does not map the file: a
//! mapped file that somebody truncates kills its reader with SIGBUS, one that is read just ends
//! early; and a copy cannot change while it is looked at. A question costs a microsecond or two
//! so, a tenth of what a socket costs.
//!
//! C programs use `weighbridge_os.h`, Exim `${dlfunc}`; both are in [`c`].

#![deny(unsafe_code)]

pub mod c;
mod reader;

pub use self::reader::{Found, Reader};
