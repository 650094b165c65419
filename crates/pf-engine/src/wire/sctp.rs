//! Chunks of SCTP (RFC 9260, section 3), as far as a filter follows them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::bytes::{array, be16, be32, byte, len16};
use super::{Meta, SCTP_HEADER_LEN, Transport, WireError};
use crate::decision::DropReason;

/// Addresses that one packet may tell of. What it says of more is counted and not followed.
pub(crate) const MAX_ADDRESSES: usize = 8;

/// Length of a chunk's or parameter's header.
const HEADER_LEN: usize = 4;
/// Length of what stands in INIT and INIT ACK before their parameters, with the header.
const INIT_LEN: usize = 20;
/// The least window that an INIT or INIT ACK may offer (RFC 9260, section 3.3.2).
const MIN_WINDOW: u32 = 1500;

/// ABORT (RFC 9260, section 3.3.7).
pub(crate) const ABORT: u8 = 6;

/// PAD (RFC 4820, section 3).
const PADDING: u16 = 0x8005;

/// The INIT of somebody who wants to be sent `tag`, for one stream each way, with `padding` bytes of a
/// parameter that says nothing.
pub(super) fn bare_init(tag: u32, padding: u16) -> Vec<u8> {
    let window: u32 = 0xffff;
    let parameter = match padding {
        0 => Vec::new(),
        len => {
            let len = len.saturating_add(len16(HEADER_LEN));
            let mut bytes = [PADDING.to_be_bytes(), len.to_be_bytes()].concat();
            bytes.resize(usize::from(len).next_multiple_of(4), 0);
            bytes
        }
    };
    let unpadded = match padding {
        0 => INIT_LEN,
        len => INIT_LEN
            .saturating_add(HEADER_LEN)
            .saturating_add(len.into()),
    };
    let mut chunk = vec![kind::INIT, 0];
    chunk.extend(len16(unpadded).to_be_bytes());
    chunk.extend(tag.to_be_bytes());
    chunk.extend(window.to_be_bytes());
    chunk.extend([0, 1, 0, 1, 0, 0, 0, 1]);
    chunk.extend(parameter);
    chunk
}

/// Chunk types (IANA "SCTP Chunk Types").
mod kind {
    pub(super) const INIT: u8 = 1;
    pub(super) const INIT_ACK: u8 = 2;
    pub(super) const HEARTBEAT_ACK: u8 = 5;
    pub(super) const SHUTDOWN: u8 = 7;
    pub(super) const SHUTDOWN_ACK: u8 = 8;
    pub(super) const COOKIE_ECHO: u8 = 10;
    pub(super) const COOKIE_ACK: u8 = 11;
    pub(super) const SHUTDOWN_COMPLETE: u8 = 14;
    /// RFC 5061, section 4.1.1.
    pub(super) const ASCONF: u8 = 193;
}

/// Parameters of INIT and INIT ACK (RFC 9260, section 3.3.2.1).
const IPV4_ADDRESS: u16 = 5;
const IPV6_ADDRESS: u16 = 6;
/// Parameters of ASCONF (RFC 5061, sections 4.2.1 and 4.2.2).
const ADD_ADDRESS: u16 = 0xc001;
const DELETE_ADDRESS: u16 = 0xc002;

/// Length of what stands in ASCONF before its parameters: the header and a serial number.
const ASCONF_LEN: usize = 8;
/// Length of what stands in a parameter of ASCONF before the address: the header and the number
/// by which it is answered.
const REQUEST_LEN: usize = 8;

/// What becomes of an address of the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is one of the association's: INIT, INIT ACK, ADD IP.
    Add(IpAddr),
    /// It is not any more: DEL IP. The unspecified address stands for all but the packet's own.
    Delete(IpAddr),
}

/// What a packet does to its association.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Act {
    /// Nothing that is followed.
    Carry,
    /// INIT, with the tag that its sender wants to be sent.
    Init(u32),
    /// INIT ACK, the same.
    InitAck(u32),
    /// COOKIE ECHO, COOKIE ACK, HEARTBEAT ACK: the sender is there.
    Confirm,
    /// SHUTDOWN, SHUTDOWN ACK.
    Shutdown,
    /// SHUTDOWN COMPLETE, ABORT; `reflected` is the T bit: the tag is the sender's own.
    Close {
        /// The T bit.
        reflected: bool,
    },
}

