use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use proptest::prelude::*;

use super::*;
use crate::answer::{Answer, Basis, Confidence, LookUp};
use crate::connection::Peer;

const FILE: &str = "\
[mtu]
label = Ethernet or modem
sig = 1500
[tcp:request]
label = s:unix:Linux:3.11 and newer
sig = *:64:0:*:mss*20,7:mss,sok,ts,nop,ws:df,id+:0
label = s:win:Windows:7 or 8
sig = *:128:0:*:8192,8:mss,nop,ws,nop,nop,sok:df,id+:0
label = s:!:NMap:SYN scan
sys = @unix,@win
sig = *:64-:0:1460:1024,0:mss::0
[tcp:response]
label = s:unix:Linux:3.x
sig = *:64:0:*:mss*10,7:mss,sok,ts,nop,ws:df:0
";
const CLIENT: &str = "192.0.2.1:4711";
const SERVER: &str = "192.0.2.9:25";
const START: u64 = 1_000;
/// MSS 1460, SACK permitted, timestamps 1000 and 0, window scale 7.
const LINUX: [u8; 20] = [
    2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 3, 0xe8, 0, 0, 0, 0, 1, 3, 3, 7,
];
/// MSS 1460, window scale 8, SACK permitted.
const WINDOWS: [u8; 12] = [2, 4, 5, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2];
const SYN: u8 = 2;
const SYN_ACK: u8 = 0x12;
const ACK: u8 = 0x10;
const FIN_ACK: u8 = 0x11;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_micros(START * 1_000_000 + millis * 1_000)
}

fn limits(kept: usize) -> Limits {
    Limits {
        hosts: kept,
        connections: kept,
    }
}

fn store(mode: Mode, kept: usize) -> Store {
    let database = Database::parse(FILE).expect("it reads");
    Store::new(database, mode, limits(kept), (1, 2))
}

/// One packet as it arrives.
#[derive(Clone, Copy, Debug)]
struct Packet<'a> {
    source: &'a str,
    destination: &'a str,
    flags: u8,
    seq: u32,
    ack: u32,
    ttl: u8,
    window: u16,
    options: &'a [u8],
    id: u8,
}

fn linux() -> Packet<'static> {
    Packet {
        source: CLIENT,
        destination: SERVER,
        flags: SYN,
        seq: 7,
        ack: 0,
        ttl: 55,
        window: 29_200,
        options: &LINUX,
        id: 1,
    }
}

fn windows() -> Packet<'static> {
    Packet {
        ttl: 120,
        window: 8192,
        options: &WINDOWS,
        ..linux()
    }
}

fn reply(flags: u8, seq: u32) -> Packet<'static> {
    Packet {
        source: SERVER,
        destination: CLIENT,
        flags,
        seq,
        ack: 8,
        ttl: 64,
        window: 14_600,
        id: 0,
        ..linux()
    }
}

impl Packet<'_> {
    fn segment(&self) -> Segment {
        let end = |text: &str| match text.parse().expect("an address") {
            SocketAddr::V4(v4) => v4,
            SocketAddr::V6(_) => panic!("IPv4 only"),
        };
        let (source, destination) = (end(self.source), end(self.destination));
        let tcp_len = 20 + u8::try_from(self.options.len()).expect("short");
        let mut bytes = vec![
            0x45,
            0,
            0,
            20 + tcp_len,
            0,
            self.id,
            0x40,
            0,
            self.ttl,
            6,
            0,
            0,
        ];
        bytes.extend_from_slice(&source.ip().octets());
        bytes.extend_from_slice(&destination.ip().octets());
        bytes.extend_from_slice(&source.port().to_be_bytes());
        bytes.extend_from_slice(&destination.port().to_be_bytes());
        bytes.extend_from_slice(&self.seq.to_be_bytes());
        bytes.extend_from_slice(&self.ack.to_be_bytes());
        bytes.extend_from_slice(&[tcp_len / 4 * 16, self.flags]);
        bytes.extend_from_slice(&self.window.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(self.options);
        Segment::of(&bytes).expect("TCP")
    }
}

fn handle(store: &mut Store, packet: &Packet<'_>, millis: u64) -> Vec<Event> {
    let mut events = Vec::new();
    store.handle(&packet.segment(), at(millis), &mut events);
    events
}

