//! How the daemon is, in a few numbers that tell nothing of whose packets it sees.

use pf_engine::ruleset::Limit;
use serde::{Deserialize, Serialize};

use super::service::Desk;
use crate::flows::FlowCounters;

/// Answer to [`Request::Health`](super::protocol::Request::Health).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// The daemon's version.
    pub version: String,
    /// Whether the filter is enabled.
    pub enabled: bool,
    /// States that it holds.
    pub states: usize,
    /// States that it may hold.
    pub states_max: u32,
    /// Packets that the data path lost.
    pub lost: u64,
    /// The flow cache, as far as the daemon has read its counters.
    pub flows: FlowCounters,
}

impl Health {
    /// That of a daemon.
    #[must_use]
    pub fn of(desk: &Desk<'_>) -> Self {
        let lost = desk.lost.since(*desk.lost_before);
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            enabled: desk.engine.status().enabled_since.is_some(),
            states: desk.engine.state_count(),
            states_max: desk.engine.limit(Limit::States),
            lost: lost.congested.saturating_add(lost.held_back),
            flows: desk.flows(),
        }
    }
}
