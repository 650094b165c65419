//! `$nr` in labels and tags: the number of a rule is only known when all rules have their place.

use pf_engine::rule::Rule;

use super::label::NUMBER;

/// Labels and tags of a rule, expanded but for `$nr`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbering {
    pub(super) labels: Vec<String>,
    pub(super) tag: Option<String>,
    pub(super) tagged: Option<String>,
}

impl Numbering {
    /// Whether any of them names `$nr`.
    pub(super) fn is_needed(&self) -> bool {
        let tags = self.tag.iter().chain(&self.tagged);
        self.labels
            .iter()
            .chain(tags)
            .any(|text| text.contains(NUMBER))
    }

    /// Names `rule` as number `number` of its ruleset.
    pub(crate) fn apply(&self, rule: &mut Rule, number: usize) {
        let number = number.to_string();
        let named = |text: &String| text.replace(NUMBER, &number);
        rule.labels = self.labels.iter().map(named).collect();
        rule.tag = self.tag.as_ref().map(named);
        if let (Some((_, tag)), Some(text)) = (&mut rule.tagged, &self.tagged) {
            *tag = named(text);
        }
    }
}
