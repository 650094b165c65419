//! `synproxy state` and `set syncookies`: handshakes that the filter makes itself.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::net::IpAddr;

use crate::addr::Family;
use crate::decision::{DropReason, Generated, GeneratedExit, Hook};
use crate::engine::Engine;
use crate::engine::families::Crossed;
use crate::engine::packet::{Passed, Place, Refused, StateRef, Work};
use crate::engine::translate::Course;
use crate::env::{Env, RouteLookup};
use crate::evaluate::CompiledRule;
use crate::key::Tuple;
use crate::names::NameId;
use crate::rule::{Direction, StateMode, Timeout, tcp_flags};
use crate::ruleset::Limit;
use crate::state::State;
use crate::syncookie::{self, Load};
use crate::synproxy::{self, DEFAULT_MSS_V4, DEFAULT_MSS_V6, Handshake, MIN_MSS, Step};
use crate::tcp::{Peer, Segment};
use crate::view::SyncookieStatus;
use crate::wire::{IPV4_HEADER_LEN, IPV6_HEADER_LEN, Meta, TCP_HEADER_LEN};

/// The flags that tell a SYN and a bare ACK from other segments.
const FLAGS: u8 = tcp_flags::SYN | tcp_flags::ACK | tcp_flags::RST;

/// A client that has answered a cookie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completed {
    client: u32,
    own: u32,
    cookie: syncookie::Cookie,
    window: u16,
}

/// Peers of a connection that the proxy opens.
pub(super) struct Opened {
    pub(super) source: Peer,
    pub(super) destination: Peer,
    /// What the client is answered, if the segment is its SYN.
    pub(super) answer: Option<Handshake>,
}

impl Engine {
    pub(super) fn syncookie_status(&self) -> SyncookieStatus {
        let mode = self.options.syncookies;
        let counters = self.syncookies.counters();
        SyncookieStatus {
            mode,
            active: self.syncookies.is_active(mode),
            half_open: self.half_open,
            floods: counters.floods,
            sent: counters.sent,
            validated: counters.validated,
        }
    }

    /// A state was half open or not, and is now.
    pub(super) const fn half_open_moved(&mut self, was: bool, is: bool) {
        match (was, is) {
            (false, true) => self.half_open = self.half_open.saturating_add(1),
            (true, false) => self.half_open = self.half_open.saturating_sub(1),
            (true, true) | (false, false) => {}
        }
    }

    /// Whether SYNs are answered with cookies now.
    pub(super) fn checks_cookies(&mut self) -> bool {
        let load = Load {
            half_open: self.half_open,
            limit: self.limit(Limit::States),
        };
        self.syncookies
            .check(self.now, self.options.syncookies, load)
    }

    /// Answers a SYN that comes in with a cookie, if it is time for that: before any state or
    /// rule is looked at, as PF does.
    pub(super) fn answer_with_cookie(&mut self, work: &mut Work<'_>, env: &mut dyn Env) -> bool {
        let Some(header) = work.meta.tcp().copied() else {
            return false;
        };
        let opens = header.flags & FLAGS == tcp_flags::SYN;
        if work.hook.direction != Direction::In || !opens || !self.checks_cookies() {
            return false;
        }
        let tuple = Tuple::of(&work.meta, work.bytes);
        let mss = self.mss(work, None, env);
        let random = &mut || env.random();
        let own = self
            .syncookies
            .bake(self.now, &tuple, header.seq, mss, random);
        let answer = Handshake::answer(own, header.seq, mss);
        work.send_back(answer.packet(&tuple.reversed()));
        true
    }

    /// The cookie that a bare ACK brings back, if it is one of ours, and the number that its client
    /// began with.
    pub(super) fn cookie_of(&self, meta: &Meta, bytes: &[u8]) -> Option<(u32, syncookie::Cookie)> {
        let header = meta.tcp()?;
        if header.flags & FLAGS != tcp_flags::ACK {
            return None;
        }
        let (mode, tuple) = (self.options.syncookies, Tuple::of(meta, bytes));
        let own = header.ack.wrapping_sub(1);
        let of_client = |client| {
            let cookie = self
                .syncookies
                .verify(self.now, mode, &tuple, client, own)?;
            Some((client, cookie))
        };
        // When the ACK was lost what comes is a probe of our window of 0, which may be one number
        // back (RFC 9293, section 3.8.6.1).
        of_client(header.seq.wrapping_sub(1)).or_else(|| of_client(header.seq))
    }

