//! Source nodes: what is remembered of a source while it has states (pf.conf(5), `source-track`,
//! `sticky-address`).

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::installed::{PoolUse, RuleId};
use crate::pool::Choice;
use crate::rule::Rate;
use crate::threshold::Threshold;
use crate::time::Instant;

/// What a source node is for. Nodes of different kinds have nothing to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// `source-track`: counts states and connections.
    Limit,
    /// `sticky-address` of a pool.
    Sticky(PoolUse),
}

/// A source as one rule sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SourceKey {
    /// Nothing for `source-track global`.
    pub(crate) rule: Option<RuleId>,
    pub(crate) kind: NodeKind,
    pub(crate) address: IpAddr,
}

impl SourceKey {
    pub(crate) const fn sticky(rule: RuleId, pool: PoolUse, address: IpAddr) -> Self {
        Self {
            rule: Some(rule),
            kind: NodeKind::Sticky(pool),
            address,
        }
    }
}

/// What is known of a source.
#[derive(Debug)]
pub(crate) struct SourceNode {
    /// What a sticky pool chose for it.
    pub(crate) choice: Option<Choice>,
    pub(crate) states: u32,
    /// TCP connections whose handshake is done.
    pub(crate) connections: u32,
    pub(crate) rate: Option<Threshold>,
    pub(crate) created: Instant,
    /// When it ends; counts only without states.
    pub(crate) expires: Instant,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

/// A new connection of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Connected {
    /// With the new one.
    pub(crate) connections: u32,
    pub(crate) too_fast: bool,
}

/// All source nodes; `set limit src-nodes` bounds them.
#[derive(Debug, Default)]
pub(crate) struct SourceNodes {
    nodes: BTreeMap<SourceKey, SourceNode>,
    /// Nodes without states, by expiry.
    idle: BTreeSet<(Instant, SourceKey)>,
    /// Number of nodes that count for a rule's `max-src-nodes`.
    tracked: BTreeMap<RuleId, u32>,
    pub(crate) searches: u64,
    pub(crate) inserts: u64,
    pub(crate) removals: u64,
}

impl SourceNodes {
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn get(&self, key: &SourceKey) -> Option<&SourceNode> {
        self.nodes.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: &SourceKey) -> Option<&mut SourceNode> {
        self.nodes.get_mut(key)
    }

    /// As [`SourceNodes::get`], and counted as a search.
    pub(crate) fn search(&mut self, key: &SourceKey) -> Option<&SourceNode> {
        self.searches = self.searches.wrapping_add(1);
        self.nodes.get(key)
    }

    /// The nodes after `from`, in order.
    pub(crate) fn iter_after(
        &self,
        from: Option<SourceKey>,
    ) -> impl Iterator<Item = (&SourceKey, &SourceNode)> {
        use std::ops::Bound;
        let start = from.map_or(Bound::Unbounded, Bound::Excluded);
        self.nodes.range((start, Bound::Unbounded))
    }

    /// How many nodes count for the rule's `max-src-nodes`.
    pub(crate) fn tracked_by(&self, rule: RuleId) -> u32 {
        self.tracked.get(&rule).copied().unwrap_or(0)
    }

    /// One more state of this source. Returns whether the node is new.
    pub(crate) fn refer(
        &mut self,
        now: Instant,
        key: SourceKey,
        choice: Option<Choice>,
        rate: Option<Rate>,
    ) -> bool {
        let is_new = self.ensure(now, key, rate);
        if let Some(node) = self.nodes.get_mut(&key) {
            if node.states == 0 {
                self.idle.remove(&(node.expires, key));
            }
            node.choice = choice;
            node.states = node.states.saturating_add(1);
        }
        is_new
    }

    /// A node of before a restart, if it is not there already. It ends after `keep` unless it has
    /// or gets states. Returns whether it is new.
    pub(crate) fn restore(
        &mut self,
        now: Instant,
        key: SourceKey,
        rate: Option<Rate>,
        keep: Duration,
    ) -> bool {
        if !self.ensure(now, key, rate) {
            return false;
        }
        if let Some(node) = self.nodes.get_mut(&key) {
            node.expires = now.saturating_add(keep);
            self.idle.insert((node.expires, key));
        }
        true
    }

    fn ensure(&mut self, now: Instant, key: SourceKey, rate: Option<Rate>) -> bool {
        if self.nodes.contains_key(&key) {
            return false;
        }
        let node = SourceNode {
            choice: None,
            states: 0,
            connections: 0,
            rate: rate.map(|rate| Threshold::new(rate, now)),
            created: now,
            expires: Instant::default(),
            packets: 0,
            bytes: 0,
        };
        self.nodes.insert(key, node);
        self.inserts = self.inserts.wrapping_add(1);
        if let (NodeKind::Limit, Some(rule)) = (key.kind, key.rule) {
            let count = self.tracked.entry(rule).or_default();
            *count = count.saturating_add(1);
        }
        true
    }

    pub(crate) fn count(&mut self, key: &SourceKey, packets: u64, bytes: u64) {
        if let Some(node) = self.nodes.get_mut(key) {
            node.packets = node.packets.wrapping_add(packets);
            node.bytes = node.bytes.wrapping_add(bytes);
        }
    }

