//! The packet that `--packet` describes.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};

use pf_engine::addr::{Family, Protocol};
use pf_engine::rule::{Direction, tcp_flags};
use pf_engine::view::HostPort;
use pf_engine::wire::{build, icmp6};

use crate::text::protocol_name;

/// Longest description that is read.
const LONGEST: usize = 1000;
/// Most bytes of payload: a packet has to fit into 65535 bytes with its headers.
const MOST_PAYLOAD: u16 = 65_000;
/// Identifier of an echo request that names none.
const ECHO_ID: u16 = 1;

/// ICMP messages by name: for IPv4 and for IPv6.
const ICMP_NAMES: [(&str, u8, u8); 6] = [
    ("echoreq", 8, 128),
    ("echorep", 0, 129),
    ("routersol", 10, 133),
    ("routeradv", 9, 134),
    ("timereq", 13, 13),
    ("timerep", 14, 14),
];

/// A packet and where it meets the filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// `in` or `out`.
    pub direction: Direction,
    /// `on NAME`.
    pub interface: String,
    /// The packet: IP header first, checksums complete.
    pub bytes: Vec<u8>,
}

/// What is wrong with a description, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketError {
    message: String,
    text: String,
    /// Characters before the place.
    column: usize,
    /// Characters of the place.
    width: usize,
}

impl PacketError {
    /// The message, the description and a caret below the place.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = format!("packet: {}\n  {}\n  ", self.message, self.text);
        let _ = write!(text, "{:1$}", "", self.column);
        text.extend(std::iter::repeat_n('^', self.width.max(1)));
        text
    }
}

/// Reads `in on em1 tcp 10.0.0.1:1234 > 1.2.3.4:80 S`.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn parse(text: &str) -> Result<Described, PacketError> {
    let mut reader = Reader::new(text);
    if text.len() > LONGEST {
        return Err(reader.error(0, 1, &format!("longer than {LONGEST} characters")));
    }
    let direction = reader.direction()?;
    let interface = reader.interface()?;
    let family = reader.family();
    let (protocol, named) = reader.protocol()?;
    let source = reader.endpoint(protocol, "the source")?;
    if reader.eat(&[">", "->"]).is_none() {
        return Err(reader.unexpected("`>` between source and destination"));
    }
    let destination = reader.endpoint(protocol, "the destination")?;
    reader.check_families(family, protocol, named, (source, destination))?;
    let options = reader.options(protocol, source.host.address)?;
    Ok(Described {
        direction,
        interface,
        bytes: built(protocol, source.host, destination.host, &options),
    })
}

/// What may stand behind the addresses.
#[derive(Debug)]
struct Options {
    flags: u8,
    icmp: (u8, u8),
    id: u16,
    tos: u8,
    ttl: u8,
    payload: u16,
}

/// An address and where it stands.
#[derive(Clone, Copy)]
struct Endpoint {
    host: HostPort,
    word: usize,
}

