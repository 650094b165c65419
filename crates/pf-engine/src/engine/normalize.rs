//! Normalisation (pf.conf(5), TRAFFIC NORMALIZATION): what `scrub` rules, `set reassemble` and
//! `scrub (…)` do to a packet. The reassembly itself is in [`crate::norm`].

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::sync::Arc;
use std::time::Duration;

use crate::addr::Family;
use crate::counters::Count;
use crate::decision::{Decision, DropReason, Packet};
use crate::engine::Engine;
use crate::engine::packet::{Place, Refused, Work};
use crate::engine::test::length;
use crate::env::Env;
use crate::evaluate::{CompiledRule, Content, Verb};
use crate::installed::RuleId;
use crate::norm;
use crate::rule::{Direction, Log, Scrub, Timeout, tcp_flags};
use crate::ruleset::Dialect;
use crate::state::State;
use crate::tcpnorm::{BadTimestamp, Look};
use crate::time::Instant;
use crate::wire::sctp::Chunks;
use crate::wire::{Meta, WireError};

/// What is done to a packet before it is filtered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Normalization {
    /// Options that the packet gets if it passes.
    pub(super) scrub: Scrub,
    pub(super) fragments: Fragments,
    /// TCP segments are checked, and what has to be zero in them is made so.
    checks_segments: bool,
    /// `rtable`: the routing table that the packet goes by, unless filter rules say another.
    pub(super) routing_table: Option<u8>,
    /// The `scrub` rule that matched.
    pub(super) rule: Option<(RuleId, Option<Log>)>,
}

/// What becomes of fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fragments {
    /// They are put together.
    Reassembled,
    /// They are filtered one by one; those that cannot be right are dropped.
    Checked,
    /// They are filtered one by one, as they are.
    Untouched,
}

impl Fragments {
    const fn put_together(yes: bool) -> Self {
        if yes {
            Self::Reassembled
        } else {
            Self::Checked
        }
    }
}

impl Normalization {
    /// No `scrub` rule wants the packet.
    const NONE: Self = Self {
        scrub: Scrub::NONE,
        fragments: Fragments::Untouched,
        checks_segments: false,
        routing_table: None,
        rule: None,
    };

    const fn by_rule(rule: &CompiledRule) -> Self {
        Self {
            scrub: rule.scrub,
            fragments: Fragments::put_together(rule.fragments.reassembles()),
            checks_segments: true,
            routing_table: rule.treatment.routing_table,
            rule: Some((rule.id, rule.log)),
        }
    }
}

impl Engine {
    /// What is to be done to the packet at `place`: where there are `scrub` rules, by the first
    /// that matches, else as `set reassemble` says. `content` is what rules know of it.
    pub(super) fn normalization(
        &mut self,
        place: Place,
        content: Content,
        work: &Work<'_>,
        env: &mut dyn Env,
    ) -> Normalization {
        let lists = Arc::clone(&self.lists);
        if lists.scrub.is_empty() {
            let set = self.options.reassemble;
            return Normalization {
                scrub: Scrub {
                    no_df: set.no_df,
                    ..Scrub::NONE
                },
                fragments: Fragments::put_together(set.enabled),
                // OpenBSD asked `scrub` rules as long as it had them.
                checks_segments: self.dialect != Dialect::OpenBsd3,
                routing_table: None,
                rule: None,
            };
        }
        let mut course = self.course(place, work);
        course.content = content;
        let found = self.next_match(&lists.scrub, 0, &mut course, env);
        match found.and_then(|at| lists.scrub.get(at)) {
            Some(rule) if rule.verb == Verb::Match => {
                self.rules
                    .count_packet(rule.id, place.direction, Count::one(length(&work.meta)));
                Normalization::by_rule(rule)
            }
            _ => Normalization::NONE,
        }
    }

    /// Why a packet that can be read is dropped at its hook whatever rules and states say.
    pub(super) fn fault_of(&self, meta: &Meta, bytes: &[u8]) -> Option<DropReason> {
        if let Err(error) = Chunks::parse(bytes, meta) {
            return Some(error.reason);
        }
        if meta.is_of_other_family() {
            return Some(DropReason::Normalize);
        }
        if meta.is_stray_group_message() {
            return Some(DropReason::IpOption);
        }
        if self.dialect != Dialect::OpenBsd3 && meta.is_stray_discovery() {
            return Some(DropReason::Normalize);
        }
        // Of UDP it is told when the packet is read, as every PF does.
        let goes_to = meta.tcp().map(|tcp| tcp.destination_port);
        (self.dialect == Dialect::OpenBsd && goes_to == Some(0)).then_some(DropReason::Short)
    }

    /// A fragment at its hook: it waits for the others or is filtered as it is.
    pub(super) fn decide_fragment(
        &mut self,
        place: Place,
        meta: Meta,
        packet: &mut Packet,
        env: &mut dyn Env,
    ) -> Decision {
        let work = self.work(place, meta, packet, None);
        let normal = self.normalization(place, Content::Unscrubbed, &work, env);
        match normal.fragments {
            Fragments::Reassembled => self.reassemble(place, meta, normal, packet, env),
            Fragments::Checked => {
                match norm::check_fragment(&packet.bytes, &meta, normal.scrub.no_df) {
                    Ok(()) => self.decide_whole(place, meta, packet, None, Some(normal), env),
                    Err(reason) => self.malformed(reason, place, &packet.bytes, normal.rule),
                }
            }
            Fragments::Untouched => self.decide_whole(place, meta, packet, None, Some(normal), env),
        }
    }
}

