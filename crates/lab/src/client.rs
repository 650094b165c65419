//! What a host of the lab does as a client: connections, downloads, datagrams, pings.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto, sockopt};
use sha2::{Digest, Sha256};

use crate::clock;
use crate::namespace::Namespace;
use crate::roles::Role;
use crate::service::{hexadecimal, write_pseudo_random};

/// No answer for this long is a failure, on a machine that others use too; a SYN is sent five
/// times in it.
const TIMEOUT: Duration = Duration::from_secs(30);
const CHUNK: usize = 64 * 1024;

/// A host of the lab.
#[derive(Clone, Debug)]
pub struct Host {
    role: Role,
    namespace: Arc<Namespace>,
    patience: Duration,
}

/// What a download brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    /// Bytes of the body.
    pub bytes: u64,
    /// From the request to the last byte.
    pub elapsed: Duration,
    /// Digest of the body, hexadecimal.
    pub sha256: String,
    /// The client address that the server saw.
    pub server_saw: SocketAddr,
}

impl Download {
    /// Bits a second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    pub fn rate(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

impl Host {
    pub(crate) fn new(role: Role, namespace: Arc<Namespace>) -> Self {
        Self {
            role,
            namespace,
            patience: TIMEOUT,
        }
    }

    /// The same host, whose connections wait this long instead of half a minute.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Which host it is.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &Arc<Namespace> {
        &self.namespace
    }

    /// Connects; reads and writes time out.
    pub fn tcp_connect(&self, to: impl Into<SocketAddr>) -> io::Result<TcpStream> {
        self.tcp_connect_within(self.patience, to)
    }

    /// Connects, but waits no longer than this; for what is expected not to answer.
    pub fn tcp_connect_within(
        &self,
        limit: Duration,
        to: impl Into<SocketAddr>,
    ) -> io::Result<TcpStream> {
        let to = to.into();
        let stream = self
            .namespace
            .run(|| TcpStream::connect_timeout(&to, limit))?;
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_write_timeout(Some(self.patience))?;
        Ok(stream)
    }

