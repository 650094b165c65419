//! What is sent back to the sender of a packet that is not passed on.

use crate::addr::{Family, Protocol};
use crate::decision::{DropReason, Exit};
use crate::engine::Engine;
use crate::engine::packet::{Refused, Work};
use crate::env::IfIndex;
use crate::generate::{self, IcmpError};
use crate::rule::{BlockReply, tcp_flags};
use crate::ruleset::Dialect;
use crate::wire::{Tcp, checksum, families, icmp, icmp6};

impl Engine {
    /// `block return` and its kin.
    pub(super) fn answer_blocked(&mut self, reply: BlockReply, work: &mut Work<'_>) {
        let family = work.original.meta.family;
        let is_tcp = work.original.meta.tcp().is_some();
        let is_icmp = work.original.meta.icmp().is_some_and(|icmp| {
            // OpenBSD answers what is about no other packet; FreeBSD no ICMP at all, pings included.
            self.dialect() != Dialect::OpenBsd || !is_informational(family, icmp.kind)
        });
        match reply {
            BlockReply::Rst { ttl } if is_tcp => self.answer_with_reset(ttl, work),
            BlockReply::Return if is_tcp => self.answer_with_reset(0, work),
            BlockReply::Return if work.original.meta.protocol == Protocol::SCTP => {
                let abort = generate::sctp_abort(&work.original.meta, work.bytes, &work.meta);
                self.send_reset(abort, work);
            }
            BlockReply::Drop | BlockReply::Rst { .. } => {}
            BlockReply::Return | BlockReply::Icmp { .. } if is_icmp => {}
            BlockReply::Return => {
                let error = match family {
                    Family::Inet => (icmp::UNREACHABLE, icmp::CODE_PORT),
                    Family::Inet6 => (icmp6::UNREACHABLE, icmp6::CODE_PORT),
                };
                self.answer_with_code(error, work);
            }
            BlockReply::Icmp { v4, v6 } => {
                let error = match family {
                    Family::Inet => v4,
                    Family::Inet6 => v6,
                };
                self.answer_with_code(error, work);
            }
        }
    }

    fn answer_with_reset(&mut self, ttl: u8, work: &mut Work<'_>) {
        let resets = |tcp: &Tcp| tcp.flags & tcp_flags::RST != 0;
        if !work.original.meta.tcp().is_some_and(resets)
            && !checksum::transport_valid(work.bytes, &work.meta)
        {
            self.counters.count(DropReason::ProtoCksum);
        }
        let reset = generate::reset(&work.original.meta, work.bytes, &work.meta, ttl);
        self.send_reset(reset, work);
    }

    fn answer_with_code(&mut self, (kind, code): (u8, u8), work: &mut Work<'_>) {
        self.answer_with_error(IcmpError::Code { kind, code }, None, work);
    }

    fn answer_with_error(&mut self, error: IcmpError, exit: Option<IfIndex>, work: &mut Work<'_>) {
        let meta = work.original.meta;
        let source = self.own_address(meta.family, exit, work);
        let message = generate::icmp_error(work.original.bytes(), &meta, error, source);
        if message.is_some() && self.errors.take(self.now) {
            work.send_back(message);
        }
    }

    /// The hop limit is used up (RFC 1812, section 5.3.1).
    pub(super) fn time_exceeded(&mut self, out: IfIndex, work: &mut Work<'_>) -> Refused {
        self.answer_with_error(IcmpError::TimeExceeded, Some(out), work);
        DropReason::TtlExceeded.into()
    }

    /// The packet does not fit the exit (RFC 1191, RFC 4443 section 3.2).
    pub(super) fn too_big(&mut self, exit: Exit, mtu: usize, work: &mut Work<'_>) -> Refused {
        let interface = match exit {
            Exit::Continue | Exit::Bridge { .. } | Exit::Socket(_) => None,
            Exit::Gateway { interface, .. } | Exit::Wire { interface, .. } => Some(interface),
        };
        let mut mtu = u32::try_from(mtu).unwrap_or(u32::MAX);
        if work.has_crossed() {
            mtu = families::mtu_in(work.original.meta.family, mtu);
        }
        self.answer_with_error(IcmpError::TooBig { mtu }, interface, work);
        DropReason::TooBig.into()
    }

    /// The answer to a segment that fits no handshake: an RST where the sender's
    /// acknowledgment points.
    pub(super) fn reset_handshake(&mut self, work: &mut Work<'_>) {
        let meta = work.original.meta;
        let answer = meta
            .tcp()
            .and_then(|tcp| generate::tcp_answer(&meta, tcp.ack, 0, tcp_flags::RST, 0));
        self.send_reset(answer, work);
    }

    /// Asks the sender of a SYN whether it has forgotten its connection.
    pub(super) fn challenge(&mut self, seq: u32, ack: u32, work: &mut Work<'_>) {
        let meta = work.original.meta;
        let answer = generate::tcp_answer(&meta, seq, ack, tcp_flags::ACK, 0);
        self.send_reset(answer, work);
    }

    /// RSTs and challenges have one quota.
    fn send_reset(&mut self, reset: Option<Vec<u8>>, work: &mut Work<'_>) {
        if reset.is_some() && self.resets.take(self.now) {
            work.send_back(reset);
        }
    }
}

/// Whether an ICMP message is neither an error nor a redirect (PF's `ICMP_INFOTYPE`, and what it asks
/// of ICMPv6).
const fn is_informational(family: Family, kind: u8) -> bool {
    match family {
        Family::Inet => {
            icmp::is_query(kind)
                || matches!(kind, icmp::ROUTER_ADVERTISEMENT | icmp::ROUTER_SOLICITATION)
        }
        Family::Inet6 => kind >= icmp6::ECHO_REQUEST && kind != icmp6::REDIRECT,
    }
}
