//! Devices of our own where the kernel has none: a TAP that is a lagg or a VLAN, and the sockets
//! that carry whole frames to and from its ports.
//!
//! Frames begin with a `virtio_net_hdr` ([`HEADER_LEN`] bytes) on both sides: checksums and
//! segments that the hardware was to do pass through as they are.
//!
//! A port is held by a bridge that is down: what comes in by it reaches the sockets first and ends
//! there, as in lagg(4); the kernel's own protocols see it once, on the lagg.

mod inherit;

use std::fs;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use links::lacp::SLOW_PROTOCOLS;
use netlink_packet_route::link::LinkAttribute;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};

use crate::Error;
use crate::netlink::connect;
use crate::netlink::connection::Connection;
use crate::netlink::{bridge, link};
use crate::sys::{self, packet};
use crate::tap;

pub use inherit::{HeldPorts, inherited_file, pass_on};

/// Bytes of the header in front of each frame.
pub const HEADER_LEN: usize = 10;
/// Bytes of a buffer for a frame: the largest segment that hardware is given, with its header.
pub const BUFFER_LEN: usize = 66_000;

const IFF_VNET_HDR: u16 = 0x4000;
/// `ETH_P_ALL`.
const ALL: u16 = 3;
/// Frames that may wait for a port's socket, in bytes of the kernel's bookkeeping.
const RECEIVE_BUFFER: usize = 8 << 20;
/// Classic BPF: frames whose Ethernet type is that of the slow protocols, whole.
const SLOW_FRAMES: [packet::Instruction; 4] = [
    (0x28, 0, 0, 12),                    // ldh [12]
    (0x15, 0, 1, SLOW_PROTOCOLS as u32), // jeq #0x8809
    (0x06, 0, 0, u32::MAX),              // ret all
    (0x06, 0, 0, 0),                     // ret 0
];
/// What the name of a bridge that holds ports ends in.
const HOLDER_SUFFIX: &str = ".ports";
/// Bytes of a lagg's name that the name of its holder begins with.
const HOLDER_PREFIX_LEN: usize = 9;

/// The name of the bridge that holds the ports of `lagg`.
#[must_use]
pub fn holder_name(lagg: &str) -> String {
    let prefix: String = lagg.chars().take(HOLDER_PREFIX_LEN).collect();
    prefix + HOLDER_SUFFIX
}

/// The lagg whose ports a bridge of this name holds.
pub(crate) fn holder_of(bridge: &str) -> Option<&str> {
    bridge.strip_suffix(HOLDER_SUFFIX)
}

/// A network device whose frames this program sends and takes.
#[derive(Debug)]
pub struct Device {
    file: OwnedFd,
    name: String,
    index: u32,
}

impl Device {
    /// Makes it, down. It goes with its last handle.
    ///
    /// # Errors
    /// When the kernel refuses; a device of that name may not exist.
    pub fn create(name: &str, mac: [u8; 6], mtu: u32) -> Result<Self, Error> {
        tap::check_name(name)?;
        let file = tap::open()?;
        let flags = tap::NEW_TAP | IFF_VNET_HDR;
        sys::create_tun(&file, name, flags).map_err(|error| {
            let hint = "run as root; `ip link` shows whether the name is taken";
            Error::kernel(format!("cannot make {name}"), error, hint)
        })?;
        let connection = connect()?;
        let set_up = || -> io::Result<u32> {
            sys::set_tun_carrier(&file, false)?;
            let index = link::by_name(&connection, name)?.index;
            let attributes = vec![
                LinkAttribute::Address(mac.to_vec()),
                LinkAttribute::Mtu(mtu),
            ];
            link::set(&connection, index, attributes)?;
            Ok(index)
        };
        let index = set_up().map_err(|error| {
            Error::kernel(format!("cannot set up {name}"), error, "run as root")
        })?;
        Ok(Self {
            file,
            name: name.to_owned(),
            index,
        })
    }

    /// Its name when it was made.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// Says whether it has a carrier.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_carrier(&self, on: bool) -> io::Result<()> {
        Ok(sys::set_tun_carrier(&self.file, on)?)
    }

    /// Reads one frame that the machine sends; nothing if there is none for now.
    ///
    /// # Errors
    /// What the kernel says, as that the device is gone.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match rustix::io::read(&self.file, buffer) {
            Ok(len) => Ok(Some(len)),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the machine a frame, in pieces.
    ///
    /// # Errors
    /// What the kernel says, as that the device is down.
    pub fn write(&self, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        Ok(rustix::io::writev(&self.file, pieces).map(drop)?)
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A frame that came by a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Bytes of it, with its header.
    pub len: usize,
    /// The VLAN tag that was taken out of it.
    pub tag: Option<u16>,
}

/// The socket that carries the frames of a port.
#[derive(Debug)]
pub struct PortSocket {
    socket: OwnedFd,
}

/// Opens a packet socket on the interface `name` that hears everything. One for a protocol would
/// hear nothing: frames end at the bridge that holds the ports before they have one.
fn packet_socket(
    name: &str,
    set_up: impl FnOnce(&OwnedFd) -> io::Result<()>,
) -> Result<OwnedFd, Error> {
    let index = link::by_name(&connect()?, name).map_err(|_| Error::NoInterface {
        names: name.to_owned(),
    })?;
    let open = || -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
        set_up(&socket)?;
        packet::bind(&socket, index.index, ALL)?;
        Ok(socket)
    };
    open().map_err(|error| {
        let hint = "it takes root or CAP_NET_RAW";
        Error::kernel(format!("cannot carry the frames of {name}"), error, hint)
    })
}