    /// Connects from one of the host's own addresses.
    pub fn tcp_connect_from(&self, from: IpAddr, to: SocketAddr) -> anyhow::Result<TcpStream> {
        let family = family_of(to);
        let stream = self.namespace.run(|| -> io::Result<TcpStream> {
            let socket = rustix::net::socket(family, SocketType::STREAM, Some(ipproto::TCP))?;
            // Bounds connect() as well.
            sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(self.patience))?;
            rustix::net::bind(&socket, &SocketAddr::new(from, 0))?;
            rustix::net::connect(&socket, &to)?;
            Ok(TcpStream::from(socket))
        })?;
        stream.set_read_timeout(Some(self.patience))?;
        Ok(stream)
    }

    /// A listener of the host, for tests that are the server themselves.
    pub fn tcp_listen(&self, at: SocketAddr) -> io::Result<TcpListener> {
        self.namespace.run(|| TcpListener::bind(at))
    }

    /// Connects to the line protocol.
    pub fn line_client(&self, to: impl Into<SocketAddr>) -> anyhow::Result<LineClient> {
        let to = to.into();
        let stream = self
            .tcp_connect(to)
            .with_context(|| format!("connecting to {to}"))?;
        LineClient::new(stream)
    }

    /// Downloads `bytes` pseudo-random bytes by HTTP.
    pub fn download(&self, from: impl Into<SocketAddr>, bytes: u64) -> anyhow::Result<Download> {
        let from = from.into();
        let what = || {
            format!(
                "{}: downloading {bytes} bytes from {from}",
                self.role.name()
            )
        };
        let stream = self.tcp_connect(from).with_context(what)?;
        download_over(stream, bytes).with_context(what)
    }

    /// The same, on a thread of its own.
    pub fn download_in_background(
        &self,
        from: impl Into<SocketAddr>,
        bytes: u64,
    ) -> JoinHandle<anyhow::Result<Download>> {
        let (host, from) = (self.clone(), from.into());
        std::thread::spawn(move || host.download(from, bytes))
    }

    /// Sends `bytes` pseudo-random bytes by HTTP; the digest is what the server computed.
    pub fn upload(&self, to: impl Into<SocketAddr>, bytes: u64) -> anyhow::Result<Download> {
        let to = to.into();
        let what = || format!("{}: uploading {bytes} bytes to {to}", self.role.name());
        let stream = self.tcp_connect(to).with_context(what)?;
        upload_over(stream, bytes).with_context(what)
    }

    /// Sends a datagram and waits for the answer; returns the address that the server saw and
    /// the payload that came back.
    pub fn udp_exchange(
        &self,
        to: impl Into<SocketAddr>,
        payload: &[u8],
    ) -> anyhow::Result<(SocketAddr, Vec<u8>)> {
        let to = to.into();
        let unspecified: IpAddr = if to.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let socket = self.namespace.run(|| UdpSocket::bind((unspecified, 0)))?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(self.patience))?;
        udp_exchange_over(&socket, payload).with_context(|| format!("asking {to} by UDP"))
    }

    /// Sends an echo request with `payload` bytes behind the ICMP header, and others while none is
    /// answered; returns how long it was from the first until an answer came.
    pub fn ping(&self, to: impl Into<IpAddr>, payload: usize) -> anyhow::Result<Duration> {
        self.ping_with(&PATIENT, to.into(), payload)
    }

    /// Sends three echo requests, one a second; whether none of them is answered.
    pub fn is_unanswered(&self, to: impl Into<IpAddr>, payload: usize) -> bool {
        self.ping_with(&THREE, to.into(), payload).is_err()
    }

    fn ping_with(
        &self,
        waits: &[Duration],
        to: IpAddr,
        payload: usize,
    ) -> anyhow::Result<Duration> {
        self.namespace
            .run(|| ping(to, payload, waits))
            .with_context(|| format!("{}: no answer from {to}", self.role.name()))
    }

    /// How many of its TCP connections may still send something: all but those that wait for
    /// late segments (`TIME_WAIT`) and those that listen.
    pub fn open_connections(&self) -> anyhow::Result<usize> {
        let texts = ["tcp", "tcp6"].map(|table| {
            let path = format!("/proc/thread-self/net/{table}");
            self.namespace.read(&path)
        });
        let mut open = 0;
        for text in texts {
            open += text?.lines().skip(1).filter(|line| is_open(line)).count();
        }
        Ok(open)
    }
}

/// Of a line of proc(5)'s net/tcp: the fourth column is the state, 6 `TIME_WAIT`, 10 `LISTEN`.
fn is_open(line: &str) -> bool {
    let state = line.split_whitespace().nth(3);
    !matches!(state, None | Some("06" | "0A"))
}

/// A connection to the line protocol of [`crate::service`].
#[derive(Debug)]
pub struct LineClient {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    server_saw: SocketAddr,
}

