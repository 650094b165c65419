//! What mail servers and their clients send to the mail side, and the files that it reads.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mail::amavis::{self, Style};
use mail::answer::{Answer, Basis, Confidence, Label, LookUp, Os};
use mail::connection::Peer;
use mail::dnsbl::service::{Identity, Permission, Served, Transport, respond};
use mail::dnsbl::{Listings, QueryType, Zone};
use mail::milter::{MilterOptions, MilterSession};
use mail::opensmtpd::{Filter, FilterOptions};
use mail::outcome::{MESSAGE_ID_MAX, Outcome, OutcomeSink};
use mail::p0f_api::P0fSession;
use mail::policy::PolicySession;
use mail::published::{self as table, HEADER_LEN, Header, SLOT_LEN, Source};
use mail::session::{Flow, Session, World};
use mail::store::{KeepCursor, Limits, Store};
use mail::text::TextSession;
use mail::time::Timestamp;
use pf_engine::osfp::p0f::{Database, Mode};
use weighbridge::mail::http::Route;
use weighbridge::mail::settings;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
/// Bytes that one byte of a question may be answered with: the smallest question of the text
/// socket gets the largest answer.
const ANSWER_FACTOR: usize = 200;
/// Bytes of the longest answer without a question.
const ANSWER_MAX: usize = 64 << 10;
/// Bytes of a DNS header; of a datagram at most (EDNS, as servers have it), and of a message.
const DNS_HEADER_LEN: usize = 12;
const DATAGRAM_MAX: usize = 1_232;
const MESSAGE_MAX: usize = 65_535;
/// Files of observations have lines; more of them take longer and tell nothing new.
const LINES_MAX: usize = 64;

/// Knows every client.
struct Everybody;

impl LookUp for Everybody {
    fn look_up(&mut self, peer: &Peer, _: Timestamp) -> Option<Answer> {
        Some(Answer {
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
            distance: peer.port.map(|port| port.to_be_bytes()[1]),
            rtt: Some(Duration::from_millis(1)),
            ..Answer::nothing(Basis::Connection)
        })
    }
}

/// Checks every report.
#[derive(Default)]
struct Sink(Vec<Outcome>);

impl OutcomeSink for Sink {
    fn record(&mut self, outcome: Outcome) {
        check(&outcome);
        self.0.push(outcome);
    }
}

fn check(outcome: &Outcome) {
    let id = outcome.message.as_deref().unwrap_or_default();
    assert!(id.len() <= MESSAGE_ID_MAX && id.bytes().all(|byte| byte.is_ascii_graphic()));
    assert_eq!(outcome.peer.address, outcome.peer.address.to_canonical());
}

fn session(kind: u8) -> Box<dyn Session> {
    match kind % 4 {
        0 => Box::new(P0fSession::default()),
        1 => Box::new(TextSession::default()),
        2 => Box::new(PolicySession::default()),
        _ => Box::new(MilterSession::new(MilterOptions { outcomes: true })),
    }
}

/// What a session of `kind` says to `input` in pieces of `size`, and what it reports.
fn said(kind: u8, input: &[u8], size: usize) -> (Vec<u8>, Vec<Outcome>) {
    let (mut session, mut sink, mut output) = (session(kind), Sink::default(), Vec::new());
    let mut world = World {
        lookup: &mut Everybody,
        outcomes: &mut sink,
        now: NOW,
    };
    for piece in input.chunks(size.max(1)) {
        if session.input(piece, &mut output, &mut world) == Flow::Close {
            return (output, sink.0);
        }
    }
    session.end(&mut output, &mut world);
    (output, sink.0)
}

/// A conversation: the first byte says which protocol, the second in what pieces it comes. The
/// pieces make no difference, and answers are in proportion to questions.
///
/// # Panics
/// When that does not hold.
pub fn mail_sessions(data: &[u8]) {
    let Some((&[kind, size], input)) = data.split_first_chunk() else {
        return;
    };
    let whole = said(kind, input, input.len());
    assert_eq!(whole, said(kind, input, usize::from(size)));
    assert!(whole.0.len() <= ANSWER_MAX + input.len() * ANSWER_FACTOR);
}

