//! Source nodes: what `sticky-address` remembers of a source while it has states.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::installed::{PoolUse, RuleId};
use crate::pool::Choice;
use crate::time::Instant;

/// A source as one pool of one rule sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SourceKey {
    pub(crate) rule: RuleId,
    pub(crate) pool: PoolUse,
    pub(crate) address: IpAddr,
}

#[derive(Debug)]
struct SourceNode {
    choice: Choice,
    states: u32,
    /// Since when it has no states, plus `src.track`.
    expires: Instant,
}

/// All source nodes; `set limit src-nodes` bounds them.
#[derive(Debug, Default)]
pub(crate) struct SourceNodes {
    nodes: BTreeMap<SourceKey, SourceNode>,
    /// Nodes without states, by expiry.
    idle: BTreeSet<(Instant, SourceKey)>,
}

impl SourceNodes {
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// What was chosen for this source before.
    pub(crate) fn choice(&self, key: &SourceKey) -> Option<Choice> {
        self.nodes.get(key).map(|node| node.choice)
    }

    /// One more state of this source.
    pub(crate) fn refer(&mut self, key: SourceKey, choice: Choice) {
        let node = self.nodes.entry(key).or_insert(SourceNode {
            choice,
            states: 0,
            expires: Instant::default(),
        });
        if node.states == 0 {
            self.idle.remove(&(node.expires, key));
        }
        node.choice = choice;
        node.states = node.states.saturating_add(1);
    }

    /// One state less. Without states the node lives on for `keep` (`src.track`).
    pub(crate) fn release(&mut self, now: Instant, key: SourceKey, keep: Duration) {
        let Some(node) = self.nodes.get_mut(&key) else {
            return;
        };
        node.states = node.states.saturating_sub(1);
        if node.states > 0 {
            return;
        }
        if keep.is_zero() {
            self.nodes.remove(&key);
            return;
        }
        node.expires = now.saturating_add(keep);
        self.idle.insert((node.expires, key));
    }

    /// Removes the nodes that have been without states for long enough.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some((expires, key)) = self.idle.first().copied() {
            if expires > now {
                return;
            }
            self.idle.remove(&(expires, key));
            self.nodes.remove(&key);
        }
    }

    /// Whether any node waits for its end.
    pub(crate) fn has_idle(&self) -> bool {
        !self.idle.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::installed::Rules;
    use crate::rule::{Action, Rule};

    fn key() -> SourceKey {
        let main = crate::anchor::AnchorPath::main();
        let rule = Rules::default().install(Rule::new(Action::Pass), (&main, 0), [None; 2]);
        SourceKey {
            rule,
            pool: PoolUse::Route,
            address: IpAddr::from([192, 0, 2, 1]),
        }
    }

    fn choice(last: u8) -> Choice {
        Choice {
            address: Some(IpAddr::from([198, 51, 100, last])),
            interface: None,
        }
    }

    #[test]
    fn a_source_is_forgotten_with_its_last_state() {
        let mut sources = SourceNodes::default();
        sources.refer(key(), choice(1));
        sources.refer(key(), choice(1));
        sources.release(Instant::default(), key(), Duration::ZERO);
        assert_eq!(sources.choice(&key()), Some(choice(1)));
        sources.release(Instant::default(), key(), Duration::ZERO);
        assert_eq!(sources.len(), 0);
    }

    #[test]
    fn src_track_keeps_a_source_for_a_while() {
        let mut sources = SourceNodes::default();
        let keep = Duration::from_secs(10);
        sources.refer(key(), choice(1));
        sources.release(Instant::from_secs(5), key(), keep);
        sources.expire(Instant::from_secs(14));
        assert_eq!(sources.choice(&key()), Some(choice(1)));
        sources.refer(key(), choice(1));
        sources.expire(Instant::from_secs(100));
        assert_eq!(sources.len(), 1, "it has a state again");
        sources.release(Instant::from_secs(100), key(), keep);
        sources.expire(Instant::from_secs(110));
        assert_eq!(sources.len(), 0);
        assert!(!sources.has_idle());
    }
}
