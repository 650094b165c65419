//! What the limits are, how far they are used and how often they were hit.

use std::collections::BTreeMap;

use crate::engine::Engine;
use crate::limits::{LimitSource, LimitView};
use crate::norm::MAX_HELD_BYTES;
use crate::quota::{ERRORS_PER_SECOND, RESETS_PER_SECOND};
use crate::ruleset::Limit;
use crate::state::StateRoom;

impl Engine {
    /// Whether memory for more states will soon be taken, and there may be more: whoever makes it ready
    /// beforehand ([`Engine::add_state_room`]) spares packets that.
    #[must_use]
    pub fn wants_state_room(&self) -> bool {
        self.states.wants_room() && !self.is_reached(Limit::States, self.states.len())
    }

    /// Memory for the states to come.
    pub fn add_state_room(&mut self, room: StateRoom) {
        self.states.add_room(room);
    }

    /// The most there may be, at least 1. A limit of 0 ends where the machine's memory does.
    pub(super) fn bound(&self, limit: Limit) -> u32 {
        match self.limit(limit) {
            0 => self
                .memory
                .map_or(u32::MAX, |memory| limit.capacity(memory).max(1)),
            value => value,
        }
    }

    /// Whether `count` are as many as there may be.
    pub(super) fn is_reached(&self, limit: Limit, count: usize) -> bool {
        u32::try_from(count).map_or(true, |count| count >= self.bound(limit))
    }

    /// A packet was dropped or a command refused for it.
    pub(super) fn hit(&mut self, limit: Limit) {
        self.gauges.hit(limit);
    }

    /// There may be more of them than ever.
    pub(super) fn note_use(&mut self, limit: Limit) {
        let used = self.used(limit);
        self.gauges.note(limit, used);
    }

    fn used(&self, limit: Limit) -> usize {
        match limit {
            Limit::States => self.states.len(),
            Limit::SrcNodes => self.sources.len(),
            Limit::Frags => self.fragments.fragments(),
            Limit::Tables => self.tables.len(),
            Limit::TableEntries => self.tables.total_entries(),
            Limit::Anchors => self.anchors.len(),
            Limit::EtherAnchors => self.ether_anchors_besides(&BTreeMap::new()).len(),
        }
    }

    pub(super) fn limit_views(&self) -> Vec<LimitView> {
        let mut views: Vec<LimitView> = Limit::ALL.map(|limit| self.limit_view(limit)).into();
        views.extend([
            self.fragment_bytes(),
            answers("rsts-per-second", RESETS_PER_SECOND, self.resets.refused()),
            answers(
                "icmp-errors-per-second",
                ERRORS_PER_SECOND,
                self.errors.refused(),
            ),
        ]);
        views
    }

    pub(super) fn hits_of(&self, limit: Limit) -> u64 {
        if limit == Limit::Frags {
            self.fragments.counters().evicted
        } else {
            self.gauges.hits(limit)
        }
    }

    fn limit_view(&self, limit: Limit) -> LimitView {
        LimitView {
            name: limit.name(),
            source: match self.options.limit(limit) {
                Some(_) => LimitSource::Set,
                None => LimitSource::Default,
            },
            value: self.limit(limit).into(),
            used: self.used(limit) as u64,
            peak: self.gauges.peak(limit) as u64,
            hits: self.hits_of(limit),
        }
    }

    fn fragment_bytes(&self) -> LimitView {
        LimitView {
            name: "fragment-bytes",
            source: LimitSource::Fixed,
            value: MAX_HELD_BYTES as u64,
            used: self.fragments.bytes() as u64,
            peak: self.fragments.most_bytes() as u64,
            hits: self.fragments.counters().evicted_for_bytes,
        }
    }
}

/// A limit on answers: nothing is held, so nothing is in use.
const fn answers(name: &'static str, value: u32, refused: u64) -> LimitView {
    LimitView {
        name,
        source: LimitSource::Fixed,
        value: value as u64,
        used: 0,
        peak: 0,
        hits: refused,
    }
}