/// What an SCTP packet says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunks {
    /// Its verification tag.
    pub(crate) tag: u32,
    pub(crate) act: Act,
    /// It has an ABORT or COOKIE ACK or ends an association: no answer is due to it.
    pub(crate) is_final: bool,
    /// What it tells of the sender's other addresses, of either family (RFC 9260, section 5.1.2;
    /// RFC 5061): [`MAX_ADDRESSES`] at most.
    pub(crate) changes: Vec<Change>,
    /// Addresses that it told beyond these.
    pub(crate) left_out: u32,
}

impl Chunks {
    /// Reads the chunks of `packet`; nothing if it is not SCTP.
    ///
    /// # Errors
    /// `short` for chunks that do not fit or lack their padding; `normalize` for an INIT, INIT ACK or
    /// SHUTDOWN COMPLETE that is not alone, for an INIT or INIT ACK without tag, streams or window or
    /// with what only ASCONF may have, and for an INIT that has a verification tag (RFC 9260, sections
    /// 3.3.2, 6.10, 8.5.1).
    pub(crate) fn parse(packet: &[u8], meta: &Meta) -> Result<Option<Self>, WireError> {
        let Transport::Sctp(header) = meta.transport else {
            return Ok(None);
        };
        let mut chunks = Self {
            tag: header.verification_tag,
            act: Act::Carry,
            is_final: false,
            changes: Vec::new(),
            left_out: 0,
        };
        let all = packet.get(..meta.total_len).ok_or(WireError::SHORT)?;
        let first = meta.l4_offset.saturating_add(SCTP_HEADER_LEN);
        let mut at = first;
        while at < all.len() {
            let len = usize::from(be16(all, at.saturating_add(2))?);
            let chunk = all
                .get(at..at.saturating_add(len.max(HEADER_LEN)))
                .filter(|_| len >= HEADER_LEN)
                .ok_or(WireError::SHORT)?;
            let next = at.saturating_add(len.next_multiple_of(4));
            chunks.take(chunk, at == first && next >= all.len())?;
            at = next;
        }
        (at == all.len())
            .then_some(Some(chunks))
            .ok_or(WireError::SHORT)
    }

    fn take(&mut self, chunk: &[u8], alone: bool) -> Result<(), WireError> {
        let flags = byte(chunk, 1)?;
        let act = match byte(chunk, 0)? {
            kind @ (kind::INIT | kind::INIT_ACK) => self.init(kind, chunk, alone)?,
            kind::COOKIE_ECHO | kind::HEARTBEAT_ACK => Act::Confirm,
            kind::COOKIE_ACK => {
                self.is_final = true;
                Act::Confirm
            }
            kind::SHUTDOWN | kind::SHUTDOWN_ACK => Act::Shutdown,
            kind::SHUTDOWN_COMPLETE if !alone => return Err(MISPLACED),
            ABORT | kind::SHUTDOWN_COMPLETE => {
                self.is_final = true;
                Act::Close {
                    reflected: flags & 1 != 0,
                }
            }
            kind::ASCONF => {
                self.asconf(chunk.get(ASCONF_LEN..).ok_or(WireError::SHORT)?)?;
                Act::Carry
            }
            _ => Act::Carry,
        };
        // What ends an association outweighs what confirms it.
        self.act = self.act.max(act);
        Ok(())
    }

    fn init(&mut self, kind: u8, chunk: &[u8], alone: bool) -> Result<Act, WireError> {
        let tag = be32(chunk, HEADER_LEN)?;
        let opens = kind == kind::INIT;
        let window = be32(chunk, 8)?;
        let (outgoing, incoming) = (be16(chunk, 12)?, be16(chunk, 14)?);
        let offers = window >= MIN_WINDOW && outgoing != 0 && incoming != 0;
        if !alone || tag == 0 || !offers || (opens && self.tag != 0) {
            return Err(MISPLACED);
        }
        let mut rest = chunk.get(INIT_LEN..).ok_or(WireError::SHORT)?;
        while let Some((parameter, kind)) = next_parameter(&mut rest)? {
            if matches!(kind, ADD_ADDRESS | DELETE_ADDRESS) {
                return Err(MISPLACED);
            }
            if let Some(address) = address(parameter, kind)? {
                self.tell(Change::Add(address));
            }
        }
        Ok(if opens {
            Act::Init(tag)
        } else {
            Act::InitAck(tag)
        })
    }