    /// A bare ACK without a state: if it brings a cookie back, the SYN that it stands for takes
    /// its place and is asked about.
    pub(super) fn recreate_syn(&mut self, place: Place, work: &mut Work<'_>) {
        let Some(header) = work.meta.tcp().copied() else {
            return;
        };
        if place.direction != Direction::In {
            return;
        }
        let Some((client, cookie)) = self.cookie_of(&work.meta, work.bytes) else {
            return;
        };
        let syn = Handshake::call(client, cookie.mss);
        let packet = syn.packet(&Tuple::of(&work.meta, work.bytes));
        if work.replace(packet).is_ok() {
            self.syncookies.count_validated();
            work.completed = Some(Completed {
                client,
                own: header.ack.wrapping_sub(1),
                cookie,
                window: header.window,
            });
        }
    }

    /// How the connection of a packet that the rules let pass begins, if that is the proxy's
    /// affair. Only what comes in is.
    pub(super) fn open_by_proxy(
        &mut self,
        rule: Option<&CompiledRule>,
        course: &Course,
        route: Option<NameId>,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Result<Option<Opened>, Refused> {
        // Once: where a route leads it out, the call is a SYN like any other.
        if let Some(completed) = work.completed.take() {
            return self.open_completed(completed, work, env).map(Some);
        }
        let Some(header) = work.meta.tcp().copied() else {
            return Ok(None);
        };
        let asked = rule.is_some_and(|rule| rule.keep.mode == StateMode::Synproxy);
        let opens = header.flags & (FLAGS | tcp_flags::FIN) == tcp_flags::SYN;
        if !asked || !opens || course.place.direction != Direction::In {
            return Ok(None);
        }
        let most = course.scrub.max_mss.unwrap_or(u16::MAX).max(MIN_MSS);
        let (own, mss) = (env.random(), self.mss(work, route, env).min(most));
        let (source, destination) = synproxy::open(header.seq, own, mss);
        Ok(Some(Opened {
            source,
            destination,
            answer: Some(Handshake::answer(own, header.seq, mss)),
        }))
    }

    /// The packet is the SYN of a client that has answered a cookie: it becomes the call.
    fn open_completed(
        &mut self,
        client: Completed,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Result<Opened, Refused> {
        let Completed {
            client,
            own,
            cookie,
            window,
        } = client;
        self.syncookies.redeem(cookie);
        let random = &mut || env.random();
        let (source, destination, syn) =
            synproxy::open_completed(client, own, cookie.mss, window, random);
        work.meta
            .set_tcp_seq(work.bytes, syn.seq)
            .map_err(|error| error.reason)?;
        work.of_proxy = true;
        self.counters.count(DropReason::Synproxy);
        Ok(Opened {
            source,
            destination,
            answer: None,
        })
    }

    /// A segment of a connection whose handshakes the proxy makes. As in PF, none of them is
    /// counted but as `synproxy`.
    pub(super) fn proxy(
        &mut self,
        slot: u32,
        place: Place,
        segment: &Segment,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Result<Passed, Refused> {
        let came = Tuple::of(&work.meta, work.bytes);
        let was = self.states.get(slot).is_some_and(State::is_half_open);
        let state = self.states.get_mut(slot).ok_or(DropReason::Memory)?;
        let forward = place.direction == state.direction;
        let (source, destination) = (&mut state.source, &mut state.destination);
        let random = &mut || env.random();
        let step = synproxy::handle(source, destination, forward, segment, random);
        let on = state.translated(place.direction).tuple(place.direction);
        let back = place.direction.reverse();
        let returned = state.translated(back).tuple(back);
        let (is, tag, route) = (
            state.is_half_open(),
            state.tag,
            state.route_of(place.direction),
        );
        let crossed = crossing(state, place.direction);
        let replacement = match step {
            Step::Drop => return Err(DropReason::Synproxy.into()),
            Step::Answer(answer) => {
                work.send_back(answer.packet(&came.reversed()));
                return Err(DropReason::Synproxy.into());
            }
            Step::Call(syn) => {
                state.ether = work.single_ether().or(state.ether);
                syn
            }
            Step::Join {
                to_client,
                to_server,
            } => {
                state.timeout = Timeout::TcpEstablished;
                state.refreshed = self.now;
                let ack = to_server.packet(&returned);
                work.onward.extend(ack.map(|bytes| (slot, bytes)));
                to_client
            }
        };
        self.half_open_moved(was, is);
        if let Err(refused) = self.count_connection(slot) {
            work.onward.clear();
            return Err(refused);
        }
        work.replace(replacement.packet(&on))?;
        work.crossed = crossed;
        work.tag = tag.or(work.tag);
        work.of_proxy = true;
        self.counters.count(DropReason::Synproxy);
        Ok(Passed {
            state: StateRef::Existing(slot),
            route,
            divert: None,
        })
    }

    /// Sends a packet of the opener's that the proxy has made on its way, from where the opener's
    /// own come in.
    pub(super) fn send_onward(
        &mut self,
        slot: u32,
        mut bytes: Vec<u8>,
        logged: &mut Vec<crate::decision::LogEntry>,
        env: &mut dyn Env,
    ) -> Option<Generated> {
        let state = self.states.get(slot)?;
        let place = Place {
            index: self.net.named(state.origin)?.index,
            name: state.origin,
            direction: state.direction,
        };
        let ether = state.ether;
        let passed = Passed {
            state: StateRef::Existing(slot),
            route: state.route_of(place.direction),
            divert: None,
        };
        let meta = Meta::parse(&bytes).ok()?;
        let crossed = crossing(state, place.direction);
        let way = self.way(place.direction, ether);
        let mut work = Work::new(&mut bytes, meta, ether, way, place);
        work.crossed = crossed;
        let left = self.leave(place, passed, &mut work, env);
        logged.append(&mut work.logged);
        let pending = std::mem::take(&mut work.pending);
        let exit = match left.and_then(|exit| self.commit(pending).map(|_| exit)) {
            Ok(exit) => exit.unwrap_or(crate::decision::Exit::Continue),
            Err(refused) => {
                self.count_drop(refused);
                return None;
            }
        };
        let hook = Hook {
            interface: place.index,
            direction: place.direction,
        };
        Some(Generated {
            bytes,
            exit: GeneratedExit::Onward { hook, ether, exit },
        })
    }

    /// The segment size that both ends are told: what the client announces, but no more than fits
    /// the links to both, as far as they are known.
    fn mss(&self, work: &Work<'_>, route: Option<NameId>, env: &dyn Env) -> u16 {
        let meta = &work.meta;
        let (headers, default) = match meta.family {
            Family::Inet => (IPV4_HEADER_LEN, DEFAULT_MSS_V4),
            Family::Inet6 => (IPV6_HEADER_LEN, DEFAULT_MSS_V6),
        };
        let offered = meta
            .tcp()
            .and_then(|tcp| tcp.maximum_segment_size(work.bytes))
            .unwrap_or(default);
        let routed = |address: IpAddr| match env.route(address) {
            RouteLookup::Via(index) => self.net.interface(index),
            RouteLookup::Unknown | RouteLookup::Unreachable => None,
        };
        let links = [
            self.net.interface(work.hook.index),
            route.and_then(|name| self.net.named(name)),
            routed(meta.destination),
        ];
        let mtu = links.into_iter().flatten().map(|link| link.mtu).min();
        let fits = mtu.map_or(u16::MAX, |mtu| {
            let room = usize::try_from(mtu)
                .unwrap_or(usize::MAX)
                .saturating_sub(headers.saturating_add(TCP_HEADER_LEN));
            u16::try_from(room).unwrap_or(u16::MAX)
        });
        offered.min(fits).max(MIN_MSS)
    }
}

/// What the proxy sends on is made in the family of the one whom it is for.
fn crossing(state: &State, flow: Direction) -> Option<Crossed> {
    state.changes_family().then(|| Crossed::by(state, flow))
}
