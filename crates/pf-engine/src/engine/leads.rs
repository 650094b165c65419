//! Flows that the engine routes, in a flow cache: a packet passes a state where it comes in, often
//! another where it leaves (PF's second evaluation), and goes out by a gateway or onto a wire. The
//! cache is told of the way when it has both states.

use crate::decision::{EtherAddresses, Exit, StateId};
use crate::engine::Engine;
use crate::engine::flows::{Lead, Onward, key_of};
use crate::engine::packet::{Passed, Place, Refused, StateRef, Work};
use crate::env::Env;
use crate::flow::FlowExit;
use crate::key::Tuple;
use crate::rule::Direction;

/// Evaluations of a packet behind that at its hook.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seconds {
    made: usize,
    /// The last: where it was, the packet there, and the state that it met.
    last: Option<(Place, Tuple, Option<u32>)>,
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
        let slot = match passed.state {
            StateRef::Existing(slot) => Some(slot),
            StateRef::None(_) | StateRef::Pending(_) => None,
        };
        work.seconds.made = work.seconds.made.saturating_add(1);
        work.seconds.last = Some((out, tuple, slot));
        Ok(passed)
    }

    /// What the packet, which the state `id` has let pass at its hook, tells of the way by `exit`;
    /// nothing if the next one may go another.
    pub(super) fn note_lead(&mut self, id: StateId, exit: Exit, work: &Work<'_>) -> Option<Onward> {
        let (Exit::Gateway { interface, .. } | Exit::Wire { interface, .. }) = exit else {
            return None;
        };
        let then = match (work.seconds.made, work.seconds.last) {
            (0, _) => None,
            (1, Some((out, tuple, Some(slot))))
                if out.direction == Direction::Out && self.may_be_held(slot) =>
            {
                let second = self.states.get(slot)?.id;
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
