//! LACPDUs and marker PDUs as bytes.

use serde::{Deserialize, Serialize};

/// Ethernet type of the slow protocols (IEEE 802.3 annex 57A).
pub const SLOW_PROTOCOLS: u16 = 0x8809;
/// Where slow-protocol frames are sent to.
pub const MULTICAST: [u8; 6] = [0x01, 0x80, 0xc2, 0x00, 0x00, 0x02];
/// Bytes of a frame that is sent: an Ethernet header and 110 bytes, without the check sequence.
pub const FRAME_LEN: usize = 124;

const LACP: u8 = 1;
const MARKER: u8 = 2;
const VERSION: u8 = 1;
const INFO_TLV_LEN: u8 = 20;
const COLLECTOR_TLV_LEN: u8 = 16;
/// Most a partner must wait for frames to be collected, in tens of microseconds: at once.
const COLLECTOR_MAX_DELAY: u16 = 0;

/// The state octet of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct State(pub u8);

impl State {
    /// Sends without being asked.
    pub const ACTIVITY: Self = Self(0x01);
    /// Wants to hear each second.
    pub const TIMEOUT: Self = Self(0x02);
    /// May be aggregated with others.
    pub const AGGREGATION: Self = Self(0x04);
    /// Is in the right aggregator.
    pub const SYNC: Self = Self(0x08);
    /// Takes frames.
    pub const COLLECTING: Self = Self(0x10);
    /// Sends frames.
    pub const DISTRIBUTING: Self = Self(0x20);
    /// Goes by what it was told about its partner, not by what it heard.
    pub const DEFAULTED: Self = Self(0x40);
    /// Has not heard its partner for too long.
    pub const EXPIRED: Self = Self(0x80);

    const NAMES: [(Self, &'static str); 8] = [
        (Self::ACTIVITY, "ACTIVITY"),
        (Self::TIMEOUT, "TIMEOUT"),
        (Self::AGGREGATION, "AGGREGATION"),
        (Self::SYNC, "SYNC"),
        (Self::COLLECTING, "COLLECTING"),
        (Self::DISTRIBUTING, "DISTRIBUTING"),
        (Self::DEFAULTED, "DEFAULTED"),
        (Self::EXPIRED, "EXPIRED"),
    ];

    /// Whether all bits of `bits` are set.
    #[must_use]
    pub const fn has(self, bits: Self) -> bool {
        self.0 & bits.0 == bits.0
    }

    /// These bits set or cleared.
    pub const fn set(&mut self, bits: Self, on: bool) {
        if on {
            self.0 |= bits.0;
        } else {
            self.0 &= !bits.0;
        }
    }

    /// Both together.
    #[must_use]
    pub const fn with(self, bits: Self) -> Self {
        Self(self.0 | bits.0)
    }

    /// The names of the bits that are set, as ifconfig(8) prints them.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        let set = Self::NAMES.iter().filter(|(bit, _)| self.has(*bit));
        set.map(|(_, name)| *name).collect()
    }

    /// Whether both agree in `bits`.
    pub(crate) const fn agrees(self, other: Self, bits: Self) -> bool {
        (self.0 ^ other.0) & bits.0 == 0
    }
}

/// What a PDU says about one side of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// Priority of the system; the lower, the better.
    pub system_priority: u16,
    /// The system: a MAC address.
    pub system: [u8; 6],
    /// Ports of a system with the same key can be aggregated.
    pub key: u16,
    /// Priority of the port.
    pub port_priority: u16,
    /// Number of the port.
    pub port: u16,
    /// What the port does.
    pub state: State,
}

impl Info {
    /// Whether both name the same port of the same system with the same key.
    pub(crate) fn is_same_port(&self, other: &Self) -> bool {
        self.port == other.port
            && self.port_priority == other.port_priority
            && self.system == other.system
            && self.system_priority == other.system_priority
            && self.key == other.key
            && self.state.agrees(other.state, State::AGGREGATION)
    }

