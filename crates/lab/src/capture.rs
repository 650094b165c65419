//! Raw frames: what crosses a host's port, and frames that no socket would send.

use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::LinkAddr;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketType, sockopt};

use crate::clock;
use crate::namespace::Namespace;

/// `ETH_P_ALL` of `linux/if_ether.h`: every frame.
const ALL_FRAMES: u16 = 3;
/// What a capture may fall behind before the kernel drops frames.
const RECEIVE_BUFFER: usize = 8 * 1024 * 1024;
/// A segmentation-offloaded packet is no longer than this.
const LONGEST_FRAME: usize = 128 * 1024;
/// Ethernet, IP and TCP headers, all with their options.
const HEADERS: usize = 14 + 60 + 60;
/// How long a thread that listens waits before it asks whether it is to end.
pub(crate) const POLL: Duration = Duration::from_millis(50);
/// How many frames that wait already are taken by a thread that is to end: others may go on coming.
pub(crate) const LAST_FRAMES: usize = 100_000;

/// Raw frames in their order.
type Frames = Vec<Vec<u8>>;

/// Everything that crosses one port of a namespace, both ways, Ethernet header first.
#[derive(Debug)]
pub struct Capture {
    stop: Arc<AtomicBool>,
    frames: Arc<Mutex<Frames>>,
    thread: Option<JoinHandle<()>>,
}

impl Capture {
    /// Starts at once.
    pub fn start(namespace: &Namespace, port: &str) -> anyhow::Result<Self> {
        Self::start_with(namespace, port, LONGEST_FRAME)
    }

    /// The same, but keeps no more of each frame than its headers: for long transfers.
    pub fn headers(namespace: &Namespace, port: &str) -> anyhow::Result<Self> {
        Self::start_with(namespace, port, HEADERS)
    }

    fn start_with(namespace: &Namespace, port: &str, keep: usize) -> anyhow::Result<Self> {
        let socket = open(namespace, port, Some(ALL_FRAMES))?;
        sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(POLL))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let frames = Arc::<Mutex<Frames>>::default();
        let into = Arc::clone(&frames);
        let thread = std::thread::spawn(move || collect(&socket, keep, &into, &stopped));
        Ok(Self {
            stop,
            frames,
            thread: Some(thread),
        })
    }

    /// The frames that have come so far, in their order.
    #[must_use]
    pub fn frames(&self) -> Vec<Vec<u8>> {
        let frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        frames.clone()
    }

    /// Waits until `count` frames have come that `is_wanted`; false when `limit` has passed before.
    pub fn wait_for(
        &self,
        limit: Duration,
        count: usize,
        is_wanted: impl Fn(&[u8]) -> bool,
    ) -> bool {
        clock::wait_until(limit, || {
            let frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
            frames.iter().filter(|frame| is_wanted(frame)).count() >= count
        })
    }

    /// Stops and returns the frames in their order.
    #[must_use]
    pub fn finish(mut self) -> Vec<Vec<u8>> {
        // What is under way still counts.
        clock::pause(2 * POLL);
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
        std::mem::take(&mut self.frames.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Sends frames as they are out of one port.
#[derive(Debug)]
pub struct RawSender(OwnedFd);

impl RawSender {
    /// On a port of a namespace.
    pub fn open(namespace: &Namespace, port: &str) -> anyhow::Result<Self> {
        Ok(Self(open(namespace, port, None)?))
    }

    /// Sends one frame, Ethernet header first.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        rustix::net::send(&self.0, frame, SendFlags::empty())?;
        Ok(())
    }
}

/// A packet socket bound to one port.
pub(crate) fn open(
    namespace: &Namespace,
    port: &str,
    protocol: Option<u16>,
) -> anyhow::Result<OwnedFd> {
    let protocol = protocol.and_then(|number| NonZeroU32::new(u32::from(number.to_be())));
    namespace.run(|| {
        let address = link_address(port)?;
        let protocol = protocol.map(Protocol::from_raw);
        let socket = rustix::net::socket(AddressFamily::PACKET, SocketType::RAW, protocol)?;
        nix::sys::socket::bind(socket.as_raw_fd(), &address)?;
        forget_other_ports(&socket);
        Ok(socket)
    })
}

/// Between its making and its binding the socket heard every port.
fn forget_other_ports(socket: &OwnedFd) {
    let mut frame = [0; 1];
    while rustix::net::recv(socket, &mut frame[..], RecvFlags::DONTWAIT).is_ok() {}
}

/// The Ethernet address of a port of a namespace.
pub fn ethernet_address(namespace: &Namespace, port: &str) -> anyhow::Result<[u8; 6]> {
    let address = namespace.run(|| link_address(port))?;
    address.addr().context("a port without an address")
}

fn link_address(port: &str) -> anyhow::Result<LinkAddr> {
    let addresses = getifaddrs()?.filter(|entry| entry.interface_name == port);
    let mut links = addresses.filter_map(|entry| entry.address?.as_link_addr().copied());
    links.next().with_context(|| format!("no port {port} here"))
}

fn collect(socket: &OwnedFd, keep: usize, into: &Mutex<Frames>, stop: &AtomicBool) {
    let mut buffer = vec![0; keep];
    let mut take = |flags| {
        let received = rustix::net::recv(socket, &mut buffer[..], flags);
        if let Ok((length, _)) = received {
            let mut frames = into.lock().unwrap_or_else(PoisonError::into_inner);
            frames.push(buffer[..length].to_vec());
        }
        received.is_ok()
    };
    while !stop.load(Ordering::Relaxed) {
        // False is the socket's timeout: nothing came for a moment.
        take(RecvFlags::empty());
    }
    // This thread may have been late: what waits has come before.
    let mut rest = LAST_FRAMES;
    while rest > 0 && take(RecvFlags::DONTWAIT) {
        rest -= 1;
    }
}
