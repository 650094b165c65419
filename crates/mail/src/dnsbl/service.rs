//! A list's server without its sockets: a message in, a message out.

use super::export::TTL;
use super::message::{Data, Name, Query, Rcode, Record, Response, Unread};
use super::{Listings, QueryType, Reply, Zone};
use crate::time::Timestamp;

/// Times of a zone's SOA record behind its serial (RFC 1035, section 3.3.13; RFC 2308 for the
/// last), in seconds.
const SOA_TIMES: [u32; 4] = [3_600, 600, 86_400, TTL];
/// A serial of the SOA record holds for so long, in seconds: weights decay all the time.
const SERIAL_STEP: u64 = 60;

/// How a question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram, as the answer will be.
    Udp,
    /// On a connection.
    Tcp,
}

/// Whether who asks may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// It may.
    Granted,
    /// It is not on the access list.
    Denied,
    /// It has asked too much: it may ask again by TCP, where nobody asks in another's name.
    TooOften,
}

/// A zone with what it knows.
pub struct Served<'a> {
    /// The zone.
    pub zone: &'a Zone,
    /// What it knows.
    pub listings: &'a mut dyn Listings,
}

/// The names that a server gives itself.
#[derive(Clone, Debug)]
pub struct Identity {
    server: Name,
    mailbox: Name,
}

impl Identity {
    /// Of the name server called `server`; nothing when that is no name.
    #[must_use]
    pub fn new(server: &str) -> Option<Self> {
        let zone = Zone::new(server)?;
        let labels = || zone.labels().iter().map(String::as_str);
        Some(Self {
            server: Name::of(labels())?,
            mailbox: Name::of(["hostmaster"].into_iter().chain(labels()))?,
        })
    }
}

