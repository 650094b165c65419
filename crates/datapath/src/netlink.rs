//! Links, addresses and bridges through rtnetlink.

mod address;
mod apply;
mod bond;
mod bond_state;
pub(crate) mod bridge;
pub(crate) mod connection;
pub mod fuzzing;
mod interfaces;
pub(crate) mod link;
mod monitor;
pub(crate) mod neighbor;
pub(crate) mod route;
mod snapshot;
mod sockets;
mod state;
mod steps;
mod undo;
mod ways;

use links::WantedLinks;
use pf_engine::env::Interface;

use crate::Error;
use crate::netlink::connection::Connection;
use crate::netlink::interfaces::Given;
use crate::netlink::undo::Undo;

pub use crate::netlink::monitor::Monitor;
pub use crate::netlink::route::Route;
pub use crate::netlink::snapshot::{Machine, Support, makers, support};
pub use crate::netlink::sockets::Sockets;
pub use crate::netlink::state::LinkState;
pub use crate::netlink::ways::{Heard, WayMonitor};

/// A connection to rtnetlink in the caller's network namespace.
#[derive(Debug)]
pub struct Netlink {
    connection: Connection,
    given: Given,
}

/// What was done to make links as wanted, so that it can be undone.
#[derive(Debug, Default)]
#[must_use]
pub struct Applied {
    /// One line for each step, for people. A line with `warning:` tells what was not done.
    pub steps: Vec<String>,
    undo: Vec<Undo>,
}

impl Netlink {
    /// Opens the connection.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open() -> Result<Self, Error> {
        Ok(Self {
            connection: connect()?,
            given: Given::default(),
        })
    }

    /// All interfaces with their addresses, ordered by number. A bridge port has the addresses
    /// that [`Netlink::apply`] of this very connection gave to its bridge for it; the bridge has
    /// them too.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn interfaces(&mut self) -> Result<Vec<Interface>, Error> {
        interfaces::list(&self.connection, &self.given).map_err(|error| {
            let hint = "rtnetlink must be reachable (AF_NETLINK)";
            Error::kernel("cannot list the interfaces", error, hint)
        })
    }

    /// All links as they stand, ordered by number.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn link_states(&mut self) -> Result<Vec<LinkState>, Error> {
        let links = link::list(&self.connection).map_err(|error| {
            let hint = "rtnetlink must be reachable (AF_NETLINK)";
            Error::kernel("cannot list the links", error, hint)
        })?;
        Ok(state::states(&links))
    }

    /// Whether the interface of this number has this name: so a daemon's TAP, which lives as long as it.
    #[must_use]
    pub fn is_called(&self, index: u32, name: &str) -> bool {
        link::is_called(&self.connection, index, name)
    }

    /// Sets an interface up or down.
    ///
    /// # Errors
    /// When it is not there or the kernel refuses.
    pub fn set_up(&mut self, name: &str, up: bool) -> Result<(), Error> {
        let set = |link: link::Link| link::set_up(&self.connection, link.index, up);
        link::by_name(&self.connection, name)
            .and_then(set)
            .map_err(|error| {
                let what = if up { "up" } else { "down" };
                let hint = "it takes root or CAP_NET_ADMIN";
                Error::kernel(format!("cannot set {name} {what}"), error, hint)
            })
    }

    /// The routes of the main table, those to the longest destinations first.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn routes(&mut self) -> Result<Vec<Route>, Error> {
        let routes = route::list(&self.connection).map_err(|error| {
            let hint = "rtnetlink must be reachable (AF_NETLINK)";
            Error::kernel("cannot list the routes", error, hint)
        })?;
        Ok(route::main_table(&routes))
    }

    /// Makes the links as wanted. Applying twice changes nothing. On an error, what was done is
    /// undone. Addresses of a bridge member go to its bridge, where Linux needs them.
    ///
    /// # Errors
    /// When an interface does not exist or the kernel refuses.
    pub fn apply(&mut self, wanted: &WantedLinks) -> Result<Applied, Error> {
        let applied = apply::apply(&self.connection, wanted)?;
        self.given.learn(wanted);
        Ok(applied)
    }

    /// Undoes what [`Netlink::apply`] did, as far as it is still there.
    pub fn undo(&mut self, applied: Applied) {
        undo::all(&self.connection, applied.undo);
    }
}

pub(crate) fn connect() -> Result<Connection, Error> {
    Connection::open().map_err(|error| {
        let hint = "the kernel and a sandbox, if there is one, must allow AF_NETLINK";
        Error::kernel("cannot open a netlink socket", error, hint)
    })
}
