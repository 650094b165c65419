//! Where rules were written.

use std::collections::BTreeMap;

use pf_engine::anchor::AnchorPath;
use pf_engine::engine::RuleList;

use crate::expand::RuleSpans;
use crate::source::{Place, Sources, Span};

/// The place of each rule of a ruleset: lists and numbers are those of the ruleset.
#[derive(Clone, Debug)]
pub struct Origins {
    spans: BTreeMap<AnchorPath, RuleSpans>,
    /// The ruleset that the text is for.
    base: AnchorPath,
    sources: Sources,
}

impl Origins {
    pub(crate) const fn new(
        spans: BTreeMap<AnchorPath, RuleSpans>,
        base: AnchorPath,
        sources: Sources,
    ) -> Self {
        Self {
            spans,
            base,
            sources,
        }
    }

    /// The filter rules' places of one ruleset, to be put back in another order.
    pub(crate) fn take_filter(&mut self, anchor: &AnchorPath) -> Vec<Span> {
        let spans = self.spans.get_mut(anchor);
        spans.map_or_else(Vec::new, |spans| std::mem::take(&mut spans.filter))
    }

    pub(crate) fn put_filter(&mut self, anchor: &AnchorPath, filter: Vec<Span>) {
        if let Some(spans) = self.spans.get_mut(anchor) {
            spans.filter = filter;
        }
    }

    /// Where rule `number` of `list` begins. Rules that a list was multiplied to share a place,
    /// and so do the rules of one `antispoof`.
    #[must_use]
    pub fn place(&self, list: RuleList, number: usize) -> Option<Place> {
        self.place_in(&self.base, list, number)
    }

    /// As [`Origins::place`], of the ruleset at `anchor`.
    #[must_use]
    pub fn place_in(&self, anchor: &AnchorPath, list: RuleList, number: usize) -> Option<Place> {
        let span = self.spans.get(anchor)?.list(list).get(number)?;
        Some(self.sources.place(*span))
    }

    /// The rulesets that the text fills.
    pub(crate) fn anchors(&self) -> impl Iterator<Item = &AnchorPath> {
        self.spans.keys()
    }

    pub(crate) fn list(&self, anchor: &AnchorPath, list: RuleList) -> &[Span] {
        let own = self.spans.get(anchor);
        own.map_or(&[], |own| own.list(list))
    }
}
