//! Reads what a capture holds: just enough of Ethernet, IP, TCP and ICMP for tests.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::client::internet_checksum;

/// Protocol numbers.
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
/// TCP's SACK option (RFC 2018 section 3).
const OPTION_SACK: u8 = 5;
/// Flag SYN.
pub const SYN: u8 = 0x02;
/// Flag ACK.
pub const ACK: u8 = 0x10;

/// An IP packet of a captured frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpPacket<'a> {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol; of IPv6 the next header after the fixed one.
    pub protocol: u8,
    /// Length of the whole packet in bytes.
    pub length: usize,
    /// What follows the IP header, as far as it was captured.
    pub payload: &'a [u8],
}

impl<'a> IpPacket<'a> {
    /// The packet in an untagged Ethernet frame.
    #[must_use]
    pub fn of_frame(frame: &'a [u8]) -> Option<Self> {
        match frame.get(12..14)? {
            [0x08, 0x00] | [0x86, 0xdd] => Self::parse(&frame[14..]),
            _ => None,
        }
    }

    /// A packet that starts with its IP header (also one that an ICMP error quotes).
    #[must_use]
    pub fn parse(packet: &'a [u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => Self::parse_v4(packet),
            6 => Self::parse_v6(packet),
            _ => None,
        }
    }

    fn parse_v4(packet: &'a [u8]) -> Option<Self> {
        let address = |at: usize| {
            let bytes: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
            Some(IpAddr::V4(Ipv4Addr::from(bytes)))
        };
        Some(Self {
            source: address(12)?,
            destination: address(16)?,
            protocol: *packet.get(9)?,
            length: usize::from(be16(packet, 2)?),
            payload: packet.get(usize::from(packet[0] & 15) * 4..)?,
        })
    }

    fn parse_v6(packet: &'a [u8]) -> Option<Self> {
        let address = |at: usize| {
            let bytes: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        };
        Some(Self {
            source: address(8)?,
            destination: address(24)?,
            protocol: *packet.get(6)?,
            length: 40 + usize::from(be16(packet, 4)?),
            payload: packet.get(40..)?,
        })
    }
}

/// Whether the checksums of a captured frame are right: the IPv4 header's, and that of TCP, UDP
/// or ICMP over the whole payload. `None` when that cannot be told: not IP, a fragment, another
/// protocol, or not captured to its end.
#[must_use]
pub fn checksums_are_right(frame: &[u8]) -> Option<bool> {
    let packet = IpPacket::of_frame(frame)?;
    let start = frame.len() - packet.payload.len();
    let header = &frame[14..start];
    let v4 = packet.source.is_ipv4();
    let is_fragment = v4 && be16(header, 6)? & 0x3fff != 0;
    let length = packet.length.checked_sub(header.len())?;
    let transport = packet.payload.get(..length).filter(|_| !is_fragment)?;
    let pseudo = pseudo_header(&packet, header, length)?;
    let header_is_right = !v4 || internet_checksum(header) == 0;
    Some(header_is_right && internet_checksum(&[&pseudo, transport].concat()) == 0)
}

/// What a transport checksum covers besides the transport packet (RFC 9293 section 3.1, RFC 8200
/// section 8.1).
fn pseudo_header(packet: &IpPacket<'_>, header: &[u8], length: usize) -> Option<Vec<u8>> {
    let covers_addresses = match packet.protocol {
        TCP | UDP | ICMPV6 => true,
        ICMP => false,
        _ => return None,
    };
    if !covers_addresses {
        return Some(Vec::new());
    }
    let addresses = if packet.source.is_ipv4() {
        header.get(12..20)?
    } else {
        header.get(8..40)?
    };
    let length = u32::try_from(length).ok()?.to_be_bytes();
    Some([addresses, &length, &[0, 0, 0, packet.protocol]].concat())
}

