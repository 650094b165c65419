use std::net::{Ipv4Addr, SocketAddr};

use pf_engine::osfp::features::Segment;
use pf_engine::osfp::p0f::{Database, Mode};
use proptest::prelude::*;

use super::*;
use crate::answer::LookUp;
use crate::store::{Limits, Store};
use crate::testing::syn_packet;

const START: u64 = 1_700_000_000;
const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)), 25);
const OTHER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 8)), 25);

/// The file.
#[derive(Clone, Default)]
struct Memory(Vec<u8>);

impl Memory {
    fn write(&mut self, write: &Write) {
        let at = usize::try_from(write.offset()).expect("small");
        self.0[at..at + write.bytes().len()].copy_from_slice(write.bytes());
    }
}

impl Source for Memory {
    fn read(&mut self, offset: u64, piece: &mut [u8]) -> bool {
        let at = usize::try_from(offset).expect("small");
        let Some(found) = self.0.get(at..at + piece.len()) else {
            return false;
        };
        piece.copy_from_slice(found);
        true
    }
}

/// A store whose every change is published.
struct Site {
    store: Store,
    publisher: Publisher,
    file: Memory,
}

impl Site {
    fn new(entries: usize) -> Self {
        let header = Header::new(entries, 1, (3, 4));
        let limits = Limits {
            hosts: 1_000,
            connections: 1_000,
        };
        Self {
            store: Store::new(Database::own(), Mode::Better, limits, (1, 2)),
            publisher: Publisher::new(header),
            file: Memory(vec![0; usize::try_from(header.file_len()).expect("small")]),
        }
    }

    fn packet(&mut self, packet: &[u8], now: Timestamp) {
        let segment = Segment::of(packet).expect("a handshake");
        let (mut events, mut writes) = (Vec::new(), Vec::new());
        self.store.handle(&segment, now, &mut events);
        let store = &mut self.store;
        self.publisher.events(store, &events, now, &mut writes);
        for write in &writes {
            self.file.write(write);
        }
    }

    fn published(&mut self, peer: &Peer, now: Timestamp) -> Option<Answer> {
        look_up(self.publisher.header(), &mut self.file, peer, now)
    }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_secs(START + seconds)
}

/// What the file does not hold.
fn as_published(answer: Answer) -> Answer {
    Answer {
        mss: None,
        window: 0,
        rtt: None,
        syns: 0,
        raw_signature: String::new(),
        last_seen: Timestamp::default(),
        last_nat: None,
        last_change: None,
        ..answer
    }
}

fn client(number: u8, port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::new(198, 51, 100, number).into(), port)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_file_answers_what_the_store_answers(
        steps in prop::collection::vec(
            (0_u8..5, 0_u16..3, any::<bool>(), 0_u8..4, 0_u64..4_000),
            1..60,
        ),
    ) {
        let mut site = Site::new(2_000);
        let mut now = 0;
        for (number, port, other, kind, later) in steps {
            now += later;
            let server = if other { OTHER } else { SERVER };
            let from = client(number, 4_000 + port);
            site.packet(&syn_packet(from, server, kind, u32::try_from(now).expect("small")), at(now));
            for number in 0..5 {
                let address = Peer::address(client(number, 0).ip());
                let connection = Peer::client(address.address, 4_000 + port);
                let exact = connection.to_server(server.ip(), server.port());
                for peer in [address, connection, exact] {
                    let known = site.store.look_up(&peer, at(now)).map(as_published);
                    let published = site.published(&peer, at(now)).map(as_published);
                    prop_assert_eq!(published, known);
                }
            }
        }
    }

    #[test]
    fn whatever_stands_in_the_file_is_survived(
        bytes in prop::collection::vec(any::<u8>(), 0..10_000),
        address in any::<u32>(),
        port in any::<u16>(),
    ) {
        let peer = Peer::client(Ipv4Addr::from(address).into(), port);
        let _ = Header::parse(&bytes);
        let header = Header::new(1, 2, (3, 4));
        prop_assert_eq!(look_up(&header, &mut Memory(bytes), &peer, at(0)), None);
    }

    #[test]
    fn a_slot_of_which_half_is_new_is_never_told(cut in 0..SLOT_LEN, kind in 0_u8..3) {
        let mut site = Site::new(1);
        site.packet(&syn_packet(client(1, 4711), SERVER, kind, 1), at(0));
        let before = site.file.clone();
        let peer = Peer::client(client(1, 0).ip(), 4711);
        let old = site.published(&peer, at(5));
        site.packet(&syn_packet(client(1, 4711), SERVER, kind + 1, 2), at(5));
        let new = site.published(&peer, at(5));
        let mut torn = before.clone();
        let slots = PAGE_LEN + TEXTS * TEXT_LEN;
        torn.0[..slots].copy_from_slice(&site.file.0[..slots]);
        for slot in (slots..torn.0.len()).step_by(SLOT_LEN) {
            torn.0[slot..slot + cut].copy_from_slice(&site.file.0[slot..slot + cut]);
        }
        let told = look_up(site.publisher.header(), &mut torn, &peer, at(5));
        prop_assert!(told.is_none() || told == old || told == new, "{:?}", told);
    }
}

