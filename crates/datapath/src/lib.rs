//! Everything that touches the kernel: BPF program, TAP, netlink, capabilities.
//!
//! `unsafe` is allowed in the module `sys` alone.

pub mod netlink;

use std::io;
use std::os::fd::BorrowedFd;

use pf_engine::decision::{Exit, Hook, Packet};
use pf_engine::env::IfIndex;

/// The hooks, the TAP and the maps of one running daemon. Dropping it removes all of them.
#[derive(Debug)]
pub struct Datapath {}

/// How the data path is set up.
#[derive(Clone, Debug)]
pub struct DatapathConfig {
    /// Name of the TAP device (15 bytes at most), for example `weighbridge0`.
    pub tap: String,
}

/// A packet on its way up.
#[derive(Clone, Debug)]
pub struct Upcall {
    /// Where it met the filter.
    pub hook: Hook,
    /// The packet, IP header first, checksums complete, with its frame's addresses.
    pub packet: Packet,
}

/// Where a packet is put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reinjection {
    /// Behind the hook it met, as its decision says. `Exit::Continue` goes on from `Upcall::hook`.
    Decided(Hook, Exit),
    /// Back to the sender of the packet that met `Hook` (`GeneratedExit::Back`): from an `in`
    /// hook onto the wire with reversed addresses, from an `out` hook into the interface's
    /// ingress with reversed addresses; not looked at again.
    Back(Hook),
}

/// What went wrong with the data path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused something.
    #[error("{what}: {source}\n  hint: {hint}")]
    Kernel {
        /// What was tried.
        what: String,
        /// What the kernel said.
        source: io::Error,
        /// What to do about it.
        hint: &'static str,
    },
}

/// Counters of the kernel program and the TAP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatapathStatistics {
    /// Packets sent up.
    pub upcalls: u64,
    /// Packets that were decided and went on.
    pub reinjected: u64,
    /// Frames that are not IP (or carry a VLAN tag) and passed untouched.
    pub not_ip: u64,
    /// Packets that could not be sent up (no headroom, no memory).
    pub upcall_failed: u64,
    /// Packets lost because the TAP's queue was full.
    pub queue_full: u64,
}

impl Datapath {
    /// Loads the program and makes the TAP.
    ///
    /// # Errors
    /// With what to do: no root, no BPF, kernel too old, name taken.
    pub fn open(config: &DatapathConfig) -> Result<Self, Error> {
        todo!()
    }

    /// Puts the two hooks on an interface (TCX, or clsact where TCX is missing).
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn attach(&mut self, interface: IfIndex) -> Result<(), Error> {
        todo!()
    }

    /// Takes the hooks off; harmless when the interface is gone.
    pub fn detach(&mut self, interface: IfIndex) {
        todo!()
    }

    /// Readable when [`Datapath::receive`] has something.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        todo!()
    }

    /// The next packet, or nothing for now. Reuses `upcall`'s buffer. Frames that are no valid
    /// upcall are counted and skipped.
    ///
    /// # Errors
    /// When the TAP is gone.
    pub fn receive(&mut self, upcall: &mut Upcall) -> Result<bool, Error> {
        todo!()
    }

    /// Puts a packet (IP header first; `packet.ether` as it came) back.
    ///
    /// # Errors
    /// When the kernel refuses it; the packet is lost and counted.
    pub fn send(
        &mut self,
        packet: &[u8],
        ether: Option<pf_engine::decision::EtherAddresses>,
        to: Reinjection,
    ) -> Result<(), Error> {
        todo!()
    }

    /// Counters since the data path was opened.
    #[must_use]
    pub fn statistics(&self) -> DatapathStatistics {
        todo!()
    }
}
