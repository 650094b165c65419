//! Sockets of this box and whose they are, through `sock_diag(7)`.

use std::io;
use std::net::IpAddr;

use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr};
use pf_engine::addr::Protocol;
use pf_engine::env::SocketQuery;
use pf_engine::view::HostPort;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// `NLMSG_ERROR`, `NLM_F_REQUEST`, `SOCK_DIAG_BY_FAMILY` of the kernel's headers.
const ERROR: u16 = 2;
const REQUEST_FLAG: u16 = 1;
const BY_FAMILY: u16 = 20;

/// Bytes of `struct nlmsghdr`, and of it with a `struct inet_diag_req_v2`.
const HEADER: usize = 16;
const REQUEST: usize = HEADER + 56;

/// Where the state and the user stand in `struct inet_diag_msg`.
const STATE: usize = HEADER + 1;
const USER: usize = HEADER + 64;

/// TCP states whose entries in the kernel's table name no user: handshakes that are not done
/// (`TCP_SYN_RECV`, `TCP_NEW_SYN_RECV`) and connections that are over (`TCP_TIME_WAIT`).
const WITHOUT_USER: [u8; 3] = [3, 12, 6];

/// `-ENOENT`: there is no such socket.
const NO_SUCH_SOCKET: i32 = -2;

/// A connection to `sock_diag(7)` in the caller's network namespace.
#[derive(Debug)]
pub struct Sockets(Socket);

impl Sockets {
    /// Opens it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self(socket))
    }

    /// The user that owns the socket of a TCP or UDP packet: the connected one, else one that
    /// listens.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn user(&self, query: &SocketQuery) -> io::Result<Option<u32>> {
        match self.ask(query)? {
            Some((state, _))
                if query.protocol == Protocol::TCP && WITHOUT_USER.contains(&state) =>
            {
                let anybody = HostPort {
                    address: unspecified(query.local.address),
                    port: 0,
                };
                let listener = SocketQuery {
                    remote: anybody,
                    ..*query
                };
                Ok(self.ask(&listener)?.map(|(_, user)| user))
            }
            found => Ok(found.map(|(_, user)| user)),
        }
    }

    /// State and user.
    fn ask(&self, query: &SocketQuery) -> io::Result<Option<(u8, u32)>> {
        self.0.send(&request(query), 0)?;
        let (answer, _) = self.0.recv_from_full()?;
        parse(&answer)
    }
}

const fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    }
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
fn request(query: &SocketQuery) -> Vec<u8> {
    // The kernel looks for UDP sockets with the ends the other way round (net/ipv4/udp_diag.c).
    let (source, destination) = if query.protocol == Protocol::UDP {
        (query.remote, query.local)
    } else {
        (query.local, query.remote)
    };
    let family = if query.local.address.is_ipv4() {
        AF_INET
    } else {
        AF_INET6
    };
    let mut bytes = Vec::with_capacity(REQUEST);
    bytes.extend(u32::try_from(REQUEST).unwrap_or_default().to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(REQUEST_FLAG.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family, query.protocol.0, 0, 0]);
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(source.port.to_be_bytes());
    bytes.extend(destination.port.to_be_bytes());
    bytes.extend(address(source.address));
    bytes.extend(address(destination.address));
    bytes.extend(0u32.to_ne_bytes());
    // `INET_DIAG_NOCOOKIE`: whichever it is.
    bytes.extend([0xff; 8]);
    bytes
}

fn address(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            bytes
        }
        IpAddr::V6(address) => address.octets(),
    }
}

fn parse(answer: &[u8]) -> io::Result<Option<(u8, u32)>> {
    let short = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let kind = answer.get(4..6).and_then(|b| b.try_into().ok());
    if u16::from_ne_bytes(kind.ok_or_else(short)?) == ERROR {
        let code = answer.get(HEADER..).and_then(<[u8]>::first_chunk);
        return match i32::from_ne_bytes(*code.ok_or_else(short)?) {
            NO_SUCH_SOCKET => Ok(None),
            code => Err(io::Error::from_raw_os_error(-code)),
        };
    }
    let state = *answer.get(STATE).ok_or_else(short)?;
    let user = answer.get(USER..).and_then(<[u8]>::first_chunk);
    Ok(Some((state, u32::from_ne_bytes(*user.ok_or_else(short)?))))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    fn end(address: std::net::SocketAddr) -> HostPort {
        HostPort {
            address: address.ip(),
            port: address.port(),
        }
    }

    fn user(protocol: Protocol, local: HostPort, remote: HostPort) -> Option<u32> {
        let query = SocketQuery {
            protocol,
            local,
            remote,
        };
        let sockets = Sockets::open().expect("the kernel has sock_diag");
        sockets.user(&query).expect("it answers")
    }

    fn own() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    #[test]
    fn listening_and_connected_tcp_sockets_are_ours() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).expect("a port");
            let there = listener.local_addr().expect("bound");
            let stranger = HostPort {
                address: there.ip(),
                port: 1,
            };
            assert_eq!(user(Protocol::TCP, end(there), stranger), Some(own()));
            let stream = TcpStream::connect(there).expect("it listens");
            let here = stream.local_addr().expect("connected");
            assert_eq!(user(Protocol::TCP, end(here), end(there)), Some(own()));
            drop(listener);
            // A child that another test has forked has it open until it executes.
            let mut looks = std::iter::repeat_with(|| {
                std::thread::yield_now();
                user(Protocol::TCP, end(there), stranger)
            });
            assert!(looks.by_ref().take(10_000).any(|user| user.is_none()));
        }
    }

    #[test]
    fn udp_sockets_are_found_by_their_own_end() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let here = end(socket.local_addr().expect("bound"));
        let there = HostPort {
            address: here.address,
            port: 9,
        };
        assert_eq!(user(Protocol::UDP, here, there), Some(own()));
        assert_eq!(user(Protocol::UDP, there, here), None);
    }
}
