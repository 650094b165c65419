//! A million sources, as a flood of SYNs with forged addresses brings them.

use std::net::{Ipv4Addr, SocketAddr};

use mail::answer::LookUp;
use mail::connection::Peer;
use mail::published::{Header, Publisher};
use mail::store::{Limits, Store};
use mail::time::Timestamp;
use pf_engine::osfp::features::{Features, Segment};
use pf_engine::osfp::p0f::{Database, Mode};

const SOURCES: u32 = 1_000_000;
const LIMITS: Limits = Limits {
    hosts: 10_000,
    connections: 5_000,
};
/// What ten thousand hosts may take, in kilobytes, and as much again.
const MEMORY_KB: u64 = 65_536;
const SIGNATURES: &str = "\
[tcp:request]
label = s:unix:Linux:3.11 and newer
sig = *:64:0:*:mss*20,7:mss,sok,ts,nop,ws:df,id+:0
";
/// A SYN of Linux from nowhere to 192.0.2.9, port 25.
const SYN: [u8; 60] = [
    0x45, 0, 0, 60, 0, 1, 0x40, 0, 55, 6, 0, 0, 0, 0, 0, 0, 192, 0, 2, 9, 0x12, 0x67, 0, 25, 0, 0,
    0, 9, 0, 0, 0, 0, 0xa0, 2, 0x72, 0x10, 0, 0, 0, 0, 2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 3, 0xe8,
    0, 0, 0, 0, 1, 3, 3, 7,
];

fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("read");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.expect("a number").parse().expect("a number")
}

#[test]
fn a_million_sources_take_no_more_room_than_was_given_and_each_one_that_goes_is_counted() {
    let database = Database::parse(SIGNATURES).expect("it reads");
    let mut store = Store::new(database, Mode::Better, LIMITS, (1, 2));
    let mut publisher = Publisher::new(Header::new(10_000, 1, (3, 4)));
    let mut features = Features::of(&SYN).expect("a SYN");
    let (mut events, mut writes) = (Vec::new(), Vec::new());
    let mut half_way = 0;
    for number in 0..SOURCES {
        let source = Ipv4Addr::from(0x0b00_0000 + number);
        features.source = SocketAddr::new(source.into(), 4711);
        let now = Timestamp::from_micros(1_700_000_000_000_000 + u64::from(number));
        store.handle(&Segment::Handshake(features), now, &mut events);
        publisher.events(&mut store, &events, now, &mut writes);
        assert!(writes.len() <= 3);
        events.clear();
        writes.clear();
        if number == SOURCES / 2 {
            half_way = resident_kb();
        }
    }
    let counts = store.counts();
    assert_eq!(
        (counts.hosts, counts.connections),
        (LIMITS.hosts, LIMITS.connections)
    );
    assert_eq!(counts.hosts_evicted, u64::from(SOURCES) - 10_000);
    assert_eq!(counts.connections_evicted, u64::from(SOURCES) - 5_000);
    assert_eq!(counts.syns, u64::from(SOURCES));
    let shared = publisher.counts();
    assert_eq!(shared.written, 2 * u64::from(SOURCES));
    assert_eq!(shared.evicted, shared.written - 256 * 64);
    let grown = resident_kb().saturating_sub(half_way);
    assert!(grown < 1_024, "it still grows: {grown} kB");
    assert!(resident_kb() < MEMORY_KB, "{} kB", resident_kb());
    // The newest is known, and the first one is not.
    let peer = |number| Peer::address(Ipv4Addr::from(0x0b00_0000 + number).into());
    let now = Timestamp::from_micros(1_700_000_001_000_000);
    assert!(store.look_up(&peer(SOURCES - 1), now).is_some());
    assert!(store.look_up(&peer(0), now).is_none());
}
