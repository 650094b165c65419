//! A logged packet, and its form in a pcap file of link type PFLOG.

use std::time::Duration;

use pf_engine::addr::Family;
use pf_engine::decision::{DropReason, LogAction, LogEntry};
use pf_engine::rule::Direction;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `DLT_PFLOG` (libpcap's list of link types).
pub const LINK_TYPE: u32 = 117;
/// Magic number of a pcap file with microseconds, in the byte order of its writer.
pub const PCAP_MAGIC: u32 = 0xa1b2_c3d4;
/// Bytes of a pcap file's header.
pub const FILE_HEADER: usize = 24;
/// Bytes of a pcap record's header.
pub const RECORD_HEADER: usize = 16;
/// Bytes of `struct pfloghdr` in front of the packet (FreeBSD 4 to 13, OpenBSD to 4.8, and every
/// tcpdump).
pub const PFLOG_HEADER: usize = 64;
/// Its `length` field: all but the padding.
const PFLOG_LENGTH: u8 = 61;
/// The same with `ridentifier` (FreeBSD 14), which stands where the padding ends, and a byte that
/// is reserved.
const PFLOG_LENGTH_IDENTIFIER: u8 = 69;
/// Bytes that come on top of [`PFLOG_HEADER`] then.
const PFLOG_IDENTIFIER: usize = 8;
/// Bytes of a name in it (`IFNAMSIZ`, `PFLOG_RULESET_NAME_SIZE`).
const NAME: usize = 16;
/// `AF_INET` everywhere.
const AF_INET: u8 = 2;
/// `AF_INET6` of FreeBSD.
const AF_INET6: u8 = 28;
/// Others' `AF_INET6`: OpenBSD and NetBSD, macOS.
const OTHER_AF_INET6: [u8; 2] = [24, 30];
/// No rule, no anchor, no user (`-1`).
const NONE: u32 = u32::MAX;
/// `NO_PID` of PF: one above the largest of FreeBSD.
const NO_PID: u32 = 100_000;
/// The largest record that is read: a packet as large as can be with the largest header.
const RECORD_MAX: usize = 65_535 + 256;

/// A logged packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Since 1970, in whole microseconds.
    pub time: Duration,
    /// N of `pflogN`.
    pub log: u8,
    /// Number of the rule, if one in force decided.
    pub rule: Option<u32>,
    /// `ridentifier` of the rule, 0 for none.
    #[serde(default)]
    pub identifier: u32,
    /// The user that owns the local socket, where `log (user)` asked and there is one.
    #[serde(default)]
    pub owner: Option<u32>,
    /// For a rule in an anchor: the anchor's name and the rule's number there. `rule` is then that
    /// of the rule of the main ruleset which led there.
    #[serde(default)]
    pub anchor: Option<(String, Option<u32>)>,
    /// Number of the action (`PF_PASS` and on).
    pub action: u8,
    /// Number of the reason (`PFRES_MATCH` and on).
    pub reason: u8,
    /// Whether the packet came in.
    pub inbound: bool,
    /// Interface.
    pub interface: String,
    /// Whether it is IPv6.
    pub inet6: bool,
    /// Who loaded the rules: user and process.
    pub loaded_by: (u32, u32),
    /// Length of the packet.
    pub length: usize,
    /// Its beginning.
    #[serde(serialize_with = "to_hex", deserialize_with = "from_hex")]
    pub bytes: Vec<u8>,
}

/// Actions and their numbers in pfvar.h.
pub const ACTIONS: [(u8, &str); 7] = [
    (0, "pass"),
    (1, "block"),
    (4, "nat"),
    (6, "binat"),
    (8, "rdr"),
    (10, "synproxy-drop"),
    (12, "match"),
];

const fn action_number(action: LogAction) -> u8 {
    match action {
        LogAction::Pass => 0,
        LogAction::Block => 1,
        LogAction::Nat => 4,
        LogAction::Binat => 6,
        LogAction::Rdr => 8,
        LogAction::SynproxyDrop => 10,
        LogAction::Match => 12,
    }
}

