//! What is kept of an address and of a connection.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::recent::Keyed;
use super::sharing::History;
use super::sight::{Matched, Sight};
use crate::answer::Uptime;
use crate::connection::Connection;
use crate::time::Timestamp;

/// An address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Host {
    pub(super) address: IpAddr,
    pub(super) first_seen: Timestamp,
    pub(super) last_seen: Timestamp,
    /// Connections that it opened.
    pub(super) connections: u32,
    /// The newest of them.
    pub(super) newest: Option<Connection>,
    /// The last system that was recognised, by SYN or SYN+ACK.
    pub(super) matched: Option<Matched>,
    pub(super) distance: Option<u8>,
    pub(super) uptime: Option<Uptime>,
    pub(super) last_nat: Option<Timestamp>,
    pub(super) last_change: Option<Timestamp>,
    pub(super) last_port: u16,
    pub(super) syn: Option<Sight>,
    /// Boxed: few hosts are servers too.
    pub(super) syn_ack: Option<Box<Sight>>,
    pub(super) history: History,
}

impl Host {
    pub(super) fn new(address: IpAddr, now: Timestamp) -> Self {
        Self {
            address,
            first_seen: now,
            last_seen: now,
            connections: 0,
            newest: None,
            matched: None,
            distance: None,
            uptime: None,
            last_nat: None,
            last_change: None,
            last_port: 0,
            syn: None,
            syn_ack: None,
            history: History::default(),
        }
    }
}

impl Keyed for Host {
    type Key = IpAddr;

    fn key(&self) -> IpAddr {
        self.address
    }
}

/// A connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) connection: Connection,
    pub(super) last_seen: Timestamp,
    /// Of the SYN.
    pub(super) seq: u32,
    /// Times that the SYN came.
    pub(super) syns: u8,
    pub(super) sight: Sight,
    /// When the SYN+ACK came.
    pub(super) answered: Option<Timestamp>,
    /// The server's sequence number.
    pub(super) server_seq: u32,
    pub(super) rtt: Option<Duration>,
    /// No more is expected of it but a new SYN.
    pub(super) over: bool,
    /// It began with a probe of p0f-sendsyn.
    pub(super) probe: bool,
    pub(super) client_clock: Clock,
    pub(super) server_clock: Clock,
}

impl Keyed for Entry {
    type Key = Connection;

    fn key(&self) -> Connection {
        self.connection
    }
}

/// Whether a clock needs to be measured still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Clock {
    #[default]
    Unmeasured,
    /// It has been, or there is none.
    Done,
}

/// The newest connection from a client's port: many protocols do not tell the server's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClientEnd(pub(super) Connection);

impl Keyed for ClientEnd {
    type Key = SocketAddr;

    fn key(&self) -> SocketAddr {
        self.0.client
    }
}