    fn asconf(&mut self, mut rest: &[u8]) -> Result<(), WireError> {
        while let Some((parameter, kind)) = next_parameter(&mut rest)? {
            let change = match kind {
                ADD_ADDRESS => Change::Add,
                DELETE_ADDRESS => Change::Delete,
                // The address that the association is looked up by, and others.
                _ => continue,
            };
            let mut inner = parameter.get(REQUEST_LEN..).ok_or(WireError::SHORT)?;
            let (parameter, kind) = next_parameter(&mut inner)?.ok_or(WireError::SHORT)?;
            let address = address(parameter, kind)?.ok_or(MISPLACED)?;
            self.tell(change(address));
        }
        Ok(())
    }

    fn tell(&mut self, change: Change) {
        if self.changes.len() < MAX_ADDRESSES {
            self.changes.push(change);
        } else {
            self.left_out = self.left_out.saturating_add(1);
        }
    }
}

/// Something stands where it may not.
const MISPLACED: WireError = WireError {
    reason: DropReason::Normalize,
};

/// The first parameter of `rest` with its header, and its type; `rest` goes on behind it.
fn next_parameter<'a>(rest: &mut &'a [u8]) -> Result<Option<(&'a [u8], u16)>, WireError> {
    if rest.is_empty() {
        return Ok(None);
    }
    let len = usize::from(be16(rest, 2)?);
    let parameter = rest
        .get(..len)
        .filter(|_| len >= HEADER_LEN)
        .ok_or(WireError::SHORT)?;
    *rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    Ok(Some((parameter, be16(parameter, 0)?)))
}