impl Record {
    /// What the engine logged at `time` since 1970.
    #[must_use]
    pub fn new(entry: LogEntry, time: Duration, loaded_by: (u32, u32)) -> Self {
        Self {
            time: Duration::new(time.as_secs(), time.subsec_micros() * 1_000),
            log: entry.log,
            rule: entry.rule,
            anchor: entry
                .in_anchor
                .map(|(anchor, number)| (anchor.name().to_owned(), number)),
            identifier: entry.identifier,
            owner: entry.owner,
            action: action_number(entry.action),
            reason: entry.reason as u8,
            inbound: entry.direction == Direction::In,
            interface: entry.interface.to_string(),
            inet6: entry.family == Family::Inet6,
            loaded_by,
            length: entry.length,
            bytes: entry.bytes,
        }
    }

    /// Name of the action.
    #[must_use]
    pub fn action_name(&self) -> &'static str {
        let found = ACTIONS.iter().find(|(number, _)| *number == self.action);
        found.map_or("unknown", |(_, name)| name)
    }

    /// Name of the reason.
    #[must_use]
    pub fn reason_name(&self) -> &'static str {
        let reason = DropReason::ALL.get(usize::from(self.reason));
        reason.map_or("unknown", |reason| reason.name())
    }

    /// Appends the record as it stands in a pcap file: little-endian lengths, then the header of
    /// pflog(4) in network byte order, then the packet.
    pub fn encode(&self, to: &mut Vec<u8>) {
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
        to.extend(
            u32::try_from(self.time.as_secs())
                .unwrap_or(u32::MAX)
                .to_le_bytes(),
        );
        to.extend(self.time.subsec_micros().to_le_bytes());
        to.extend(number(self.header_len() + self.bytes.len()));
        to.extend(number(self.header_len() + self.length));
        let family = if self.inet6 { AF_INET6 } else { AF_INET };
        let length = if self.identifier == 0 {
            PFLOG_LENGTH
        } else {
            PFLOG_LENGTH_IDENTIFIER
        };
        to.extend([length, family, self.action, self.reason]);
        to.extend(name_field(&self.interface));
        let (anchor, inner) = match &self.anchor {
            Some((name, number)) => (name.as_str(), *number),
            None => ("", None),
        };
        to.extend(name_field(anchor));
        let (uid, pid) = self.loaded_by;
        let (rule, owner) = (self.rule.unwrap_or(NONE), self.owner.unwrap_or(NONE));
        for value in [rule, inner.unwrap_or(NONE), owner, NO_PID, uid, pid] {
            to.extend(value.to_be_bytes());
        }
        to.extend([if self.inbound { 1 } else { 2 }, 0, 0, 0]);
        if self.identifier != 0 {
            to.extend(self.identifier.to_be_bytes());
            to.extend([0; 4]);
        }
        to.extend(&self.bytes);
    }

    /// Bytes that [`Record::encode`] appends.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        RECORD_HEADER + self.header_len() + self.bytes.len()
    }

    const fn header_len(&self) -> usize {
        if self.identifier == 0 {
            PFLOG_HEADER
        } else {
            PFLOG_HEADER + PFLOG_IDENTIFIER
        }
    }
}

/// Header of a pcap file whose records are at most `snap_length` bytes.
#[must_use]
pub fn file_header(snap_length: u32) -> [u8; FILE_HEADER] {
    let mut header = [0; FILE_HEADER];
    header[..4].copy_from_slice(&PCAP_MAGIC.to_le_bytes());
    header[4..6].copy_from_slice(&2u16.to_le_bytes());
    header[6..8].copy_from_slice(&4u16.to_le_bytes());
    header[16..20].copy_from_slice(&snap_length.to_le_bytes());
    header[20..24].copy_from_slice(&LINK_TYPE.to_le_bytes());
    header
}

/// Why a file is not one of logged packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// Another format, or empty.
    #[error("no pcap file")]
    NoPcap,
    /// Packets of another kind.
    #[error("link type {0} instead of 117 (PFLOG)")]
    LinkType(u32),
    /// A record that no writer makes.
    #[error("broken record")]
    Broken,
}

/// Byte order of a pcap file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    little: bool,
    nanoseconds: bool,
}

