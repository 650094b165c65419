//! The API of p0f v3: fixed binary questions and answers over a UNIX stream socket, in the byte
//! order of the machine (p0f 3.09b, `api.h`). rspamd, Haraka, qpsmtpd and milter-greylist speak it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::answer::{Answer, plain};
use crate::connection::Peer;
use crate::session::{Flow, Session, World};
use crate::time::Timestamp;

/// Bytes of a question: magic, family, address.
pub const QUERY_LEN: usize = 21;
/// Bytes of an answer.
pub const RESPONSE_LEN: usize = 232;

const QUERY_MAGIC: u32 = 0x5030_4601;
const RESPONSE_MAGIC: u32 = 0x5030_4602;
const STATUS_BAD_QUERY: u32 = 0x00;
const STATUS_OK: u32 = 0x10;
const STATUS_NO_MATCH: u32 = 0x20;
/// What p0f's field says when the distance is not known: its documentation says -1, its socket
/// sends the byte that the field was kept in.
const DISTANCE_UNKNOWN: i16 = 255;
const QUALITY_FUZZY: u8 = 1;
const QUALITY_GENERIC: u8 = 2;
/// Bytes of each text field. A text of that length has no terminating NUL, as in p0f.
const TEXT_LEN: usize = 32;

/// One client of the API. It keeps less than one question.
#[derive(Debug, Default)]
pub struct P0fSession {
    unfinished: Vec<u8>,
}

impl Session for P0fSession {
    fn input(&mut self, bytes: &[u8], output: &mut Vec<u8>, world: &mut World<'_>) -> Flow {
        self.unfinished.extend_from_slice(bytes);
        let mut questions = self.unfinished.chunks_exact(QUERY_LEN);
        for question in questions.by_ref() {
            output.extend_from_slice(&respond(question, world));
        }
        self.unfinished = questions.remainder().to_vec();
        Flow::Continue
    }
}

/// The answer to the question `query`.
fn respond(query: &[u8], world: &mut World<'_>) -> [u8; RESPONSE_LEN] {
    let Some(address) = address_of(query) else {
        return Response::new(STATUS_BAD_QUERY).bytes;
    };
    match world.look_up(&Peer::address(address)) {
        Some(answer) => found(&answer),
        None => Response::new(STATUS_NO_MATCH).bytes,
    }
}

fn address_of(query: &[u8]) -> Option<IpAddr> {
    let (magic, rest) = query.split_first_chunk()?;
    let (family, address) = rest.split_first()?;
    if u32::from_ne_bytes(*magic) != QUERY_MAGIC {
        return None;
    }
    match family {
        4 => Some(Ipv4Addr::from(*address.first_chunk::<4>()?).into()),
        6 => Some(Ipv6Addr::from(*address.first_chunk::<16>()?).into()),
        _ => None,
    }
}

fn found(answer: &Answer) -> [u8; RESPONSE_LEN] {
    let mut response = Response::new(STATUS_OK);
    let uptime = answer.uptime;
    for (at, value) in [
        (8, seconds(Some(answer.first_seen))),
        (12, seconds(Some(answer.last_seen))),
        (16, answer.connections),
        (20, uptime.map_or(0, |uptime| uptime.minutes)),
        (24, uptime.map_or(0, |uptime| uptime.modulo_days)),
        (28, seconds(answer.last_nat)),
        (32, seconds(answer.last_change)),
    ] {
        response.put(at, &value.to_ne_bytes());
    }
    let distance = answer.distance.map_or(DISTANCE_UNKNOWN, i16::from);
    response.put(36, &distance.to_ne_bytes());
    // p0f keeps no operating system for programs.
    if let Some(os) = answer.os.as_ref().filter(|os| !os.label.is_program()) {
        let fuzzy = if os.fuzzy { QUALITY_FUZZY } else { 0 };
        let generic = if os.generic { QUALITY_GENERIC } else { 0 };
        response.put(39, &[fuzzy | generic]);
        response.text(40, &os.label.name);
        response.text(72, &os.label.flavor);
    }
    response.text(168, answer.link.as_deref().unwrap_or_default());
    response.bytes
}

/// p0f's clocks end in 2106.
fn seconds(moment: Option<Timestamp>) -> u32 {
    moment.map_or(0, |moment| {
        u32::try_from(moment.as_secs()).unwrap_or(u32::MAX)
    })
}

struct Response {
    bytes: [u8; RESPONSE_LEN],
}

impl Response {
    fn new(status: u32) -> Self {
        let mut response = Self {
            bytes: [0; RESPONSE_LEN],
        };
        response.put(0, &RESPONSE_MAGIC.to_ne_bytes());
        response.put(4, &status.to_ne_bytes());
        response
    }

