//! One packet at one hook, from the bytes to the decision.

use crate::addr::Family;
use crate::counters::Count;
use crate::criteria::{Divert, Treatment};
use crate::decision::{
    Basis, Consulted, Decision, DropReason, EtherAddresses, Exit, Generated, GeneratedExit,
    Handling, Hook, LogEntry, Packet, Verdict,
};
use crate::engine::Engine;
use crate::engine::associations::Told;
use crate::engine::ether::FrameMarks;
use crate::engine::families::Crossed;
use crate::engine::leads::Seconds;
use crate::engine::normalize::Normalization;
use crate::engine::open::Pending;
use crate::engine::proxy::Completed;
use crate::engine::walk::Found;
use crate::env::{Env, IfIndex};
use crate::flow::FlowBasis;
use crate::generate::MAX_QUOTE_LEN;
use crate::installed::RuleId;
use crate::key::Tuple;
use crate::names::NameId;
use crate::norm::{Outcome, Reassembled, ReassemblyOptions, fragment};
use crate::route::NextHop;
use crate::rule::{Direction, Log, RouteKind, Scrub};
use crate::ruleset::{Dialect, Limit};
use crate::state::Way;
use crate::view::HostPort;
use crate::wire::families::{HEADER_DIFFERENCE, MIN_MTU_V6};
use crate::wire::{FRAGMENT_HEADER_LEN, Meta};

/// An interface and the direction through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) index: IfIndex,
    pub(super) name: NameId,
    pub(super) direction: Direction,
}

/// A packet on its way through the engine.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about one packet"
)]
pub(super) struct Work<'p> {
    pub(super) bytes: &'p mut Vec<u8>,
    pub(super) meta: Meta,
    pub(super) ether: Option<EtherAddresses>,
    way: Option<Way>,
    /// Where it met us.
    pub(super) hook: Place,
    pub(super) tag: Option<NameId>,
    /// The interface by which it came into the box, if the kernel told.
    pub(super) received_on: Option<IfIndex>,
    /// The priority of its frame.
    pub(super) priority: Option<u8>,
    pub(super) handling: Handling,
    /// `log (user)`: the user that owns the local socket.
    pub(super) owner: Option<u32>,
    pub(super) original: Original,
    pub(super) generated: Vec<Generated>,
    pub(super) logged: Vec<LogEntry>,
    /// A state that covers the packet has each of its packets logged.
    pub(super) logs_each: bool,
    /// A state that covers the packet has to see each of its packets.
    pub(super) is_metered: bool,
    /// States that it will make if it passes.
    pub(super) pending: Vec<Pending>,
    /// The proxy has answered it: the states that it has made stay, although it ends here.
    pub(super) answered: bool,
    /// It is one that the proxy has put in the place of another.
    pub(super) of_proxy: bool,
    /// The outside address and port of the closed connection in whose place it opens another.
    pub(super) former_source: Option<HostPort>,
    /// It is the SYN of a client that has answered a cookie.
    pub(super) completed: Option<Completed>,
    /// What the proxy sends from the openers of the states in these slots.
    pub(super) onward: Vec<(u32, Vec<u8>)>,
    /// It has changed its family and is to be routed.
    pub(super) crossed: Option<Crossed>,
    /// What was found where it leaves, if it was asked there.
    pub(super) seconds: Seconds,
    /// How it came in pieces, if it did.
    pub(super) pieces: Option<Pieces>,
    /// What `scrub` rules say of it at the hook, if they have been asked.
    pub(super) normalization: Option<Normalization>,
    /// What it is normalised to if it passes.
    pub(super) scrub: Scrub,
    /// It was normalised in a way that its state and the flow's key do not tell.
    pub(super) is_unlike_its_flow: bool,
    /// Where it tells of an SCTP association's addresses.
    pub(super) told: Vec<Told>,
    /// There is no such packet: it stands for those that an association may send.
    pub(super) is_imagined: bool,
    /// `allow-related`: the rule that decides about it whatever the others say.
    pub(super) related_rule: Option<Found>,
}

