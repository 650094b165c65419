//! What the internet host (and, when asked, an inside host) serves.
//!
//! - HTTP on port 80: `GET /bytes/N` sends N pseudo-random bytes that [`PseudoRandom`]
//!   reproduces; `POST /sink` reads the body and answers its SHA-256; both answer `X-Client`.
//! - A line protocol on ports 22, 110, 143, 443 (which the article sends by DSL) and 8080 (which
//!   it does not): a banner that ends in the client's address, then every line is echoed.
//! - UDP on ports 53, 80, 443 and 5353: answers the client's address, a blank, and the payload.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use sha2::{Digest, Sha256};

use crate::namespace::Namespace;
use crate::roles::{SERVICES_V4, SERVICES_V6};

/// The HTTP port.
pub const HTTP: u16 = 80;
/// The ports of the line protocol.
pub const LINE_PORTS: [u16; 5] = [22, 110, 143, 443, OTHER];
/// A TCP port that is not one of the article's `dslports`.
pub const OTHER: u16 = 8080;
/// The UDP ports.
pub const UDP_PORTS: [u16; 4] = [53, 80, 443, 5353];
/// The seed of `GET /bytes/N`.
pub const SEED: u64 = 0x5762_2006_0616;

/// A client that says nothing for this long is gone.
const CLIENT_TIMEOUT: Duration = Duration::from_mins(1);
/// The most bytes of a request line or header line that are read.
const LINE_LIMIT: u64 = 8192;
const CHUNK: usize = 64 * 1024;

/// The bytes that `GET /bytes/N` sends: splitmix64 from [`SEED`].
#[derive(Clone, Debug)]
pub struct PseudoRandom(u64);

impl Default for PseudoRandom {
    fn default() -> Self {
        Self(SEED)
    }
}

impl PseudoRandom {
    /// Another sequence than that of [`SEED`].
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Fills `buffer`, whose length but for the last time is a multiple of 8, with what follows.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        for word in buffer.chunks_mut(8) {
            word.copy_from_slice(&self.draw().to_le_bytes()[..word.len()]);
        }
    }
}

/// SHA-256, in hexadecimal, of what `GET /bytes/N` sends.
#[must_use]
pub fn sha256_of_bytes(bytes: u64) -> String {
    let mut hash = Sha256::new();
    let _ = write_pseudo_random(&mut HashWriter(&mut hash), bytes);
    hexadecimal(hash)
}

/// The digest as `sha256sum` prints it.
#[must_use]
pub fn hexadecimal(hash: Sha256) -> String {
    hash.finalize()
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

struct HashWriter<'a>(&'a mut Sha256);