fn ask(store: &mut Store, peer: Peer, millis: u64) -> Option<Answer> {
    store.look_up(&peer, at(millis))
}

fn address() -> Peer {
    Peer::address([192, 0, 2, 1].into())
}

fn end() -> Peer {
    Peer::client([192, 0, 2, 1].into(), 4711)
}

#[test]
fn a_handshake_is_known_by_connection_with_its_round_trip() {
    let mut store = store(Mode::Better, 10);
    let mut events = handle(&mut store, &linux(), 0);
    events.extend(handle(&mut store, &linux(), 1000));
    events.extend(handle(&mut store, &reply(SYN_ACK, 99), 1001));
    let ack = Packet {
        flags: ACK,
        seq: 8,
        ack: 100,
        ..linux()
    };
    events.extend(handle(&mut store, &ack, 1013));
    let answer = ask(&mut store, end(), 1100).expect("it was seen");
    assert_eq!(answer.basis, Basis::Connection);
    assert_eq!(answer.os_text(), "Linux 3.11 and newer");
    assert_eq!(answer.os.expect("known").confidence, Confidence::Exact);
    assert_eq!(answer.distance, Some(9));
    assert_eq!(answer.link.as_deref(), Some("Ethernet or modem"));
    assert_eq!((answer.mss, answer.mtu), (Some(1460), Some(1500)));
    assert_eq!(answer.window, 29_200);
    assert_eq!(answer.rtt, Some(Duration::from_millis(12)));
    assert_eq!((answer.syns, answer.connections), (2, 1));
    assert_eq!(
        answer.raw_signature,
        "4:55+9:0:1460:mss*20,7:mss,sok,ts,nop,ws:df,id+:0"
    );
    let counts = store.counts();
    assert_eq!((counts.syns, counts.repeated, counts.syn_acks), (2, 1, 1));
    assert_eq!((counts.hosts, counts.connections), (2, 1));
    let told: Vec<_> = events
        .iter()
        .map(|event| (event.about, name(event)))
        .collect();
    assert_eq!(
        told,
        [
            (End::Client, "syn"),
            (End::Client, "link"),
            (End::Server, "syn+ack"),
            (End::Server, "link"),
            (End::Client, "round trip"),
        ]
    );
}

fn name(event: &Event) -> &'static str {
    match &event.what {
        What::Handshake(handshake) if handshake.kind == Kind::Syn => "syn",
        What::Handshake(_) => "syn+ack",
        What::Link { .. } => "link",
        What::Uptime(..) => "uptime",
        What::Changed(..) => "changed",
        What::Shared(..) => "shared",
        What::RoundTrip(_) => "round trip",
    }
}

#[test]
fn behind_one_address_each_connection_keeps_its_own_system() {
    let mut store = store(Mode::Better, 10);
    handle(&mut store, &linux(), 0);
    let other = Packet {
        source: "192.0.2.1:5000",
        ..windows()
    };
    let events = handle(&mut store, &other, 10);
    let names: Vec<_> = events.iter().map(name).collect();
    assert_eq!(names, ["syn", "changed", "link"]);
    let of = |store: &mut Store, peer| ask(store, peer, 20).expect("seen").os_text();
    assert_eq!(of(&mut store, end()), "Linux 3.11 and newer");
    let second = Peer::client([192, 0, 2, 1].into(), 5000);
    let known_server = second.to_server([192, 0, 2, 9].into(), 25);
    let other_server = second.to_server([127, 0, 0, 1].into(), 8025);
    assert_eq!(of(&mut store, known_server), "Windows 7 or 8");
    assert_eq!(of(&mut store, other_server), "Windows 7 or 8");
    let by_address = ask(&mut store, address(), 20).expect("seen");
    assert_eq!(by_address.basis, Basis::Address);
    assert_eq!(by_address.os_text(), "Windows 7 or 8");
    assert_eq!(by_address.connections, 2);
    assert_eq!(by_address.last_change, Some(at(10)));
    assert_eq!(
        ask(&mut store, Peer::address([192, 0, 2, 2].into()), 20),
        None
    );
}

