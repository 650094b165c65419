//! What amavisd asks its `$os_fingerprint_method`: one datagram, one datagram back, within 50 ms.
//!
//! ```text
//! [192.0.2.1]:4711 NONCE        ->  [192.0.2.1]:4711 NONCE Linux 3.11 and newer; dist: 9; ...\r\n
//! ```
//!
//! The form is that of amavisd's p0f-analyzer.pl. Datagrams that are no question are left
//! unanswered: nobody shall learn anything from sending garbage.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use crate::answer::{Answer, plain};
use crate::connection::Peer;
use crate::session::World;

/// Bytes of the largest question: an IPv6 address, a port and a nonce. p0f-analyzer.pl reads
/// no more of the first two either.
pub const QUERY_MAX: usize = 1200;
/// Bytes of the longest nonce, as in p0f-analyzer.pl.
const NONCE_MAX: usize = 1024;
/// Ports below it are of services, which ask nothing and might answer back (RFC 6335).
const FIRST_CLIENT_PORT: u16 = 1024;
/// NFS: its replies could be mistaken for questions.
const NFS: u16 = 2049;

/// In whose words the answer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// p0f v3: `Windows NT kernel; dist: 12; link: DSL; params: generic; ...`, `???`.
    #[default]
    Three,
    /// p0f v2: `Windows XP SP1+, (distance 8, link: DSL)`, `UNKNOWN`: what the scores that amavisd
    /// publishes for `SpamAssassin` look for.
    Two,
}

/// The answer to the datagram `query` from `source`, if it gets one.
#[must_use]
pub fn respond(
    query: &[u8],
    source: SocketAddr,
    style: Style,
    world: &mut World<'_>,
) -> Option<Vec<u8>> {
    if source.port() < FIRST_CLIENT_PORT || source.port() == NFS || query.len() > QUERY_MAX {
        return None;
    }
    let query = std::str::from_utf8(query).ok()?;
    let (who, nonce) = query.split_once(' ')?;
    let printable = nonce.bytes().all(|byte| byte.is_ascii_graphic());
    if nonce.is_empty() || nonce.len() > NONCE_MAX || !printable {
        return None;
    }
    let text = match peer(who)? {
        // Without a port p0f-analyzer.pl says nothing: behind NAT it might be anybody.
        Peer { port: None, .. } => String::new(),
        peer => told(world.look_up(&peer).as_ref(), style),
    };
    Some(format!("{who} {nonce} {text}\r\n").into_bytes())
}

/// `[address]:port` or `[address]`.
fn peer(who: &str) -> Option<Peer> {
    let (address, rest) = who.strip_prefix('[')?.split_once(']')?;
    let address: IpAddr = address.parse().ok()?;
    match rest.strip_prefix(':') {
        Some(port) => Some(Peer::client(address, port.parse().ok()?)),
        None if rest.is_empty() => Some(Peer::address(address)),
        None => None,
    }
}

fn told(answer: Option<&Answer>, style: Style) -> String {
    match (answer, style) {
        (None, _) => String::new(),
        (Some(answer), Style::Three) => three(answer),
        (Some(answer), Style::Two) => two(answer),
    }
}

/// The system, then p0f's fields in the order of their names, as p0f-analyzer.pl sorts them.
fn three(answer: &Answer) -> String {
    let mut text = match &answer.os {
        Some(os) => os.label.to_string(),
        None => "???".to_owned(),
    };
    let mut field = |name: &str, value: &str| {
        let _ = write!(text, "; {name}: {value}");
    };
    if let Some(distance) = answer.distance {
        field("dist", &distance.to_string());
    }
    if let Some(link) = &answer.link {
        field("link", &plain(link));
    }
    field("params", &parameters(answer));
    if let Some(mtu) = answer.mtu {
        field("raw_mtu", &mtu.to_string());
    }
    field("raw_sig", &answer.raw_signature);
    if let Some(uptime) = answer.uptime {
        field("uptime", &format!("{} min", uptime.minutes));
    }
    text
}