impl LineClient {
    fn new(stream: TcpStream) -> anyhow::Result<Self> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut banner = String::new();
        reader
            .read_line(&mut banner)
            .context("reading the banner")?;
        let client = banner.trim().strip_prefix("SSH-2.0-lab ");
        let server_saw = client.context("not the lab's banner")?.parse()?;
        Ok(Self {
            stream,
            reader,
            server_saw,
        })
    }

    /// Over a connection that was made in another way.
    pub fn over(stream: TcpStream) -> anyhow::Result<Self> {
        Self::new(stream)
    }

    /// The same, and the client says a line before it has heard the server's: through a proxy
    /// that waits for the client.
    pub fn speaking_first(mut stream: TcpStream, line: &str) -> anyhow::Result<Self> {
        stream.write_all(format!("{line}\n").as_bytes())?;
        let mut this = Self::new(stream)?;
        this.hear(line)?;
        Ok(this)
    }

    /// The client address that the server saw.
    #[must_use]
    pub fn server_saw(&self) -> SocketAddr {
        self.server_saw
    }

    /// The client's own address.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// From now on waits no longer than this for an echo; for one that is expected not to come.
    pub fn set_patience(&self, limit: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(limit))
    }

    /// Ends the connection with an RST instead of a FIN.
    pub fn reset(self) -> io::Result<()> {
        sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO))?;
        Ok(())
    }

    /// Sends a line and checks that it comes back.
    pub fn exchange(&mut self, line: &str) -> anyhow::Result<()> {
        self.stream.write_all(format!("{line}\n").as_bytes())?;
        self.hear(line)
    }

    fn hear(&mut self, line: &str) -> anyhow::Result<()> {
        let mut echo = String::new();
        self.reader
            .read_line(&mut echo)
            .context("waiting for the echo")?;
        ensure!(echo.trim_end() == line, "sent {line:?}, got {echo:?}");
        Ok(())
    }
}

struct Head {
    client: SocketAddr,
    length: u64,
}

impl Head {
    fn read(reader: &mut impl BufRead) -> anyhow::Result<Self> {
        let mut status = String::new();
        reader.read_line(&mut status)?;
        ensure!(
            status.starts_with("HTTP/1.0 200"),
            "the server said {status:?}"
        );
        let (mut client, mut length) = (None, 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            match line.trim().split_once(": ") {
                Some(("X-Client", value)) => client = Some(value.parse()?),
                Some(("Content-Length", value)) => length = value.parse()?,
                Some(_) => {}
                None => break,
            }
        }
        Ok(Self {
            client: client.context("no X-Client header")?,
            length,
        })
    }
}

/// Downloads over a connection that is already open.
pub fn download_over(mut stream: TcpStream, bytes: u64) -> anyhow::Result<Download> {
    let start = clock::now();
    write!(stream, "GET /bytes/{bytes} HTTP/1.0\r\n\r\n")?;
    let mut reader = BufReader::with_capacity(CHUNK, stream);
    let head = Head::read(&mut reader)?;
    ensure!(
        head.length == bytes,
        "asked for {bytes} bytes, offered {}",
        head.length
    );
    let (received, sha256) = hash_until_end(&mut reader)?;
    ensure!(received == bytes, "asked for {bytes} bytes, got {received}");
    Ok(Download {
        bytes,
        elapsed: start.elapsed(),
        sha256,
        server_saw: head.client,
    })
}

/// Uploads over a connection that is already open.
pub fn upload_over(mut stream: TcpStream, bytes: u64) -> anyhow::Result<Download> {
    let start = clock::now();
    write!(
        stream,
        "POST /sink HTTP/1.0\r\nContent-Length: {bytes}\r\n\r\n"
    )?;
    write_pseudo_random(&mut stream, bytes)?;
    let mut reader = BufReader::new(stream);
    let head = Head::read(&mut reader)?;
    let mut sha256 = String::new();
    reader.read_to_string(&mut sha256)?;
    Ok(Download {
        bytes,
        elapsed: start.elapsed(),
        sha256,
        server_saw: head.client,
    })
}

