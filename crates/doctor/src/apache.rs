//! Apache httpd that cannot reach its own listener ("Shutting Apache Up in a FreeBSD Jail").
//!
//! The parent wakes its idle children by connecting to its first plain-http listener. Bound to the
//! wildcard it connects to the wildcard, which the kernel turns into an address of its choice: in
//! a jail, or where the loopback interface is down or lacks `::1`, nobody listens there. Then
//! `connect to listener on 0.0.0.0:80` comes into the log, once a second.
//!
//! Whether that is so cannot be read out of the configuration: in most containers nothing is wrong
//! with `Listen 80`. [`fn@check`] therefore asks [`Surroundings`] to do what httpd does.

mod check;
mod config;
mod environment;
mod include;
mod lexer;
mod listen;
mod log;
mod macros;
mod reader;

pub use self::check::{Probe, Surroundings, check, check_log};
pub use self::config::{Config, Problem, Server, VirtualHost, read};
pub use self::environment::envvars;
pub use self::listen::{Address, Listen, parse as parse_listen};
pub use self::log::{Complaint, Form, Log};

#[cfg(test)]
mod tests;
