//! Limits: how far each is used and how often it was hit.

use crate::ruleset::Limit;

/// One limit, as `weighbridge limits` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitView {
    /// Its name; that of `set limit` if it can be set.
    pub name: &'static str,
    /// Where it comes from.
    pub source: LimitSource,
    /// How much there may be; 0 is no limit.
    pub value: u64,
    /// How much there is.
    pub used: u64,
    /// The most that there ever was.
    pub peak: u64,
    /// Packets that were dropped and commands that were refused for it.
    pub hits: u64,
}

/// Who says what a limit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitSource {
    /// `set limit` in pf.conf.
    Set,
    /// PF's own default, or more where the memory of the machine allows it.
    Default,
    /// It cannot be set.
    Fixed,
}

/// What is remembered of the limits in [`Limit::ALL`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gauges {
    peaks: [usize; Limit::ALL.len()],
    hits: [u64; Limit::ALL.len()],
}

impl Gauges {
    pub(crate) fn hit(&mut self, limit: Limit) {
        if let Some(hits) = self.hits.get_mut(limit as usize) {
            *hits = hits.wrapping_add(1);
        }
    }

    /// There are `used` of them now.
    pub(crate) fn note(&mut self, limit: Limit, used: usize) {
        if let Some(peak) = self.peaks.get_mut(limit as usize) {
            *peak = used.max(*peak);
        }
    }

    pub(crate) fn hits(&self, limit: Limit) -> u64 {
        self.hits.get(limit as usize).copied().unwrap_or_default()
    }

    pub(crate) fn peak(&self, limit: Limit) -> usize {
        self.peaks.get(limit as usize).copied().unwrap_or_default()
    }
}

/// What `Limit Counters` of `pfctl -vsi` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitCounter {
    /// `max` of a rule.
    RuleStates,
    /// `max-src-states`.
    SourceStates,
    /// `max-src-nodes`.
    SourceNodes,
    /// `max-src-conn`.
    SourceConnections,
    /// `max-src-conn-rate`.
    SourceConnectionRate,
    /// Sources that `overload` would put into its table.
    OverloadTable,
    /// Times that `overload … flush` removed states.
    OverloadFlush,
}

impl LimitCounter {
    /// All of them, in the order of `pfctl -vsi`.
    pub const ALL: [Self; 7] = [
        Self::RuleStates,
        Self::SourceStates,
        Self::SourceNodes,
        Self::SourceConnections,
        Self::SourceConnectionRate,
        Self::OverloadTable,
        Self::OverloadFlush,
    ];

    /// The name in `pfctl -vsi`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RuleStates => "max states per rule",
            Self::SourceStates => "max-src-states",
            Self::SourceNodes => "max-src-nodes",
            Self::SourceConnections => "max-src-conn",
            Self::SourceConnectionRate => "max-src-conn-rate",
            Self::OverloadTable => "overload table insertion",
            Self::OverloadFlush => "overload flush states",
        }
    }
}
