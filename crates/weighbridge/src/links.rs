//! `weighbridge links` and `weighbridge ifconfig`: start-up files made real, and shown.

mod claim;
mod command;
pub(crate) mod files;
mod handover;
mod hooks;
pub mod ifconfig;
mod keeper;
mod publish;
mod remains;
mod run;
mod state;
mod system;
mod watch;

pub(crate) use claim::{Claim, claim_path, remove_claim};
pub use command::{LONG_ABOUT, LinksArguments, run};
pub(crate) use hooks::pause;
pub(crate) use state::{STALE_SECS, is_running, read_last, read_status, status_path, unix_now};
pub(crate) use system::interfaces;
pub(crate) use watch::Watch;