/// The next packet of a socket that does not wait; nothing if there is none for now.
fn next_arrival(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Option<Arrival>> {
    match packet::receive(socket, buffer) {
        Ok(arrival) => Ok(Some(Arrival {
            len: arrival.len,
            tag: arrival.tag,
        })),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

impl PortSocket {
    /// Opens it on the interface `name`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open(name: &str) -> Result<Self, Error> {
        let socket = packet_socket(name, |socket| {
            let _ = sockopt::set_socket_recv_buffer_size_force(socket, RECEIVE_BUFFER);
            packet::carry_whole_frames(socket)
        })?;
        Ok(Self { socket })
    }

    /// Takes the next frame; nothing if there is none for now.
    ///
    /// # Errors
    /// What the kernel says, as that the interface went down.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Arrival>> {
        next_arrival(&self.socket, buffer)
    }

    /// Sends a frame, in pieces, the header first.
    ///
    /// # Errors
    /// What the kernel says, as that there is no room.
    pub fn send(&self, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        Ok(rustix::io::writev(&self.socket, pieces).map(drop)?)
    }
}

impl AsFd for PortSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The socket for the slow protocols of a port, LACP among them: beside that of all frames, so that
/// nothing of them is lost or late when those are too many. Frames have no header in front.
#[derive(Debug)]
pub struct ControlSocket {
    socket: OwnedFd,
}

impl ControlSocket {
    /// Opens it on the interface `name`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open(name: &str) -> Result<Self, Error> {
        let socket = packet_socket(name, |socket| {
            packet::attach_filter(socket, &SLOW_FRAMES)?;
            packet::control_links(socket)
        })?;
        Ok(Self { socket })
    }

    /// Takes the next frame; nothing if there is none for now.
    ///
    /// # Errors
    /// What the kernel says, as that the interface went down.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Arrival>> {
        next_arrival(&self.socket, buffer)
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// What the kernel says, as that there is no room.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        Ok(rustix::io::write(&self.socket, frame).map(drop)?)
    }
}

impl AsFd for ControlSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The ports of a lagg, held away from the kernel's own protocols. Dropping it releases them,
/// with the addresses that they had.
#[derive(Debug)]
pub struct Held {
    connection: Connection,
    holder: u32,
    /// Number, own address, and whether IPv6 was off.
    ports: Vec<(u32, [u8; 6], String)>,
}

impl Held {
    /// Takes the ports `names` for `lagg` and gives all of them the address `mac`. `own`: the
    /// addresses to give back.
    ///
    /// # Errors
    /// When the kernel refuses; what was done is then undone.
    pub fn take(
        lagg: &str,
        names: &[String],
        mac: [u8; 6],
        own: &[[u8; 6]],
    ) -> Result<Self, Error> {
        let connection = connect()?;
        let name = holder_name(lagg);
        let refused = |error: io::Error| {
            let hint = "run as root; `ip -d link` shows what is there";
            Error::kernel(format!("cannot take the ports of {lagg}"), error, hint)
        };
        if link::find(&connection, &name).map_err(refused)?.is_none() {
            bridge::create(&connection, &name, bridge::settings(None)).map_err(refused)?;
        }
        let holder = link::by_name(&connection, &name).map_err(refused)?.index;
        let mut held = Self {
            connection,
            holder,
            ports: Vec::new(),
        };
        for (port, own) in names.iter().zip(own) {
            held.port(port, mac, *own).map_err(refused)?;
        }
        Ok(held)
    }

    fn port(&mut self, name: &str, mac: [u8; 6], own: [u8; 6]) -> io::Result<()> {
        let port = link::by_name(&self.connection, name)?;
        let ipv6 = ipv6_switch(name);
        let before = fs::read_to_string(&ipv6).unwrap_or_default();
        // The port must not answer for the lagg's address by itself.
        let _ = fs::write(&ipv6, "1");
        self.ports
            .push((port.index, own, format!("{ipv6}\n{before}")));
        if port.controller != Some(self.holder) {
            let join = vec![LinkAttribute::Controller(self.holder)];
            link::set(&self.connection, port.index, join)?;
        }
        set_mac(&self.connection, port.index, mac)?;
        link::set_up(&self.connection, port.index, true)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for (index, mac, ipv6) in std::mem::take(&mut self.ports) {
            let leave = vec![LinkAttribute::Controller(0)];
            let released = link::set(&self.connection, index, leave)
                .and_then(|()| set_mac(&self.connection, index, mac));
            if let Err(error) = released {
                tracing::debug!(%error, index, "a port could not be released");
            }
            if let Some((path, value)) = ipv6.split_once('\n') {
                let _ = fs::write(path, value);
            }
        }
        let _ = link::delete(&self.connection, self.holder);
    }
}

/// Not every driver changes the address of an interface that is up.
fn set_mac(connection: &Connection, index: u32, mac: [u8; 6]) -> io::Result<()> {
    let address = || vec![LinkAttribute::Address(mac.to_vec())];
    if link::by_index(connection, index)?.mac == mac {
        return Ok(());
    }
    if link::set(connection, index, address()).is_ok() {
        return Ok(());
    }
    link::set_up(connection, index, false)?;
    let changed = link::set(connection, index, address());
    link::set_up(connection, index, true)?;
    changed
}

fn ipv6_switch(name: &str) -> String {
    format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6")
}
