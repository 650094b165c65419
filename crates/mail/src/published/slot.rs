//! One connection or address: 64 bytes.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use super::{Fields, PAGE_LEN, narrow, take, wide};
use crate::answer::{Answer, Confidence, Uptime};
use crate::connection::Connection;
use crate::time::Timestamp;

/// Bytes of a slot.
pub const SLOT_LEN: usize = 64;
/// Slots of a page.
pub const SLOTS: usize = PAGE_LEN / SLOT_LEN;

const KIND_AT: usize = super::CHECKSUM_LEN;
const ADDRESS_AT: Range<usize> = 16..32;
const FUZZY: u8 = 0x10;
const GENERIC: u8 = 0x20;
const CONFIDENCE: u8 = 0x0f;
const DISTANCE_UNKNOWN: u8 = u8::MAX;
/// An address' uptime that is not known.
const UPTIME_UNKNOWN: u32 = u32::MAX;

/// What a slot is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Connection,
    Address,
}

impl Kind {
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Connection => 1,
            Self::Address => 2,
        }
    }
}

/// What only one of the kinds has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Connection {
        client_port: u16,
        server: SocketAddr,
        /// Connections are numbered as they are opened: of two from one end the later is meant.
        number: u32,
    },
    Address {
        first_seen: u32,
        connections: u32,
        uptime: Option<Uptime>,
    },
}

/// A slot that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    of: Of,
    address: IpAddr,
    last_seen: u32,
    /// 1 to 4 by [`Confidence`]; 0: no system.
    confidence: u8,
    pub(super) fuzzy: bool,
    pub(super) generic: bool,
    distance: u8,
    /// Number of the text that names the system.
    pub(super) label: u16,
    /// Number of the text that names the link, 0 for none.
    pub(super) link: u16,
    /// 0 for none.
    pub(super) mtu: u32,
}

impl Slot {
    /// A connection, the `number`th that was opened.
    pub(super) fn of_connection(
        connection: Connection,
        number: u32,
        answer: &Answer,
        texts: (u16, u16),
    ) -> Self {
        let of = Of::Connection {
            client_port: connection.client.port(),
            server: connection.server,
            number,
        };
        Self::new(of, connection.client.ip(), answer, texts)
    }

    /// An address.
    pub(super) fn of_address(address: IpAddr, answer: &Answer, texts: (u16, u16)) -> Self {
        let of = Of::Address {
            first_seen: seconds(answer.first_seen),
            connections: answer.connections,
            uptime: answer.uptime,
        };
        Self::new(of, address, answer, texts)
    }

    fn new(of: Of, address: IpAddr, answer: &Answer, (label, link): (u16, u16)) -> Self {
        let os = answer.os.as_ref().filter(|_| label != 0);
        Self {
            of,
            address,
            last_seen: seconds(answer.last_seen),
            confidence: os.map_or(0, |os| code(os.confidence)),
            fuzzy: os.is_some_and(|os| os.fuzzy),
            generic: os.is_some_and(|os| os.generic),
            distance: answer.distance.unwrap_or(DISTANCE_UNKNOWN),
            label,
            link,
            mtu: answer.mtu.unwrap_or(0),
        }
    }

    pub(super) fn bytes(&self) -> [u8; SLOT_LEN] {
        let (kind, client_port, server_port) = match self.of {
            Of::Connection {
                client_port,
                server,
                ..
            } => (Kind::Connection, client_port, server.port()),
            Of::Address { .. } => (Kind::Address, 0, 0),
        };
        let fuzzy = if self.fuzzy { FUZZY } else { 0 };
        let generic = if self.generic { GENERIC } else { 0 };
        let mut fields = Fields::<SLOT_LEN>::new();
        let how = self.confidence | fuzzy | generic;
        fields.put(&[kind.code(), how, self.distance, 0]);
        fields.put(&client_port.to_le_bytes());
        fields.put(&server_port.to_le_bytes());
        fields.put(&wide(self.address));
        let moment = match self.of {
            Of::Connection { server, number, .. } => {
                fields.put(&wide(server.ip()));
                number
            }
            Of::Address {
                first_seen,
                connections,
                uptime,
            } => {
                let minutes = uptime.map_or(UPTIME_UNKNOWN, |uptime| uptime.minutes);
                let modulo = uptime.map_or(0, |uptime| uptime.modulo_days);
                for number in [connections, minutes, modulo, 0] {
                    fields.put(&number.to_le_bytes());
                }
                first_seen
            }
        };
        for number in [self.last_seen, moment] {
            fields.put(&number.to_le_bytes());
        }
        fields.put(&self.label.to_le_bytes());
        fields.put(&self.link.to_le_bytes());
        fields.put(&self.mtu.to_le_bytes());
        fields.sealed()
    }