#[test]
fn a_header_is_read_as_it_was_written_or_refused() {
    let header = Header::new(100_000, 7, (1, 2)).beaten(at(0));
    assert_eq!(Header::parse(&header.bytes()), Ok(header));
    assert_eq!(header.file_len(), 4096 + 256 * 1024 + 4096 * 4096);
    assert!(header.is_alive(at(4)) && !header.is_alive(at(6)));
    assert!(!header.beaten(Timestamp::default()).is_alive(at(0)));
    assert_eq!(Header::parse(&[]), Err(Unreadable::Foreign));
    assert_eq!(Header::parse(&[0; 4096]), Err(Unreadable::Foreign));
    for place in 0..HEADER_LEN {
        let mut bytes = header.bytes();
        bytes[place] ^= 1;
        assert!(Header::parse(&bytes).is_err(), "{place}");
    }
    let most = Header::new(usize::MAX, 1, (1, 2));
    assert_eq!(Header::parse(&most.bytes()), Ok(most));
}

#[test]
fn what_was_seen_too_long_ago_is_not_told() {
    let mut site = Site::new(100);
    site.packet(&syn_packet(client(1, 4711), SERVER, 0, 1), at(0));
    let peer = Peer::client(client(1, 0).ip(), 4711);
    let basis = |answer: Option<Answer>| answer.map(|answer| answer.basis);
    let two_hours = 7_200;
    assert_eq!(
        basis(site.published(&peer, at(two_hours))),
        Some(Basis::Connection)
    );
    assert_eq!(
        basis(site.published(&peer, at(two_hours + 1))),
        Some(Basis::Address)
    );
    assert_eq!(basis(site.published(&peer, at(86_401))), None);
}

#[test]
fn a_full_page_loses_what_was_seen_longest_ago() {
    let mut site = Site::new(1);
    for number in 0..200_u8 {
        let now = at(number.into());
        site.packet(&syn_packet(client(number, 4711), SERVER, 0, 1), now);
    }
    let counts = site.publisher.counts();
    assert_eq!((counts.written, counts.unnamed), (400, 0));
    assert_eq!(counts.evicted, 400 - 64);
    let known = |site: &mut Site, number| {
        let peer = Peer::address(client(number, 0).ip());
        site.published(&peer, at(200)).is_some()
    };
    assert!(known(&mut site, 199) && known(&mut site, 170));
    assert!(!known(&mut site, 100));
}

#[test]
fn everything_that_is_known_can_be_published_at_once() {
    let mut site = Site::new(100);
    for number in 0..20 {
        site.packet(
            &syn_packet(client(number, 4711), SERVER, number % 4, 1),
            at(0),
        );
    }
    let header = Header::new(100, 2, (5, 6));
    let mut publisher = Publisher::new(header);
    let mut file = Memory(vec![0; site.file.0.len()]);
    publisher.all(&mut site.store, at(1), &mut |write| file.write(&write));
    for number in 0..20 {
        let peer = Peer::client(client(number, 0).ip(), 4711);
        let known = site.store.look_up(&peer, at(1)).map(as_published);
        assert!(known.is_some());
        assert_eq!(
            look_up(&header, &mut file, &peer, at(1)).map(as_published),
            known
        );
    }
}

#[test]
fn names_that_no_room_is_left_for_are_counted() {
    let mut texts = texts::Texts::default();
    let mut full = 0;
    for number in 0..TEXTS + 10 {
        let label = Label {
            name: format!("System {number}"),
            ..Label::default()
        };
        full += usize::from(matches!(texts.number(&label), texts::Numbered::Full));
    }
    assert_eq!(full, 10);
    let long = Label {
        name: "x".repeat(300),
        ..Label::default()
    };
    assert!(matches!(
        texts::Texts::default().number(&long),
        texts::Numbered::Full
    ));
}