/// Answers `message`; nothing for what is no question.
#[must_use]
pub fn respond(
    message: &[u8],
    transport: Transport,
    permission: Permission,
    identity: &Identity,
    zones: &mut [Served<'_>],
    now: Timestamp,
) -> Option<Vec<u8>> {
    let query = match Query::read(message) {
        Ok(query) => query,
        Err(Unread::Silence) => return None,
        // To who may ask: a forged sender gets nothing.
        Err(Unread::Answer(answer)) => {
            return (permission == Permission::Granted).then_some(answer);
        }
    };
    match permission {
        Permission::Denied => return Some(query.refuse(Rcode::Refused)),
        Permission::TooOften => return Some(query.truncate()),
        Permission::Granted => {}
    }
    if query.is_of_later_edns() {
        return Some(query.refuse(Rcode::BadVers));
    }
    if !query.is_of_internet() {
        return Some(query.refuse(Rcode::Refused));
    }
    let answer = query.answer(&response(&query, identity, zones, now));
    if transport == Transport::Udp && answer.len() > query.datagram_max() {
        return Some(query.truncate());
    }
    Some(answer)
}

/// Of several zones one may lie below another: the longest name answers.
fn response(
    query: &Query,
    identity: &Identity,
    zones: &mut [Served<'_>],
    now: Timestamp,
) -> Response {
    let labels: Vec<&str> = query.labels.iter().map(String::as_str).collect();
    let refused = || Response {
        rcode: Rcode::Refused,
        ..Response::default()
    };
    let ours = zones.iter_mut().filter(|served| served.zone.holds(&labels));
    let Some(served) = ours.max_by_key(|served| served.zone.labels().len()) else {
        return refused();
    };
    let reply = served
        .zone
        .answer(&labels, query_type(query.kind), served.listings);
    let above = labels.len().saturating_sub(served.zone.labels().len());
    let record = |owner: usize, data| Record {
        owner: query.place_behind(owner),
        ttl: TTL,
        data,
    };
    let soa = || record(above, soa(identity, now));
    let answered = |data| vec![record(0, data)];
    let (rcode, answers) = match reply {
        Reply::A(address) => (Rcode::NoError, answered(Data::A(address))),
        Reply::Txt(text) => (Rcode::NoError, answered(Data::Txt(text))),
        Reply::Ns => (Rcode::NoError, answered(Data::Ns(identity.server.clone()))),
        Reply::Soa => (Rcode::NoError, vec![soa()]),
        Reply::NoData => (Rcode::NoError, Vec::new()),
        Reply::NoName => (Rcode::NxDomain, Vec::new()),
        Reply::Refused => return refused(),
    };
    let authority = if answers.is_empty() {
        vec![soa()]
    } else {
        Vec::new()
    };
    Response {
        rcode,
        authoritative: true,
        answers,
        authority,
    }
}

fn soa(identity: &Identity, now: Timestamp) -> Data {
    let [refresh, retry, expire, minimum] = SOA_TIMES;
    let numbers = [serial(now), refresh, retry, expire, minimum];
    Data::Soa(identity.server.clone(), identity.mailbox.clone(), numbers)
}

/// The serial of a zone at this time.
#[must_use]
pub fn serial(now: Timestamp) -> u32 {
    let step = now.as_secs() / SERIAL_STEP * SERIAL_STEP;
    u32::try_from(step & u64::from(u32::MAX)).unwrap_or(0)
}

/// Numbers of types (RFC 1035, section 3.2.2; RFC 1995 for IXFR).
const fn query_type(number: u16) -> QueryType {
    match number {
        1 => QueryType::A,
        2 => QueryType::Ns,
        6 => QueryType::Soa,
        16 => QueryType::Txt,
        251 | 252 => QueryType::Transfer,
        255 => QueryType::Any,
        _ => QueryType::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    struct One;

    impl Listings for One {
        fn listing(&mut self, address: IpAddr) -> Option<String> {
            (address == IpAddr::from([192, 0, 2, 1])).then(|| "x".repeat(255))
        }
    }

    fn asked(name: &str, kind: u16, transport: Transport, permission: Permission) -> Vec<u8> {
        let zones = ["bl.example", "os.bl.example"].map(|name| Zone::new(name).expect("a zone"));
        let identity = Identity::new("ns.example").expect("a name");
        let mut message = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            message.push(u8::try_from(label.len()).expect("short"));
            message.extend(label.as_bytes());
        }
        message.extend([0, 0, u8::try_from(kind).expect("small"), 0, 1]);
        let (mut one, mut other) = (One, One);
        let mut served = [
            Served {
                zone: &zones[0],
                listings: &mut one,
            },
            Served {
                zone: &zones[1],
                listings: &mut other,
            },
        ];
        let now = Timestamp::from_secs(1_700_000_001);
        respond(&message, transport, permission, &identity, &mut served, now).expect("an answer")
    }

    fn granted(name: &str, kind: u16) -> Vec<u8> {
        asked(name, kind, Transport::Udp, Permission::Granted)
    }

    /// Code, and counts of answers and authority.
    fn shape(answer: &[u8]) -> (u8, u8, u8) {
        (answer[3] & 0xf, answer[7], answer[9])
    }

    #[test]
    fn every_reply_has_its_code_and_sections() {
        assert_eq!(shape(&granted("1.2.0.192.bl.example", 1)), (0, 1, 0));
        assert_eq!(shape(&granted("1.2.0.192.bl.example", 255)), (0, 1, 0));
        assert_eq!(shape(&granted("1.2.0.192.bl.example", 28)), (0, 0, 1));
        assert_eq!(shape(&granted("192.bl.example", 1)), (0, 0, 1));
        assert_eq!(shape(&granted("2.2.0.192.bl.example", 1)), (3, 0, 1));
        assert_eq!(shape(&granted("bl.example", 6)), (0, 1, 0));
        assert_eq!(shape(&granted("bl.example", 2)), (0, 1, 0));
        assert_eq!(shape(&granted("bl.example.org", 1)), (5, 0, 0));
        let top = granted("os.bl.example", 6);
        assert_eq!(shape(&top), (0, 1, 0));
        let serial = 1_699_999_980_u32.to_be_bytes();
        assert!(top.windows(4).any(|four| four == serial));
        assert_eq!(top[2] & 0x04, 0x04, "authoritative");
        for transfer in [251, 252] {
            let refused = asked("bl.example", transfer, Transport::Tcp, Permission::Granted);
            assert_eq!((shape(&refused), refused[2] & 0x04), ((5, 0, 0), 0));
        }
    }

    #[test]
    fn the_longest_text_fits_into_a_datagram() {
        let text = granted("1.2.0.192.bl.example", 16);
        assert_eq!(shape(&text), (0, 1, 0));
        assert!(text.len() <= 512, "{}", text.len());
    }

    #[test]
    fn who_may_not_ask_gets_no_records() {
        let denied = asked(
            "1.2.0.192.bl.example",
            1,
            Transport::Udp,
            Permission::Denied,
        );
        assert_eq!(shape(&denied), (5, 0, 0));
        let often = asked(
            "1.2.0.192.bl.example",
            1,
            Transport::Udp,
            Permission::TooOften,
        );
        assert_eq!((shape(&often), often[2] & 0x02), ((0, 0, 0), 2));
    }
}