    /// A handshake of the source is done.
    pub(crate) fn connect(&mut self, now: Instant, key: &SourceKey) -> Option<Connected> {
        let node = self.nodes.get_mut(key)?;
        node.connections = node.connections.saturating_add(1);
        let too_fast = node.rate.as_mut().is_some_and(|rate| {
            rate.add(now);
            rate.is_exceeded()
        });
        Some(Connected {
            connections: node.connections,
            too_fast,
        })
    }

    pub(crate) fn disconnect(&mut self, key: &SourceKey) {
        if let Some(node) = self.nodes.get_mut(key) {
            node.connections = node.connections.saturating_sub(1);
        }
    }

    /// The source's next choice, that of the states it has included.
    pub(crate) fn rechoose(&mut self, key: &SourceKey, choice: Choice) {
        if let Some(node) = self.nodes.get_mut(key) {
            node.choice = Some(choice);
        }
    }

    /// One state less. Without states the node lives on for `keep` (`src.track`). Returns whether
    /// the node is gone.
    pub(crate) fn release(&mut self, now: Instant, key: SourceKey, keep: Duration) -> bool {
        let Some(node) = self.nodes.get_mut(&key) else {
            return false;
        };
        node.states = node.states.saturating_sub(1);
        if node.states > 0 {
            return false;
        }
        node.expires = now.saturating_add(keep);
        if keep.is_zero() {
            return self.remove(&key);
        }
        self.idle.insert((node.expires, key));
        false
    }

    /// Removes the nodes that have been without states for long enough, and returns their keys.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<SourceKey> {
        let mut gone = Vec::new();
        while let Some((expires, key)) = self.idle.first().copied() {
            if expires > now {
                break;
            }
            self.remove(&key);
            gone.push(key);
        }
        gone
    }

    /// Removes a node, whatever refers to it.
    pub(crate) fn remove(&mut self, key: &SourceKey) -> bool {
        let Some(node) = self.nodes.remove(key) else {
            return false;
        };
        self.idle.remove(&(node.expires, *key));
        self.removals = self.removals.wrapping_add(1);
        if let (NodeKind::Limit, Some(rule)) = (key.kind, key.rule)
            && let Some(count) = self.tracked.get_mut(&rule)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.tracked.remove(&rule);
            }
        }
        true
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

    fn rule() -> RuleId {
        let main = crate::anchor::AnchorPath::main();
        Rules::default().install(Rule::new(Action::Pass), (&main, 0), [None; 2])
    }

    fn key() -> SourceKey {
        SourceKey::sticky(rule(), PoolUse::Route, IpAddr::from([192, 0, 2, 1]))
    }

    fn choice(last: u8) -> Choice {
        Choice {
            address: Some(IpAddr::from([198, 51, 100, last])),
            interface: None,
        }
    }

    fn now(seconds: u64) -> Instant {
        Instant::from_secs(seconds)
    }

    #[test]
    fn a_source_is_forgotten_with_its_last_state() {
        let mut sources = SourceNodes::default();
        assert!(sources.refer(now(0), key(), Some(choice(1)), None));
        assert!(!sources.refer(now(0), key(), Some(choice(1)), None));
        assert!(!sources.release(now(0), key(), Duration::ZERO));
        assert_eq!(sources.get(&key()).unwrap().choice, Some(choice(1)));
        assert!(sources.release(now(0), key(), Duration::ZERO));
        assert_eq!(sources.len(), 0);
        assert_eq!((sources.inserts, sources.removals), (1, 1));
    }

    #[test]
    fn src_track_keeps_a_source_for_a_while() {
        let mut sources = SourceNodes::default();
        let keep = Duration::from_secs(10);
        sources.refer(now(0), key(), Some(choice(1)), None);
        sources.release(now(5), key(), keep);
        assert_eq!(sources.expire(now(14)), []);
        assert_eq!(sources.get(&key()).unwrap().choice, Some(choice(1)));
        sources.refer(now(14), key(), Some(choice(1)), None);
        assert_eq!(sources.expire(now(100)), [], "it has a state again");
        sources.release(now(100), key(), keep);
        assert_eq!(sources.expire(now(110)), [key()]);
        assert_eq!(sources.len(), 0);
        assert!(!sources.has_idle());
    }

    #[test]
    fn nodes_of_different_kinds_are_counted_apart() {
        let mut sources = SourceNodes::default();
        let limit = SourceKey {
            kind: NodeKind::Limit,
            ..key()
        };
        sources.refer(now(0), key(), Some(choice(1)), None);
        assert_eq!(sources.tracked_by(rule()), 0);
        sources.refer(now(0), limit, None, None);
        assert_eq!(sources.tracked_by(rule()), 1);
        assert_eq!(sources.len(), 2);
        sources.remove(&limit);
        assert_eq!(sources.tracked_by(rule()), 0);
    }

    #[test]
    fn connections_are_counted_and_their_rate_is_judged() {
        let mut sources = SourceNodes::default();
        let rate = Some(Rate {
            count: 2,
            seconds: 10,
        });
        sources.refer(now(0), key(), None, rate);
        let mut connect = |at| {
            let connected = sources.connect(now(at), &key()).unwrap();
            (connected.connections, connected.too_fast)
        };
        assert_eq!(connect(1), (1, false));
        assert_eq!(connect(1), (2, false));
        assert_eq!(connect(1), (3, true));
        assert_eq!(connect(11), (4, false));
    }
}
