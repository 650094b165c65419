//! Writes down the steps of an evaluation, while [`Engine::explain_packet`] runs.

use crate::anchor::AnchorPath;
use crate::decision::Exit;
use crate::engine::packet::{Place, Work};
use crate::engine::systems::systems;
use crate::engine::translate::Course;
use crate::engine::{Engine, RuleList};
use crate::evaluate::{CompiledRule, Tracer};
use crate::explain::{Criterion, Outcome, Seen, Step};
use crate::rule::RouteKind;

/// A rule that was compared: where it stands, where the next one is, what came of it.
pub(super) type Tested = (usize, usize, Result<(), Criterion>);

impl Tracer for Vec<Tested> {
    fn tested(&mut self, at: usize, next: usize, outcome: Result<(), Criterion>) {
        self.push((at, next, outcome));
    }
}

impl Engine {
    pub(super) fn trace_entry(&mut self, place: Place, work: &Work<'_>) {
        if self.trace.is_none() {
            return;
        }
        let packet = self.seen(&self.course(place, work));
        let interface = self.names.name(place.name).to_owned();
        self.step(Step::Entered {
            interface,
            direction: place.direction,
            packet,
        });
    }

    pub(super) fn trace_state(&mut self, slot: u32) {
        if self.trace.is_none() {
            return;
        }
        if let Some(state) = self.states.get(slot) {
            let id = state.id;
            self.step(Step::StateFound { id });
        }
    }

    pub(super) fn trace_tests(&mut self, rules: &[CompiledRule], tested: &[Tested]) {
        for &(at, next, outcome) in tested {
            if let Some((anchor, list, number)) = self.identity(rules.get(at)) {
                let outcome = outcome.map_or_else(Outcome::Failed, |()| Outcome::Matched);
                self.step(Step::Tested {
                    anchor,
                    list,
                    number,
                    outcome,
                });
            }
            let first = self.identity(rules.get(at.saturating_add(1)));
            let last = self.identity(rules.get(next.saturating_sub(1)));
            if next > at.saturating_add(1)
                && let (Err(criterion), Some((anchor, list, first)), Some((_, _, last))) =
                    (outcome, first, last)
            {
                self.step(Step::Skipped {
                    anchor,
                    list,
                    first,
                    last,
                    criterion,
                });
            }
        }
    }

    /// Of a rule that has a pool.
    pub(super) fn trace_translation(&mut self, rule: &CompiledRule, course: &Course) {
        if self.trace.is_none() || !rule.translates() {
            return;
        }
        let packet = self.seen(course);
        if let Some((anchor, list, number)) = self.identity(Some(rule)) {
            self.step(Step::Translated {
                anchor,
                list,
                number,
                packet,
            });
        }
    }

    pub(super) fn trace_decision(&mut self, course: &Course, rule: Option<&CompiledRule>) {
        if self.trace.is_none() {
            return;
        }
        let decided = self.identity(rule);
        let number = decided.as_ref().map(|(_, _, number)| *number);
        let anchor = decided.map(|(anchor, ..)| anchor).unwrap_or_default();
        self.step(if course.nat_pass {
            Step::PassedByTranslation
        } else {
            Step::Decided { anchor, number }
        });
    }

    pub(super) fn trace_new_state(&mut self) {
        self.step(Step::StateMade);
    }

    pub(super) fn trace_route(&mut self, kind: RouteKind, out: Place, exit: Exit) {
        if let (Some(_), Exit::Gateway { next_hop, .. }) = (&self.trace, exit) {
            let interface = self.names.name(out.name).to_owned();
            self.step(Step::Routed {
                kind,
                interface,
                next_hop,
            });
        }
    }

    pub(super) fn step(&mut self, step: Step) {
        if let Some(trace) = &mut self.trace {
            trace.push(step);
        }
    }

    fn identity(&self, rule: Option<&CompiledRule>) -> Option<(AnchorPath, RuleList, u32)> {
        let entry = self.rules.get(rule?.id)?;
        let list = RuleList::of(&entry.rule.action);
        Some((entry.anchor.clone(), list, entry.number?))
    }

    fn seen(&self, course: &Course) -> Seen {
        let tuple = course.tuple;
        Seen {
            family: tuple.family(),
            protocol: tuple.protocol,
            source: tuple.source,
            destination: tuple.destination,
            flags: course.flags,
            icmp: course.icmp,
            tos: course.tos,
            systems: systems(&self.fingerprints, course).to_vec(),
            tag: course.tag.map(|tag| self.names.name(tag).to_owned()),
            received_on: course
                .received_on
                .and_then(|index| self.net.interface(index))
                .map(|interface| self.names.name(interface.name).to_owned()),
            priority: course.priority.unwrap_or_default(),
        }
    }
}