    fn put(&mut self, at: usize, value: &[u8]) {
        if let Some(field) = self.bytes.get_mut(at..at.saturating_add(value.len())) {
            field.copy_from_slice(value);
        }
    }

    fn text(&mut self, at: usize, text: &str) {
        let text = plain(text);
        let bytes = text.as_bytes();
        self.put(at, bytes.get(..TEXT_LEN).unwrap_or(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fakes, linux, seen};

    fn query(family: u8, address: &[u8]) -> Vec<u8> {
        let mut bytes = QUERY_MAGIC.to_ne_bytes().to_vec();
        bytes.push(family);
        bytes.extend_from_slice(address);
        bytes.resize(QUERY_LEN, 0);
        bytes
    }

    fn asked(fakes: &mut Fakes, pieces: &[&[u8]]) -> Vec<u8> {
        let mut session = P0fSession::default();
        let mut output = Vec::new();
        for piece in pieces {
            let flow = session.input(piece, &mut output, &mut fakes.world());
            assert_eq!(flow, Flow::Continue);
        }
        output
    }

    fn number(response: &[u8], at: usize) -> u32 {
        u32::from_ne_bytes(response[at..at + 4].try_into().expect("four bytes"))
    }

    #[test]
    fn every_field_stands_where_p0f_has_it() {
        let mut fakes = Fakes::knowing("192.0.2.1", linux());
        let response = asked(&mut fakes, &[&query(4, &[192, 0, 2, 1])]);
        assert_eq!(response.len(), RESPONSE_LEN);
        assert_eq!(number(&response, 0), RESPONSE_MAGIC);
        assert_eq!(number(&response, 4), STATUS_OK);
        assert_eq!(number(&response, 8), 1_000);
        assert_eq!(number(&response, 12), 2_000);
        assert_eq!(number(&response, 16), 3);
        assert_eq!(number(&response, 20), 676);
        assert_eq!(number(&response, 24), 198);
        assert_eq!(number(&response, 28), 0);
        assert_eq!(&response[36..38], 9_i16.to_ne_bytes());
        assert_eq!(response[39], 0);
        assert_eq!(&response[40..46], b"Linux\0");
        assert_eq!(&response[72..87], b"3.11 and newer\0");
        assert_eq!(&response[168..172], b"DSL\0");
    }

    #[test]
    fn a_handshake_that_fits_nothing_has_no_name_and_an_unknown_distance() {
        let answer = Answer {
            os: None,
            distance: None,
            ..linux()
        };
        let mut fakes = Fakes::knowing("2001:db8::1", answer);
        let address = "2001:db8::1".parse::<Ipv6Addr>().expect("an address");
        let response = asked(&mut fakes, &[&query(6, &address.octets())]);
        assert_eq!(number(&response, 4), STATUS_OK);
        assert_eq!(&response[36..38], 255_i16.to_ne_bytes());
        assert_eq!(response[40], 0);
    }

    #[test]
    fn nobody_and_nonsense_are_told_apart_and_the_connection_goes_on() {
        let mut fakes = Fakes::default();
        let mut bad = query(4, &[192, 0, 2, 1]);
        bad[0] ^= 1;
        let stream = [bad, query(9, &[]), query(4, &[192, 0, 2, 1])].concat();
        let responses = asked(&mut fakes, &[&stream]);
        let statuses: Vec<_> = responses
            .chunks(RESPONSE_LEN)
            .map(|response| number(response, 4))
            .collect();
        assert_eq!(
            statuses,
            [STATUS_BAD_QUERY, STATUS_BAD_QUERY, STATUS_NO_MATCH]
        );
        assert_eq!(seen(&fakes), [Peer::address([192, 0, 2, 1].into())]);
    }

    #[test]
    fn a_question_may_come_byte_by_byte() {
        let mut fakes = Fakes::knowing("192.0.2.1", linux());
        let question = query(4, &[192, 0, 2, 1]);
        let pieces: Vec<_> = question.chunks(1).collect();
        assert_eq!(asked(&mut fakes, &pieces).len(), RESPONSE_LEN);
    }

    #[test]
    fn a_text_of_thirty_two_bytes_has_no_end() {
        let mut answer = linux();
        answer.link = Some("x".repeat(40));
        let mut fakes = Fakes::knowing("192.0.2.1", answer);
        let response = asked(&mut fakes, &[&query(4, &[192, 0, 2, 1])]);
        assert_eq!(&response[168..200], "x".repeat(32).as_bytes());
        assert_eq!(response[200], 0);
    }
}
