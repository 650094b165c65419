//! States on their way into a flow cache.

use std::net::IpAddr;

use super::cached::{flow_of, places};
use super::{Held, Plain, opener};
use crate::counters::Count;
use crate::engine::Engine;
use crate::engine::packet::Place;
use crate::flow::{Flow, FlowId};

/// A state that is about to be put into the cache.
#[derive(Debug)]
pub(super) struct Prepared {
    slot: u32,
    places: [Option<Place>; 2],
    opener: IpAddr,
    flow: Flow,
}

impl Engine {
    /// Nothing is expected where packets might meet another state first.
    fn drop_doubtful(&mut self, slot: u32) {
        let Some(state) = self.states.get(slot) else {
            return;
        };
        let is_alone = |way: &Plain| {
            let side = way.place.direction;
            let mut chain = self.states.chain(side, state.side(side));
            chain.all(|other| other == slot)
        };
        let keep = |way: &Plain| !way.is_expected || is_alone(way);
        let ways = state.flow.ways.clone().map(|way| way.filter(keep));
        if let Some(state) = self.states.get_mut(slot) {
            state.flow.ways = ways;
        }
    }

    pub(super) fn put_flow(&mut self, slot: u32) {
        self.put_slots(&[slot]);
    }

    /// Those of these states that may be there.
    pub(in crate::engine) fn put_slots(&mut self, slots: &[u32]) {
        let prepared = slots.iter().filter_map(|slot| self.wish(*slot));
        let prepared = prepared.collect();
        self.put_flows(prepared);
    }

    fn wish(&mut self, slot: u32) -> Option<Prepared> {
        if let Some(state) = self.states.get_mut(slot) {
            state.flow.is_wished = true;
        }
        self.prepare_flow(slot)
    }

    /// A state that is wished for as the cache would have it, once.
    pub(super) fn prepare_flow(&mut self, slot: u32) -> Option<Prepared> {
        let may_be_held = self.repeats() && self.may_be_held(slot);
        let state = self.states.get_mut(slot)?;
        let is_wished = std::mem::take(&mut state.flow.is_wished);
        if !is_wished || !may_be_held || state.flow.is_held() {
            return None;
        }
        self.drop_doubtful(slot);
        let state = self.states.get(slot)?;
        let places = places(state, self.flows.generation);
        let lifetime = self.lifetimes().earliest_end(state);
        Some(Prepared {
            slot,
            places,
            opener: opener(state),
            flow: flow_of(state, places, lifetime)?,
        })
    }

    pub(super) fn put_flows(&mut self, mut prepared: Vec<Prepared>) {
        let wanted = prepared.len();
        prepared.retain(|prepared| self.flows.reserve(prepared.opener));
        let flows: Vec<_> = prepared.iter().map(|prepared| prepared.flow).collect();
        let cache = self.flows.cache.as_mut().filter(|_| !flows.is_empty());
        let ids = cache.map_or_else(Vec::new, |cache| cache.put_all(&flows));
        let ids = ids.into_iter().chain(std::iter::repeat(None));
        let mut put = 0;
        for (prepared, id) in prepared.into_iter().zip(ids) {
            match id {
                Some(id) if self.hold(&prepared, id) => put += 1,
                id => self.give_back(id, prepared.opener),
            }
        }
        let refused = u64::try_from(wanted.saturating_sub(put)).unwrap_or_default();
        let statistics = &mut self.flows.statistics;
        statistics.refused = statistics.refused.wrapping_add(refused);
    }

    /// Nobody has what was put into the cache, if anything was: its slot is free again.
    fn give_back(&mut self, id: Option<FlowId>, opener: IpAddr) {
        if let (Some(id), Some(cache)) = (id, &mut self.flows.cache) {
            cache.take(id);
        }
        self.flows.release(opener);
    }

    /// The cache holds a state: false if there is none.
    fn hold(&mut self, prepared: &Prepared, id: FlowId) -> bool {
        let Some(state) = self.states.get_mut(prepared.slot) else {
            return false;
        };
        self.flows.slots.insert(id, prepared.slot);
        state.flow.held = Some(Held {
            id,
            places: prepared.places,
            generation: self.flows.generation,
            counted: <[Count; 2]>::default(),
        });
        self.flows.count_put();
        self.states.note_held();
        self.note_meeting(prepared.slot);
        self.lead_ways(prepared.slot);
        true
    }

    /// The cache has opened the connection of this state itself, and holds it already. False if it
    /// is another than it would have been given.
    pub(in crate::engine) fn hold_opened(&mut self, slot: u32, id: FlowId) -> bool {
        let prepared = self.wish(slot);
        let Some(prepared) =
            prepared.filter(|prepared| prepared.flow.keys.iter().all(Option::is_some))
        else {
            return false;
        };
        let has_room = self.flows.reserve(prepared.opener);
        if !has_room {
            self.flows.exceed(prepared.opener);
        }
        if !self.hold(&prepared, id) {
            self.flows.release(prepared.opener);
            return false;
        }
        if !has_room {
            self.settle(slot);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::engine::EngineConfig;
    use crate::flow::{FlowBasis, FlowCache, FlowChanged, FlowProgress};
    use crate::time::Instant;

    /// A cache with one slot, and whether that is in use.
    #[derive(Clone, Debug, Default)]
    struct OneSlot(Arc<AtomicBool>);

    impl FlowCache for OneSlot {
        fn put_all(&mut self, flows: &[Flow]) -> Vec<Option<FlowId>> {
            let free = || !self.0.swap(true, Ordering::Relaxed);
            flows.iter().map(|_| free().then_some(FlowId(0))).collect()
        }

        fn read_all(&mut self, flows: &[FlowId]) -> Vec<FlowProgress> {
            vec![FlowProgress::default(); flows.len()]
        }

        fn take_all(&mut self, flows: &[FlowId]) -> Vec<FlowProgress> {
            self.0.store(false, Ordering::Relaxed);
            self.read_all(flows)
        }

        fn changed(&mut self) -> Vec<FlowChanged> {
            Vec::new()
        }

        fn suspend(&mut self) -> bool {
            true
        }

        fn states_max(&self) -> u32 {
            1
        }

        fn memory(&self) -> u64 {
            0
        }
    }

    #[test]
    fn what_is_put_for_a_state_that_is_gone_gives_its_slot_back() {
        let now = Instant::from_secs(1);
        let config = EngineConfig {
            hash_key: [1, 2],
            creator_id: 3,
        };
        let mut engine = Engine::new(now, config);
        let cache = OneSlot::default();
        engine.set_flow_cache(Box::new(cache.clone()));
        let flow = Flow {
            basis: FlowBasis::State,
            keys: [None; 2],
            becomes: [None; 2],
            windows: None,
            shifts: [0; 2],
            refreshed: now,
            lifetime: Duration::from_secs(1),
        };
        engine.put_flows(vec![Prepared {
            slot: 7,
            places: [None; 2],
            opener: Ipv4Addr::LOCALHOST.into(),
            flow,
        }]);
        assert!(!cache.0.load(Ordering::Relaxed));
        assert_eq!(engine.flow_statistics().refused, 1);
    }
}