impl Order {
    /// By the file's header.
    ///
    /// # Errors
    /// When it is not that of a pcap file of link type PFLOG.
    pub fn of(header: &[u8]) -> Result<Self, FormatError> {
        let order = Self::of_magic(header).ok_or(FormatError::NoPcap)?;
        match order.number(header, 20).ok_or(FormatError::NoPcap)? {
            LINK_TYPE => Ok(order),
            other => Err(FormatError::LinkType(other)),
        }
    }

    /// By the magic number at the beginning of a pcap file of any link type.
    #[must_use]
    pub fn of_magic(header: &[u8]) -> Option<Self> {
        let (little, nanoseconds) = match field(header, 0)? {
            [0xd4, 0xc3, 0xb2, 0xa1] => (true, false),
            [0xa1, 0xb2, 0xc3, 0xd4] => (false, false),
            [0x4d, 0x3c, 0xb2, 0xa1] => (true, true),
            [0xa1, 0xb2, 0x3c, 0x4d] => (false, true),
            _ => return None,
        };
        Some(Self {
            little,
            nanoseconds,
        })
    }

    /// Time since 1970 in a record's header.
    pub(crate) fn time(self, header: &[u8]) -> Option<Duration> {
        let (seconds, fraction) = (self.number(header, 0)?, self.number(header, 4)?);
        let nanos = if self.nanoseconds {
            fraction
        } else {
            fraction.checked_mul(1_000)?
        };
        Some(Duration::new(u64::from(seconds), nanos.min(999_999_999)))
    }

    /// The number of 32 bits at `at`.
    pub(crate) fn number(self, bytes: &[u8], at: usize) -> Option<u32> {
        let field = field(bytes, at)?;
        Some(if self.little {
            u32::from_le_bytes(field)
        } else {
            u32::from_be_bytes(field)
        })
    }

    /// Bytes of the body that follows a record's header.
    ///
    /// # Errors
    /// When no record is that large.
    pub fn body_len(self, header: &[u8]) -> Result<usize, FormatError> {
        let len = self.number(header, 8).ok_or(FormatError::Broken)?;
        match usize::try_from(len) {
            Ok(len) if len <= RECORD_MAX => Ok(len),
            Ok(_) | Err(_) => Err(FormatError::Broken),
        }
    }

    /// The record with this header and body. `log` is not in it.
    ///
    /// # Errors
    /// When the header of pflog(4) is not whole.
    pub fn decode(self, header: &[u8], body: &[u8]) -> Result<Record, FormatError> {
        self.read(header, body).ok_or(FormatError::Broken)
    }

    fn read(self, header: &[u8], body: &[u8]) -> Option<Record> {
        let original = usize::try_from(self.number(header, 12)?).ok()?;
        let [length, family, action, reason] = field(body, 0)?;
        // As tcpdump: the announced length, rounded up to words.
        let end = usize::from(length).next_multiple_of(4);
        let name = body.get(4..4 + NAME)?;
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let anchor = body.get(20..20 + NAME)?;
        let anchor = anchor.split(|byte| *byte == 0).next().unwrap_or_default();
        let inner = Some(u32::from_be_bytes(field(body, 40)?)).filter(|rule| *rule != NONE);
        let anchor = (!anchor.is_empty() || inner.is_some())
            .then(|| (String::from_utf8_lossy(anchor).into_owned(), inner));
        let packet = body.get(end..).filter(|_| end >= PFLOG_HEADER)?;
        let big = |at| Some(u32::from_be_bytes(field(body, at)?));
        Some(Record {
            time: self.time(header)?,
            log: 0,
            rule: big(36).filter(|rule| *rule != NONE),
            anchor,
            identifier: if end > PFLOG_HEADER { big(64)? } else { 0 },
            owner: big(44).filter(|owner| *owner != NONE),
            action,
            reason,
            inbound: *body.get(60)? == 1,
            interface: String::from_utf8_lossy(name).into_owned(),
            inet6: family == AF_INET6 || OTHER_AF_INET6.contains(&family),
            loaded_by: (big(52)?, big(56)?),
            length: original.saturating_sub(end).max(packet.len()),
            bytes: packet.to_vec(),
        })
    }
}

