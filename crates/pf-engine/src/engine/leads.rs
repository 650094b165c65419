//! Flows that the engine routes, in a flow cache: a packet passes a state where it comes in, often
//! another where it leaves (PF's second evaluation), and goes out by a gateway or onto a wire. The
//! cache is told of the way when it has both states.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::addr::Protocol;
use crate::decision::{EtherAddresses, Exit, StateId};
use crate::engine::Engine;
use crate::engine::flows::{Lead, Onward, Plain, key_of};
use crate::engine::leave::is_routed_out;
use crate::engine::packet::{Passed, Place, Refused, StateRef, Work};
use crate::env::{Env, IfIndex};
use crate::flow::FlowExit;
use crate::key::Tuple;
use crate::rule::Direction;
use crate::state::State;
use crate::tcp;

/// Next hops of which it is remembered in what frames answers come, at most: a box has a few.
const NEXT_HOPS_MAX: usize = 256;

/// In what frames answers came last, by the interface and the next hop that questions went to. It is a
/// guess: in another frame an answer is for the engine.
#[derive(Debug, Default)]
pub(super) struct AnswerFrames(BTreeMap<(IfIndex, IpAddr), EtherAddresses>);

impl AnswerFrames {
    fn note(&mut self, hop: (IfIndex, IpAddr), ether: EtherAddresses) {
        if self.0.len() >= NEXT_HOPS_MAX && !self.0.contains_key(&hop) {
            self.0.clear();
        }
        self.0.insert(hop, ether);
    }
}

/// Evaluations of a packet behind that at its hook.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seconds {
    made: usize,
    /// The last: where it was, the packet there, and the state that it met or made.
    last: Option<(Place, Tuple, StateRef)>,
}