#[test]
fn an_address_that_alternates_is_shared() {
    let mut store = store(Mode::Better, 100);
    let mut names = Vec::new();
    for round in 0..4_u64 {
        let port = 4000 + round;
        let source = format!("192.0.2.1:{port}");
        let packet = if round % 2 == 0 { linux() } else { windows() };
        let packet = Packet {
            source: &source,
            ..packet
        };
        names.extend(handle(&mut store, &packet, round * 10).iter().map(name));
    }
    let conclusions: Vec<_> = names
        .into_iter()
        .filter(|name| matches!(*name, "changed" | "shared"))
        .collect();
    assert_eq!(conclusions, ["changed", "changed", "shared"]);
    let answer = ask(&mut store, address(), 40).expect("seen");
    assert_eq!(
        (answer.last_change, answer.last_nat),
        (Some(at(20)), Some(at(30)))
    );
}

#[test]
fn what_no_signature_fits_does_not_take_the_host_s_system_away() {
    let mut store = store(Mode::Parity, 10);
    handle(&mut store, &linux(), 0);
    let strange = Packet {
        source: "192.0.2.1:5000",
        options: &[1, 1, 1, 0],
        ..linux()
    };
    handle(&mut store, &strange, 10);
    let second = Peer::client([192, 0, 2, 1].into(), 5000);
    assert_eq!(ask(&mut store, second, 20).expect("seen").os, None);
    let by_address = ask(&mut store, address(), 20).expect("seen");
    assert_eq!(by_address.os_text(), "Linux 3.11 and newer");
}

#[test]
fn a_scanner_s_syn_says_nothing_of_its_host() {
    let scan = Packet {
        window: 1024,
        options: &[2, 4, 5, 0xb4],
        id: 0,
        ..linux()
    };
    // Without "don't fragment": a signature of its own.
    let mut features = match scan.segment() {
        Segment::Handshake(features) => features,
        Segment::Later(_) => panic!("a SYN"),
    };
    features.p0f_quirks = pf_engine::osfp::features::Quirks::NONE;
    features.quirks = features.p0f_quirks;
    let mut store = store(Mode::Better, 10);
    let mut events = Vec::new();
    store.handle(&Segment::Handshake(features), at(0), &mut events);
    let [event] = events.as_slice() else {
        panic!("one event: {events:?}");
    };
    let What::Handshake(handshake) = &event.what else {
        panic!("a handshake");
    };
    assert!(handshake.is_of_program());
    assert_eq!(handshake.parameters(), "random_ttl");
    let answer = ask(&mut store, address(), 1).expect("seen");
    assert_eq!((answer.os, answer.distance), (None, None));
    assert_eq!(
        ask(&mut store, end(), 1).expect("seen").os_text(),
        "NMap SYN scan"
    );
}

#[test]
fn a_clock_is_measured_between_the_syn_and_a_later_packet() {
    let mut store = store(Mode::Better, 10);
    handle(&mut store, &linux(), 0);
    handle(&mut store, &reply(SYN_ACK, 99), 1);
    // 1250 ticks later after five seconds.
    let options = [1, 1, 8, 10, 0, 0, 8, 0xca, 0, 0, 0, 0];
    let later = Packet {
        flags: FIN_ACK,
        options: &options,
        ..linux()
    };
    let events = handle(&mut store, &later, 5_000);
    let [
        Event {
            what: What::Uptime(uptime, rate),
            ..
        },
    ] = events.as_slice()
    else {
        panic!("{events:?}");
    };
    assert_eq!((uptime.minutes, uptime.modulo_days), (0, 198));
    assert!((rate - 250.0).abs() < 0.001);
    assert_eq!(
        ask(&mut store, address(), 5_001).expect("seen").uptime,
        Some(*uptime)
    );
}

#[test]
fn a_syn_after_the_end_or_with_another_number_begins_anew() {
    let mut store = store(Mode::Better, 10);
    handle(&mut store, &linux(), 0);
    let other = Packet { seq: 8, ..linux() };
    assert_eq!(name(&handle(&mut store, &other, 1)[0]), "syn");
    let reset = Packet {
        flags: 4,
        ..linux()
    };
    assert_eq!(handle(&mut store, &reset, 2), []);
    assert_eq!(name(&handle(&mut store, &other, 3)[0]), "syn");
    assert_eq!(ask(&mut store, end(), 4).expect("seen").connections, 3);
    assert_eq!(store.counts().connections, 1);
}

