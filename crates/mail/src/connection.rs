//! Which connection is meant: by both ends, or by less where a protocol tells less.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// A TCP connection to a mail server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Connection {
    /// The end that sent the SYN.
    pub client: SocketAddr,
    /// The end that it was sent to.
    pub server: SocketAddr,
}

/// What a question or a report says of a connection. IPv4-mapped IPv6 addresses are IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// The client's address.
    pub address: IpAddr,
    /// The client's port. Without it the address' newest connection is meant.
    pub port: Option<u16>,
    /// The server's end, where the protocol tells it.
    pub server: Option<SocketAddr>,
}

impl Peer {
    /// A client of which only the address is known.
    #[must_use]
    pub const fn address(address: IpAddr) -> Self {
        Self {
            address: address.to_canonical(),
            port: None,
            server: None,
        }
    }

    /// A client's end of a connection.
    #[must_use]
    pub const fn client(address: IpAddr, port: u16) -> Self {
        Self {
            address: address.to_canonical(),
            port: Some(port),
            server: None,
        }
    }

    /// The same, of a connection to `server`.
    #[must_use]
    pub const fn to_server(self, address: IpAddr, port: u16) -> Self {
        Self {
            server: Some(SocketAddr::new(address.to_canonical(), port)),
            ..self
        }
    }
}
