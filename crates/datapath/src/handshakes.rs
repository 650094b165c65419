//! A socket that hears the TCP handshakes on an interface, and little else: the kernel selects
//! them, so that a busy line costs nothing.

mod filter;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};

use crate::Error;
use crate::sys::packet;

/// `ETH_P_ALL`: both directions, and every Ethernet type.
const ALL: u16 = 3;
/// `PACKET_OUTGOING`.
const OUTGOING: u8 = 4;
/// `ARPHRD_LOOPBACK`, where each packet goes out and comes in.
const LOOPBACK: u16 = 772;
/// Packets that may wait, in bytes of the kernel's bookkeeping: about 20,000 SYNs.
const RECEIVE_BUFFER: usize = 16 << 20;
/// Bytes of a buffer for [`Handshakes::receive`]: the largest packet.
pub const BUFFER: usize = 65_536;

/// The socket.
#[derive(Debug)]
pub struct Handshakes {
    socket: OwnedFd,
}

/// A packet that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Bytes of it, from the network header on.
    pub len: usize,
    /// Ethernet type of what it begins with.
    pub protocol: u16,
    /// When, since 1970, if the kernel tells.
    pub time: Option<Duration>,
}

impl Handshakes {
    /// Listens on `interface`, or on all if there is none.
    ///
    /// # Errors
    /// [`Error::NoInterface`]; [`Error::Kernel`] where the process may not (`CAP_NET_RAW`).
    pub fn open(interface: Option<&str>) -> Result<Self, Error> {
        let refused = |error: io::Error| {
            Error::kernel(
                "cannot listen for packets",
                error,
                "it takes root or CAP_NET_RAW",
            )
        };
        let socket = socket_with(
            AddressFamily::PACKET,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        );
        let socket = socket.map_err(|error| refused(error.into()))?;
        let index = match interface {
            Some(name) => rustix::net::netdevice::name_to_index(&socket, name).map_err(|_| {
                Error::NoInterface {
                    names: name.to_owned(),
                }
            })?,
            None => 0,
        };
        // Without CAP_NET_ADMIN the system's limit holds; then less can wait.
        let _ = sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER)
            .or_else(|_| sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER));
        packet::ask_for_times(&socket).map_err(refused)?;
        packet::attach_filter(&socket, &filter::program()).map_err(refused)?;
        // Only now does it hear anything.
        packet::bind(&socket, index, ALL).map_err(refused)?;
        Ok(Self { socket })
    }

    /// Takes the next packet into `buffer`, which should have [`BUFFER`] bytes.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; what else the kernel says, as that the interface is down.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Heard> {
        loop {
            let arrival = packet::receive(&self.socket, buffer)?;
            if arrival.hardware == LOOPBACK && arrival.kind == OUTGOING {
                continue;
            }
            return Ok(Heard {
                len: arrival.len,
                protocol: arrival.protocol,
                time: arrival.time,
            });
        }
    }

    /// Packets that found no room since this was last asked.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn lost(&self) -> io::Result<u32> {
        packet::lost(&self.socket)
    }
}

impl AsFd for Handshakes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
