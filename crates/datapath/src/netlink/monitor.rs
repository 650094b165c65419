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

/// Larger than any notice. Their contents do not matter, so a cut one does no harm.
const NOTICE_LEN: usize = 8_192;

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
        let mut notice = Vec::with_capacity(NOTICE_LEN);
        let mut changed = false;
        loop {
            notice.clear();
            match self.socket.recv(&mut notice, 0) {
                Ok(_) => changed = true,
                // Notices were lost for lack of room: something changed.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => changed = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(changed),
                Err(error) => return Err(broken("cannot watch the interfaces any more", error)),
            }
        }
    }
}

/// A socket that hears the notices of these groups.
pub(super) fn subscribe(groups: &[u32]) -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
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
