//! `weighbridge links` and `weighbridge ifconfig`: start-up files made real, and shown.

mod command;
pub(crate) mod files;
mod handover;
pub mod ifconfig;
mod keeper;
mod publish;
mod run;
mod state;
mod system;
mod watch;

pub use command::{LONG_ABOUT, LinksArguments, run};
pub(crate) use state::{STALE_SECS, read_last, read_status, status_path, unix_now};
pub(crate) use system::interfaces;
pub(crate) use watch::Watch;
