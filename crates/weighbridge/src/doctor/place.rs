//! The network namespace that is looked at, and httpd's own test in it.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::time::Duration;

use ::doctor::apache::{Probe, Surroundings};
use datapath::netlink::Netlink;
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::text::reason;

/// How long httpd waits for its own listener (`dummy_connection`).
const HTTPD_PATIENCE: Duration = Duration::from_secs(3);

/// Where the work is done.
#[derive(Debug)]
pub(super) struct Place {
    /// The network namespace of another process.
    namespace: Option<File>,
}

impl Place {
    /// This process's, or another's.
    pub(super) fn of(pid: Option<u32>) -> Result<Self, String> {
        let open = |pid: u32| {
            let path = format!("/proc/{pid}/ns/net");
            File::open(&path).map_err(|error| format!("{path}: {}", reason(&error)))
        };
        let namespace = pid.map(open).transpose()?;
        Ok(Self { namespace })
    }

    /// Does work there, on a thread of its own: the process stays where it is.
    pub(super) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, String> {
        let Some(namespace) = &self.namespace else {
            return Ok(work());
        };
        let inside = || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(|error| {
                    format!(
                        "cannot enter the network namespace: {}",
                        reason(&error.into())
                    )
                })?;
            Ok(work())
        };
        std::thread::scope(|scope| {
            let thread = scope.spawn(inside);
            thread
                .join()
                .unwrap_or_else(|_| Err("the work in the namespace ended early".to_owned()))
        })
    }
}

/// The network of the calling thread.
#[derive(Clone, Debug)]
pub(super) struct Here {
    name: &'static str,
    /// Names are looked up as here, not by another process's files.
    own: bool,
}

impl Here {
    /// For work [`Place::within`] the namespace of `pid`.
    pub(super) fn of(pid: Option<u32>) -> Self {
        let name = if pid.is_some() {
            "the network of that process"
        } else {
            "this network namespace"
        };
        let own = pid.is_none();
        Self { name, own }
    }
}

/// The addresses that a name stands for, each once.
pub(super) fn addresses_of(name: &str) -> Result<Vec<IpAddr>, String> {
    let found = (name, 0)
        .to_socket_addrs()
        .map_err(|error| reason(&error))?;
    let mut addresses = Vec::new();
    for address in found.map(|socket| socket.ip()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

/// Addresses of the calling thread's namespace that others can use.
pub(super) fn own_addresses() -> Vec<IpAddr> {
    let interfaces = Netlink::open().and_then(|mut netlink| netlink.interfaces());
    let interfaces = interfaces.unwrap_or_default();
    let outward = interfaces.iter().filter(|interface| !interface.loopback);
    let addresses = outward.flat_map(|interface| interface.addresses.iter().map(|a| a.address));
    addresses.filter(|address| !is_local(*address)).collect()
}

fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_link_local(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unicast_link_local(),
    }
}

impl Surroundings for Here {
    fn reach(&self, address: IpAddr) -> Probe {
        match try_to_reach(address) {
            Ok(()) => Probe::Answers,
            Err(error) => outcome(&error),
        }
    }

    fn addresses(&self) -> Vec<IpAddr> {
        own_addresses()
    }

    fn addresses_of(&self, name: &str) -> Option<Result<Vec<IpAddr>, String>> {
        self.own.then(|| addresses_of(name))
    }

    fn loopback_up(&self) -> Option<bool> {
        let states = Netlink::open().and_then(|mut netlink| netlink.link_states());
        let states = states.ok()?;
        states
            .iter()
            .find(|state| state.loopback)
            .map(|state| state.up)
    }

    fn name(&self) -> String {
        self.name.to_owned()
    }
}

fn try_to_reach(address: IpAddr) -> io::Result<()> {
    let listener = TcpListener::bind(SocketAddr::new(address, 0))?;
    let port = listener.local_addr()?.port();
    TcpStream::connect_timeout(&SocketAddr::new(address, port), HTTPD_PATIENCE).map(drop)
}

fn outcome(error: &io::Error) -> Probe {
    if error.kind() == ErrorKind::TimedOut {
        return Probe::Silent;
    }
    match Errno::from_io_error(error) {
        Some(Errno::AFNOSUPPORT) => Probe::NoFamily,
        Some(Errno::PERM | Errno::ACCESS | Errno::MFILE | Errno::NFILE | Errno::NOBUFS) => {
            Probe::Unknown(format!("a listener cannot be tried: {}", reason(error)))
        }
        Some(_) | None => Probe::Refused(reason(error)),
    }
}
