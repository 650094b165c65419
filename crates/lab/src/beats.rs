//! When frames of the slow protocols (LACP) came by a port, by the kernel's clock: a busy machine
//! delays whoever listens, and not what is measured.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use crate::capture::{LAST_FRAMES, POLL, open};
use crate::clock;
use crate::namespace::Namespace;

/// IEEE 802.3 annex 57A.
const SLOW_PROTOCOLS: u16 = 0x8809;
/// Slow protocols have no longer frames.
const LONGEST_FRAME: usize = 128;

/// A frame, and when it came.
#[derive(Clone, Debug)]
pub struct Beat {
    /// Time since 1970.
    pub at: Duration,
    /// The frame, Ethernet header first.
    pub frame: Vec<u8>,
}

/// Hears the slow protocols' frames that come by a port that is in no bridge of the kernel's.
#[derive(Debug)]
pub struct Beats {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Beat>>,
}

impl Beats {
    /// Starts at once.
    pub fn start(namespace: &Namespace, port: &str) -> anyhow::Result<Self> {
        let socket = open(namespace, port, Some(SLOW_PROTOCOLS))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(POLL))?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || collect(&socket, &stopped));
        Ok(Self { stop, thread })
    }

    /// Stops and returns the frames in their order.
    #[must_use]
    pub fn finish(self) -> Vec<Beat> {
        // What is under way still counts.
        clock::pause(2 * POLL);
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

/// The longest time between two frames of the sender `from`; none if there are not two.
#[must_use]
pub fn longest_gap(beats: &[Beat], from: [u8; 6]) -> Option<Duration> {
    let of_sender = |beat: &&Beat| beat.frame.get(6..12) == Some(&from);
    let times: Vec<Duration> = beats.iter().filter(of_sender).map(|beat| beat.at).collect();
    let pairs = times.iter().zip(times.iter().skip(1));
    pairs.map(|(a, b)| b.saturating_sub(*a)).max()
}

fn collect(socket: &OwnedFd, stop: &AtomicBool) -> Vec<Beat> {
    let mut beats = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        // An error is the socket's timeout: nothing came for a moment.
        beats.extend(next(socket, MsgFlags::empty()));
    }
    // This thread may have been late: what waits has come before.
    let waiting = || next(socket, MsgFlags::MSG_DONTWAIT);
    beats.extend(std::iter::from_fn(waiting).take(LAST_FRAMES));
    beats
}

fn time_of(message: &ControlMessageOwned) -> Option<Duration> {
    if let ControlMessageOwned::ScmTimestampns(time) = message {
        return Some((*time).into());
    }
    None
}

fn next(socket: &OwnedFd, flags: MsgFlags) -> Option<Beat> {
    let mut buffer = [0; LONGEST_FRAME];
    let mut control = nix::cmsg_space!([i64; 2]);
    let mut pieces = [IoSliceMut::new(&mut buffer)];
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut pieces, Some(&mut control), flags);
    let message = message.ok()?;
    let time = message
        .cmsgs()
        .ok()?
        .find_map(|message| time_of(&message))?;
    let length = message.bytes;
    Some(Beat {
        at: time,
        frame: buffer.get(..length)?.to_vec(),
    })
}