fn parameters(answer: &Answer) -> String {
    let generic = answer.os.as_ref().is_some_and(|os| os.generic);
    let fuzzy = answer.os.as_ref().is_some_and(|os| os.fuzzy);
    match (generic, fuzzy) {
        (true, true) => "generic fuzzy",
        (true, false) => "generic",
        (false, true) => "fuzzy",
        (false, false) => "none",
    }
    .to_owned()
}

fn two(answer: &Answer) -> String {
    let mut text = match &answer.os {
        Some(os) => os.label.to_string(),
        None => "UNKNOWN".to_owned(),
    };
    if let Some(uptime) = answer.uptime {
        let _ = write!(text, ", (up: {} hrs)", uptime.minutes / 60);
    }
    let link = plain(answer.link.as_deref().unwrap_or("unknown"));
    match answer.distance {
        Some(distance) => {
            let _ = write!(text, ", (distance {distance}, link: {link})");
        }
        None => {
            let _ = write!(text, ", (link: {link})");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fakes, linux, seen};

    const CLIENT: &str = "127.0.0.1:40000";

    fn said(fakes: &mut Fakes, query: &[u8], source: &str, style: Style) -> Option<String> {
        let source = source.parse().expect("an address");
        let bytes = respond(query, source, style, &mut fakes.world())?;
        Some(String::from_utf8(bytes).expect("text"))
    }

    #[test]
    fn a_connection_is_told_in_the_words_of_p0f_three() {
        let mut fakes = Fakes::knowing("192.0.2.1", linux());
        assert_eq!(
            said(&mut fakes, b"[192.0.2.1]:4711 abc", CLIENT, Style::Three).as_deref(),
            Some(
                "[192.0.2.1]:4711 abc Linux 3.11 and newer; dist: 9; link: DSL; params: none; \
                 raw_mtu: 1492; raw_sig: 4:55+9:0:1452:mss*20,7:mss,sok,ts,nop,ws:df,id+:0; \
                 uptime: 676 min\r\n"
            )
        );
        assert_eq!(seen(&fakes), [Peer::client([192, 0, 2, 1].into(), 4711)]);
    }

    #[test]
    fn and_in_those_of_p0f_two() {
        let mut fakes = Fakes::knowing("192.0.2.1", linux());
        assert_eq!(
            said(&mut fakes, b"[192.0.2.1]:4711 abc", CLIENT, Style::Two).as_deref(),
            Some(
                "[192.0.2.1]:4711 abc Linux 3.11 and newer, (up: 11 hrs), \
                 (distance 9, link: DSL)\r\n"
            )
        );
    }

    #[test]
    fn without_a_port_or_an_observation_the_answer_is_empty() {
        let mut fakes = Fakes::knowing("192.0.2.1", linux());
        let mut ask = |query: &[u8]| said(&mut fakes, query, CLIENT, Style::Three);
        assert_eq!(
            ask(b"[192.0.2.1] abc").as_deref(),
            Some("[192.0.2.1] abc \r\n")
        );
        assert_eq!(
            ask(b"[2001:db8::1]:25 abc").as_deref(),
            Some("[2001:db8::1]:25 abc \r\n")
        );
    }

    #[test]
    fn garbage_and_services_get_no_answer() {
        let mut fakes = Fakes::knowing("192.0.2.1", linux());
        let long = [b"[192.0.2.1]:1 ".as_slice(), &[b'x'; NONCE_MAX + 1]].concat();
        let garbage: [&[u8]; 8] = [
            b"",
            b"[192.0.2.1]:4711",
            b"[192.0.2.1]:4711 ",
            b"[192.0.2.1]:4711 a\x1bb",
            b"192.0.2.1:4711 abc",
            b"[192.0.2.1]x abc",
            b"[192.0.2.1]:\xff abc",
            &long,
        ];
        for query in garbage {
            assert_eq!(said(&mut fakes, query, CLIENT, Style::Three), None);
        }
        for port in [53, 2049] {
            let source = format!("127.0.0.1:{port}");
            let answer = said(&mut fakes, b"[192.0.2.1]:4711 abc", &source, Style::Three);
            assert_eq!(answer, None);
        }
    }
}
