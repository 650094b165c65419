//! Conversations for tests that send the same traffic two ways: with what is lost, late, forged,
//! sent again, closed and opened anew. `datapath` has its kernel program tested by them too.

use std::net::IpAddr;

use pf_engine::addr::Protocol;
use pf_engine::rule::tcp_flags;
use pf_engine::wire::build::{self, Ip, Segment};
use pf_engine::wire::{IcmpBody, Meta, Rewrite};

const S: u8 = tcp_flags::SYN;
const A: u8 = tcp_flags::ACK;
const SA: u8 = S | A;
const PA: u8 = tcp_flags::PSH | A;
const FA: u8 = tcp_flags::FIN | A;
const RA: u8 = tcp_flags::RST | A;

fn ip(from: (&str, u16), to: (&str, u16)) -> Ip {
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");
    Ip::new(address(from.0), address(to.0))
}

/// Numbers that look random and are the same each time.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

const HOSTS: [&str; 3] = ["10.0.0.5", "10.0.0.6", "10.0.0.7"];
const HOSTS_V6: [&str; 3] = ["2001:db8:a::5", "2001:db8:a::6", "2001:db8:a::7"];

/// One end's numbers.
#[derive(Clone, Copy, Default)]
struct End {
    seq: u32,
    /// What they have grown by when they arrive.
    shift: u32,
}

/// A conversation between a host inside and a server.
pub(crate) struct Talk {
    client: (&'static str, u16),
    server: (&'static str, u16),
    protocol: Protocol,
    ends: [End; 2],
    steps: u32,
}

impl Talk {
    pub(crate) fn new(dice: &mut Dice) -> Self {
        let host = usize::try_from(dice.below(3)).unwrap();
        let (hosts, server) = if dice.one_in(3) {
            (HOSTS_V6, "2001:db8:b::80")
        } else {
            (HOSTS, "192.0.2.80")
        };
        let protocol = [Protocol::TCP, Protocol::TCP, Protocol::UDP, Protocol::ICMP];
        Self {
            client: (hosts[host], u16::try_from(1024 + dice.below(4)).unwrap()),
            server: (server, 80),
            protocol: protocol[usize::try_from(dice.below(4)).unwrap()],
            ends: [0, 1].map(|_| End {
                seq: u32::try_from(dice.below(1 << 31)).unwrap() * 2,
                shift: 0,
            }),
            steps: 0,
        }
    }

    /// A packet has arrived, by whichever number.
    pub(crate) fn arrived(&mut self, forward: bool, sent: &[u8], arrived: &[u8]) {
        let seq = |bytes| Some(Meta::parse(bytes).ok()?.tcp()?.seq);
        if let (Some(sent), Some(arrived)) = (seq(sent), seq(arrived)) {
            self.ends[usize::from(!forward)].shift = arrived.wrapping_sub(sent);
        }
    }

    /// The next packet, and whether it is the client's.
    pub(crate) fn next(&mut self, dice: &mut Dice) -> (Vec<u8>, bool) {
        self.steps += 1;
        let forward = match self.steps {
            1 | 3 => true,
            2 => false,
            _ => dice.one_in(2),
        };
        let (from, to) = if forward {
            (self.client, self.server)
        } else {
            (self.server, self.client)
        };
        let len = usize::try_from(dice.below(3) * 400).unwrap();
        let bytes = match self.protocol {
            Protocol::TCP => self.segment(forward, len, dice),
            Protocol::UDP => build::udp(&ip(from, to), from.1, to.1, &vec![7; len]),
            _ if forward => build::echo_request(&ip(from, to), self.client.1, 1, &[7; 8]),
            _ => build::echo_reply(&ip(from, to), self.client.1, 1, &[7; 8]),
        };
        (bytes, forward)
    }

    fn segment(&mut self, forward: bool, len: usize, dice: &mut Dice) -> Vec<u8> {
        let (from, to) = if forward {
            (self.client, self.server)
        } else {
            (self.server, self.client)
        };
        let (own, other) = (usize::from(!forward), usize::from(forward));
        let (mut seq, mut ack) = (self.ends[own].seq, self.ends[other].seen());
        let (flags, len) = match self.steps {
            1 => (S, 0),
            2 => (SA, 0),
            3 => (A, 0),
            _ => match dice.below(40) {
                0 => (FA, len),
                1 => (RA, 0),
                2 => (S, 0),
                3 => (PA | 0x20, len),
                4 => (0, len),
                _ => (PA, len),
            },
        };
        let scale = vec![3, 3, u8::try_from(dice.below(8)).unwrap(), 1];
        let options = if flags & S == 0 {
            options(ack, dice)
        } else {
            scale
        };
        // What is lost, late, forged or sent again.
        match dice.below(16) {
            0 => seq = seq.wrapping_sub(500),
            1 => ack = ack.wrapping_sub(900),
            2 => seq = seq.wrapping_add(200_000),
            3 => ack = ack.wrapping_add(100_000),
            4 => {}
            _ => {
                let moves = u32::try_from(len).unwrap() + u32::from(flags & (S | FA & !A) != 0);
                self.ends[own].seq = seq.wrapping_add(moves);
            }
        }
        let mut segment = Segment::new(from.1, to.1, flags);
        (segment.seq, segment.ack) = (seq, ack);
        (segment.options, segment.window) = (&options, 5000);
        build::tcp(&ip(from, to), &segment, &vec![7; len])
    }
}

impl End {
    /// The number as the other end knows it.
    fn seen(self) -> u32 {
        self.seq.wrapping_add(self.shift)
    }
}

/// Of a segment that acknowledges `ack`: mostly none, timestamps, up to four SACK blocks behind it in
/// the ordinary way, or something odd.
fn options(ack: u32, dice: &mut Dice) -> Vec<u8> {
    let timestamps = [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8];
    let mut options = Vec::new();
    if dice.one_in(2) {
        options.extend(timestamps);
    }
    let odd = dice.one_in(8);
    if odd || dice.one_in(4) {
        let blocks = dice.below(if options.is_empty() { 4 } else { 3 }) + 1;
        let len = u8::try_from(2 + 8 * blocks).unwrap();
        options.extend([1, 1, 5, len]);
        for edge in 1..=u32::try_from(2 * blocks).unwrap() {
            options.extend(ack.wrapping_add(edge * 700).to_be_bytes());
        }
    }
    if odd && options.len() < 40 {
        // At an odd place, or not to be read behind it.
        match dice.below(3) {
            0 => options.rotate_left(1),
            1 => options.extend([0, 5, 99, 1]),
            _ => options.extend([5, 99, 1, 1]),
        }
    }
    options
}

/// An answer, to who asked as the one who is asked has seen it.
pub(crate) fn answer(bytes: &mut [u8], question: &[u8]) {
    let (mut meta, seen) = (
        Meta::parse(bytes).expect("fits"),
        Meta::parse(question).expect("fits"),
    );
    if meta.family != seen.family {
        return;
    }
    meta.set_source(bytes, seen.destination).expect("fits");
    meta.set_destination(bytes, seen.source).expect("fits");
    if let Some((source, destination)) = seen.ports() {
        let ports = (Some(destination), Some(source));
        meta.set_ports_or_id(bytes, ports.0, ports.1).expect("fits");
    } else if let Some(IcmpBody::Query { id }) = seen.icmp().map(|icmp| icmp.body) {
        meta.set_ports_or_id(bytes, Some(id), None).expect("fits");
    }
}
