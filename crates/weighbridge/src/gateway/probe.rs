//! What a probe looks like, and its answer.
//!
//! An answer is only one if it repeats numbers that nobody but the target (and who sits on the
//! way to it) has seen, and comes in by the interface that the probe left by.

use std::net::IpAddr;

use pf_engine::addr::Family;
use pf_engine::rule::tcp_flags;
use pf_engine::wire::build::{self, Ip, Segment};
use pf_engine::wire::{IcmpBody, Meta, checksum, icmp, icmp6};
use serde::{Deserialize, Serialize};

/// Bytes of an echo request's payload: four random numbers.
const NONCE_LEN: usize = 16;
/// Source ports of TCP probes: above those that Linux gives to local connections (32768 to
/// 60999), so that no answer belongs to one.
const PORTS: (u16, u16) = (61_000, 65_535);

/// How a gateway is probed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeKind {
    /// ICMP echo (ping).
    #[default]
    Icmp,
    /// A TCP connection that is opened and reset.
    Tcp,
    /// ARP or neighbor discovery of the gateway itself.
    Neighbor,
}

impl ProbeKind {
    /// As `weighbridge.toml` says it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Icmp => "icmp",
            Self::Tcp => "tcp",
            Self::Neighbor => "neighbor",
        }
    }
}

/// A probe under way: what its answer will repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    source: IpAddr,
    target: IpAddr,
    /// Port of a TCP target.
    port: u16,
    /// Identifier and sequence number of an echo request; of a TCP probe the source port.
    id: u16,
    sequence: u16,
    isn: u32,
    nonce: [u8; NONCE_LEN],
}

impl Token {
    /// A new probe of `target` (and `port`, for TCP) from `source`.
    pub fn new(source: IpAddr, target: IpAddr, port: u16, random: &mut dyn FnMut() -> u32) -> Self {
        let mut nonce = [0; NONCE_LEN];
        for chunk in nonce.chunks_exact_mut(4) {
            chunk.copy_from_slice(&random().to_be_bytes());
        }
        let [a, b, c, d] = random().to_be_bytes();
        Self {
            source,
            target,
            port,
            id: u16::from_be_bytes([a, b]),
            sequence: u16::from_be_bytes([c, d]),
            isn: random(),
            nonce,
        }
    }

    /// The packet that asks.
    #[must_use]
    pub fn echo_request(&self) -> Vec<u8> {
        let ip = Ip::new(self.source, self.target);
        build::echo_request(&ip, self.id, self.sequence, &self.nonce)
    }

    /// The segment that asks for a connection.
    #[must_use]
    pub fn syn(&self) -> Vec<u8> {
        self.segment(tcp_flags::SYN, self.isn)
    }

    /// The segment that ends it before it has begun.
    #[must_use]
    pub fn reset(&self) -> Vec<u8> {
        self.segment(tcp_flags::RST, self.isn.wrapping_add(1))
    }

    fn segment(&self, flags: u8, seq: u32) -> Vec<u8> {
        let mut segment = Segment::new(self.source_port(), self.port, flags);
        segment.seq = seq;
        build::tcp(&Ip::new(self.source, self.target), &segment, &[])
    }

    fn source_port(&self) -> u16 {
        PORTS.0 + self.id % (PORTS.1 - PORTS.0 + 1)
    }

    /// Whether `packet` answers this probe.
    #[must_use]
    pub fn is_answered_by(&self, kind: ProbeKind, packet: &[u8], meta: &Meta) -> bool {
        let between = meta.source == self.target && meta.destination == self.source;
        between
            && checksum::transport_valid(packet, meta)
            && match kind {
                ProbeKind::Icmp => self.is_echoed_by(packet, meta),
                ProbeKind::Tcp => self.is_accepted_by(meta),
                ProbeKind::Neighbor => false,
            }
    }

