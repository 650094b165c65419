//! Names that PF knows, from tables of our own: reading and printing need no system files.

pub(crate) mod icmp;
pub(crate) mod keywords;
pub(crate) mod md5;
pub(crate) mod owners;
pub(crate) mod protocols;
pub(crate) mod services;
mod suggest;

pub use suggest::did_you_mean;