/// A name with zeros behind it, cut off where there is no room for one.
fn name_field(text: &str) -> [u8; NAME] {
    let mut field = [0; NAME];
    let fits = text.len().min(NAME - 1);
    field[..fits].copy_from_slice(&text.as_bytes()[..fits]);
    field
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn to_hex<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    to.serialize_str(&text)
}

fn from_hex<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(from)?;
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(digit(*high)? << 4 | digit(*low)?).ok(),
        _ => None,
    });
    let bytes: Option<Vec<u8>> = pairs.collect();
    bytes.ok_or_else(|| serde::de::Error::custom("no hexadecimal bytes"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// 10.0.0.1:1234 > 10.0.0.2:80, a SYN that rule 3 blocks.
    pub(in crate::pflog) fn syn() -> Record {
        use pf_engine::wire::build::{Ip, Segment, tcp};
        let ip = Ip::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let mut segment = Segment::new(1234, 80, 2);
        segment.seq = 7;
        segment.window = 5000;
        let bytes = tcp(&ip, &segment, &[]);
        Record {
            time: Duration::from_micros(1_700_000_000_000_005),
            log: 0,
            rule: Some(3),
            anchor: None,
            identifier: 0,
            owner: None,
            action: 1,
            reason: 0,
            inbound: true,
            interface: "em0".into(),
            inet6: false,
            loaded_by: (0, 77),
            length: bytes.len(),
            bytes,
        }
    }

    fn hex(bytes: &[u8]) -> String {
        let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
        let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        digits.map(digit).collect()
    }

    #[test]
    fn the_file_s_header_is_that_of_a_pcap_file_of_pflog() {
        let wanted = "d4c3b2a1020004000000000000000000a000000075000000";
        assert_eq!(hex(&file_header(160)), wanted);
        assert!(Order::of(&file_header(160)).is_ok());
    }

    #[test]
    fn a_record_is_byte_for_byte_what_pflog_writes() {
        let mut bytes = Vec::new();
        syn().encode(&mut bytes);
        assert_eq!(hex(&bytes[..16]), "00f15365050000006800000068000000");
        // length, AF_INET, PF_DROP, PFRES_MATCH, "em0"
        assert_eq!(
            hex(&bytes[16..16 + 20]),
            "3d020100656d3000000000000000000000000000"
        );
        assert_eq!(hex(&bytes[16 + 20..16 + 36]), "00".repeat(16), "no anchor");
        let rest = "00000003ffffffffffffffff000186a0000000000000004d01000000";
        assert_eq!(hex(&bytes[16 + 36..16 + 64]), rest);
        assert_eq!(bytes[80..], syn().bytes);
        assert_eq!(bytes.len(), syn().encoded_len());
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        let order = Order::of(&file_header(160)).unwrap();
        let mut record = syn();
        record.bytes.truncate(30);
        record.anchor = Some(("foo".into(), Some(7)));
        record.rule = None;
        record.inbound = false;
        record.inet6 = true;
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        assert_eq!(order.body_len(&bytes[..16]), Ok(94));
        assert_eq!(order.decode(&bytes[..16], &bytes[16..]), Ok(record));
        assert_eq!(
            order.decode(&bytes[..16], &bytes[16..70]),
            Err(FormatError::Broken)
        );
    }

    #[test]
    fn an_identifier_and_the_owner_of_a_socket_are_written_and_read() {
        let order = Order::of(&file_header(160)).unwrap();
        let mut record = syn();
        record.identifier = 1234;
        record.owner = Some(1000);
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        assert_eq!(bytes.len(), record.encoded_len());
        assert_eq!(bytes[16], 69);
        assert_eq!(hex(&bytes[16 + 44..16 + 48]), "000003e8");
        assert_eq!(hex(&bytes[16 + 60..16 + 72]), "01000000000004d200000000");
        assert_eq!(order.decode(&bytes[..16], &bytes[16..]), Ok(record));
    }

    #[test]
    fn records_survive_the_control_socket() {
        let text = serde_json::to_string(&syn()).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), syn());
    }
}
