//! Rules for frames with their names looked up.

use super::Compiler;
use crate::ether::EtherRule;
use crate::evaluate::ether::{CompiledEtherRule, ETHER_SKIP_STEPS, same_ether_criteria};
use crate::evaluate::skip_steps;

impl Compiler<'_> {
    /// Installs the rules.
    pub(super) fn ether_list(&mut self, rules: Vec<EtherRule>) -> Vec<CompiledEtherRule> {
        let numbered = (0u32..).zip(rules);
        let mut compiled: Vec<CompiledEtherRule> = numbered
            .map(|(number, rule)| self.ether_rule(number, rule))
            .collect();
        let steps = skip_steps(&compiled, same_ether_criteria);
        for (rule, steps) in compiled.iter_mut().zip(steps) {
            rule.skip = steps;
        }
        compiled
    }

    fn ether_rule(&mut self, number: u32, rule: EtherRule) -> CompiledEtherRule {
        let queue = rule.queue.as_ref();
        CompiledEtherRule {
            action: rule.action,
            interface: self.interface(rule.interface.as_ref()),
            direction: rule.direction,
            ether_type: rule.ether_type,
            source: rule.source,
            destination: rule.destination,
            ip_source: self.endpoint(&rule.ip_source),
            ip_destination: self.endpoint(&rule.ip_destination),
            tagged: rule
                .tagged
                .as_ref()
                .map(|(no, tag)| (*no, self.names.intern(tag))),
            quick: rule.quick,
            tag: rule.tag.as_ref().map(|tag| self.names.intern(tag)),
            queue: queue.and_then(|queue| self.queue_numbers.intern(queue)),
            bridge_to: rule.bridge_to.as_ref().map(|name| self.names.intern(name)),
            call: rule.anchor.as_ref().and_then(|call| self.call(call)),
            skip: [0; ETHER_SKIP_STEPS],
            id: self.ether_rules.install(rule, &self.anchor, number),
        }
    }
}