/// Texts that come whole: the first byte says which.
///
/// # Panics
/// When one is answered in a way that it must not be.
pub fn mail_texts(data: &[u8]) {
    let Some((kind, text)) = data.split_first() else {
        return;
    };
    match kind % 6 {
        0 => amavis(text),
        1 => filter(&String::from_utf8_lossy(text)),
        2 => dnsbl(&String::from_utf8_lossy(text)),
        3 => {
            if let Ok(outcome) = mail::http::outcome(text, NOW) {
                check(&outcome);
            }
        }
        4 => route(&String::from_utf8_lossy(text)),
        _ => dns(text),
    }
}

fn amavis(query: &[u8]) {
    let source = SocketAddr::from(([127, 0, 0, 1], 4_000));
    for style in [Style::Two, Style::Three] {
        let mut world = World {
            lookup: &mut Everybody,
            outcomes: &mut Sink::default(),
            now: NOW,
        };
        if let Some(answer) = amavis::respond(query, source, style, &mut world) {
            assert!(answer.starts_with(query) && answer.ends_with(b"\r\n"));
            assert!(answer.len() <= query.len() + 1_000);
            assert!(!answer[..answer.len() - 2].contains(&b'\n'));
        }
    }
}

fn filter(text: &str) {
    let mut filter = Filter::new(FilterOptions { header: true });
    let (mut sink, mut output) = (Sink::default(), String::new());
    for line in text.lines() {
        let mut world = World {
            lookup: &mut Everybody,
            outcomes: &mut sink,
            now: NOW,
        };
        output.clear();
        filter.line(line, &mut output, &mut world);
        assert!(output.is_empty() || output.ends_with('\n'));
        let ours = |line: &str| line.starts_with("register|") || line.starts_with("filter-");
        assert!(output.lines().all(ours), "{output}");
    }
}

/// Lists every address with an even last byte.
struct Even;

impl Listings for Even {
    fn listing(&mut self, address: IpAddr) -> Option<String> {
        let last = match address {
            IpAddr::V4(address) => address.octets()[3],
            IpAddr::V6(address) => address.octets()[15],
        };
        last.is_multiple_of(2).then(|| address.to_string())
    }
}

/// The first line names the zone, the second what is asked for.
fn dnsbl(text: &str) {
    let (zone, name) = text.split_once('\n').unwrap_or(("bl.example", text));
    let Some(zone) = Zone::new(zone) else {
        return;
    };
    let labels: Vec<&str> = name.split('.').collect();
    for kind in [
        QueryType::A,
        QueryType::Txt,
        QueryType::Soa,
        QueryType::Ns,
        QueryType::Any,
        QueryType::Other,
    ] {
        let _ = zone.answer(&labels, kind, &mut Even);
    }
}

/// A DNS message. Answers go to questions alone, or two servers could keep each other busy.
fn dns(message: &[u8]) {
    let zone = Zone::new("bl.example").expect("a name");
    let identity = Identity::new("ns.example").expect("a name");
    for (transport, most) in [
        (Transport::Udp, DATAGRAM_MAX),
        (Transport::Tcp, MESSAGE_MAX),
    ] {
        for permission in [
            Permission::Granted,
            Permission::Denied,
            Permission::TooOften,
        ] {
            let mut listings = Even;
            let mut zones = [Served {
                zone: &zone,
                listings: &mut listings,
            }];
            let answer = respond(message, transport, permission, &identity, &mut zones, NOW);
            let Some(answer) = answer else {
                continue;
            };
            assert!((DNS_HEADER_LEN..=most).contains(&answer.len()));
            assert_eq!(answer.get(..2), message.get(..2));
            let is_response =
                |message: &[u8]| message.get(2).is_some_and(|flags| flags & 0x80 != 0);
            assert!(is_response(&answer) && !is_response(message));
        }
    }
}

