//! Weighbridge: PF on Linux. Daemon, pfctl and every subcommand, as a library.
//!
//! `main.rs` only hands over the command line; everything else can be reached by tests.

#![forbid(unsafe_code)]

mod accounts;
mod capture;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod doctor;
mod files;
pub mod flows;
#[doc(hidden)]
pub mod fuzzing;
pub mod gateway;
pub mod limits;
pub mod links;
pub mod mail;
mod memory;
pub mod output;
pub mod pfctl;
pub mod pflog;
mod plugin;
mod random;
pub mod text;
pub mod tools;
pub mod top;
mod unfiltered;
pub mod unhook;
