//! What a rule says of how much it lets pass: source tracking, rates and limiters
//! (pf.conf(5), STATEFUL TRACKING OPTIONS).

/// So many of something in so many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In how many seconds.
    pub seconds: u32,
}

/// Whose states are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceTrack {
    /// `source-track rule`: those of one rule.
    Rule,
    /// `source-track global`: those of all rules that say so.
    Global,
}

/// What `flush` of `overload` removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flush {
    /// `flush`: the source's states of this rule.
    Rule,
    /// `flush global`: all its states.
    Global,
}

/// `overload <table> [flush [global]]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Overload {
    /// The table that gets the source's address.
    pub table: String,
    /// Which of its states end.
    pub flush: Option<Flush>,
}

/// Options of a rule that tracks sources.
#[derive(Clone, Debug, PartialEq, Eq, Default, Hash)]
pub struct SourceOptions {
    /// `source-track`: given, or implied by one of the others.
    pub track: Option<SourceTrack>,
    /// `max-src-nodes N`: sources that may have states of the rule.
    pub max_nodes: Option<u32>,
    /// `max-src-states N`: states of one source.
    pub max_states: Option<u32>,
    /// `max-src-conn N`: TCP connections of one source whose handshake is done.
    pub max_connections: Option<u32>,
    /// `max-src-conn-rate N/S`: new ones in a time.
    pub max_connection_rate: Option<Rate>,
    /// `overload`.
    pub overload: Option<Overload>,
}

impl SourceOptions {
    /// None of them.
    pub const NONE: Self = Self {
        track: None,
        max_nodes: None,
        max_states: None,
        max_connections: None,
        max_connection_rate: None,
        overload: None,
    };
}

/// What a rule does while its limiter is exhausted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub enum WhenLimited {
    /// `(no-match)`: as if it did not match.
    #[default]
    NoMatch,
    /// `(block)`: it drops the packet, and no further rule is looked at.
    Block,
}

/// `state limiter …` or `source limiter …` of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LimiterUse {
    /// The limiter's number.
    pub id: u8,
    /// What happens when it is exhausted.
    pub when_limited: WhenLimited,
}