/// `METHOD PATH[?QUERY]`.
fn route(text: &str) {
    let (method, target) = text.split_once(' ').unwrap_or(("GET", text));
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let _ = Route::parse(method, path, query);
}

/// Reads text as `mail.toml`.
///
/// # Panics
/// When it is refused without a reason.
pub fn mail_settings(data: &[u8]) {
    if let Err(problem) = settings::parse("mail.toml", &String::from_utf8_lossy(data)) {
        assert!(problem.to_string().contains("mail.toml"));
    }
}

fn store() -> Store {
    let limits = Limits {
        hosts: 32,
        connections: 32,
    };
    let database = Database::parse("").expect("nothing is a list too");
    Store::new(database, Mode::Better, limits, (1, 2))
}

fn exported(store: &Store) -> String {
    let (mut cursor, mut lines) = (KeepCursor::Start, String::new());
    while cursor != KeepCursor::Done {
        store.export(&mut cursor, 8, &mut lines);
    }
    lines
}

/// Reads text as observations that were kept. What is accepted is bounded, and reads back.
///
/// # Panics
/// When that does not hold.
pub fn observations(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut kept = store();
    if kept.import(text.lines().take(LINES_MAX)).is_err() {
        assert_eq!(kept.counts().hosts, 0);
        return;
    }
    let counts = kept.counts();
    assert!(counts.hosts <= 32 && counts.connections <= 32);
    for address in kept.addresses() {
        if let Some(answer) = kept.look_up(&Peer::address(address), NOW) {
            let header = answer.header_text();
            assert!(header.chars().all(|c| c.is_ascii_graphic() || c == ' '));
        }
    }
    let lines = exported(&kept);
    let mut again = store();
    again.import(lines.lines()).expect("what was kept reads");
    assert_eq!(again.counts().hosts, counts.hosts);
}

/// A file whose every piece is the same bytes, with checksums that are right.
struct Pieces<'a>(&'a [u8]);

impl Source for Pieces<'_> {
    fn read(&mut self, offset: u64, piece: &mut [u8]) -> bool {
        let from = usize::try_from(offset % 7).unwrap_or_default();
        let mut bytes = self.0.iter().cycle().skip(from);
        for place in piece.iter_mut() {
            *place = bytes.next().copied().unwrap_or_default();
        }
        let parts = if piece.len() == table::PAGE_LEN {
            SLOT_LEN
        } else {
            piece.len()
        };
        piece.chunks_mut(parts).for_each(table::seal);
        true
    }
}

/// Reads bytes as answers in shared memory, as they are and with checksums that are right: a
/// header, and what all the rest is made of. The addresses that are asked for are from the bytes.
///
/// # Panics
/// When an answer could harm who shows it.
pub fn published(data: &[u8]) {
    let _ = Header::parse(data);
    let Some((header, rest)) = data.split_first_chunk::<HEADER_LEN>() else {
        return;
    };
    let mut header = *header;
    table::seal(&mut header);
    let header = Header::parse(&header).unwrap_or_else(|_| Header::new(1, 1, (1, 2)));
    let octets: [u8; 16] = rest
        .get(16..32)
        .and_then(|it| it.try_into().ok())
        .unwrap_or_default();
    let port = rest
        .get(12..14)
        .and_then(|it| it.try_into().ok())
        .map_or(0, u16::from_le_bytes);
    let client = Peer::client(IpAddr::from(octets), port);
    for peer in [client, Peer::address(client.address)] {
        let Some(answer) = table::look_up(&header, &mut Pieces(rest), &peer, NOW) else {
            continue;
        };
        let header = answer.header_text();
        assert!(header.chars().all(|c| c.is_ascii_graphic() || c == ' '));
        assert!(
            answer
                .os
                .is_none_or(|os| os.label.name.len() <= table::TEXT_LEN)
        );
    }
}