struct Reader<'a> {
    text: &'a str,
    /// Words and the bytes before them.
    words: Vec<(usize, &'a str)>,
    at: usize,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        let start = text.as_ptr().addr();
        let words = text
            .split_whitespace()
            .map(|word| (word.as_ptr().addr() - start, word))
            .collect();
        Self { text, words, at: 0 }
    }

    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).map(|(_, word)| *word)
    }

    fn eat(&mut self, known: &[&str]) -> Option<&'a str> {
        let word = self.peek().filter(|word| known.contains(word))?;
        self.at += 1;
        Some(word)
    }

    fn error(&self, byte: usize, width: usize, message: &str) -> PacketError {
        let before = self.text.get(..byte).unwrap_or(self.text);
        PacketError {
            message: message.to_owned(),
            text: self
                .text
                .split_whitespace()
                .next()
                .map_or_else(String::new, |_| shown(self.text)),
            column: before.chars().count(),
            width,
        }
    }

    fn at_word(&self, word: usize, message: &str) -> PacketError {
        match self.words.get(word) {
            Some((byte, word)) => self.error(*byte, word.chars().count(), message),
            None => self.error(self.text.trim_end().len() + 1, 1, message),
        }
    }

    fn unexpected(&self, expected: &str) -> PacketError {
        let found = match self.peek() {
            Some(word) => format!("expected {expected}, found `{word}`"),
            None => format!("expected {expected}, but this is the end"),
        };
        self.at_word(self.at, &found)
    }

    fn direction(&mut self) -> Result<Direction, PacketError> {
        match self.eat(&["in", "out"]) {
            Some("in") => Ok(Direction::In),
            Some(_) => Ok(Direction::Out),
            None => Err(self.unexpected("`in` or `out`")),
        }
    }

    fn interface(&mut self) -> Result<String, PacketError> {
        if self.eat(&["on"]).is_none() {
            return Err(self.unexpected("`on` and an interface"));
        }
        let name = self.peek().ok_or_else(|| self.unexpected("an interface"))?;
        self.at += 1;
        Ok(name.to_owned())
    }

    fn family(&mut self) -> Option<Family> {
        match self.eat(&["inet", "inet6"])? {
            "inet" => Some(Family::Inet),
            _ => Some(Family::Inet6),
        }
    }

    /// The protocol and the word that names it.
    fn protocol(&mut self) -> Result<(Protocol, usize), PacketError> {
        let _ = self.eat(&["proto"]);
        let expected = "a protocol (tcp, udp, icmp, icmp6, another name or a number)";
        let word = self.peek().ok_or_else(|| self.unexpected(expected))?;
        let known = |number: &u8| protocol_name(*number) == Some(word);
        let number = match word {
            "icmp6" => Some(Protocol::ICMPV6.0),
            _ => word.parse().ok().or_else(|| (0..=u8::MAX).find(known)),
        };
        let number = number.ok_or_else(|| self.unexpected(expected))?;
        self.at += 1;
        Ok((Protocol(number), self.at - 1))
    }

    fn endpoint(&mut self, protocol: Protocol, what: &str) -> Result<Endpoint, PacketError> {
        let expected = if protocol.has_ports() {
            format!("{what}, an address and a port: 10.0.0.1:80 or [2001:db8::1]:80")
        } else {
            format!("{what}, an address: 10.0.0.1 or [2001:db8::1]")
        };
        let word = self.peek().ok_or_else(|| self.unexpected(&expected))?;
        let (address, port) = split(word);
        let Some(address) = address else {
            return Err(self.unexpected(&expected));
        };
        let port = match (port, protocol.has_ports()) {
            (Some(text), true) => Some(self.port(word, text)?),
            (None, false) => None,
            (None, true) => return Err(self.at_word(self.at, "a port is missing: ADDRESS:PORT")),
            (Some(text), false) => {
                return Err(self.in_word(word, text, "this protocol has no ports"));
            }
        };
        self.at += 1;
        Ok(Endpoint {
            host: HostPort {
                address,
                port: port.unwrap_or_default(),
            },
            word: self.at - 1,
        })
    }

    fn port(&self, word: &str, text: &str) -> Result<u16, PacketError> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let port = digits.then(|| text.parse().ok()).flatten();
        port.ok_or_else(|| self.in_word(word, text, "a port is a number from 0 to 65535"))
    }

    /// At the end of the word that is read now.
    fn in_word(&self, word: &str, end: &str, message: &str) -> PacketError {
        let start = self.words.get(self.at).map_or(0, |(byte, _)| *byte);
        let byte = start + word.len() - end.len();
        self.error(byte, end.chars().count(), message)
    }

    fn check_families(
        &self,
        family: Option<Family>,
        protocol: Protocol,
        named: usize,
        (source, destination): (Endpoint, Endpoint),
    ) -> Result<(), PacketError> {
        let of = Family::of(source.host.address);
        if Family::of(destination.host.address) != of {
            let message = format!("the source is {of}, this is not");
            return Err(self.at_word(destination.word, &message));
        }
        if family.is_some_and(|family| family != of) {
            let message = format!("this is no {} address", other(of));
            return Err(self.at_word(source.word, &message));
        }
        match (protocol, of) {
            (Protocol::ICMP, Family::Inet6) => {
                Err(self.at_word(named, "icmp goes with IPv4 addresses: use icmp6"))
            }
            (Protocol::ICMPV6, Family::Inet) => {
                Err(self.at_word(named, "icmp6 goes with IPv6 addresses: use icmp"))
            }
            _ => Ok(()),
        }
    }

    fn options(&mut self, protocol: Protocol, source: IpAddr) -> Result<Options, PacketError> {
        let family = Family::of(source);
        let mut options = Options {
            flags: tcp_flags::SYN,
            icmp: (if family == Family::Inet { 8 } else { 128 }, 0),
            id: ECHO_ID,
            tos: 0,
            ttl: build::DEFAULT_TTL,
            payload: 0,
        };
        let is_icmp = matches!(protocol, Protocol::ICMP | Protocol::ICMPV6);
        while let Some(word) = self.peek() {
            self.at += 1;
            match word {
                "tos" => options.tos = self.number(u8::MAX.into())?.try_into().unwrap_or_default(),
                "ttl" => options.ttl = self.number(u8::MAX.into())?.try_into().unwrap_or_default(),
                "length" => options.payload = self.number(MOST_PAYLOAD)?,
                "id" if is_icmp => options.id = self.number(u16::MAX)?,
                "code" if is_icmp => {
                    options.icmp.1 = self.number(u8::MAX.into())?.try_into().unwrap_or_default();
                }
                "type" if is_icmp => {
                    let kind = self.number(u8::MAX.into())?.try_into().unwrap_or_default();
                    options.icmp.0 = self.icmp_kind(kind, family)?;
                }
                "flags" if protocol == Protocol::TCP => {}
                _ if is_icmp => options.icmp.0 = self.icmp_name(word, family)?,
                _ if protocol == Protocol::TCP => options.flags = self.flags(word)?,
                _ => {
                    self.at -= 1;
                    return Err(self.unexpected("the end, `tos`, `ttl` or `length`"));
                }
            }
        }
        Ok(options)
    }

    fn number(&mut self, most: u16) -> Result<u16, PacketError> {
        let expected = format!("a number from 0 to {most}");
        let word = self.peek().ok_or_else(|| self.unexpected(&expected))?;
        let number = match word.strip_prefix("0x") {
            Some(hex) => u16::from_str_radix(hex, 16),
            None => word.parse(),
        };
        let number = number.ok().filter(|number| *number <= most);
        let number = number.ok_or_else(|| self.unexpected(&expected))?;
        self.at += 1;
        Ok(number)
    }

    /// The word before the present one is the name of an ICMP message.
    fn icmp_name(&mut self, word: &str, family: Family) -> Result<u8, PacketError> {
        let found = ICMP_NAMES.iter().find(|(name, _, _)| *name == word);
        let Some((_, v4, v6)) = found else {
            self.at -= 1;
            return Err(
                self.unexpected("echoreq, echorep, `type N`, `code N`, `id N`, `tos`, `ttl`")
            );
        };
        Ok(if family == Family::Inet { *v4 } else { *v6 })
    }

    fn icmp_kind(&self, kind: u8, family: Family) -> Result<u8, PacketError> {
        let errors: &[u8] = match family {
            Family::Inet => &[3, 4, 5, 11, 12],
            Family::Inet6 => &[1, 2, 3, 4],
        };
        if errors.contains(&kind) {
            let message = "this is an error about another packet, which decides over it: \
                           describe that packet";
            return Err(self.at_word(self.at - 1, message));
        }
        Ok(kind)
    }

    /// The word before the present one is flags.
    fn flags(&self, word: &str) -> Result<u8, PacketError> {
        let mut flags = 0;
        if word == "none" || word == "." {
            return Ok(flags);
        }
        for (at, letter) in word.chars().enumerate() {
            let known = tcp_flags::LETTERS
                .iter()
                .find(|(known, _)| *known == letter);
            let Some((_, bit)) = known else {
                let start = self.words.get(self.at - 1).map_or(0, |(byte, _)| *byte);
                let message = format!(
                    "`{letter}` is no TCP flag: use F, S, R, P, A, U, E, W, or `none`, `tos`, \
                     `ttl`, `length`"
                );
                let mut error = self.error(start, 1, &message);
                error.column += at;
                return Err(error);
            };
            flags |= bit;
        }
        Ok(flags)
    }
}

