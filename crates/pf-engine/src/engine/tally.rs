//! Counters that a packet moves: those of rules, tables, sources and interfaces.

use std::net::IpAddr;

use crate::addr::Family;
use crate::counters::Count;
use crate::engine::Engine;
use crate::engine::packet::Place;
use crate::engine::translate::Course;
use crate::installed::RuleId;
use crate::names::NameId;
use crate::replay::Judgement;
use crate::rule::Direction;
use crate::view::InterfaceCounters;

/// Whose counters a packet moves.
pub(super) struct Tally<'a> {
    pub(super) rule: Option<RuleId>,
    /// The rule of the main ruleset that led to the anchor of the deciding rule.
    pub(super) anchor: Option<RuleId>,
    pub(super) translation_rule: Option<RuleId>,
    pub(super) match_rules: &'a [RuleId],
    pub(super) passed: bool,
    /// Addresses as the rule saw them, for the tables it names.
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
}

impl Engine {
    /// Counts evaluations for `set loginterface`.
    pub(super) fn count_at(&mut self, place: Place, family: Family, count: Count, passed: bool) {
        if place.name == NameId::UNKNOWN {
            return;
        }
        let fresh = InterfaceCounters::since(self.interfaces_since);
        let counters = self.interfaces.entry(place.name).or_insert(fresh);
        let counters = match family {
            Family::Inet => &mut counters.inet,
            Family::Inet6 => &mut counters.inet6,
        };
        let counters = if passed {
            &mut counters.passed
        } else {
            &mut counters.blocked
        };
        counters.count(place.direction, count);
    }

    /// Moves the counters that a state has beside its own.
    pub(super) fn tally_state(&mut self, slot: u32, direction: Direction, count: Count) {
        let Some(state) = self.states.get(slot) else {
            return;
        };
        // As the rules saw the packet: after translation, unless that is into another family.
        let seen = if state.changes_family() {
            state.origin_tuple()
        } else {
            state.outcome()
        };
        let (rule, translation_rule) = (state.rule, state.translation_rule);
        let tally = Tally {
            rule,
            anchor: state.anchor,
            translation_rule,
            match_rules: &[],
            passed: true,
            source: seen.source.address,
            destination: seen.destination.address,
        };
        for key in &state.sources {
            let traffic = (count.packets, count.bytes);
            self.sources.count(key, state.id, traffic);
        }
        let match_rule = |engine: &Self, at: usize| {
            let state = engine.states.get(slot)?;
            state.match_rules.get(at).copied()
        };
        let mut at = 0;
        while let Some(rule) = match_rule(self, at) {
            self.rules.count_packet(rule, direction, count);
            self.tally_tables(rule, direction, count, &tally, true);
            at += 1;
        }
        self.tally(direction, count, &tally);
    }

    /// Moves the counters of rules and tables.
    pub(super) fn tally(&mut self, direction: Direction, count: Count, tally: &Tally<'_>) {
        let rules = tally.rule.into_iter().chain(tally.anchor);
        let rules = rules.chain(tally.translation_rule);
        for rule in rules.chain(tally.match_rules.iter().copied()) {
            self.rules.count_packet(rule, direction, count);
        }
        for rule in tally.match_rules {
            self.tally_tables(*rule, direction, count, tally, true);
        }
        // As in PF, the tables of the filter rule, or of the translation rule if there is none.
        if let Some(rule) = tally.rule.or(tally.translation_rule) {
            self.tally_tables(rule, direction, count, tally, false);
        }
    }

    pub(super) fn tally_course(&mut self, course: &Course, rule: Option<RuleId>, passed: bool) {
        if course.is_imagined {
            return;
        }
        let tally = Tally {
            rule,
            anchor: course.anchor,
            translation_rule: course.translation_rule,
            match_rules: &course.match_rules,
            passed,
            source: course.seen().source.address,
            destination: course.seen().destination.address,
        };
        self.tally(course.place.direction, Count::one(course.bytes), &tally);
        let judgement = Judgement {
            rule,
            anchor: course.anchor,
            translation_rule: course.translation_rule,
            match_rules: Vec::new(),
            passed,
        };
        self.flows.record().decide(judgement, &course.match_rules);
    }
}
