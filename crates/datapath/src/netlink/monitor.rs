//! Notices of changes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use crate::Error;

// linux/rtnetlink.h
const RTNLGRP_LINK: u32 = 1;
const RTNLGRP_IPV4_IFADDR: u32 = 5;
const RTNLGRP_IPV4_ROUTE: u32 = 7;
const RTNLGRP_IPV6_IFADDR: u32 = 9;
const RTNLGRP_IPV6_ROUTE: u32 = 11;

const GROUPS: [u32; 5] = [
    RTNLGRP_LINK,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV4_ROUTE,
    RTNLGRP_IPV6_IFADDR,
    RTNLGRP_IPV6_ROUTE,
];

/// Larger than any notice. A cut one does no harm: what is not understood is a change.
const NOTICE_LEN: usize = 8_192;

/// Reads notices, up to so many: their bytes, nothing where some were lost for lack of room.
/// Whether there may be more.
pub(super) fn drain(
    socket: &Socket,
    limit: usize,
    mut heard: impl FnMut(Option<&[u8]>),
) -> io::Result<bool> {
    let mut notice = Vec::with_capacity(NOTICE_LEN);
    for _ in 0..limit {
        notice.clear();
        match socket.recv(&mut notice, 0) {
            Ok(_) => heard(Some(&notice)),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => heard(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Tells when links, addresses or routes change.
#[derive(Debug)]
pub struct Monitor {
    socket: Socket,
}

impl Monitor {
    /// Subscribes.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open() -> Result<Self, Error> {
        subscribe(&GROUPS)
            .map(|socket| Self { socket })
            .map_err(|error| broken("cannot watch the interfaces", error))
    }

    /// Readable when something changed.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Reads all pending notices; true if there was one.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn drain(&mut self) -> Result<bool, Error> {
        let mut changed = false;
        let drained = drain(&self.socket, usize::MAX, |_| changed = true);
        drained.map_err(|error| broken("cannot watch the interfaces any more", error))?;
        Ok(changed)
    }
}

/// A socket that hears rtnetlink's notices of these groups.
pub(super) fn subscribe(groups: &[u32]) -> io::Result<Socket> {
    subscribe_to(NETLINK_ROUTE, groups)
}

/// The same of another protocol.
pub(super) fn subscribe_to(protocol: isize, groups: &[u32]) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    socket.set_non_blocking(true)?;
    for group in groups {
        socket.add_membership(*group)?;
    }
    Ok(socket)
}

fn broken(what: &str, source: io::Error) -> Error {
    Error::kernel(what, source, "rtnetlink must be reachable (AF_NETLINK)")
}