/// The description on one line.
fn shown(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_whitespace() || c.is_control() {
                ' '
            } else {
                c
            }
        })
        .take(LONGEST)
        .collect()
}

/// Address and port of `1.2.3.4:80`, `[::1]:80`, `1.2.3.4`, `::1`.
fn split(word: &str) -> (Option<IpAddr>, Option<&str>) {
    if let Some(rest) = word.strip_prefix('[') {
        let Some((address, rest)) = rest.split_once(']') else {
            return (None, None);
        };
        let address = address.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
        return match rest.strip_prefix(':') {
            Some(port) => (address, Some(port)),
            None if rest.is_empty() => (address, None),
            None => (None, None),
        };
    }
    if let Ok(address) = word.parse() {
        return (Some(address), None);
    }
    match word.split_once(':') {
        Some((address, port)) => (address.parse().ok().map(IpAddr::V4), Some(port)),
        None => (None, None),
    }
}

const fn other(family: Family) -> &'static str {
    match family {
        Family::Inet => "inet6",
        Family::Inet6 => "inet",
    }
}

fn built(
    protocol: Protocol,
    source: HostPort,
    destination: HostPort,
    options: &Options,
) -> Vec<u8> {
    let mut ip = build::Ip::new(source.address, destination.address);
    ip.tos = options.tos;
    ip.ttl = options.ttl;
    let mut payload = vec![0; options.payload.into()];
    let (kind, code) = options.icmp;
    // What PF reads of each, however short it shall be.
    let least = match protocol {
        Protocol::ICMPV6 if icmp6::names_address(kind) => 16,
        Protocol::TCP | Protocol::UDP | Protocol::ICMP | Protocol::ICMPV6 => 0,
        _ => usize::from(destination.address.is_ipv6()),
    };
    payload.resize(payload.len().max(least), 0);
    match protocol {
        Protocol::TCP => {
            let segment = build::Segment::new(source.port, destination.port, options.flags);
            build::tcp(&ip, &segment, &payload)
        }
        Protocol::UDP => build::udp(&ip, source.port, destination.port, &payload),
        Protocol::ICMP | Protocol::ICMPV6 => {
            let parameter = u32::from(options.id) << 16 | 1;
            build::icmp(&ip, kind, code, parameter, &payload)
        }
        // What opens an association: of nothing else a state is made.
        Protocol::SCTP => build::sctp_init(&ip, source.port, destination.port, options.payload),
        _ => build::packet(&ip, protocol, &payload),
    }
}

#[cfg(test)]
mod tests;