    fn is_echoed_by(&self, packet: &[u8], meta: &Meta) -> bool {
        let reply = match meta.family {
            Family::Inet => icmp::ECHO_REPLY,
            Family::Inet6 => icmp6::ECHO_REPLY,
        };
        let numbers = u32::from(self.id) << 16 | u32::from(self.sequence);
        let echoes = meta.icmp().is_some_and(|message| {
            let is_query = matches!(message.body, IcmpBody::Query { .. });
            is_query && message.kind == reply && message.parameter == numbers
        });
        echoes && packet.get(meta.payload_offset..meta.total_len) == Some(&self.nonce)
    }

    fn is_accepted_by(&self, meta: &Meta) -> bool {
        const SYN_ACK: u8 = tcp_flags::SYN | tcp_flags::ACK;
        meta.tcp().is_some_and(|tcp| {
            tcp.flags & (SYN_ACK | tcp_flags::RST) == SYN_ACK
                && tcp.ack == self.isn.wrapping_add(1)
                && (tcp.source_port, tcp.destination_port) == (self.port, self.source_port())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(target: &str) -> Token {
        let target: IpAddr = target.parse().expect("address");
        let source = match target {
            IpAddr::V4(_) => "192.0.2.1",
            IpAddr::V6(_) => "2001:db8::1",
        };
        let mut seed = 7u32;
        let source = source.parse().expect("address");
        Token::new(source, target, 443, &mut || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed
        })
    }

    fn answers(token: &Token, kind: ProbeKind, packet: &[u8]) -> bool {
        let meta = Meta::parse(packet).expect("a packet");
        token.is_answered_by(kind, packet, &meta)
    }

    fn reply(token: &Token, payload: &[u8]) -> Vec<u8> {
        let ip = Ip::new(token.target, token.source);
        build::echo_reply(&ip, token.id, token.sequence, payload)
    }

    #[test]
    fn an_echo_reply_must_repeat_identifier_sequence_and_payload() {
        for target in ["198.51.100.7", "2001:db8:9::7"] {
            let token = token(target);
            assert!(answers(
                &token,
                ProbeKind::Icmp,
                &reply(&token, &token.nonce)
            ));
            let mut other = token;
            other.sequence = other.sequence.wrapping_add(1);
            assert!(!answers(
                &token,
                ProbeKind::Icmp,
                &reply(&other, &token.nonce)
            ));
            assert!(!answers(
                &token,
                ProbeKind::Icmp,
                &reply(&token, &[0; NONCE_LEN])
            ));
            assert!(!answers(
                &token,
                ProbeKind::Icmp,
                &reply(&token, &token.nonce[1..])
            ));
            other = token;
            other.target = token.source;
            assert!(!answers(
                &token,
                ProbeKind::Icmp,
                &reply(&other, &token.nonce)
            ));
            assert!(!answers(&token, ProbeKind::Icmp, &token.echo_request()));
        }
    }

    #[test]
    fn a_connection_is_accepted_only_with_the_number_that_was_sent() {
        let token = token("198.51.100.7");
        let answer = |flags, ack, port| {
            let mut segment = Segment::new(443, port, flags);
            segment.ack = ack;
            build::tcp(&Ip::new(token.target, token.source), &segment, &[])
        };
        let (ack, port) = (token.isn.wrapping_add(1), token.source_port());
        let syn_ack = tcp_flags::SYN | tcp_flags::ACK;
        assert!(port >= 61_000);
        assert!(answers(&token, ProbeKind::Tcp, &answer(syn_ack, ack, port)));
        for wrong in [
            answer(syn_ack, ack.wrapping_add(1), port),
            answer(syn_ack, ack, port ^ 1),
            answer(tcp_flags::RST | tcp_flags::ACK, ack, port),
        ] {
            assert!(!answers(&token, ProbeKind::Tcp, &wrong));
        }
        let reset = token.reset();
        let meta = Meta::parse(&reset).expect("a packet");
        assert_eq!(meta.tcp().map(|tcp| tcp.seq), Some(ack));
    }
}