fn hash_until_end(reader: &mut impl Read) -> io::Result<(u64, String)> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    let mut received = 0;
    loop {
        match reader.read(&mut chunk) {
            Ok(0) => return Ok((received, hexadecimal(hash))),
            Ok(length) => {
                hash.update(&chunk[..length]);
                received += length as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Sends over a connected socket and reads the answer of [`crate::service`]'s UDP echo.
pub fn udp_exchange_over(
    socket: &UdpSocket,
    payload: &[u8],
) -> anyhow::Result<(SocketAddr, Vec<u8>)> {
    socket.send(payload)?;
    let mut buffer = vec![0; 65536];
    let length = socket.recv(&mut buffer)?;
    buffer.truncate(length);
    let blank = buffer
        .iter()
        .position(|byte| *byte == b' ')
        .context("no address in the answer")?;
    let echo = buffer.split_off(blank + 1);
    let server_saw = String::from_utf8(buffer)?.trim().parse()?;
    ensure!(
        echo == payload,
        "sent {} bytes, got {} others back",
        payload.len(),
        echo.len()
    );
    Ok((server_saw, echo))
}

fn family_of(address: SocketAddr) -> AddressFamily {
    if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    }
}

/// Echo request and echo reply of each family.
const ECHO_V4: (u8, u8) = (8, 0);
const ECHO_V6: (u8, u8) = (128, 129);
/// How long each echo request waits for an answer before the next one is sent.
const PATIENT: [Duration; 15] = [Duration::from_secs(1); 15];
const THREE: [Duration; 3] = [Duration::from_secs(1); 3];

fn ping(to: IpAddr, payload: usize, waits: &[Duration]) -> anyhow::Result<Duration> {
    let (family, protocol, types) = match to {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP, ECHO_V4),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6, ECHO_V6),
    };
    let socket = rustix::net::socket(family, SocketType::RAW, Some(protocol))?;
    rustix::net::connect(&socket, &SocketAddr::new(to, 0))?;
    // Marks our requests among those of other pings of the same host.
    let id = u16::from_ne_bytes([socket_number(&socket), std::process::id().to_le_bytes()[0]]);
    let start = clock::now();
    for (sequence, wait) in (0..).zip(waits) {
        rustix::net::send(
            &socket,
            &echo(types.0, id, sequence, payload),
            SendFlags::empty(),
        )?;
        if wait_for_reply(&socket, types.1, id, to.is_ipv4(), *wait)? {
            return Ok(start.elapsed());
        }
    }
    bail!("{} echo requests without a reply", waits.len())
}

fn socket_number(socket: &OwnedFd) -> u8 {
    use std::os::fd::AsRawFd;
    socket.as_raw_fd().to_le_bytes()[0]
}

/// An echo request; the kernel computes ICMPv6's checksum itself, ICMP's is ours (RFC 1071).
fn echo(kind: u8, id: u16, sequence: u16, payload: usize) -> Vec<u8> {
    let mut packet = vec![kind, 0, 0, 0];
    packet.extend(id.to_be_bytes());
    packet.extend(sequence.to_be_bytes());
    packet.resize(8 + payload, 0x5a);
    let checksum = internet_checksum(&packet);
    packet[2..4].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// The internet checksum (RFC 1071) of `bytes`.
#[must_use]
pub fn internet_checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0xffff)
}

/// Whether the reply came in time. IPv4 delivers the IP header too.
fn wait_for_reply(
    socket: &OwnedFd,
    kind: u8,
    id: u16,
    ip_header: bool,
    limit: Duration,
) -> io::Result<bool> {
    let mut buffer = vec![0; 65536];
    let deadline = clock::now() + limit;
    while let Some(left) = deadline.checked_duration_since(clock::now()) {
        let left = left.max(Duration::from_millis(1));
        sockopt::set_socket_timeout(socket, sockopt::Timeout::Recv, Some(left))?;
        let length = match rustix::net::recv(socket, &mut buffer[..], RecvFlags::empty()) {
            Ok((_, length)) => length,
            Err(rustix::io::Errno::AGAIN) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let start = if ip_header {
            usize::from(buffer[0] & 15) * 4
        } else {
            0
        };
        let message = buffer.get(start..length).unwrap_or_default();
        if message.first() == Some(&kind) && message.get(4..6) == Some(&id.to_be_bytes()) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_over_a_message_that_holds_its_checksum_is_zero() {
        assert_eq!(internet_checksum(&echo(8, 0x1234, 7, 56)), 0);
        assert_eq!(
            internet_checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
            0x220d
        );
    }
}