#[test]
fn a_syn_ack_that_nobody_asked_for_is_only_counted() {
    let mut store = store(Mode::Better, 10);
    assert_eq!(handle(&mut store, &reply(SYN_ACK, 99), 0), []);
    let counts = store.counts();
    assert_eq!(
        (counts.unasked, counts.hosts, counts.connections),
        (1, 0, 0)
    );
}

#[test]
fn what_is_too_old_is_not_told_and_makes_room() {
    let mut store = store(Mode::Better, 10);
    handle(&mut store, &linux(), 0);
    let hour = 3_600_000;
    assert_eq!(
        ask(&mut store, end(), hour).expect("seen").basis,
        Basis::Connection
    );
    assert_eq!(
        ask(&mut store, end(), 3 * hour).expect("seen").basis,
        Basis::Address
    );
    assert_eq!(ask(&mut store, end(), 25 * hour), None);
    let other = Packet {
        source: "192.0.2.2:1",
        ..linux()
    };
    handle(&mut store, &other, 25 * hour);
    let counts = store.counts();
    assert_eq!((counts.hosts, counts.connections), (1, 1));
    assert_eq!((counts.hosts_evicted, counts.connections_evicted), (0, 0));
}

#[test]
fn one_that_is_too_old_does_not_hide_another_from_the_same_port() {
    let mut store = store(Mode::Better, 10);
    let hour = 3_600_000;
    let to_another = Packet {
        destination: "192.0.2.8:25",
        ..linux()
    };
    handle(&mut store, &linux(), 0);
    handle(&mut store, &to_another, hour);
    let exact = end().to_server([192, 0, 2, 9].into(), 25);
    let basis = |store: &mut Store, now| ask(store, exact, now).expect("seen").basis;
    assert_eq!(basis(&mut store, 2 * hour + 1), Basis::Connection);
    assert_eq!(basis(&mut store, 3 * hour + 1), Basis::Address);
}

#[test]
fn a_million_sources_leave_no_more_than_the_limit() {
    const SOURCES: u32 = 1_000_000;
    let mut store = Store::new(Database::default(), Mode::Better, limits(1000), (1, 2));
    let Segment::Handshake(mut features) = linux().segment() else {
        panic!("a SYN");
    };
    let mut events = Vec::new();
    for number in 0..SOURCES {
        features.source.set_ip(Ipv4Addr::from_bits(number).into());
        store.handle(
            &Segment::Handshake(features),
            at(u64::from(number)),
            &mut events,
        );
        events.clear();
    }
    let counts = store.counts();
    assert_eq!((counts.hosts, counts.connections), (1000, 1000));
    assert_eq!(counts.hosts_evicted, u64::from(SOURCES) - 1000);
    assert_eq!(counts.connections_evicted, u64::from(SOURCES) - 1000);
    let newest = Peer::address(Ipv4Addr::from_bits(SOURCES - 1).into());
    let oldest = Peer::address(Ipv4Addr::from_bits(SOURCES - 1001).into());
    assert!(ask(&mut store, newest, u64::from(SOURCES)).is_some());
    assert_eq!(ask(&mut store, oldest, u64::from(SOURCES)), None);
}

fn exported(store: &Store, count: usize) -> String {
    let (mut cursor, mut lines) = (KeepCursor::Start, String::new());
    while cursor != KeepCursor::Done {
        store.export(&mut cursor, count, &mut lines);
    }
    lines
}

