//! Chunks of SCTP (RFC 9260, section 3), as far as a filter follows them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::bytes::{array, be16, be32, byte};
use super::{Meta, SCTP_HEADER_LEN, Transport, WireError};
use crate::addr::Family;
use crate::decision::DropReason;

/// Addresses of one end that are looked at: PF follows as many (`PF_SCTP_MAX_ENDPOINTS`).
pub(crate) const MAX_ADDRESSES: usize = 8;

/// Length of a chunk's or parameter's header.
const HEADER_LEN: usize = 4;
/// Length of what stands in INIT and INIT ACK before their parameters, with the header.
const INIT_LEN: usize = 20;

/// ABORT (RFC 9260, section 3.3.7).
pub(crate) const ABORT: u8 = 6;

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
}

/// Parameters of INIT and INIT ACK (RFC 9260, section 3.3.2.1).
const IPV4_ADDRESS: u16 = 5;
const IPV6_ADDRESS: u16 = 6;

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
    /// Other addresses of the sender, of the packet's family (RFC 9260, section 5.1.2).
    pub(crate) addresses: Vec<IpAddr>,
}

impl Chunks {
    /// Reads the chunks of `packet`; nothing if it is not SCTP.
    ///
    /// # Errors
    /// `short` for chunks that do not fit; `normalize` for an INIT or INIT ACK that is not alone,
    /// without a tag, and for an INIT that has a verification tag (RFC 9260, sections 3.3.2, 8.5.1).
    pub(crate) fn parse(packet: &[u8], meta: &Meta) -> Result<Option<Self>, WireError> {
        let Transport::Sctp(header) = meta.transport else {
            return Ok(None);
        };
        let mut chunks = Self {
            tag: header.verification_tag,
            act: Act::Carry,
            is_final: false,
            addresses: Vec::new(),
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
            chunks.take(chunk, at == first && next >= all.len(), meta.family)?;
            at = next;
        }
        Ok(Some(chunks))
    }

    fn take(&mut self, chunk: &[u8], alone: bool, family: Family) -> Result<(), WireError> {
        let flags = byte(chunk, 1)?;
        let act = match byte(chunk, 0)? {
            kind @ (kind::INIT | kind::INIT_ACK) => self.init(kind, chunk, alone, family)?,
            kind::COOKIE_ECHO | kind::HEARTBEAT_ACK => Act::Confirm,
            kind::COOKIE_ACK => {
                self.is_final = true;
                Act::Confirm
            }
            kind::SHUTDOWN | kind::SHUTDOWN_ACK => Act::Shutdown,
            ABORT | kind::SHUTDOWN_COMPLETE => {
                self.is_final = true;
                Act::Close {
                    reflected: flags & 1 != 0,
                }
            }
            _ => Act::Carry,
        };
        // What ends an association outweighs what confirms it.
        self.act = self.act.max(act);
        Ok(())
    }

    fn init(
        &mut self,
        kind: u8,
        chunk: &[u8],
        alone: bool,
        family: Family,
    ) -> Result<Act, WireError> {
        let tag = be32(chunk, HEADER_LEN)?;
        let opens = kind == kind::INIT;
        if !alone || tag == 0 || (opens && self.tag != 0) {
            return Err(WireError {
                reason: DropReason::Normalize,
            });
        }
        self.parameters(chunk.get(INIT_LEN..).ok_or(WireError::SHORT)?, family)?;
        Ok(if opens {
            Act::Init(tag)
        } else {
            Act::InitAck(tag)
        })
    }

    fn parameters(&mut self, mut rest: &[u8], family: Family) -> Result<(), WireError> {
        while !rest.is_empty() {
            let len = usize::from(be16(rest, 2)?);
            if len < HEADER_LEN || len > rest.len() {
                return Err(WireError::SHORT);
            }
            let address = match (be16(rest, 0)?, family) {
                (IPV4_ADDRESS, Family::Inet) => {
                    Some(IpAddr::V4(Ipv4Addr::from(array::<4>(rest, HEADER_LEN)?)))
                }
                (IPV6_ADDRESS, Family::Inet6) => {
                    Some(IpAddr::V6(Ipv6Addr::from(array::<16>(rest, HEADER_LEN)?)))
                }
                _ => None,
            };
            if self.addresses.len() < MAX_ADDRESSES {
                self.addresses.extend(address);
            }
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(())
    }
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
            1, 0, len[0], len[1], 0, 0, 0, 9, 0, 0, 1, 0, 0, 1, 0, 1, 0, 0, 0, 1,
        ];
        [&fixed, parameters].concat()
    }

    #[test]
    fn an_init_tells_its_tag_and_the_senders_other_addresses() {
        let parameters = [0, 5, 0, 8, 192, 0, 2, 3, 0, 6, 0, 20];
        let parameters = [&parameters[..], &[0; 16], &[0, 5, 0, 8, 192, 0, 2, 4]].concat();
        let chunks = parse(0, &init(&parameters)).unwrap().unwrap();
        assert_eq!(chunks.act, Act::Init(9));
        let wanted: [IpAddr; 2] = ["192.0.2.3".parse().unwrap(), "192.0.2.4".parse().unwrap()];
        assert_eq!(chunks.addresses, wanted);
    }

    #[test]
    fn an_init_stands_alone_and_without_verification_tag() {
        let bundled = [&init(&[])[..], &[0, 0, 0, 4]].concat();
        for refused in [parse(0, &bundled), parse(1, &init(&[]))] {
            assert_eq!(refused.unwrap_err().reason, DropReason::Normalize);
        }
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        for chunks in [
            &[0, 0, 0, 3][..],
            &[0, 0, 0, 9, 0, 0, 0, 0],
            &[1, 0, 0, 8, 0, 0, 0, 1],
        ] {
            assert_eq!(parse(0, chunks), Err(WireError::SHORT));
        }
        let many = [0, 5, 0, 8, 192, 0, 2, 3].repeat(100);
        assert_eq!(parse(0, &init(&many)).unwrap().unwrap().addresses.len(), 8);
        assert_eq!(parse(0, &init(&[0, 5, 0, 0])), Err(WireError::SHORT));
    }

    #[test]
    fn an_abort_behind_other_chunks_counts() {
        let chunks = [11, 0, 0, 4, 6, 1, 0, 4];
        let chunks = parse(5, &chunks).unwrap().unwrap();
        assert_eq!(chunks.act, Act::Close { reflected: true });
        assert!(chunks.is_final);
    }
}
