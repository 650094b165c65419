//! BSD network start-up files (`hostname.if`, `bridgename.if`): text to wanted links, pure.

#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr};

/// All links that the start-up files ask for, in the order in which they are brought up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedLinks {
    /// Interfaces, from `hostname.*`, ordered by name.
    pub interfaces: Vec<WantedInterface>,
    /// Bridges, from `bridgename.*`, ordered by name; they come up last.
    pub bridges: Vec<WantedBridge>,
}

/// One `hostname.if`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedInterface {
    /// Interface name.
    pub name: String,
    /// Whether it is brought up (an address implies it).
    pub up: bool,
    /// Addresses in order; the first of a family is the primary one.
    pub addresses: Vec<WantedAddress>,
    /// `mtu N`, in bytes.
    pub mtu: Option<u32>,
    /// `lladdr`.
    pub mac: Option<[u8; 6]>,
    /// `media …`; Linux negotiates by itself, so only `autoselect`/`auto` has no effect.
    pub media: Option<String>,
    /// `description`.
    pub description: Option<String>,
}

/// An address of a [`WantedInterface`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedAddress {
    /// The address.
    pub address: IpAddr,
    /// Length of the attached network's prefix.
    pub prefix_len: u8,
    /// Broadcast address, where the file names one.
    pub broadcast: Option<Ipv4Addr>,
    /// `alias`.
    pub alias: bool,
}

/// One `bridgename.if`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedBridge {
    /// Bridge name.
    pub name: String,
    /// Members in the order of their `add`.
    pub members: Vec<String>,
    /// Whether it is brought up.
    pub up: bool,
    /// `maxage`-like learning timeout (`timeout N`), in seconds; 0: entries never expire.
    pub timeout_secs: Option<u32>,
    /// Members with `stp`.
    pub stp: Vec<String>,
}
