//! The TAP device between the kernel's program and the daemon.

use std::fs;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use netlink_packet_route::link::{LinkAttribute, LinkFlags};
use rustix::fs::{Mode, OFlags};

use crate::Error;
use crate::netlink::connection::Connection;
use crate::netlink::link;
use crate::sys;

const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;
/// A device with that name may not exist yet.
const IFF_TUN_EXCL: u16 = 0x8000;
/// A new device for whole frames.
pub(crate) const NEW_TAP: u16 = IFF_TAP | IFF_NO_PI | IFF_TUN_EXCL;

/// Largest MTU of a TAP (`MAX_MTU` of drivers/net/tun.c without the Ethernet header). Frames
/// that are redirected into it are not measured against it.
const MTU: u32 = 65_521;

/// Packets that wait for the daemon at most; the kernel drops what comes on top, counted in
/// `queue_full`. As many as `net.core.netdev_max_backlog` lets wait for the kernel itself.
const QUEUE_LEN: u32 = 1_000;

#[derive(Debug)]
pub(crate) struct Tap {
    file: OwnedFd,
    pub(crate) name: String,
    pub(crate) index: u32,
}

impl Tap {
    /// Makes the device. It is down until [`Tap::bring_up`].
    pub(crate) fn create(name: &str, connection: &Connection) -> Result<Self, Error> {
        check_name(name)?;
        let file = open()?;
        // No offloads are announced: the kernel cuts super-packets into segments and completes
        // checksums before a packet gets here, also those that are not the Internet's (SCTP).
        sys::create_tun(&file, name, NEW_TAP).map_err(|error| not_made(name, error))?;
        let link = link::by_name(connection, name).map_err(|error| not_set_up(name, error))?;
        let tap = Self {
            file,
            name: name.to_owned(),
            index: link.index,
        };
        tap.set_up(connection)
            .map_err(|error| not_set_up(name, error))?;
        Ok(tap)
    }

    /// Size of the queue, and nothing that makes the kernel talk on it by itself.
    fn set_up(&self, connection: &Connection) -> io::Result<()> {
        let attributes = vec![
            LinkAttribute::Mtu(MTU),
            LinkAttribute::TxQueueLen(QUEUE_LEN),
        ];
        link::set(connection, self.index, attributes)?;
        let quiet = LinkFlags::Noarp | LinkFlags::Multicast;
        link::set_flags(connection, self.index, LinkFlags::Noarp, quiet)?;
        match fs::write(self.ipv6_switch(), "1") {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn ipv6_switch(&self) -> String {
        format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", self.name)
    }

    pub(crate) fn bring_up(&self, connection: &Connection) -> Result<(), Error> {
        link::set_up(connection, self.index, true).map_err(|error| not_set_up(&self.name, error))
    }

    /// Packets that the queue had no room for.
    pub(crate) fn queue_full(&self, connection: &Connection) -> io::Result<u64> {
        Ok(link::by_index(connection, self.index)?.tx_dropped)
    }

    /// Reads one frame; nothing if there is none for now.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            return match rustix::io::read(&self.file, &mut *buffer) {
                Ok(len) => Ok(Some(len)),
                Err(rustix::io::Errno::AGAIN) => Ok(None),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => Err(error.into()),
            };
        }
    }

    /// Writes one frame.
    pub(crate) fn write(&self, frame: &[IoSlice<'_>]) -> io::Result<()> {
        loop {
            return match rustix::io::writev(&self.file, frame) {
                Ok(_) => Ok(()),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => Err(error.into()),
            };
        }
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let valid = !name.is_empty()
        && name.len() <= sys::NAME_MAX
        && !name.contains(|c: char| c == '/' || c == '%' || c.is_whitespace() || c == '\0')
        && name != "."
        && name != "..";
    if valid {
        return Ok(());
    }
    Err(Error::Conflict {
        what: format!("{name:?} is no name for the TAP device"),
        hint: "a name has 1 to 15 bytes, without a slash, a percent sign or a space",
    })
}

pub(crate) fn open() -> Result<OwnedFd, Error> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::open("/dev/net/tun", flags, Mode::empty()).map_err(|error| {
        Error::kernel(
            "cannot open /dev/net/tun",
            error,
            "run as root on a kernel with TUN/TAP; `modprobe tun` where it is a module",
        )
    })
}

fn not_made(name: &str, error: rustix::io::Errno) -> Error {
    let hint = if error == rustix::io::Errno::BUSY {
        "another weighbridge seems to run; `ip link` shows the device that has the name"
    } else {
        "run as root"
    };
    Error::kernel(format!("cannot make the TAP device {name}"), error, hint)
}

fn not_set_up(name: &str, error: io::Error) -> Error {
    Error::kernel(
        format!("cannot set up the TAP device {name}"),
        error,
        "run as root, with a writable /proc/sys",
    )
}
