//! Source nodes: what is remembered of a source while it has states (pf.conf(5), `source-track`,
//! `sticky-address`).

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decision::StateId;
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

/// A node that a state to come will count for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeUse {
    pub(crate) key: SourceKey,
    /// What a sticky pool chose.
    pub(crate) choice: Option<Choice>,
    /// What it chose before and has no longer: a node that says so makes room for a new one.
    pub(crate) stale: Option<Choice>,
}

impl NodeUse {
    /// Of a node that remembers no choice, as those for limits.
    pub(crate) const fn of_limit(key: SourceKey) -> Self {
        Self {
            key,
            choice: None,
            stale: None,
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
    /// The first state that may count for it: older ones counted for one that was removed.
    pub(crate) first: StateId,
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

    /// Whether the state `of`, which has counted for a node with this key, still does: not if that was
    /// removed.
    pub(crate) fn counts(&self, key: &SourceKey, of: StateId) -> bool {
        self.nodes.get(key).is_some_and(|node| node.first <= of)
    }

    fn counting(&mut self, key: &SourceKey, of: StateId) -> Option<&mut SourceNode> {
        self.nodes.get_mut(key).filter(|node| node.first <= of)
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

    /// Whether the node remembers a choice that its pool has no longer.
    pub(crate) fn is_stale(&self, used: &NodeUse) -> bool {
        let chosen = self.nodes.get(&used.key).and_then(|node| node.choice);
        used.stale.is_some() && chosen == used.stale
    }

    /// One more state of this source, the youngest that there is. Returns whether the node is new.
    pub(crate) fn refer(
        &mut self,
        now: Instant,
        (key, of): (SourceKey, StateId),
        choice: Option<Choice>,
        rate: Option<Rate>,
    ) -> bool {
        let is_new = self.ensure(now, (key, of), rate);
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
    /// or gets states, from `first` on. Returns whether it is new.
    pub(crate) fn restore(
        &mut self,
        now: Instant,
        (key, first): (SourceKey, StateId),
        rate: Option<Rate>,
        keep: Duration,
    ) -> bool {
        if !self.ensure(now, (key, first), rate) {
            return false;
        }
        if let Some(node) = self.nodes.get_mut(&key) {
            node.expires = now.saturating_add(keep);
            self.idle.insert((node.expires, key));
        }
        true
    }

    fn ensure(
        &mut self,
        now: Instant,
        (key, first): (SourceKey, StateId),
        rate: Option<Rate>,
    ) -> bool {
        if self.nodes.contains_key(&key) {
            return false;
        }
        let node = SourceNode {
            choice: None,
            states: 0,
            connections: 0,
            rate: rate.map(|rate| Threshold::new(rate, now)),
            created: now,
            first,
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

    /// Packets of the state `of`.
    pub(crate) fn count(&mut self, key: &SourceKey, of: StateId, (packets, bytes): (u64, u64)) {
        if let Some(node) = self.counting(key, of) {
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

    pub(crate) fn disconnect(&mut self, key: &SourceKey, of: StateId) {
        if let Some(node) = self.counting(key, of) {
            node.connections = node.connections.saturating_sub(1);
        }
    }

    /// The source's next choice, that of the states it has included.
    pub(crate) fn rechoose(&mut self, key: &SourceKey, choice: Choice) {
        if let Some(node) = self.nodes.get_mut(key) {
            node.choice = Some(choice);
        }
    }

    /// One state less, `of`. Without states the node lives on for `keep` (`src.track`). Returns whether
    /// the node is gone.
    pub(crate) fn release(
        &mut self,
        now: Instant,
        (key, of): (SourceKey, StateId),
        keep: Duration,
    ) -> bool {
        let node = self.nodes.get_mut(&key);
        let Some(node) = node.filter(|node| node.first <= of) else {
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

    /// Removes nodes that have been without states for long enough, at most `most`, and returns their
    /// keys.
    pub(crate) fn expire(&mut self, now: Instant, most: usize) -> Vec<SourceKey> {
        let mut gone = Vec::new();
        while let Some((expires, key)) = self.idle.first().copied() {
            if expires > now || gone.len() >= most {
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

    const ONE: StateId = StateId(1);

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
        assert!(sources.refer(now(0), (key(), ONE), Some(choice(1)), None));
        assert!(!sources.refer(now(0), (key(), ONE), Some(choice(1)), None));
        assert!(!sources.release(now(0), (key(), ONE), Duration::ZERO));
        assert_eq!(sources.get(&key()).unwrap().choice, Some(choice(1)));
        assert!(sources.release(now(0), (key(), ONE), Duration::ZERO));
        assert_eq!(sources.len(), 0);
        assert_eq!((sources.inserts, sources.removals), (1, 1));
    }

    #[test]
    fn states_do_not_count_for_a_node_that_is_made_when_theirs_was_removed() {
        let mut sources = SourceNodes::default();
        let (old, new) = (StateId(1), StateId(2));
        sources.refer(now(0), (key(), old), None, None);
        sources.remove(&key());
        assert!(!sources.counts(&key(), old));
        sources.refer(now(0), (key(), new), None, None);
        assert!(!sources.counts(&key(), old) && sources.counts(&key(), new));
        sources.count(&key(), old, (1, 100));
        sources.count(&key(), new, (1, 10));
        assert!(!sources.release(now(0), (key(), old), Duration::ZERO));
        let node = sources.get(&key());
        assert_eq!(node.map(|node| (node.states, node.bytes)), Some((1, 10)));
        assert!(sources.release(now(0), (key(), new), Duration::ZERO));
    }

    #[test]
    fn src_track_keeps_a_source_for_a_while() {
        let mut sources = SourceNodes::default();
        let keep = Duration::from_secs(10);
        sources.refer(now(0), (key(), ONE), Some(choice(1)), None);
        sources.release(now(5), (key(), ONE), keep);
        assert_eq!(sources.expire(now(14), 9), []);
        assert_eq!(sources.get(&key()).unwrap().choice, Some(choice(1)));
        sources.refer(now(14), (key(), ONE), Some(choice(1)), None);
        assert_eq!(sources.expire(now(100), 9), [], "it has a state again");
        sources.release(now(100), (key(), ONE), keep);
        assert_eq!(sources.expire(now(110), 9), [key()]);
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
        sources.refer(now(0), (key(), ONE), Some(choice(1)), None);
        assert_eq!(sources.tracked_by(rule()), 0);
        sources.refer(now(0), (limit, ONE), None, None);
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
        sources.refer(now(0), (key(), ONE), None, rate);
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
