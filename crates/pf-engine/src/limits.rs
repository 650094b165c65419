//! Limits that were hit: the counters of `pfctl -vsi`.

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
