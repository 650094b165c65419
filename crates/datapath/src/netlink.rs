//! Links, addresses and bridges through rtnetlink.

use std::os::fd::BorrowedFd;

use links::WantedLinks;
use pf_engine::env::Interface;

use crate::Error;

/// A connection to rtnetlink in the caller's network namespace.
#[derive(Debug)]
pub struct Netlink {}

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
        todo!()
    }

    /// All interfaces with their addresses, ordered by number.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn interfaces(&mut self) -> Result<Vec<Interface>, Error> {
        todo!()
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

/// Tells when links or addresses change.
#[derive(Debug)]
pub struct Monitor {}

impl Monitor {
    /// Subscribes.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open() -> Result<Self, Error> {
        todo!()
    }

    /// Readable when something changed.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        todo!()
    }

    /// Reads all pending notices; true if there was one.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn drain(&mut self) -> Result<bool, Error> {
        todo!()
    }
}