impl Write for HashWriter<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.update(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The services of the hosts of one lab. Dropping them ends every connection and thread.
#[derive(Debug, Default)]
pub(crate) struct Services(Vec<Service>);

impl Services {
    /// Starts all services inside a namespace.
    pub(crate) fn start(&mut self, namespace: &Namespace) -> anyhow::Result<()> {
        self.0.push(Service::start(namespace)?);
        Ok(())
    }
}

#[derive(Debug)]
struct Service {
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    fn start(namespace: &Namespace) -> anyhow::Result<Self> {
        let sockets = namespace.run(Sockets::open)?;
        let (stopped, stop) = rustix::pipe::pipe()?;
        let thread = namespace.spawn(move || sockets.serve(&stopped))?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

struct Sockets {
    http: TcpListener,
    line: Vec<TcpListener>,
    udp: Vec<UdpSocket>,
}

impl Sockets {
    fn open() -> io::Result<Self> {
        let listen = |port| {
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?;
            // A client may be gone between poll and accept.
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        Ok(Self {
            http: listen(HTTP)?,
            line: LINE_PORTS
                .into_iter()
                .map(listen)
                .collect::<io::Result<_>>()?,
            udp: open_udp()?,
        })
    }

    /// Until the other end of `stopped` is closed.
    fn serve(&self, stopped: &OwnedFd) {
        let clients = Clients::default();
        loop {
            let ready = wait(&self.descriptors(stopped));
            let Some((false, ready)) = ready.as_deref().and_then(<[bool]>::split_first) else {
                return clients.end();
            };
            let (http, rest) = ready.split_first().unwrap_or((&false, &[]));
            let (line, udp) = rest.split_at(self.line.len());
            if *http {
                clients.accept(&self.http, serve_http);
            }
            for (listener, _) in self.line.iter().zip(line).filter(|(_, ready)| **ready) {
                clients.accept(listener, serve_lines);
            }
            for (socket, _) in self.udp.iter().zip(udp).filter(|(_, ready)| **ready) {
                echo_datagram(socket);
            }
        }
    }

    fn descriptors<'a>(&'a self, stopped: &'a OwnedFd) -> Vec<BorrowedFd<'a>> {
        let listeners = self.line.iter().map(AsFd::as_fd);
        let sockets = self.udp.iter().map(AsFd::as_fd);
        [stopped.as_fd(), self.http.as_fd()]
            .into_iter()
            .chain(listeners)
            .chain(sockets)
            .collect()
    }
}

/// A UDP socket answers from the address that was asked only when it is bound to it.
fn open_udp() -> io::Result<Vec<UdpSocket>> {
    let v4 = SERVICES_V4.map(IpAddr::V4).into_iter();
    let addresses = v4.chain(SERVICES_V6.map(IpAddr::V6));
    let pairs = addresses.flat_map(|address| UDP_PORTS.map(|port| (address, port)));
    let mut sockets = Vec::new();
    for pair in pairs {
        match UdpSocket::bind(pair) {
            Ok(socket) => sockets.push(socket),
            // An inside host serves TCP only: it does not have these addresses.
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sockets)
}

/// Which descriptors are readable (or closed at the other end).
fn wait(descriptors: &[BorrowedFd<'_>]) -> Option<Vec<bool>> {
    let mut polled: Vec<_> = descriptors
        .iter()
        .map(|fd| PollFd::new(fd, PollFlags::IN))
        .collect();
    loop {
        match poll(&mut polled, None) {
            Ok(_) => return Some(polled.iter().map(|fd| !fd.revents().is_empty()).collect()),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

type LiveClients = Vec<(TcpStream, JoinHandle<()>)>;

#[derive(Default)]
struct Clients(Arc<Mutex<LiveClients>>);

impl Clients {
    fn accept(&self, listener: &TcpListener, serve: fn(&TcpStream, SocketAddr) -> io::Result<()>) {
        let Ok((stream, peer)) = listener.accept() else {
            return;
        };
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let Ok(handle) = stream.try_clone() else {
            return;
        };
        let thread = std::thread::spawn(move || {
            let timeout = Some(CLIENT_TIMEOUT);
            let limits = stream
                .set_read_timeout(timeout)
                .and(stream.set_write_timeout(timeout));
            // A client that went away is no concern of ours.
            let _ = limits.and_then(|()| serve(&stream, peer));
            let _ = stream.shutdown(Shutdown::Both);
        });
        let mut live = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        live.retain(|(_, thread)| !thread.is_finished());
        live.push((handle, thread));
    }

    fn end(&self) {
        let mut live = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (stream, thread) in live.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
            let _ = thread.join();
        }
    }
}

fn echo_datagram(socket: &UdpSocket) {
    let mut buffer = vec![0; 65536];
    let Ok((length, peer)) = socket.recv_from(&mut buffer) else {
        return;
    };
    let answer = [format!("{peer} ").as_bytes(), &buffer[..length]].concat();
    let _ = socket.send_to(&answer, peer);
}

/// The banner ends in the client's address; then every line comes back.
fn serve_lines(stream: &TcpStream, peer: SocketAddr) -> io::Result<()> {
    let mut writer = stream;
    writer.write_all(format!("SSH-2.0-lab {peer}\n").as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.by_ref().take(LINE_LIMIT).read_line(&mut line)? > 0 {
        writer.write_all(line.as_bytes())?;
        line.clear();
    }
    Ok(())
}

fn serve_http(stream: &TcpStream, peer: SocketAddr) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (request, length) = read_request(&mut reader)?;
    let mut words = request.split_whitespace();
    match (words.next(), words.next()) {
        (Some("GET"), Some(path)) => match bytes_wanted(path) {
            Some(bytes) => {
                answer(stream, "200 OK", peer, bytes)?;
                write_pseudo_random(&mut &*stream, bytes)
            }
            None => answer(stream, "404 Not Found", peer, 0),
        },
        (Some("POST"), Some("/sink")) => {
            let digest = hash_body(&mut reader.take(length))?;
            answer(stream, "200 OK", peer, digest.len() as u64)?;
            (&*stream).write_all(digest.as_bytes())
        }
        _ => answer(stream, "400 Bad Request", peer, 0),
    }
}

fn bytes_wanted(path: &str) -> Option<u64> {
    path.strip_prefix("/bytes/")?.parse().ok()
}

/// The request line and the length of the body.
fn read_request(reader: &mut BufReader<&TcpStream>) -> io::Result<(String, u64)> {
    let mut request = String::new();
    reader.by_ref().take(LINE_LIMIT).read_line(&mut request)?;
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.by_ref().take(LINE_LIMIT).read_line(&mut header)?;
        if header.trim().is_empty() {
            return Ok((request, length));
        }
        if let Some(value) = header.strip_prefix("Content-Length: ") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
}

fn answer(stream: &TcpStream, status: &str, peer: SocketAddr, length: u64) -> io::Result<()> {
    let head = format!(
        "HTTP/1.0 {status}\r\nServer: weighbridge-lab\r\nX-Client: {peer}\r\nContent-Length: \
         {length}\r\n\r\n"
    );
    (&*stream).write_all(head.as_bytes())
}

fn hash_body(body: &mut impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    io::copy(body, &mut HashWriter(&mut hash))?;
    Ok(hexadecimal(hash))
}

/// Writes the bytes of `GET /bytes/N`.
pub(crate) fn write_pseudo_random(writer: &mut impl Write, mut bytes: u64) -> io::Result<()> {
    let mut random = PseudoRandom::default();
    let mut chunk = vec![0; CHUNK];
    while bytes > 0 {
        let length = usize::try_from(bytes).map_or(CHUNK, |bytes| bytes.min(CHUNK));
        random.fill(&mut chunk[..length]);
        writer.write_all(&chunk[..length])?;
        bytes -= length as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pseudo_random_bytes_are_the_same_every_time_and_depend_on_the_length_only_at_the_end() {
        let (mut short, mut long) = (Vec::new(), Vec::new());
        write_pseudo_random(&mut short, 100_003).unwrap();
        write_pseudo_random(&mut long, 200_000).unwrap();
        assert_eq!(short.len(), 100_003);
        assert_eq!(short, long[..100_003]);
        assert_ne!(long[..8], long[8..16]);
    }

    #[test]
    fn the_digest_of_no_bytes_is_the_known_one() {
        let known = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256_of_bytes(0), known);
        assert_ne!(sha256_of_bytes(1), known);
    }
}
