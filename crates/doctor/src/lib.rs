//! Checks of other programs' configuration: text to findings, pure.
//!
//! What the machine does (a file, an address, an answer of a server) comes in through traits:
//! [`Files`], [`apache::Surroundings`], [`kerberos::Surroundings`]. So every check can be tested
//! without a machine, and the same checks read the files of another one.
//!
//! Input is hostile: logs hold what strangers sent, and a KDC may be anybody. Nothing here panics
//! on it, and every list, depth and length has a bound in [`limits`].

#![forbid(unsafe_code)]

pub mod apache;
mod case;
mod diff;
mod files;
mod finding;
mod fix;
mod glob;
pub mod kerberos;
pub mod limits;
pub mod links;

pub use self::diff::unified;
pub use self::files::{Entry, Files, MemoryFiles, Place};
pub use self::finding::{Evidence, Finding, Report, Severity, State, Step};
pub use self::fix::{Edit, Fix, FixError, apply};
pub use self::glob::matches as glob_matches;