    fn write(&self, tlv: u8, out: &mut Writer<'_>) {
        out.bytes(&[tlv, INFO_TLV_LEN]);
        out.number(self.system_priority);
        out.bytes(&self.system);
        out.number(self.key);
        out.number(self.port_priority);
        out.number(self.port);
        out.bytes(&[self.state.0, 0, 0, 0]);
    }

    fn read(tlv: u8, from: &mut Reader<'_>) -> Result<Self, Fault> {
        if from.array()? != [tlv, INFO_TLV_LEN] {
            return Err(Fault::Information);
        }
        let info = Self {
            system_priority: from.number()?,
            system: from.array()?,
            key: from.number()?,
            port_priority: from.number()?,
            port: from.number()?,
            state: State(from.byte()?),
        };
        from.array::<3>()?;
        Ok(info)
    }
}

/// A LACPDU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LacpDu {
    /// The sender.
    pub actor: Info,
    /// Who the sender takes its partner for.
    pub partner: Info,
}

/// Question or answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkerKind {
    /// "Tell me when you have got all that I sent before this."
    Information,
    /// The answer.
    Response,
}

/// A marker PDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Question or answer.
    pub kind: MarkerKind,
    /// Port of who asked.
    pub port: u16,
    /// System of who asked.
    pub system: [u8; 6],
    /// Number of the question.
    pub transaction: u32,
}

/// What a slow-protocol frame can be for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pdu {
    /// LACP.
    Lacp(LacpDu),
    /// The marker protocol.
    Marker(Marker),
}

/// Why a frame is no PDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It ends too early.
    #[error("the frame is too short")]
    Short,
    /// Another Ethernet type or destination.
    #[error("no slow-protocol frame")]
    Ethernet,
    /// Another slow protocol (OAM, ESMC).
    #[error("another slow protocol")]
    Subtype,
    /// Version 0 does not exist.
    #[error("version 0")]
    Version,
    /// A part has another type or length than it must have.
    #[error("malformed information")]
    Information,
}

impl Pdu {
    /// Reads a frame, from its destination address on. Trailing bytes and unknown parts of later
    /// versions are skipped, as the standard asks.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn parse(frame: &[u8]) -> Result<Self, Fault> {
        let mut from = Reader(frame);
        let destination: [u8; 6] = from.array()?;
        from.array::<6>()?;
        if destination != MULTICAST || from.number()? != SLOW_PROTOCOLS {
            return Err(Fault::Ethernet);
        }
        let subtype = from.byte()?;
        let version = from.byte()?;
        match subtype {
            LACP | MARKER if version == 0 => Err(Fault::Version),
            LACP => Ok(Self::Lacp(LacpDu {
                actor: Info::read(1, &mut from)?,
                partner: Info::read(2, &mut from)?,
            })),
            MARKER => read_marker(&mut from).map(Self::Marker),
            _ => Err(Fault::Subtype),
        }
    }
}

fn read_marker(from: &mut Reader<'_>) -> Result<Marker, Fault> {
    let kind = match from.array()? {
        [1, 16] => MarkerKind::Information,
        [2, 16] => MarkerKind::Response,
        _ => return Err(Fault::Information),
    };
    Ok(Marker {
        kind,
        port: from.number()?,
        system: from.array()?,
        transaction: u32::from_be_bytes(from.array()?),
    })
}

impl LacpDu {
    /// The frame that carries it, sent by the port with the address `source`.
    #[must_use]
    pub fn frame(&self, source: [u8; 6]) -> [u8; FRAME_LEN] {
        let mut frame = [0; FRAME_LEN];
        let mut out = Writer::start(&mut frame, source, LACP);
        self.actor.write(1, &mut out);
        self.partner.write(2, &mut out);
        out.bytes(&[3, COLLECTOR_TLV_LEN]);
        out.number(COLLECTOR_MAX_DELAY);
        frame
    }
}