/// The address that a parameter names, and nothing more.
fn address(parameter: &[u8], kind: u16) -> Result<Option<IpAddr>, WireError> {
    let len = match kind {
        IPV4_ADDRESS => HEADER_LEN.saturating_add(4),
        IPV6_ADDRESS => HEADER_LEN.saturating_add(16),
        _ => return Ok(None),
    };
    if parameter.len() != len {
        return Err(WireError::SHORT);
    }
    Ok(match kind {
        IPV4_ADDRESS => Some(Ipv4Addr::from(array::<4>(parameter, HEADER_LEN)?).into()),
        IPV6_ADDRESS => Some(Ipv6Addr::from(array::<16>(parameter, HEADER_LEN)?).into()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Protocol;
    use crate::wire::build::{self, Ip};

    fn parse(tag: u32, chunks: &[u8]) -> Result<Option<Chunks>, WireError> {
        let ip = Ip::new([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let header = [&[0, 1, 0, 2][..], &tag.to_be_bytes(), &[0; 4]].concat();
        let packet = build::packet(&ip, Protocol::SCTP, &[&header, chunks].concat());
        Chunks::parse(&packet, &Meta::parse(&packet)?)
    }

    fn init(parameters: &[u8]) -> Vec<u8> {
        let len = u16::try_from(20 + parameters.len()).unwrap().to_be_bytes();
        let fixed = [
            1, 0, len[0], len[1], 0, 0, 0, 9, 0, 0, 0x5, 0xdc, 0, 1, 0, 1, 0, 0, 0, 1,
        ];
        [&fixed, parameters].concat()
    }

    #[test]
    fn an_init_tells_its_tag_and_the_senders_other_addresses() {
        let parameters = [0, 5, 0, 8, 192, 0, 2, 3, 0, 6, 0, 20];
        let parameters = [&parameters[..], &[0; 16], &[0, 5, 0, 8, 192, 0, 2, 4]].concat();
        let chunks = parse(0, &init(&parameters)).unwrap().unwrap();
        assert_eq!(chunks.act, Act::Init(9));
        let wanted = ["192.0.2.3", "::", "192.0.2.4"];
        assert_eq!(
            chunks.changes,
            wanted.map(|a| Change::Add(a.parse().unwrap()))
        );
    }

    #[test]
    fn an_init_stands_alone_and_without_verification_tag() {
        let bundled = [&init(&[])[..], &[0, 0, 0, 4]].concat();
        for refused in [parse(0, &bundled), parse(1, &init(&[]))] {
            assert_eq!(refused.unwrap_err().reason, DropReason::Normalize);
        }
    }

    #[test]
    fn an_init_offers_streams_and_a_window_and_a_shutdown_is_complete_alone() {
        for (at, value) in [(10, 0x4), (11, 0xdb), (13, 0), (15, 0), (7, 0)] {
            let mut chunk = init(&[]);
            chunk[at] = value;
            assert_eq!(parse(0, &chunk), Err(MISPLACED), "{at}");
        }
        let complete = [14, 0, 0, 4];
        assert!(parse(5, &complete).is_ok());
        for bundled in [
            [&complete[..], &[0, 0, 0, 4]].concat(),
            [&[0, 0, 0, 4][..], &complete].concat(),
        ] {
            assert_eq!(parse(5, &bundled), Err(MISPLACED));
        }
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        for chunks in [
            &[0, 0, 0, 3][..],
            &[0, 0, 0, 9, 0, 0, 0, 0],
            // Without padding, and with what is no chunk behind it.
            &[0, 0, 0, 5, 7],
            &[0, 0, 0, 4, 0, 0],
            &[1, 0, 0, 8, 0, 0, 0, 1],
        ] {
            assert_eq!(parse(0, chunks), Err(WireError::SHORT));
        }
        let many = [0, 5, 0, 8, 192, 0, 2, 3].repeat(100);
        let chunks = parse(0, &init(&many)).unwrap().unwrap();
        assert_eq!((chunks.changes.len(), chunks.left_out), (8, 92));
        for parameter in [&[0, 5, 0, 0][..], &[0, 5, 0, 12, 192, 0, 2, 3, 0, 0, 0, 0]] {
            assert_eq!(parse(0, &init(parameter)), Err(WireError::SHORT));
        }
    }

    #[test]
    fn an_abort_behind_other_chunks_counts() {
        let chunks = [11, 0, 0, 4, 6, 1, 0, 4];
        let chunks = parse(5, &chunks).unwrap().unwrap();
        assert_eq!(chunks.act, Act::Close { reflected: true });
        assert!(chunks.is_final);
    }

    #[test]
    fn asconf_adds_and_deletes_addresses() {
        let parameters = [
            &[0, 5, 0, 8, 192, 0, 2, 1][..],
            &[0xc0, 1, 0, 16, 0, 0, 0, 1, 0, 5, 0, 8, 192, 0, 2, 9],
            &[0xc0, 2, 0, 16, 0, 0, 0, 2, 0, 5, 0, 8, 0, 0, 0, 0],
        ];
        let chunk = [&[193, 0, 0, 48, 0, 0, 0, 7][..], &parameters.concat()].concat();
        let chunks = parse(5, &chunk).unwrap().unwrap();
        let address = |text: &str| text.parse().unwrap();
        let wanted = [
            Change::Add(address("192.0.2.9")),
            Change::Delete(address("0.0.0.0")),
        ];
        assert_eq!((chunks.changes, chunks.act), (wanted.to_vec(), Act::Carry));
    }

    #[test]
    fn an_init_that_adds_addresses_and_requests_inside_of_requests_are_refused() {
        let nested = [0xc0, 1, 0, 16, 0, 0, 0, 1, 0xc0, 1, 0, 8, 0, 0, 0, 2];
        let asconf = [&[193, 0, 0, 24, 0, 0, 0, 7][..], &nested].concat();
        for refused in [parse(0, &init(&nested)), parse(5, &asconf)] {
            assert_eq!(refused, Err(MISPLACED));
        }
        let empty = [193, 0, 0, 16, 0, 0, 0, 7, 0xc0, 1, 0, 8, 0, 0, 0, 2];
        assert_eq!(parse(5, &empty), Err(WireError::SHORT));
    }
}
