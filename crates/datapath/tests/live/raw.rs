//! Frames as they are on the wire, and packets to put into them.
#![expect(unsafe_code, reason = "binding a packet socket has no safe wrapper")]

use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use pf_engine::env::IfIndex;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

use crate::support::{PATIENCE, SILENCE, wait_readable};

pub(crate) const ETH_P_IP: u16 = 0x0800;
pub(crate) const ETH_P_ARP: u16 = 0x0806;
pub(crate) const ETH_P_8021Q: u16 = 0x8100;
pub(crate) const ETH_P_8021AD: u16 = 0x88a8;
const ETH_P_ALL: u16 = 3;

/// A packet socket on one interface of the caller's network namespace.
pub(crate) struct RawSocket(OwnedFd);

impl RawSocket {
    pub(crate) fn open(interface: IfIndex) -> Self {
        let protocol = NonZeroU32::new(u32::from(ETH_P_ALL.to_be())).expect("not zero");
        let socket = socket_with(
            AddressFamily::PACKET,
            SocketType::RAW,
            SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
            Some(Protocol::from_raw(protocol)),
        )
        .expect("root may open one");
        let address = libc::sockaddr_ll {
            sll_family: 17, // AF_PACKET
            sll_protocol: ETH_P_ALL.to_be(),
            sll_ifindex: i32::try_from(interface.0).expect("small"),
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        let len = u32::try_from(size_of_val(&address)).expect("small");
        // SAFETY: `address` is a whole `sockaddr_ll`, `len` its size, and it outlives the call.
        let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) };
        assert_eq!(bound, 0, "the interface is there");
        Self(socket)
    }

    pub(crate) fn send(&self, frame: &[u8]) {
        let sent = send(&self.0, frame, SendFlags::empty()).expect("the interface is up");
        assert_eq!(sent, frame.len());
    }

    /// The next frame that `wanted` picks, which must come.
    pub(crate) fn receive(&self, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        self.next(PATIENCE, wanted).expect("the frame comes")
    }

    /// Whether no frame comes that `unwanted` picks.
    pub(crate) fn is_quiet(&self, unwanted: impl Fn(&[u8]) -> bool) -> bool {
        self.next(SILENCE, unwanted).is_none()
    }

    fn next(&self, patience: Duration, wanted: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 70_000];
        while wait_readable(self.0.as_fd(), patience) {
            let (len, _) = recv(&self.0, &mut buffer[..], RecvFlags::empty()).expect("readable");
            if wanted(&buffer[..len]) {
                return Some(buffer[..len].to_vec());
            }
        }
        None
    }
}

/// The address 02:00:00:00:00:`last`.
pub(crate) fn mac(last: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, last]
}

pub(crate) fn ethernet(to: [u8; 6], from: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::from(to);
    frame.extend(from);
    frame.extend(kind.to_be_bytes());
    frame.extend(payload);
    frame
}

/// What follows the type of a tagged frame.
pub(crate) fn tagged(vlan: u16, kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut rest = Vec::from(vlan.to_be_bytes());
    rest.extend(kind.to_be_bytes());
    rest.extend(payload);
    rest
}

/// An IPv4 datagram with UDP from and to port 9, without a UDP checksum.
pub(crate) fn udp(from: [u8; 4], to: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let udp_len = u16::try_from(8 + payload.len()).expect("short");
    let mut packet = vec![0x45, 0];
    packet.extend((20 + udp_len).to_be_bytes());
    packet.extend([0, 1, 0, 0, 64, 17, 0, 0]);
    packet.extend(from);
    packet.extend(to);
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend([0, 9, 0, 9]);
    packet.extend(udp_len.to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}

fn checksum(header: &[u8]) -> u16 {
    let words = header
        .chunks_exact(2)
        .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from(folded).expect("short header")
}

/// Turns an IPv4 UDP packet into its answer.
pub(crate) fn turn_around(packet: &mut [u8]) {
    let (from, to) = packet[12..20].split_at_mut(4);
    from.swap_with_slice(to);
    let (from, to) = packet[20..24].split_at_mut(2);
    from.swap_with_slice(to);
}

/// Whether it is an IPv4 packet with UDP.
pub(crate) fn is_udp(packet: &[u8]) -> bool {
    packet[0] >> 4 == 4 && packet[9] == 17
}

/// Whether a frame carries `payload` at its end.
pub(crate) fn ends_with(payload: &[u8]) -> impl Fn(&[u8]) -> bool {
    move |frame| frame.ends_with(payload)
}