/// The frame of a marker PDU, sent by the port with the address `source`.
#[must_use]
pub fn marker_frame(marker: &Marker, source: [u8; 6]) -> [u8; FRAME_LEN] {
    let mut frame = [0; FRAME_LEN];
    let mut out = Writer::start(&mut frame, source, MARKER);
    let kind = match marker.kind {
        MarkerKind::Information => 1,
        MarkerKind::Response => 2,
    };
    out.bytes(&[kind, 16]);
    out.number(marker.port);
    out.bytes(&marker.system);
    out.bytes(&marker.transaction.to_be_bytes());
    frame
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Fault::Short)?;
        self.0 = rest;
        Ok(*head)
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn number(&mut self) -> Result<u16, Fault> {
        self.array().map(u16::from_be_bytes)
    }
}

/// Fills a frame; what would not fit is left out.
struct Writer<'a> {
    rest: &'a mut [u8],
}

impl<'a> Writer<'a> {
    fn start(frame: &'a mut [u8], source: [u8; 6], subtype: u8) -> Self {
        let mut out = Self { rest: frame };
        out.bytes(&MULTICAST);
        out.bytes(&source);
        out.number(SLOW_PROTOCOLS);
        out.bytes(&[subtype, VERSION]);
        out
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let rest = std::mem::take(&mut self.rest);
        if let Some((head, tail)) = rest.split_at_mut_checked(bytes.len()) {
            head.copy_from_slice(bytes);
            self.rest = tail;
        }
    }

    fn number(&mut self, number: u16) {
        self.bytes(&number.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn info(port: u16) -> Info {
        Info {
            system_priority: 0x8000,
            system: [0, 5, 0x5d, 0x71, 0x8d, 0xb8],
            key: 0x146,
            port_priority: 0x8000,
            port,
            state: State(0x3d),
        }
    }

    #[test]
    fn a_lacpdu_has_its_fields_where_the_standard_puts_them() {
        let pdu = LacpDu {
            actor: info(3),
            partner: info(4),
        };
        let frame = pdu.frame(SOURCE);
        assert_eq!(frame[..6], MULTICAST);
        assert_eq!(frame[12..18], [0x88, 0x09, 1, 1, 1, 20]);
        assert_eq!(
            frame[18..33],
            [
                0x80, 0, 0, 5, 0x5d, 0x71, 0x8d, 0xb8, 1, 0x46, 0x80, 0, 0, 3, 0x3d
            ]
        );
        assert_eq!(frame[36..38], [2, 20]);
        assert_eq!(frame[56..58], [3, 16]);
        assert_eq!(Pdu::parse(&frame), Ok(Pdu::Lacp(pdu)));
    }

    #[test]
    fn a_marker_survives_the_round_trip() {
        let marker = Marker {
            kind: MarkerKind::Information,
            port: 7,
            system: SOURCE,
            transaction: 0xdead_beef,
        };
        let frame = marker_frame(&marker, SOURCE);
        assert_eq!(Pdu::parse(&frame), Ok(Pdu::Marker(marker)));
    }

    #[test]
    fn later_versions_and_what_follows_are_accepted_and_faults_told() {
        let pdu = LacpDu::default();
        let mut frame = pdu.frame(SOURCE);
        frame[15] = 2;
        assert_eq!(Pdu::parse(&frame), Ok(Pdu::Lacp(pdu)));
        assert_eq!(Pdu::parse(&frame[..50]), Err(Fault::Short));
        frame[15] = 0;
        assert_eq!(Pdu::parse(&frame), Err(Fault::Version));
        frame[14] = 3;
        assert_eq!(Pdu::parse(&frame), Err(Fault::Subtype));
        frame[12] = 8;
        assert_eq!(Pdu::parse(&frame), Err(Fault::Ethernet));
    }
}
