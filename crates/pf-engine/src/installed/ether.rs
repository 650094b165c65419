//! Rules for frames in force, with their counters.

use super::RuleId;
use crate::anchor::AnchorPath;
use crate::counters::Count;
use crate::ether::EtherRule;
use crate::rule::Direction;
use crate::slab::Slab;
use crate::time::Instant;
use crate::view::EtherCounters;

/// A rule for frames that was installed.
#[derive(Debug)]
pub(crate) struct EtherEntry {
    pub(crate) rule: EtherRule,
    /// The ruleset that it is in.
    pub(crate) anchor: AnchorPath,
    /// Its number there.
    pub(crate) number: u32,
    pub(crate) counters: EtherCounters,
}

/// All rules for frames. Nothing outlives them: they make no states.
#[derive(Debug, Default)]
pub(crate) struct EtherRules {
    slab: Slab<EtherEntry>,
}

impl EtherRules {
    pub(crate) fn install(&mut self, rule: EtherRule, anchor: &AnchorPath, number: u32) -> RuleId {
        let entry = EtherEntry {
            rule,
            anchor: anchor.clone(),
            number,
            counters: EtherCounters::default(),
        };
        RuleId(self.slab.insert(entry).unwrap_or(u32::MAX))
    }

    pub(crate) fn get(&self, id: RuleId) -> Option<&EtherEntry> {
        self.slab.get(id.0)
    }

    pub(crate) fn remove(&mut self, id: RuleId) {
        self.slab.remove(id.0);
    }

    pub(crate) fn count_evaluation(&mut self, id: RuleId) {
        if let Some(entry) = self.slab.get_mut(id.0) {
            let evaluations = &mut entry.counters.evaluations;
            *evaluations = evaluations.wrapping_add(1);
        }
    }

    /// The rule has decided about a frame.
    pub(crate) fn count_frame(
        &mut self,
        id: RuleId,
        direction: Direction,
        bytes: u64,
        now: Instant,
    ) {
        if let Some(entry) = self.slab.get_mut(id.0) {
            entry.counters.traffic.count(direction, Count::one(bytes));
            entry.counters.last_active = Some(now);
        }
    }

    /// `pfctl -z`.
    pub(crate) fn clear_counters(&mut self) {
        for (_, entry) in self.slab.iter_mut() {
            entry.counters = EtherCounters::default();
        }
    }
}
