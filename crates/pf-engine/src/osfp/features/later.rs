//! Packets of a connection behind its handshake: what they still tell.

use std::net::SocketAddr;

use super::options::TcpOptionWalk;
use super::{Features, Kind, NotFingerprintable, kind, outlined};
use crate::wire::{IpHeader, TCP_HEADER_LEN, be16, be32, byte};

/// A packet that is neither SYN nor SYN+ACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Later {
    /// Who sent it.
    pub source: SocketAddr,
    /// Who is to receive it.
    pub destination: SocketAddr,
    /// TCP flags, see [`crate::rule::tcp_flags`].
    pub flags: u8,
    /// Acknowledgment number, whether the ACK flag is set or not.
    pub ack: u32,
    /// The sender's timestamp, if there is one.
    pub timestamp: Option<u32>,
}

/// A TCP packet of any kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// A SYN or SYN+ACK.
    Handshake(Features),
    /// Another one.
    Later(Later),
}

impl Segment {
    /// Reads a packet that begins at the IP header, as [`Features::of`] does. Never fails with
    /// [`NotFingerprintable::NotHandshake`].
    pub fn of(packet: &[u8]) -> Result<Self, NotFingerprintable> {
        let (ip, segment) = outlined(packet)?;
        if kind(byte(segment, 13)?).is_some() {
            Features::read(packet, &ip, segment).map(Self::Handshake)
        } else {
            Later::read(&ip, segment).map(Self::Later)
        }
    }
}

impl Later {
    fn read(ip: &IpHeader, segment: &[u8]) -> Result<Self, NotFingerprintable> {
        let header_len = usize::from(byte(segment, 12)? >> 4).saturating_mul(4);
        let options = segment
            .get(TCP_HEADER_LEN..header_len)
            .ok_or(NotFingerprintable::Malformed)?;
        Ok(Self {
            source: SocketAddr::new(ip.source, be16(segment, 0)?),
            destination: SocketAddr::new(ip.destination, be16(segment, 2)?),
            flags: byte(segment, 13)?,
            ack: be32(segment, 8)?,
            timestamp: TcpOptionWalk::run(options, Kind::SynAck).timestamp,
        })
    }
}
