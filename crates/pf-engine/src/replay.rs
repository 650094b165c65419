//! What an evaluation has touched, so that packets which are decided like its own without being
//! evaluated can be counted as if they had been.

use crate::installed::RuleId;
use crate::installed::runs::RunId;
use crate::table::TableId;

/// Rules and tables that one evaluation may touch and be repeated: more than the rules of any
/// ruleset without skip steps that we have seen, and 128 KB.
const TOUCHES_MAX: usize = 16_384;

/// A counter that an evaluation has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Touch {
    /// The rule was compared.
    Rule(RuleId),
    /// So were the rules that begin the groups of a run from here to the one before there, or to the
    /// last.
    Run(RunId, u32, Option<u32>),
    /// An address was looked up in the table, and found or not.
    Table(TableId, bool),
}

/// Whose packets and bytes the packet was counted for.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Judgement {
    /// The rule that decided.
    pub(crate) rule: Option<RuleId>,
    /// The rule of the main ruleset that led to the anchor of `rule`.
    pub(crate) anchor: Option<RuleId>,
    pub(crate) translation_rule: Option<RuleId>,
    pub(crate) match_rules: Vec<RuleId>,
    pub(crate) passed: bool,
}

/// All that counts a packet that is decided so.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Replay {
    pub(crate) judgement: Judgement,
    pub(crate) touches: Vec<Touch>,
}

/// The record of the packet at hand. Its room is used again for the next one.
#[derive(Debug, Default)]
pub(crate) struct Record {
    is_on: bool,
    is_spoiled: bool,
    judgements: u32,
    judgement: Judgement,
    touches: Vec<Touch>,
}

impl Record {
    /// For the next packet; `is_on` if anybody wants to know.
    pub(crate) fn begin(&mut self, is_on: bool) {
        self.is_on = is_on;
        self.is_spoiled = false;
        self.judgements = 0;
        self.touches.clear();
    }

    pub(crate) fn touch(&mut self, touch: Touch) {
        if !self.is_on {
            return;
        }
        if self.touches.len() < TOUCHES_MAX {
            self.touches.push(touch);
        } else {
            self.spoil();
        }
    }

    /// An evaluation has decided; its `match` rules were these.
    pub(crate) fn decide(&mut self, mut judgement: Judgement, match_rules: &[RuleId]) {
        if !self.is_on {
            return;
        }
        self.judgements = self.judgements.saturating_add(1);
        let mut kept = std::mem::take(&mut self.judgement.match_rules);
        kept.clear();
        kept.extend_from_slice(match_rules);
        judgement.match_rules = kept;
        self.judgement = judgement;
    }

    /// What was done with the packet is not done with the next.
    pub(crate) fn spoil(&mut self) {
        self.is_spoiled = true;
    }

    /// The tables that it was looked up in; nothing if nobody knows all.
    pub(crate) fn tables(&self) -> Option<impl Iterator<Item = TableId>> {
        let is_known = self.is_on && self.touches.len() < TOUCHES_MAX;
        let tables = self.touches.iter().filter_map(|touch| match touch {
            Touch::Table(table, _) => Some(*table),
            Touch::Rule(_) | Touch::Run(..) => None,
        });
        is_known.then_some(tables)
    }

    /// Whether the packet was decided by one evaluation, which can be counted again.
    pub(crate) const fn is_whole(&self) -> bool {
        self.is_on && !self.is_spoiled && self.judgements == 1
    }

    /// What counts such a packet.
    pub(crate) fn replay(&self) -> Replay {
        Replay {
            judgement: self.judgement.clone(),
            touches: self.touches.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_evaluated_once_and_not_too_long_can_be_repeated() {
        let mut record = Record::default();
        let rule = Touch::Rule(RuleId::from_number(1));
        record.touch(rule);
        assert!(!record.is_whole(), "nobody wants to know");
        record.begin(true);
        record.touch(rule);
        record.decide(Judgement::default(), &[RuleId::from_number(2)]);
        assert!(record.is_whole());
        assert_eq!(record.replay().touches, [rule]);
        assert_eq!(record.replay().judgement.match_rules.len(), 1);
        assert_eq!(record.tables().map(Iterator::count), Some(0));
        record.decide(Judgement::default(), &[]);
        assert!(!record.is_whole(), "two evaluations");
        record.begin(true);
        record.decide(Judgement::default(), &[]);
        (0..=TOUCHES_MAX).for_each(|_| record.touch(rule));
        assert!(!record.is_whole(), "too long");
        assert!(record.tables().is_none(), "not all are known");
    }
}