impl Engine {
    /// What PF does to each TCP segment before it looks for its state: flags that no host sends
    /// together are refused, and what has to be zero is made so.
    pub(super) fn check_segment(
        &self,
        place: Place,
        normal: &Normalization,
        work: &mut Work<'_>,
    ) -> Result<(), Refused> {
        let Some(tcp) = work.meta.tcp().filter(|_| normal.checks_segments) else {
            return Ok(());
        };
        let Some(flags) = legal_flags(tcp.flags, self.dialect) else {
            let (rule, log) = normal.rule.unzip();
            let reason = DropReason::Normalize;
            self.log_refusal(log.flatten(), (rule, None), place, reason, work);
            return Err(reason.into());
        };
        let reserved = reserved_bits(self.dialect);
        let changed = work.meta.set_tcp_flags(work.bytes, flags, reserved);
        work.is_unlike_its_flow |= changed.map_err(|error| error.reason)?;
        Ok(())
    }

    /// How far ahead of its time a timestamp may be: `tcp.tsdiff` of the rule or of all.
    pub(super) fn timestamp_difference(&self, rule: Option<RuleId>) -> Duration {
        let rule = rule.and_then(|id| self.rules.get(id));
        let own = rule.and_then(|rule| rule.timeout(Timeout::TcpTsDiff));
        let seconds = own.filter(|seconds| *seconds > 0);
        let seconds = seconds.unwrap_or(self.timeouts.value(Timeout::TcpTsDiff));
        Duration::from_secs(u64::from(seconds))
    }
}

/// What becomes of the flags of a segment; nothing if they cannot be.
const fn legal_flags(flags: u8, dialect: Dialect) -> Option<u8> {
    use tcp_flags::{ACK, FIN, PSH, RST, SYN, URG};
    let opens = flags & SYN != 0;
    // OpenBSD takes FIN off a SYN, FreeBSD drops the segment.
    let contradicts_syn = match dialect {
        Dialect::FreeBsd => RST | FIN,
        Dialect::OpenBsd | Dialect::OpenBsd3 => RST,
    };
    let kept = if opens { flags & !FIN } else { flags };
    let is_one = if opens {
        flags & contradicts_syn == 0
    } else {
        flags & (ACK | RST) != 0
    };
    let has_all = kept & ACK != 0 || kept & (FIN | PSH | URG) == 0;
    if is_one && has_all { Some(kept) } else { None }
}

/// Bits beside the length of a TCP header that have to be zero: FreeBSD leaves the one that
/// accurate ECN has (RFC 9768).
const fn reserved_bits(dialect: Dialect) -> u8 {
    match dialect {
        Dialect::FreeBsd => 0x0e,
        Dialect::OpenBsd | Dialect::OpenBsd3 => 0x0f,
    }
}

/// `reassemble tcp`: a segment as its connection has it.
pub(super) fn normalize_tcp(
    state: &mut State,
    direction: Direction,
    now: Instant,
    difference: Duration,
    work: &mut Work<'_>,
    env: &mut dyn Env,
) -> Result<(), Refused> {
    let forward = direction == state.direction;
    let age = now.saturating_since(state.created);
    let look = Look::at(&work.meta, work.bytes);
    let (Some(norm), Some(look)) = (&mut state.norm, look) else {
        return Ok(());
    };
    let random = &mut || env.random();
    let normal = norm
        .take(forward, &look, now, age, difference, random)
        .map_err(|BadTimestamp| DropReason::BadTimestamp)?;
    work.is_unlike_its_flow = true;
    if normal.ttl != work.meta.ttl {
        work.meta
            .set_ttl(work.bytes, normal.ttl)
            .map_err(|error| error.reason)?;
    }
    if let Some((value, echo)) = normal.stamps {
        work.meta
            .set_tcp_timestamps(work.bytes, value, echo)
            .map_err(|error| error.reason)?;
    }
    Ok(())
}

/// Rewrites a packet that passed to what the rules that matched it want.
pub(super) fn normalize(work: &mut Work<'_>, env: &mut dyn Env) -> Result<(), Refused> {
    if work.scrub == Scrub::NONE {
        return Ok(());
    }
    rewrite(work, env).map_err(|error| error.reason.into())
}

fn rewrite(work: &mut Work<'_>, env: &mut dyn Env) -> Result<(), WireError> {
    let (scrub, meta, bytes) = (work.scrub, &mut work.meta, &mut *work.bytes);
    if scrub.no_df && meta.dont_fragment {
        meta.clear_dont_fragment(bytes)?;
    }
    if let Some(ttl) = scrub.min_ttl.filter(|min| meta.ttl < *min) {
        meta.set_ttl(bytes, ttl)?;
    }
    if scrub.tos(meta.tos) != meta.tos {
        meta.set_tos(bytes, scrub.tos(meta.tos))?;
    }
    // The fragments of a datagram have to keep the one that they share.
    if scrub.random_id && meta.family == Family::Inet && !meta.is_fragment() {
        meta.set_ip_id(bytes, identification(env.random()))?;
    }
    if let Some(mss) = scrub.max_mss.filter(|_| is_syn(meta)) {
        meta.lower_mss(bytes, mss)?;
    }
    Ok(())
}

/// Any but 0, which stands for none.
fn identification(random: u32) -> u16 {
    let [a, b, c, d] = random.to_be_bytes();
    let id = u16::from_be_bytes([a, b]);
    if id == 0 {
        u16::from_be_bytes([c, d]) | 1
    } else {
        id
    }
}

/// Only a SYN announces an MSS (RFC 9293, section 3.7.1).
fn is_syn(meta: &Meta) -> bool {
    meta.tcp()
        .is_some_and(|tcp| tcp.flags & tcp_flags::SYN != 0)
}
