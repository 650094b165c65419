//! The states of a next hop that failed are moved or removed, in pieces: packets cannot wait until a
//! million were looked at.
//!
//! For packets it is as if all had been done at once: a state that is not reached yet has its turn when
//! a packet meets it.

use std::net::IpAddr;

use super::{Fate, Pools, Reset, Vacated};
use crate::decision::StateId;
use crate::engine::Engine;
use crate::env::Env;
use crate::hops::OnFailure;
use crate::key::StateKey;
use crate::names::NameId;
use crate::route::NextHop;
use crate::rule::Direction;
use crate::state::State;

/// A next hop whose states are being looked at.
#[derive(Debug)]
pub(in crate::engine) struct Vacating {
    gone: NextHop,
    policy: OnFailure,
    next: StateId,
    /// States made since it failed are not meant; nothing once it works again.
    last: Option<StateId>,
    /// The pools of the rules in force, as of an epoch.
    pools: Option<(u64, Pools)>,
    done: Vacated,
}

impl Vacating {
    fn is_routed_there(&self, state: &State) -> bool {
        state.route.is_some_and(|(_, to)| to == self.gone)
    }

    /// Whether the state is one that it will come to.
    fn awaits(&self, state: &State) -> bool {
        let is_ahead = self.next <= state.id && self.last.is_some_and(|last| state.id <= last);
        is_ahead && self.is_routed_there(state)
    }
}

impl Engine {
    /// Does with the states of a next hop what `policy` says, in one go.
    pub fn vacate_next_hop(
        &mut self,
        interface: &str,
        address: IpAddr,
        policy: OnFailure,
        env: &mut dyn Env,
    ) -> Vacated {
        self.begin_vacating(interface, address, policy);
        let mut vacated = Vacated::default();
        while self.is_vacating() {
            let (resets, done) = self.go_on_vacating(usize::MAX, env);
            vacated.resets.extend(resets);
            vacated = Vacated {
                resets: vacated.resets,
                ..done.unwrap_or_default()
            };
        }
        vacated
    }

    /// Begins to do with the states of a next hop what `policy` says. To be called after
    /// [`Engine::set_next_hop_usable`]: a state is only touched when its rule has another next hop
    /// that works, so nothing is lost while there is no better way. Next hops that failed before have
    /// their turn first.
    pub fn begin_vacating(&mut self, interface: &str, address: IpAddr, policy: OnFailure) {
        let gone = NextHop {
            interface: self.names.intern(interface),
            address: Some(address),
        };
        self.vacating.push_back(Vacating {
            gone,
            policy,
            next: StateId(0),
            last: Some(StateId(self.next_state)),
            pools: None,
            done: Vacated::default(),
        });
    }

    /// Whether there is something for [`Engine::go_on_vacating`].
    #[must_use]
    pub fn is_vacating(&self) -> bool {
        !self.vacating.is_empty()
    }

    /// Looks at the next states, at most `most`. Returns the RSTs that are to be sent by now, and,
    /// with the last of its states, what has become of those of one next hop: in the order in which
    /// they were begun.
    pub fn go_on_vacating(
        &mut self,
        most: usize,
        env: &mut dyn Env,
    ) -> (Vec<Reset>, Option<Vacated>) {
        let Some(mut vacating) = self.vacating.pop_front() else {
            return (Vec::new(), None);
        };
        let has_more = self.vacate_piece(&mut vacating, most, env);
        self.forget_stale_flows();
        let mut resets = std::mem::take(&mut vacating.done.resets);
        if has_more {
            self.vacating.push_front(vacating);
            let others = self.vacating.iter_mut().skip(1);
            resets.extend(others.flat_map(|other| std::mem::take(&mut other.done.resets)));
            return (resets, None);
        }
        (resets, Some(vacating.done))
    }

    fn vacate_piece(&mut self, vacating: &mut Vacating, most: usize, env: &mut dyn Env) -> bool {
        let Some(last) = vacating.last else {
            return false;
        };
        let (mut looked_at, mut routed) = (0, Vec::new());
        for (slot, state) in self.states.iter_from(vacating.next).take(most) {
            if state.id > last {
                break;
            }
            looked_at += 1;
            vacating.next = StateId(state.id.0.saturating_add(1));
            if vacating.is_routed_there(state) {
                routed.push((state.id, slot));
            }
        }
        let slots: Vec<u32> = routed.iter().map(|(_, slot)| *slot).collect();
        // By what the cache knows they live perhaps.
        self.settle_slots(&slots);
        for (id, slot) in routed {
            // A state may have gone with another one.
            if self.states.get(slot).is_some_and(|state| state.id == id) {
                self.vacate_one(vacating, slot, env);
            }
        }
        looked_at == most
    }

    fn vacate_one(&mut self, vacating: &mut Vacating, slot: u32, env: &mut dyn Env) {
        let state = self.states.get(slot);
        let lives = |state: &State| !self.lifetimes().is_over(state);
        if !state.is_some_and(|state| lives(state) && vacating.is_routed_there(state)) {
            return;
        }
        let known = vacating.pools.take();
        let known = known.filter(|(epoch, _)| *epoch == self.epoch);
        let (epoch, mut pools) = known.unwrap_or_else(|| (self.epoch, self.route_pools()));
        let done = &mut vacating.done;
        match self.fate(slot, vacating.gone, vacating.policy, &mut pools, env) {
            Fate::Moves(hop, load) => {
                self.move_state(slot, vacating.gone, hop);
                self.move_load(slot, load);
                done.moved = done.moved.saturating_add(1);
            }
            Fate::Dies => {
                done.resets.extend(self.reset_of(slot));
                self.kill_with_companion(slot, vacating.gone);
                done.killed = done.killed.saturating_add(1);
            }
            Fate::Stays => done.kept = done.kept.saturating_add(1),
        }
        vacating.pools = Some((epoch, pools));
    }

    /// A packet is about to meet states with this key: those that are still to be moved or removed
    /// have their turn now.
    pub(in crate::engine) fn vacate_key(
        &mut self,
        side: Direction,
        key: &StateKey,
        env: &mut dyn Env,
    ) {
        if self.vacating.is_empty() {
            return;
        }
        let chain = self.states.chain(side, key);
        let met: Vec<_> = chain
            .filter_map(|slot| Some((self.states.get(slot)?.id, slot)))
            .collect();
        let mut all = std::mem::take(&mut self.vacating);
        for vacating in &mut all {
            for (id, slot) in &met {
                self.vacate_met(vacating, (*id, *slot), env);
            }
        }
        self.vacating = all;
    }

    fn vacate_met(
        &mut self,
        vacating: &mut Vacating,
        (id, slot): (StateId, u32),
        env: &mut dyn Env,
    ) {
        let awaits = |state: &State| state.id == id && vacating.awaits(state);
        if self.states.get(slot).is_some_and(awaits) {
            self.settle(slot);
            self.vacate_one(vacating, slot, env);
            // What the rules were asked meanwhile is not what they are asked for the packet.
            self.flows.record().spoil();
        }
    }

    /// A next hop works again: its states stay.
    pub(super) fn end_vacating(&mut self, interface: NameId, address: IpAddr) {
        let back = NextHop {
            interface,
            address: Some(address),
        };
        for vacating in self.vacating.iter_mut().filter(|one| one.gone == back) {
            vacating.last = None;
        }
    }
}