    /// What stands in a slot, its checksum not looked at.
    pub(super) fn unchecked(bytes: &[u8; SLOT_LEN]) -> Option<Self> {
        let mut rest = bytes.as_slice();
        let _: [u8; super::CHECKSUM_LEN] = take(&mut rest)?;
        let [kind, how, distance, _] = take(&mut rest)?;
        let client_port = u16::from_le_bytes(take(&mut rest)?);
        let server_port = u16::from_le_bytes(take(&mut rest)?);
        let address = narrow(take(&mut rest)?);
        let other: [u8; 16] = take(&mut rest)?;
        let last_seen = u32::from_le_bytes(take(&mut rest)?);
        let moment = u32::from_le_bytes(take(&mut rest)?);
        let of = if kind == Kind::Connection.code() {
            Of::Connection {
                client_port,
                server: SocketAddr::new(narrow(other), server_port),
                number: moment,
            }
        } else if kind == Kind::Address.code() {
            address_details(&other, moment)?
        } else {
            return None;
        };
        Some(Self {
            of,
            address,
            last_seen,
            confidence: how & CONFIDENCE,
            fuzzy: how & FUZZY != 0,
            generic: how & GENERIC != 0,
            distance,
            label: u16::from_le_bytes(take(&mut rest)?),
            link: u16::from_le_bytes(take(&mut rest)?),
            mtu: u32::from_le_bytes(take(&mut rest)?),
        })
    }

    pub(super) fn is_of_client(&self, client: SocketAddr) -> bool {
        match self.of {
            Of::Connection { client_port, .. } => {
                client_port == client.port() && self.address == client.ip()
            }
            Of::Address { .. } => false,
        }
    }

    pub(super) fn is_to_server(&self, meant: SocketAddr) -> bool {
        match self.of {
            Of::Connection { server, .. } => server == meant,
            Of::Address { .. } => false,
        }
    }

    /// The later of two slots that fit has the greater.
    pub(super) const fn order(&self) -> u32 {
        match self.of {
            Of::Connection { number, .. } => number,
            Of::Address { .. } => self.last_seen,
        }
    }

    pub(super) fn age(&self, now: Timestamp) -> Duration {
        let now = Duration::from_secs(now.as_secs());
        now.saturating_sub(Duration::from_secs(u64::from(self.last_seen)))
    }

    pub(super) const fn confidence(&self) -> Option<Confidence> {
        match self.confidence {
            1 => Some(Confidence::Exact),
            2 => Some(Confidence::Generic),
            3 => Some(Confidence::Similar),
            4 => Some(Confidence::Family),
            _ => None,
        }
    }

    pub(super) fn distance(&self) -> Option<u8> {
        (self.distance != DISTANCE_UNKNOWN).then_some(self.distance)
    }

    pub(super) fn uptime(&self) -> Option<Uptime> {
        match self.of {
            Of::Address { uptime, .. } => uptime,
            Of::Connection { .. } => None,
        }
    }

    /// A connection's own is not kept: when its address is not known any more it is its last.
    pub(super) fn first_seen(&self) -> Timestamp {
        match self.of {
            Of::Address { first_seen, .. } => Timestamp::from_secs(first_seen.into()),
            Of::Connection { .. } => self.last_seen(),
        }
    }

    pub(super) fn last_seen(&self) -> Timestamp {
        Timestamp::from_secs(self.last_seen.into())
    }

    pub(super) const fn connections(&self) -> u32 {
        match self.of {
            Of::Address { connections, .. } => connections,
            Of::Connection { .. } => 1,
        }
    }
}

/// Whether a slot is of this kind and address, before anything else of it is looked at.
pub(super) fn is_of(bytes: &[u8; SLOT_LEN], kind: Kind, address: &[u8; 16]) -> bool {
    bytes.get(KIND_AT) == Some(&kind.code()) && bytes.get(ADDRESS_AT) == Some(address)
}

fn address_details(mut rest: &[u8], first_seen: u32) -> Option<Of> {
    let connections = u32::from_le_bytes(take(&mut rest)?);
    let minutes = u32::from_le_bytes(take(&mut rest)?);
    let modulo_days = u32::from_le_bytes(take(&mut rest)?);
    Some(Of::Address {
        first_seen,
        connections,
        uptime: (minutes != UPTIME_UNKNOWN).then_some(Uptime {
            minutes,
            modulo_days,
        }),
    })
}

const fn code(confidence: Confidence) -> u8 {
    match confidence {
        Confidence::Exact => 1,
        Confidence::Generic => 2,
        Confidence::Similar => 3,
        Confidence::Family => 4,
    }
}

/// These clocks end in 2106.
fn seconds(moment: Timestamp) -> u32 {
    u32::try_from(moment.as_secs()).unwrap_or(u32::MAX)
}