/// A packet as it came, as far as an ICMP error would quote it: to be told to its sender even
/// after it has been rewritten.
pub(super) struct Original {
    bytes: [u8; MAX_QUOTE_LEN],
    len: usize,
    pub(super) meta: Meta,
}

/// How a datagram had been cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pieces {
    pub(super) largest: usize,
    pub(super) id: u32,
}

/// The packet may pass a place.
pub(super) struct Passed {
    pub(super) state: StateRef,
    pub(super) route: Option<(RouteKind, NextHop)>,
    /// Whether it goes to a socket of the box.
    pub(super) divert: Option<Divert>,
}

/// What a verdict rests on.
#[derive(Clone, Copy, Debug)]
pub(super) enum StateRef {
    /// No state.
    None(Consulted),
    /// The state in this slot.
    Existing(u32),
    /// The pending one with this number.
    Pending(usize),
}

/// The packet ends here.
#[derive(Clone, Copy)]
pub(super) struct Refused {
    pub(super) reason: DropReason,
    /// Of a rule, without state: what it was based on.
    pub(super) consulted: Option<Consulted>,
}

impl From<DropReason> for Refused {
    fn from(reason: DropReason) -> Self {
        Self {
            reason,
            consulted: None,
        }
    }
}

impl Original {
    fn of(bytes: &[u8], meta: Meta) -> Self {
        let mut kept = [0; MAX_QUOTE_LEN];
        let len = meta.total_len.min(MAX_QUOTE_LEN);
        if let (Some(to), Some(from)) = (kept.get_mut(..len), bytes.get(..len)) {
            to.copy_from_slice(from);
        }
        Self {
            bytes: kept,
            len,
            meta,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl<'p> Work<'p> {
    /// A packet that meets us at `hook`, whole.
    pub(super) fn new(
        bytes: &'p mut Vec<u8>,
        meta: Meta,
        ether: Option<EtherAddresses>,
        way: Option<Way>,
        hook: Place,
    ) -> Self {
        Self {
            original: Original::of(bytes, meta),
            bytes,
            meta,
            ether,
            way,
            hook,
            tag: None,
            received_on: None,
            priority: None,
            handling: Handling::default(),
            owner: None,
            generated: Vec::new(),
            logged: Vec::new(),
            logs_each: false,
            is_metered: false,
            pending: Vec::new(),
            answered: false,
            of_proxy: false,
            completed: None,
            onward: Vec::new(),
            crossed: None,
            seconds: Seconds::default(),
            pieces: None,
            normalization: None,
            scrub: Scrub::NONE,
            is_unlike_its_flow: false,
            told: Vec::new(),
            former_source: None,
            is_imagined: false,
            related_rule: None,
        }
    }

    /// Puts another packet in its place, on the same way.
    pub(super) fn replace(&mut self, bytes: Option<Vec<u8>>) -> Result<(), Refused> {
        let bytes = bytes.ok_or(DropReason::Synproxy)?;
        self.meta = Meta::parse(&bytes).map_err(|error| error.reason)?;
        *self.bytes = bytes;
        self.pieces = None;
        Ok(())
    }

    /// Addresses of its frame, if that was for one station.
    pub(super) fn single_ether(&self) -> Option<EtherAddresses> {
        self.ether.filter(|ether| !ether.is_to_group())
    }

    /// Whether it came in another address family.
    pub(super) fn has_crossed(&self) -> bool {
        self.meta.family != self.original.meta.family
    }

    /// Whether it was a packet of IPv4 that routers may cut, and is one of IPv6 now: then who
    /// translated it cuts it (RFC 7915, section 4).
    fn may_be_cut(&self) -> bool {
        let original = &self.original.meta;
        self.has_crossed() && original.family == Family::Inet && !original.dont_fragment
    }

    /// What its pieces may be as large as, on a way with this MTU.
    fn limit(&self, mtu: usize) -> usize {
        let Some(pieces) = self.pieces else {
            let least = if self.may_be_cut() { MIN_MTU_V6 } else { mtu };
            return least.min(mtu);
        };
        let largest = match (self.original.meta.family, self.meta.family) {
            (Family::Inet, Family::Inet6) => pieces
                .largest
                .saturating_add(HEADER_DIFFERENCE)
                .saturating_add(FRAGMENT_HEADER_LEN),
            (Family::Inet6, Family::Inet) => pieces.largest.saturating_sub(HEADER_DIFFERENCE),
            _ => pieces.largest,
        };
        largest.min(mtu)
    }

    /// How the packet crosses the box at `place`. Where it is routed to, there is no frame yet.
    pub(super) fn way_at(&self, place: Place) -> Option<Way> {
        self.way.filter(|_| place == self.hook)
    }

    /// The interface by which the packet came in that is now at `place`.
    pub(super) fn received_at(&self, place: Place) -> Option<IfIndex> {
        match (place.direction, self.hook.direction) {
            (Direction::In, _) => Some(place.index),
            (Direction::Out, Direction::In) => Some(self.hook.index),
            (Direction::Out, Direction::Out) => self.received_on,
        }
    }

    /// Rules or a state treat the packet so.
    pub(super) fn treat(&mut self, treatment: Treatment) {
        let priority = treatment.priority_of(&self.meta);
        self.handling.priority = priority.or(self.handling.priority);
        let queue = treatment.queue_of(&self.meta);
        self.handling.queue = queue.or(self.handling.queue);
        self.handling.routing_table = treatment.routing_table.or(self.handling.routing_table);
        self.is_unlike_its_flow |= treatment.tells_packets_apart();
    }

    /// A packet to the sender of this one, unless this went to a link-layer multicast or broadcast
    /// address: such are not answered, whatever the IP address (RFC 1122, section 3.2.2).
    pub(super) fn send_back(&mut self, bytes: Option<Vec<u8>>) {
        if self.ether.is_some_and(EtherAddresses::is_to_group) {
            return;
        }
        self.generated.extend(bytes.map(|bytes| Generated {
            bytes,
            exit: GeneratedExit::Back,
        }));
    }
}

impl Engine {
    pub(super) fn decide(
        &mut self,
        hook: Hook,
        packet: &mut Packet,
        env: &mut dyn Env,
    ) -> Decision {
        let Some(place) = self.enter(hook, env) else {
            return self.unfiltered();
        };
        self.frame = FrameMarks::default();
        self.begin_record();
        if hook.direction == Direction::In
            && let Some(decision) = self.frame_enters(place, packet, env)
        {
            return decision;
        }
        match Meta::parse(&packet.bytes) {
            Ok(meta) if meta.is_fragment() => self.decide_fragment(place, meta, packet, env),
            Ok(meta) => match self.fault_of(&meta, &packet.bytes) {
                Some(reason) => self.malformed(reason, place, &packet.bytes, None),
                None => self.decide_whole(place, meta, packet, None, None, env),
            },
            Err(error) => self.malformed(error.reason, place, &packet.bytes, None),
        }
    }

    /// Where a packet or frame is that meets the filter; nothing where that is off.
    pub(super) fn enter(&mut self, hook: Hook, env: &mut dyn Env) -> Option<Place> {
        if !self.enabled {
            return None;
        }
        self.net
            .refresh(&mut self.names, &self.options.skip, env, hook.interface);
        let interface = self.net.interface(hook.interface);
        if interface.is_some_and(|interface| interface.skipped) {
            return None;
        }
        Some(Place {
            index: hook.interface,
            name: interface.map_or(NameId::UNKNOWN, |interface| interface.name),
            direction: hook.direction,
        })
    }

    /// Filtering is off, altogether or here.
    pub(super) fn unfiltered(&self) -> Decision {
        Decision {
            verdict: Verdict::Pass(Exit::Continue),
            generated: Vec::new(),
            handling: Handling::default(),
            basis: Basis::Stateless {
                epoch: self.epoch,
                consulted: Consulted::default(),
            },
            logged: Vec::new(),
        }
    }

    /// A packet that no filter rule is asked about; `rule` is the `scrub` rule that was.
    pub(super) fn malformed(
        &mut self,
        reason: DropReason,
        place: Place,
        bytes: &[u8],
        rule: Option<(RuleId, Option<Log>)>,
    ) -> Decision {
        let entry = self.entry_of_malformed(reason, place, bytes, rule);
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.count_at(place, entry.family, Count::one(len), false);
        let logged = vec![entry];
        self.dropped(reason.into(), Vec::new(), logged)
    }

    pub(super) fn dropped(
        &mut self,
        refused: Refused,
        generated: Vec<Generated>,
        logged: Vec<LogEntry>,
    ) -> Decision {
        self.count_drop(refused);
        let basis = match refused.consulted {
            Some(consulted)
                if consulted.is_repeatable() && generated.is_empty() && logged.is_empty() =>
            {
                Basis::Stateless {
                    epoch: self.epoch,
                    consulted,
                }
            }
            Some(_) | None => Basis::Packet,
        };
        Decision {
            verdict: Verdict::Drop(refused.reason),
            generated,
            handling: Handling::default(),
            basis,
            logged,
        }
    }

    /// A rule's drop was counted when the rules were evaluated, as every evaluation is.
    pub(super) fn count_drop(&mut self, refused: Refused) {
        if refused.reason != DropReason::Match {
            self.counters.count(refused.reason);
        }
    }

    pub(super) fn reassemble(
        &mut self,
        place: Place,
        meta: Meta,
        normal: Normalization,
        packet: &mut Packet,
        env: &mut dyn Env,
    ) -> Decision {
        let hook = Hook {
            interface: place.index,
            direction: place.direction,
        };
        let options = ReassemblyOptions {
            no_df: normal.scrub.no_df,
            ..self.reassembly_options()
        };
        let outcome =
            self.fragments
                .handle_fragment(self.now, hook, &packet.bytes, &meta, &options);
        self.note_use(Limit::Frags);
        match outcome {
            Outcome::Held => Decision {
                verdict: Verdict::Held,
                generated: Vec::new(),
                handling: Handling::default(),
                basis: Basis::Packet,
                logged: Vec::new(),
            },
            Outcome::Dropped(reason) => self.malformed(reason, place, &packet.bytes, normal.rule),
            Outcome::Complete(whole) => self.decide_reassembled(place, whole, normal, packet, env),
        }
    }

    fn decide_reassembled(
        &mut self,
        place: Place,
        whole: Reassembled,
        normal: Normalization,
        packet: &mut Packet,
        env: &mut dyn Env,
    ) -> Decision {
        let pieces = Pieces {
            largest: whole.largest,
            id: whole.id,
        };
        packet.bytes = whole.bytes;
        match Meta::parse(&packet.bytes) {
            // Fragments inside of fragments hide what they carry, and no host makes them.
            Ok(meta) if meta.is_fragment() => {
                self.malformed(DropReason::Fragment, place, &packet.bytes, normal.rule)
            }
            Ok(meta) => match self.fault_of(&meta, &packet.bytes) {
                Some(reason) => self.malformed(reason, place, &packet.bytes, normal.rule),
                None => self.decide_whole(place, meta, packet, Some(pieces), Some(normal), env),
            },
            Err(error) => self.malformed(error.reason, place, &packet.bytes, normal.rule),
        }
    }

    /// A packet on its way at its hook.
    pub(super) fn work<'p>(
        &self,
        hook: Place,
        meta: Meta,
        packet: &'p mut Packet,
        pieces: Option<Pieces>,
    ) -> Work<'p> {
        let way = self.way(hook.direction, packet.ether);
        let received_on = packet.received_on;
        let priority = packet.priority.or(self.default_priority());
        let mut work = Work::new(&mut packet.bytes, meta, packet.ether, way, hook);
        work.pieces = pieces;
        work.received_on = received_on;
        work.priority = priority;
        work.tag = self.frame.tag;
        work.handling.queue = self.frame.queue;
        work
    }

    /// A packet that is whole, or a fragment that is filtered as it is. `normal` is what `scrub`
    /// rules say of it, if they have been asked.
    pub(super) fn decide_whole(
        &mut self,
        hook: Place,
        meta: Meta,
        packet: &mut Packet,
        pieces: Option<Pieces>,
        normal: Option<Normalization>,
        env: &mut dyn Env,
    ) -> Decision {
        let mut work = self.work(hook, meta, packet, pieces);
        work.normalization = normal;
        let passed = self.pass(&mut work, env);
        for (slot, bytes) in std::mem::take(&mut work.onward) {
            let generated = self.send_onward(slot, bytes, &mut work.logged, env);
            work.generated.extend(generated);
        }
        match passed {
            Ok((verdict, basis)) => Decision {
                verdict,
                generated: work.generated,
                handling: work.handling,
                basis,
                logged: work.logged,
            },
            Err(refused) => {
                self.note_refusal(&refused, &work);
                self.dropped(refused, work.generated, work.logged)
            }
        }
    }

    /// The priority of packets whose frame names none: `PF_PRIO_DEFAULT` is 3 on OpenBSD; in FreeBSD they
    /// have none, and no rule with `prio` is for them.
    fn default_priority(&self) -> Option<u8> {
        match self.dialect {
            Dialect::FreeBsd => None,
            Dialect::OpenBsd | Dialect::OpenBsd3 => Some(3),
        }
    }

    /// Priority and queue stay on the packet from `in` to `out`, as a tag does. Nothing is written
    /// on packets between two hooks: they are those of the state by which the packet came in.
    fn carry_treatment(&self, identity: &Tuple, work: &mut Work<'_>) {
        let may_carry = self.has_carried && work.hook.direction == Direction::Out;
        let known = work.handling;
        if !may_carry || known.priority.is_some() && known.queue.is_some() {
            return;
        }
        let state = self.state_of_entry(identity, |state| state.treatment.is_carried());
        let Some(treatment) = state.map(|state| state.treatment) else {
            return;
        };
        let handling = &mut work.handling;
        handling.priority = known.priority.or(treatment.priority_of(&work.meta));
        handling.queue = known.queue.or(treatment.queue_of(&work.meta));
    }

    /// What the frame tells of the packet's way. A frame to a group goes either way.
    pub(super) fn way(&self, direction: Direction, ether: Option<EtherAddresses>) -> Option<Way> {
        let ether = ether.filter(|ether| !ether.is_to_group())?;
        let here = match direction {
            Direction::In => ether.destination,
            Direction::Out => ether.source,
        };
        Some(if self.net.is_own(here) {
            Way::Stack
        } else {
            Way::Bridge
        })
    }

    /// All evaluations of a packet; its states are made if all let it pass, or if the proxy has
    /// answered it.
    fn pass(
        &mut self,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Result<(Verdict, Basis), Refused> {
        if self.answer_with_cookie(work, env) {
            self.count_refused(work.hook, work);
            return Err(DropReason::Synproxy.into());
        }
        let passed = self.pass_all(work, env);
        if work.answered {
            let pending = std::mem::take(&mut work.pending);
            self.commit(pending)?;
        }
        passed
    }

    fn pass_all(
        &mut self,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Result<(Verdict, Basis), Refused> {
        let hook = work.hook;
        let identity = Tuple::of(&work.meta, work.bytes);
        let first = self.test(hook, work, env)?;
        let state = first.state;
        let divert = first.divert.filter(|_| hook.direction == Direction::In);
        let exit = match (divert, self.leave(hook, first, work, env)?) {
            (_, Some(exit)) => exit,
            (Some(divert), None) => socket_exit(divert),
            (None, None) => self.wire_exit(hook, work, env)?.unwrap_or(Exit::Continue),
        };
        self.carry_treatment(&identity, work);
        let pieces = self.fit(exit, work, env)?;
        let exit = self.frame_leaves((hook, exit), pieces.as_deref(), work, env)?;
        let pending = std::mem::take(&mut work.pending);
        let made = self.commit(pending)?;
        self.follow_addresses(&made, work, env);
        let basis = match state {
            StateRef::Existing(slot) => self.states.get(slot).map(|state| state.id),
            StateRef::Pending(at) => made.get(at).copied(),
            StateRef::None(consulted) => {
                let plain = exit == Exit::Continue
                    && pieces.is_none()
                    && !work.meta.is_fragment()
                    && !work.is_unlike_its_flow
                    && work.scrub == Scrub::NONE;
                let silent = work.generated.is_empty() && work.logged.is_empty();
                if plain && silent && work.handling == Handling::default() {
                    self.note_decision(&consulted, FlowBasis::Pass, work);
                }
                let basis = self.stateless(consulted, plain && silent);
                return Ok((verdict(exit, pieces), basis));
            }
        };
        let repeats =
            !work.logs_each && !work.is_unlike_its_flow && !work.of_proxy && !work.is_metered;
        let basis = basis.filter(|_| repeats && !work.has_crossed());
        if let Some(id) = basis.filter(|_| pieces.is_none()) {
            self.note_flow((id, &made), hook, exit, &identity, work);
        }
        Ok((
            verdict(exit, pieces),
            basis.map_or(Basis::Packet, Basis::State),
        ))
    }

    fn stateless(&self, consulted: Consulted, repeatable: bool) -> Basis {
        if !repeatable || !consulted.is_repeatable() {
            return Basis::Packet;
        }
        Basis::Stateless {
            epoch: self.epoch,
            consulted,
        }
    }

    /// Cuts the packet to what the exit takes, if it is too large or came in pieces.
    fn fit(
        &mut self,
        exit: Exit,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Result<Option<Vec<Vec<u8>>>, Refused> {
        let mtu = match exit {
            Exit::Continue | Exit::Bridge { .. } | Exit::Socket(_) => usize::MAX,
            Exit::Gateway { interface, .. } | Exit::Wire { interface, .. } => {
                let mtu = self.net.interface(interface).map_or(u32::MAX, |i| i.mtu);
                usize::try_from(mtu).unwrap_or(usize::MAX)
            }
        };
        let limit = work.limit(mtu);
        if work.meta.total_len <= limit {
            return Ok(None);
        }
        if work.pieces.is_none() && work.meta.dont_fragment && !work.may_be_cut() {
            return Err(self.too_big(exit, mtu, work));
        }
        let id = work.pieces.map_or_else(|| env.random(), |pieces| pieces.id);
        let pieces = fragment(work.bytes, &work.meta, limit, id).map_err(|e| e.reason)?;
        Ok(Some(pieces))
    }

    /// The first address of an interface, for ICMP errors: of the hook's, else of the exit's,
    /// else the address that the packet went to.
    pub(super) fn own_address(
        &self,
        family: Family,
        exit: Option<IfIndex>,
        work: &Work<'_>,
    ) -> std::net::IpAddr {
        let of = |index: IfIndex| self.net.interface(index).and_then(|i| i.address(family));
        of(work.hook.index)
            .or_else(|| exit.and_then(of))
            .unwrap_or(work.original.meta.destination)
    }
}

fn socket_exit(divert: Divert) -> Exit {
    Exit::Socket(match divert {
        Divert::To(address) => Some(address),
        Divert::Reply => None,
    })
}

fn verdict(exit: Exit, pieces: Option<Vec<Vec<u8>>>) -> Verdict {
    match pieces {
        Some(pieces) => Verdict::PassFragments(exit, pieces),
        None => Verdict::Pass(exit),
    }
}
