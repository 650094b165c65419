//! Links, addresses and bridges through rtnetlink.

pub(crate) mod connection;
pub(crate) mod link;
mod monitor;

use std::io;

use links::WantedLinks;
use pf_engine::env::Interface;

use crate::Error;
use crate::netlink::connection::Connection;

pub use crate::netlink::monitor::Monitor;

/// A connection to rtnetlink in the caller's network namespace.
#[derive(Debug)]
pub struct Netlink {
    connection: Connection,
}

/// What was done to make links as wanted, so that it can be undone.
#[derive(Debug, Default)]
#[must_use]
pub struct Applied {
    /// One line for each step, for people.
    pub steps: Vec<String>,
}

impl Netlink {
    /// Opens the connection.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open() -> Result<Self, Error> {
        connect().map(|connection| Self { connection })
    }

    /// All interfaces with their addresses, ordered by number.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn interfaces(&mut self) -> Result<Vec<Interface>, Error> {
        let links = link::list(&self.connection).map_err(|e| refused("cannot list", e))?;
        Ok(links.into_iter().map(|l| Interface { index: pf_engine::env::IfIndex(l.index), name: l.name, groups: vec![], mtu: l.mtu, addresses: vec![], loopback: l.loopback}).collect())
    }

    /// Makes the links as wanted. Applying twice changes nothing. On an error, what was done is
    /// undone. Addresses of a bridge member go to its bridge, where Linux needs them.
    ///
    /// # Errors
    /// When an interface does not exist or the kernel refuses.
    pub fn apply(&mut self, wanted: &WantedLinks) -> Result<Applied, Error> {
        todo!()
    }

    /// Undoes what [`Netlink::apply`] did, as far as it is still there.
    pub fn undo(&mut self, applied: Applied) {
        todo!()
    }
}

pub(crate) fn connect() -> Result<Connection, Error> {
    Connection::open().map_err(|error| refused("cannot open a netlink socket", error))
}

fn refused(what: &str, source: io::Error) -> Error {
    Error::kernel(what, source, "run as root")
}