/// A TCP segment of a captured frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Sender.
    pub source: SocketAddr,
    /// Receiver.
    pub destination: SocketAddr,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Flags, as in the header's byte 13.
    pub flags: u8,
    /// Blocks of the SACK option: left and right edge.
    pub sack: Vec<(u32, u32)>,
    /// Bytes of data.
    pub data: usize,
}

impl Segment {
    /// The segment in an untagged Ethernet frame.
    #[must_use]
    pub fn of_frame(frame: &[u8]) -> Option<Self> {
        let packet = IpPacket::of_frame(frame)?;
        let tcp = packet.payload;
        let header = usize::from(*tcp.get(12)? >> 4) * 4;
        (packet.protocol == TCP).then_some(())?;
        let ip_header = frame.len() - 14 - tcp.len();
        Some(Self {
            source: SocketAddr::new(packet.source, be16(tcp, 0)?),
            destination: SocketAddr::new(packet.destination, be16(tcp, 2)?),
            sequence: be32(tcp, 4)?,
            acknowledgement: be32(tcp, 8)?,
            flags: *tcp.get(13)?,
            sack: sack_blocks(tcp.get(20..header)?),
            data: packet.length.checked_sub(ip_header + header)?,
        })
    }

    /// Whether it is a connection's first segment.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.flags & (SYN | ACK) == SYN
    }
}

fn sack_blocks(mut options: &[u8]) -> Vec<(u32, u32)> {
    loop {
        match *options {
            [1, ref rest @ ..] => options = rest,
            [OPTION_SACK, length, ref rest @ ..] => {
                let blocks = &rest[..rest.len().min(usize::from(length).saturating_sub(2))];
                let edges = blocks.chunks_exact(8).map(|b| be32(b, 0).zip(be32(b, 4)));
                return edges.flatten().collect();
            }
            [kind, length, ..]
                if kind != 0 && (2..=options.len()).contains(&usize::from(length)) =>
            {
                options = &options[usize::from(length)..];
            }
            _ => return Vec::new(),
        }
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_checksum_is_noticed_in_the_header_and_behind_it() {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00]);
        frame.extend([
            0x45, 0, 0, 30, 0, 0, 0, 0, 64, UDP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ]);
        let checksum = internet_checksum(&frame[14..34]);
        frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        frame.extend([0, 7, 0, 7, 0, 10, 0, 0, 0xab, 0xcd]);
        let pseudo = [10, 0, 0, 1, 10, 0, 0, 2, 0, 0, 0, 10, 0, 0, 0, UDP];
        let checksum = internet_checksum(&[&pseudo, &frame[34..44]].concat());
        frame[40..42].copy_from_slice(&checksum.to_be_bytes());
        assert_eq!(checksums_are_right(&frame), Some(true));
        // Padding of a short frame does not count.
        assert_eq!(
            checksums_are_right(&[&frame[..], &[1; 16]].concat()),
            Some(true)
        );
        for byte in [22, 42] {
            let mut wrong = frame.clone();
            wrong[byte] ^= 1;
            assert_eq!(checksums_are_right(&wrong), Some(false), "byte {byte}");
        }
        assert_eq!(checksums_are_right(&frame[..43]), None);
    }

    #[test]
    fn a_segment_with_a_sack_option_is_read() {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00]);
        frame.extend([
            0x45, 0, 0, 57, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ]);
        frame.extend([
            0x30, 0x39, 0, 80, 0, 0, 0, 7, 0, 0, 0, 9, 0x80, ACK, 0, 0, 0, 0, 0, 0,
        ]);
        frame.extend([1, 1, 5, 10, 0, 0, 1, 0, 0, 0, 2, 0]);
        frame.extend(*b"hello");
        let segment = Segment::of_frame(&frame).unwrap();
        assert_eq!(segment.source, "10.0.0.1:12345".parse().unwrap());
        assert_eq!(segment.destination, "10.0.0.2:80".parse().unwrap());
        assert_eq!((segment.sequence, segment.acknowledgement), (7, 9));
        assert_eq!(segment.sack, [(0x100, 0x200)]);
        assert_eq!(segment.data, 5);
        assert!(!segment.is_first());
    }
}