impl Engine {
    /// [`Engine::test`] where a packet leaves that has been tested at its hook.
    pub(super) fn test_second(
        &mut self,
        out: Place,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Result<Passed, Refused> {
        let tuple = Tuple::of(&work.meta, work.bytes);
        let passed = self.test(out, work, env)?;
        work.seconds.made = work.seconds.made.saturating_add(1);
        work.seconds.last = Some((out, tuple, passed.state));
        Ok(passed)
    }

    /// The state of the last second evaluation, of the states that the packet has `made`.
    fn last_second(&self, work: &Work<'_>, made: &[StateId]) -> Option<(Place, Tuple, u32)> {
        let (out, tuple, state) = work.seconds.last?;
        let slot = match state {
            StateRef::Existing(slot) => slot,
            StateRef::Pending(at) => self.states.slot(*made.get(at)?)?,
            StateRef::None(_) => return None,
        };
        Some((out, tuple, slot))
    }

    /// What the packet, which the state `id` has let pass at its hook, tells of the way by `exit`;
    /// nothing if the next one may go another. It has `made` these states.
    pub(super) fn note_lead(
        &mut self,
        (id, made): (StateId, &[StateId]),
        exit: Exit,
        work: &Work<'_>,
    ) -> Option<Onward> {
        let (Exit::Gateway { interface, .. } | Exit::Wire { interface, .. }) = exit else {
            return None;
        };
        let then = match (work.seconds.made, self.last_second(work, made)) {
            (0, _) => None,
            (1, Some((out, tuple, slot)))
                if out.direction == Direction::Out && self.may_be_held(slot) =>
            {
                let second = self.states.get(slot)?.id;
                if let (Exit::Wire { .. }, Some(ether)) = (exit, work.ether) {
                    self.note_answer(second, ether);
                }
                let way = (Onward::Ends(id), EtherAddresses::default());
                self.note_way((second, out), &tuple, Some(way));
                Some((second, out))
            }
            _ => return None,
        };
        Some(Onward::Leads(Box::new(Lead {
            exit,
            then,
            hops: work.original.meta.ttl.checked_sub(work.meta.ttl)?,
            mtu: self.net.interface(interface)?.mtu,
        })))
    }

    /// What the state `first` has sent to a gateway was answered in such a frame.
    fn note_answer(&mut self, first: StateId, ether: EtherAddresses) {
        if let Some((hop, _)) = self.led_to_gateway(first) {
            self.flows.answer_frames.note(hop, ether);
        }
    }

    /// The gateway that a state sends the packets of its opener to.
    fn led_to_gateway(&self, id: StateId) -> Option<((IfIndex, IpAddr), Lead)> {
        let state = self.states.get(self.states.slot(id)?)?;
        let [way, _] = &state.flow.ways;
        match &way.as_ref()?.onward {
            Onward::Leads(lead) => match lead.exit {
                Exit::Gateway {
                    interface,
                    next_hop,
                } => Some(((interface, next_hop), **lead)),
                Exit::Continue | Exit::Socket(_) | Exit::Bridge { .. } | Exit::Wire { .. } => None,
            },
            Onward::Plain | Onward::Ends(_) => None,
        }
    }

    /// The SYN of a connection has been sent to a gateway, by the state `id` and that where it has left:
    /// both are put into the cache, if it is known in what frame the answer will come.
    pub(super) fn expect_answer(&mut self, id: StateId) {
        let Some(expected) = self.expected(id) else {
            return;
        };
        let slots = expected.map(|(slot, way)| {
            if let Some(state) = self.states.get_mut(slot) {
                let [_, of_other] = &mut state.flow.ways;
                *of_other = Some(way);
            }
            slot
        });
        self.put_slots(&slots);
    }

    /// The ways of the answer: [`Engine::wire_exit`] puts it on the wire of the client.
    fn expected(&self, id: StateId) -> Option<[(u32, Plain); 2]> {
        let (hop, lead) = self.led_to_gateway(id)?;
        let ether = *self.flows.answer_frames.0.get(&hop)?;
        let (second, out) = lead.then?;
        let slots = [self.states.slot(id)?, self.states.slot(second)?];
        let [entered, left] = slots.map(|slot| self.states.get(slot));
        let (entered, left) = entered.zip(left)?;
        let is_led = has_just_begun(entered) && has_just_begun(left);
        if !is_led || left.route.is_some() || !is_routed_out(entered, out.name) {
            return None;
        }
        let origin = self.net.named(entered.origin)?;
        let client = Place {
            index: origin.index,
            name: entered.origin,
            direction: Direction::Out,
        };
        let gateway = Place {
            direction: Direction::In,
            ..out
        };
        let back = Lead {
            exit: Exit::Wire {
                interface: origin.index,
                ether: entered.ether?.reversed(),
            },
            then: Some((id, client)),
            hops: 1,
            mtu: origin.mtu,
        };
        let expected =
            |place, ether, onward| Plain::expected(place, ether, self.flow_generation(), onward);
        let ends = expected(client, EtherAddresses::default(), Onward::Ends(second));
        let leads = expected(gateway, ether, Onward::Leads(Box::new(back)));
        let [first, second] = slots;
        Some([(first, ends), (second, leads)])
    }

    /// A state has been put into the cache: its ways that lead out are told, and those of others
    /// that lead to it.
    pub(super) fn lead_ways(&mut self, slot: u32) {
        let Some(state) = self.states.get(slot) else {
            return;
        };
        for (way, noted) in state.flow.ways.clone().into_iter().enumerate() {
            match noted.map(|noted| noted.onward) {
                Some(Onward::Leads(_)) => self.lead_way(slot, way),
                Some(Onward::Ends(first)) => {
                    for way in 0..2 {
                        if let Some(first) = self.states.slot(first) {
                            self.lead_way(first, way);
                        }
                    }
                }
                Some(Onward::Plain) | None => {}
            }
        }
    }

    fn lead_way(&mut self, slot: u32, way: usize) {
        let generation = self.flow_generation();
        let Some(state) = self.states.get(slot) else {
            return;
        };
        let noted = state.flow.ways.get(way).cloned().flatten();
        let Some(noted) = noted.filter(|noted| noted.generation == generation) else {
            return;
        };
        let Onward::Leads(lead) = noted.onward else {
            return;
        };
        if !self.is_where_client_is(&lead) {
            return;
        }
        let then = match lead.then {
            None => None,
            Some((second, out)) => match self.way_of(second, out) {
                Some(then) => Some(then),
                None => return,
            },
        };
        let exit = FlowExit {
            exit: lead.exit,
            then,
            hops: lead.hops,
            mtu: lead.mtu,
        };
        let Some((cache, held, state)) = self.cache_and_held(slot) else {
            return;
        };
        let place = held.places.get(way).copied().flatten();
        let Some(place) = place.filter(|_| held.generation == generation) else {
            return;
        };
        let tuple = state.side(place.direction).tuple(place.direction);
        let key = key_of(&tuple, place, noted.ether);
        cache.lead(held.id, way, &key, &exit);
    }

    /// Whether the client, onto whose wire a way leads, has not sent in another frame since that was noted.
    fn is_where_client_is(&self, lead: &Lead) -> bool {
        let Exit::Wire { ether, .. } = lead.exit else {
            return true;
        };
        let slot = lead.then.and_then(|(client, _)| self.states.slot(client));
        let client = slot.and_then(|slot| self.states.get(slot)?.ether);
        client.map(EtherAddresses::reversed) == Some(ether)
    }

    /// The flow in the cache, and the way of it, that packets of the state pass by at `out`.
    fn way_of(&self, id: StateId, out: Place) -> Option<(crate::flow::FlowId, usize)> {
        let state = self.states.get(self.states.slot(id)?)?;
        let way = usize::from(out.direction != state.direction);
        let held = state.flow.held?;
        let is_current = held.generation == self.flow_generation();
        let place = held.places.get(way).copied().flatten();
        let place = place.filter(|_| is_current)?;
        let ends = state.flow.ways.get(way)?.as_ref()?;
        let is_there = matches!(ends.onward, Onward::Ends(_)) && place.index == out.index;
        is_there.then_some((held.id, way))
    }
}

/// Whether it is a connection of which nothing but the SYN was heard, and that the cache has not.
fn has_just_begun(state: &State) -> bool {
    state.protocol() == Protocol::TCP
        && tcp::has_just_begun(&state.source, &state.destination)
        && !state.flow.is_held()
}
