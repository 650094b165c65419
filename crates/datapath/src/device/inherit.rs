//! Devices and sockets that a program leaves to the one that takes its place by execve(2): nobody on
//! the links notices, and what waits in a socket is not lost.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use rustix::io::{FdFlags, fcntl_setfd};

use super::{ControlSocket, Device, Held, PortSocket};
use crate::Error;
use crate::netlink::connect;
use crate::sys;

/// Leaves an open file to the next program, which finds it by this number.
///
/// # Errors
/// What the kernel says.
pub fn pass_on(file: impl AsFd) -> io::Result<RawFd> {
    fcntl_setfd(&file, FdFlags::empty())?;
    Ok(file.as_fd().as_raw_fd())
}

/// The file of this number that the program before this one has passed on.
///
/// # Errors
/// When there is none.
pub fn inherited_file(number: RawFd) -> io::Result<File> {
    sys::inherited(number).map(File::from)
}

/// The ports of a lagg as [`Held`] holds them, for the next program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldPorts {
    /// Number of the bridge that holds them.
    pub holder: u32,
    /// Number, own address, and the switch of IPv6 with its value before.
    pub ports: Vec<(u32, [u8; 6], String)>,
}

impl Device {
    /// Takes over the device `name`, which has the number `index`, from the program before this one.
    ///
    /// # Errors
    /// When there is no such open file.
    pub fn inherit(number: RawFd, name: &str, index: u32) -> io::Result<Self> {
        Ok(Self {
            file: sys::inherited(number)?,
            name: name.to_owned(),
            index,
        })
    }
}

impl PortSocket {
    /// Takes over the socket of a port from the program before this one.
    ///
    /// # Errors
    /// When there is no such open file.
    pub fn inherit(number: RawFd) -> io::Result<Self> {
        let socket = sys::inherited(number)?;
        Ok(Self { socket })
    }
}

impl ControlSocket {
    /// The same for the slow protocols.
    ///
    /// # Errors
    /// When there is no such open file.
    pub fn inherit(number: RawFd) -> io::Result<Self> {
        let socket = sys::inherited(number)?;
        Ok(Self { socket })
    }
}

impl Held {
    /// What the next program must know to release the ports.
    #[must_use]
    pub fn held(&self) -> HeldPorts {
        HeldPorts {
            holder: self.holder,
            ports: self.ports.clone(),
        }
    }

    /// Holds on to what the program before this one has held.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn inherit(held: HeldPorts) -> Result<Self, Error> {
        Ok(Self {
            connection: connect()?,
            holder: held.holder,
            ports: held.ports,
        })
    }
}