#[test]
fn everything_outlives_a_restart() {
    let mut before = store(Mode::Better, 10);
    for (port, packet) in [(1, linux()), (2, windows()), (3, linux())] {
        let source = format!("192.0.2.1:{port}");
        let packet = Packet {
            source: &source,
            ..packet
        };
        handle(&mut before, &packet, port);
    }
    let text = exported(&before, 2);
    // Signatures have been added in front meanwhile: labels have other numbers.
    let more = FILE.replace(
        "[tcp:request]\n",
        "[tcp:request]\nlabel = s:unix:New:1\nsig = 4:32:0:1:1,1:mss:df:0\n",
    );
    let database = Database::parse(&more).expect("it reads");
    let mut after = Store::new(database, Mode::Better, limits(10), (3, 4));
    after.import(text.lines()).expect("it was written by us");
    for peer in [end(), address(), Peer::client([192, 0, 2, 1].into(), 2)] {
        let answer = ask(&mut before, peer, 10);
        assert!(answer.is_some());
        assert_eq!(ask(&mut after, peer, 10), answer);
    }
    assert_eq!((after.counts().hosts, after.counts().connections), (1, 3));
    let mut small = store(Mode::Better, 1);
    small.import(text.lines()).expect("it was written by us");
    assert_eq!((small.counts().hosts, small.counts().connections), (1, 1));
    assert!(ask(&mut small, Peer::client([192, 0, 2, 1].into(), 3), 10).is_some());
}

#[test]
fn a_file_that_was_damaged_is_refused_as_a_whole() {
    let mut source = store(Mode::Better, 10);
    handle(&mut source, &linux(), 0);
    let good = exported(&source, 1);
    let cut: String = good.chars().take(good.len() - 9).collect();
    let headless = good.lines().skip(1).collect::<Vec<_>>().join("\n");
    let newer = good.replacen("\"version\":1", "\"version\":2", 1);
    let escape = good.replacen("Linux", "\\u001b[2J", 1);
    for bad in [cut, headless, newer, escape, "x".repeat(20_000)] {
        let mut store = store(Mode::Better, 10);
        assert!(store.import(bad.lines()).is_err(), "{bad:.200}");
        assert_eq!(store.counts(), Counts::default());
    }
}

/// The store as a list that is searched: newest last.
#[derive(Debug, Default)]
struct Model {
    connections: Vec<(Connection, u32, u8)>,
    hosts: Vec<(IpAddr, u32)>,
}

impl Model {
    fn syn(&mut self, connection: Connection, seq: u32, limit: usize) {
        let known = self
            .connections
            .iter()
            .position(|known| known.0 == connection);
        let known = known.map(|at| self.connections.remove(at));
        let repeated = known.filter(|known| known.1 == seq);
        if repeated.is_none() && known.is_none() && self.connections.len() >= limit {
            self.connections.remove(0);
        }
        let syns = repeated.map_or(1, |known| known.2 + 1);
        self.connections.push((connection, seq, syns));
        let address = connection.client.ip();
        let host = self.hosts.iter().position(|host| host.0 == address);
        let mut host = match host {
            Some(at) => self.hosts.remove(at),
            None => (address, 0),
        };
        if host.1 == 0 && self.hosts.len() >= limit {
            self.hosts.remove(0);
        }
        host.1 += u32::from(repeated.is_none());
        self.hosts.push(host);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_answers_as_a_list_that_is_searched(
        steps in prop::collection::vec((0_u8..6, 0_u16..3, 0_u32..2), 1..80),
    ) {
        const LIMIT: usize = 4;
        let (mut store, mut model) = (store(Mode::Better, LIMIT), Model::default());
        for (millis, (host, port, seq)) in (0..).zip(steps) {
            let source = format!("192.0.2.{host}:{}", 1000 + port);
            let packet = Packet { source: &source, seq, ..linux() };
            handle(&mut store, &packet, millis);
            let connection = Connection {
                client: source.parse().expect("an address"),
                server: SERVER.parse().expect("an address"),
            };
            model.syn(connection, seq, LIMIT);
            prop_assert_eq!(store.counts().hosts, model.hosts.len());
            prop_assert_eq!(store.counts().connections, model.connections.len());
            for &(connection, _, syns) in &model.connections {
                let peer = Peer::client(connection.client.ip(), connection.client.port());
                let answer = ask(&mut store, peer, millis).expect("it is kept");
                prop_assert_eq!((answer.basis, answer.syns), (Basis::Connection, syns));
            }
            let hosts: BTreeMap<_, _> = model.hosts.iter().copied().collect();
            for host in 0..6 {
                let address = IpAddr::from([192, 0, 2, host]);
                let answer = ask(&mut store, Peer::address(address), millis);
                let connections = answer.map(|answer| answer.connections);
                prop_assert_eq!(connections, hosts.get(&address).copied());
            }
        }
    }
}
