//! Where rules were written.

use pf_engine::engine::RuleList;

use crate::expand::RuleSpans;
use crate::source::{Place, Sources, Span};

/// The place of each rule of a ruleset: lists and numbers are those of the ruleset.
#[derive(Clone, Debug)]
pub struct Origins {
    spans: RuleSpans,
    sources: Sources,
}

impl Origins {
    pub(crate) const fn new(spans: RuleSpans, sources: Sources) -> Self {
        Self { spans, sources }
    }

    /// The filter rules' places, to be put back in another order.
    pub(crate) fn take_filter(&mut self) -> Vec<Span> {
        std::mem::take(&mut self.spans.filter)
    }

    pub(crate) fn push_filter(&mut self, span: Span) {
        self.spans.filter.push(span);
    }

    /// Where rule `number` of `list` begins. Rules that a list was multiplied to share a place,
    /// and so do the rules of one `antispoof`.
    #[must_use]
    pub fn place(&self, list: RuleList, number: usize) -> Option<Place> {
        Some(self.sources.place(self.span(list, number)?))
    }

    pub(crate) fn span(&self, list: RuleList, number: usize) -> Option<Span> {
        self.list(list).get(number).copied()
    }

    pub(crate) fn list(&self, list: RuleList) -> &[Span] {
        match list {
            RuleList::Scrub => &self.spans.scrub,
            RuleList::Nat => &self.spans.nat,
            RuleList::Rdr => &self.spans.rdr,
            RuleList::Binat => &self.spans.binat,
            RuleList::Filter => &self.spans.filter,
        }
    }
}
