//! A store that knows one client, and a sink that keeps what it is told: for tests of codecs.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::answer::{Answer, Basis, Confidence, Label, LookUp, Os, Uptime};
use crate::connection::Peer;
use crate::outcome::{Outcome, OutcomeSink};
use crate::session::World;
use crate::time::Timestamp;

/// What a test's world is made of.
#[derive(Debug, Default)]
pub(crate) struct Fakes {
    lookup: Known,
    outcomes: Told,
}

#[derive(Debug, Default)]
struct Known {
    answers: BTreeMap<IpAddr, Answer>,
    asked: Vec<Peer>,
}

#[derive(Debug, Default)]
struct Told(Vec<Outcome>);

impl Fakes {
    /// A world that has seen `address`.
    pub(crate) fn knowing(address: &str, answer: Answer) -> Self {
        let address = address.parse().expect("an address");
        let mut fakes = Self::default();
        fakes.lookup.answers.insert(address, answer);
        fakes
    }

    pub(crate) fn world(&mut self) -> World<'_> {
        World {
            lookup: &mut self.lookup,
            outcomes: &mut self.outcomes,
            now: Timestamp::from_secs(5_000),
        }
    }

    pub(crate) fn outcomes(&self) -> &[Outcome] {
        &self.outcomes.0
    }
}

/// Whom was asked about, in order.
pub(crate) fn seen(fakes: &Fakes) -> Vec<Peer> {
    fakes.lookup.asked.clone()
}

impl LookUp for Known {
    fn look_up(&mut self, peer: &Peer, _: Timestamp) -> Option<Answer> {
        self.asked.push(*peer);
        self.answers.get(&peer.address).cloned()
    }
}

impl OutcomeSink for Told {
    fn record(&mut self, outcome: Outcome) {
        self.0.push(outcome);
    }
}

/// A Linux host behind a DSL line.
pub(crate) fn linux() -> Answer {
    Answer {
        basis: Basis::Connection,
        os: Some(Os {
            label: Label {
                class: "unix".to_owned(),
                name: "Linux".to_owned(),
                flavor: "3.11 and newer".to_owned(),
            },
            confidence: Confidence::Exact,
            fuzzy: false,
            generic: false,
        }),
        distance: Some(9),
        link: Some("DSL".to_owned()),
        mtu: Some(1492),
        mss: Some(1452),
        window: 29_040,
        rtt: Some(Duration::from_millis(12)),
        syns: 1,
        uptime: Some(Uptime {
            minutes: 676,
            modulo_days: 198,
        }),
        raw_signature: "4:55+9:0:1452:mss*20,7:mss,sok,ts,nop,ws:df,id+:0".to_owned(),
        first_seen: Timestamp::from_secs(1_000),
        last_seen: Timestamp::from_secs(2_000),
        connections: 3,
        last_nat: None,
        last_change: None,
    }
}

/// A SYN of one of four stacks, at its IP header. Checksums are zero: nobody looks.
pub(crate) fn syn_packet(client: SocketAddr, server: SocketAddr, kind: u8, seq: u32) -> Vec<u8> {
    // TTL, window, options: Linux, Windows, a BSD, and nothing that anybody knows.
    let (ttl, window, options): (u8, u16, &[u8]) = match kind % 4 {
        0 => (57, 64_240, &LINUX),
        1 => (120, 64_240, &[2, 4, 5, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2]),
        2 => (60, 65_535, &BSD),
        _ => (77, 7, &[254, 4, 1, 2]),
    };
    let octets = |end: SocketAddr| match end.ip() {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(_) => [0; 4],
    };
    let tcp_len = 20 + options.len();
    let total = u16::try_from(20 + tcp_len).unwrap_or_default();
    let words = u8::try_from(tcp_len / 4).unwrap_or_default();
    let mut packet = vec![0x45, 0];
    packet.extend_from_slice(&total.to_be_bytes());
    packet.extend_from_slice(&[0, 1, 0x40, 0, ttl, 6, 0, 0]);
    packet.extend_from_slice(&octets(client));
    packet.extend_from_slice(&octets(server));
    packet.extend_from_slice(&client.port().to_be_bytes());
    packet.extend_from_slice(&server.port().to_be_bytes());
    packet.extend_from_slice(&seq.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, 0, words << 4, 2]);
    packet.extend_from_slice(&window.to_be_bytes());
    packet.extend_from_slice(&[0; 4]);
    packet.extend_from_slice(options);
    packet
}

/// MSS 1460, SACK permitted, timestamps, window scale 7.
const LINUX: [u8; 20] = [
    2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 3, 0xe8, 0, 0, 0, 0, 1, 3, 3, 7,
];
/// MSS 1460, window scale 6, SACK permitted, timestamps.
const BSD: [u8; 20] = [
    2, 4, 5, 0xb4, 1, 3, 3, 6, 4, 2, 8, 10, 0, 0, 3, 0xe8, 0, 0, 0, 0,
];
