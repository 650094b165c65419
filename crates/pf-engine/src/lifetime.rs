//! How long states live: `set timeout`, the rule's own values, adaptive scaling.

use std::time::Duration;

use crate::addr::Protocol;
use crate::installed::{Entry, Rules};
use crate::rule::{Timeout, Timeouts};
use crate::ruleset::{Limit, Options};
use crate::state::State;
use crate::time::Instant;

/// The timeouts of a ruleset on a machine with so much memory. Without `adaptive.*` these follow
/// the state limit: scaling begins at 60 % of it and would reach zero at 120 % (pf.conf(5), `set
/// timeout`).
pub(crate) fn timeouts(options: &Options, memory: Option<u64>) -> Timeouts {
    let mut timeouts = Timeouts::default();
    let limit = options.limit(Limit::States);
    let limit = limit.unwrap_or(Limit::States.default_for(memory));
    timeouts.set(Timeout::AdaptiveStart, limit / 10 * 6);
    timeouts.set(Timeout::AdaptiveEnd, limit / 10 * 12);
    for (timeout, value) in &options.timeouts {
        timeouts.set(*timeout, *value);
    }
    timeouts
}

/// What the life of a state depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetimes<'a> {
    pub(crate) now: Instant,
    pub(crate) timeouts: &'a Timeouts,
    pub(crate) rules: &'a Rules,
    /// Number of states.
    pub(crate) states: usize,
}

impl Lifetimes<'_> {
    /// When `state` expires if nothing more comes.
    pub(crate) fn end(&self, state: &State) -> Instant {
        self.end_by(state, state.timeout)
    }

    /// When it expires at the earliest, however far its connection has gone on meanwhile.
    pub(crate) fn earliest_end(&self, state: &State) -> Instant {
        let later = if state.protocol() == Protocol::TCP {
            &Timeout::OF_TCP[..]
        } else {
            &[]
        };
        let ends = later.iter().map(|timeout| self.end_by(state, *timeout));
        ends.fold(self.end(state), Instant::min)
    }

    fn end_by(&self, state: &State, timeout: Timeout) -> Instant {
        let rule = state.rule.and_then(|id| self.rules.get(id));
        let own = |timeout| {
            rule.and_then(|rule| rule.timeout(timeout))
                .filter(|value| *value > 0)
        };
        let seconds = own(timeout).unwrap_or(self.timeouts.value(timeout));
        let (start, end, states) = match own(Timeout::AdaptiveStart) {
            Some(start) => {
                let states = rule.map_or(0, Entry::states);
                (start, own(Timeout::AdaptiveEnd).unwrap_or(0), states)
            }
            None => (
                self.timeouts.value(Timeout::AdaptiveStart),
                self.timeouts.value(Timeout::AdaptiveEnd),
                u32::try_from(self.states).unwrap_or(u32::MAX),
            ),
        };
        let seconds = adapted(seconds, start, end, states);
        state.refreshed.saturating_add(Duration::from_secs(seconds))
    }

    pub(crate) fn is_over(&self, state: &State) -> bool {
        self.end(state) <= self.now
    }
}

/// pf.conf(5): above `start` states all timeouts are scaled by
/// `(end - states) / (end - start)`.
fn adapted(seconds: u32, start: u32, end: u32, states: u32) -> u64 {
    if start == 0 || end <= start || states <= start {
        return u64::from(seconds);
    }
    u64::from(seconds) * u64::from(end.saturating_sub(states)) / u64::from(end - start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_shrink_between_start_and_end() {
        assert_eq!(adapted(100, 10, 20, 10), 100);
        assert_eq!(adapted(100, 10, 20, 15), 50);
        assert_eq!(adapted(100, 10, 20, 20), 0);
        assert_eq!(adapted(100, 10, 20, 99), 0);
        assert_eq!(adapted(100, 0, 0, 99), 100);
    }

    #[test]
    fn a_state_limit_moves_the_adaptive_timeouts_unless_they_are_set() {
        let mut options = Options {
            limits: vec![(Limit::States, 1000)],
            ..Options::default()
        };
        assert_eq!(timeouts(&options, None).value(Timeout::AdaptiveStart), 600);
        options.timeouts = vec![(Timeout::AdaptiveStart, 0), (Timeout::TcpFirst, 7)];
        assert_eq!(timeouts(&options, None).value(Timeout::AdaptiveStart), 0);
        assert_eq!(timeouts(&options, None).value(Timeout::AdaptiveEnd), 1200);
        assert_eq!(timeouts(&options, None).value(Timeout::TcpFirst), 7);
    }
}
