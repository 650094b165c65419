//! Source tracking (pf.conf(5), STATEFUL TRACKING OPTIONS): who has how many states and
//! connections, and what happens to who has too many.

use std::net::IpAddr;
use std::time::Duration;

use crate::addr::{Prefix, Protocol};
use crate::anchor::{AnchorPath, TableRef};
use crate::decision::{DropReason, StateId};
use crate::engine::packet::Refused;
use crate::engine::translate::Course;
use crate::engine::{Engine, RuleList};
use crate::evaluate::CompiledRule;
use crate::installed::RuleId;
use crate::limiter::{LimiterRef, Listing, SourceLimiterView, StateLimiterView};
use crate::limits::LimitCounter;
use crate::record::SourceCursor;
use crate::rule::{Overload, Rate, SourceOptions, SourceTrack, StateMode, Timeout};
use crate::ruleset::{Limit, TableEntry};
use crate::source::{Connected, NodeKind, NodeUse, SourceKey, SourceNode};
use crate::state::State;
use crate::tcp;
use crate::time::Instant;
use crate::view::{SourceStatus, SourceView};

impl Engine {
    /// The state limiters in force, by number.
    pub fn state_limiters(&self) -> impl Iterator<Item = StateLimiterView<'_>> {
        self.limiters.state_views()
    }

    /// The source limiters in force, by number.
    pub fn source_limiters(&self) -> impl Iterator<Item = SourceLimiterView<'_>> {
        self.limiters.source_views()
    }

    /// All source nodes, in the order of their rules and addresses.
    pub fn sources(&self, now: Instant) -> impl Iterator<Item = SourceView> {
        self.sources_after(None, now).map(|(_, node)| node)
    }

    /// The source nodes after `from`, each with where to go on behind it: a long listing made in pieces.
    /// Getting to the first of them does not cost a walk over those before it.
    pub fn sources_after(
        &self,
        from: Option<SourceCursor>,
        now: Instant,
    ) -> impl Iterator<Item = (SourceCursor, SourceView)> {
        let nodes = self.sources.iter_after(from.map(|cursor| cursor.0));
        nodes.map(move |(key, node)| (SourceCursor(*key), self.source_view(key, node, now)))
    }

    fn source_view(&self, key: &SourceKey, node: &SourceNode, now: Instant) -> SourceView {
        let entry = key.rule.and_then(|rule| self.rules.get(rule));
        let number = entry.and_then(|entry| entry.number);
        let list = entry.map(|entry| RuleList::of(&entry.rule.action));
        let rate = node.rate.as_ref();
        SourceView {
            address: key.address,
            target: node.choice.and_then(|choice| choice.address),
            kind: key.kind,
            rule: list.zip(number),
            states: node.states,
            connections: node.connections,
            rate: rate.map_or(0, |rate| rate.count(now)),
            rate_seconds: rate.map_or(0, |rate| rate.rate().seconds),
            age: now.saturating_since(node.created),
            expires_in: (node.states == 0).then(|| node.expires.saturating_since(now)),
            packets: node.packets,
            bytes: node.bytes,
        }
    }

    /// `max-src-nodes` and `max-src-states`. The source's node is noted for the state to come.
    pub(super) fn check_source(
        &mut self,
        rule: Option<&CompiledRule>,
        course: &mut Course,
    ) -> Result<(), Refused> {
        let rule = rule.filter(|rule| rule.keep.mode != StateMode::None);
        let Some((rule, track)) = rule.and_then(|rule| Some((rule, rule.keep.track?))) else {
            return Ok(());
        };
        let key = SourceKey {
            rule: (track == SourceTrack::Rule).then_some(rule.id),
            kind: NodeKind::Limit,
            address: course.matched_source,
        };
        if let Some(hit) = self.source_limit(rule.id, &key) {
            self.counters.count_limit(hit);
            return Err(DropReason::SrcLimit.into());
        }
        course.nodes.push(NodeUse::of_limit(key));
        Ok(())
    }

    /// The limit that one more state of the source would exceed.
    fn source_limit(&mut self, rule: RuleId, key: &SourceKey) -> Option<LimitCounter> {
        let options = &self.rules.get(rule)?.rule.state_options.source;
        let tracked = self.sources.tracked_by(rule);
        match self.sources.search(key) {
            Some(node) => options
                .max_states
                .filter(|max| node.states >= *max)
                .map(|_| LimitCounter::SourceStates),
            None => options
                .max_nodes
                .filter(|max| tracked >= *max)
                .map(|_| LimitCounter::SourceNodes),
        }
    }

    /// One more state of a source, the youngest, which has had so many packets and bytes already. As in
    /// FreeBSD, a node whose choice has left the pool goes: its states no longer count.
    pub(super) fn refer_source(&mut self, used: &NodeUse, of: StateId, traffic: (u64, u64)) {
        let key = used.key;
        if self.sources.is_stale(used) && self.sources.remove(&key) {
            self.forget_node(&key);
        }
        let rate = self.connection_rate(&key);
        if self.sources.refer(self.now, (key, of), used.choice, rate)
            && let Some(rule) = key.rule
        {
            self.rules.refer_node(rule);
        }
        self.note_use(Limit::SrcNodes);
        self.sources.count(&key, of, traffic);
    }

    /// The rate at which connections of a source are measured.
    pub(super) fn connection_rate(&self, key: &SourceKey) -> Option<Rate> {
        let rule = self.rules.get(key.rule?)?;
        let rate = rule.rule.state_options.source.max_connection_rate;
        rate.filter(|_| key.kind == NodeKind::Limit)
    }

    /// The source nodes of a state that is gone.
    pub(super) fn release_sources(&mut self, state: &State) {
        let keep = self.source_timeout(state.rule);
        for key in &state.sources {
            if state.connected && key.kind == NodeKind::Limit {
                self.sources.disconnect(key, state.id);
            }
            if self.sources.release(self.now, (*key, state.id), keep) {
                self.forget_node(key);
            }
        }
    }

    /// `src.track`, the rule's own before the ruleset's.
    fn source_timeout(&self, rule: Option<RuleId>) -> Duration {
        let rule = rule.and_then(|id| self.rules.get(id));
        let own = rule.and_then(|rule| rule.timeout(Timeout::SrcTrack));
        match own.filter(|seconds| *seconds > 0) {
            Some(seconds) => Duration::from_secs(u64::from(seconds)),
            None => self.timeouts.duration(Timeout::SrcTrack),
        }
    }

    pub(super) fn forget_node(&mut self, key: &SourceKey) {
        if let Some(rule) = key.rule {
            self.rules.release_node(rule);
        }
    }

    /// Forgets sources whose time is over, at most `most` of each kind. Whether there may be more.
    pub(super) fn expire_sources(&mut self, most: usize) -> bool {
        let gone = self.sources.expire(self.now, most);
        for key in &gone {
            self.forget_node(key);
        }
        gone.len().max(self.limiters.expire(self.now, most)) == most
    }

    /// Counts a connection if the handshake of the state is done by now: that of the segment that
    /// has just been tracked, or one that somebody else has led. A source that has too many loses
    /// this state, and what `overload` says.
    pub(super) fn count_connection(&mut self, slot: u32) -> Result<(), Refused> {
        let Some(state) = self.states.get_mut(slot) else {
            return Ok(());
        };
        if state.connected || !tcp::is_connected(&state.source, &state.destination) {
            return Ok(());
        }
        let mut keys = state.sources.iter();
        let counts =
            |key: &&SourceKey| key.kind == NodeKind::Limit && self.sources.counts(key, state.id);
        let Some(key) = keys.find(counts).copied() else {
            return Ok(());
        };
        state.connected = true;
        let rule = state.rule;
        let Some(connected) = self.sources.connect(self.now, &key) else {
            return Ok(());
        };
        let entry = rule.and_then(|rule| self.rules.get(rule));
        let options = entry.map(|entry| &entry.rule.state_options.source);
        let hit = options.map_or([None; 2], |options| exceeded(options, connected));
        if hit == [None; 2] {
            return Ok(());
        }
        let overload = options.and_then(|options| options.overload.clone());
        for counter in hit.into_iter().flatten() {
            self.counters.count_limit(counter);
        }
        if let Some(overload) = overload {
            self.overload(&overload, rule, key.address);
        }
        if self
            .states
            .get(slot)
            .is_some_and(|state| state.rule == rule)
        {
            self.remove_state(slot);
        }
        Err(DropReason::SrcLimit.into())
    }

    fn overload(&mut self, overload: &Overload, rule: Option<RuleId>, address: IpAddr) {
        self.counters.count_limit(LimitCounter::OverloadTable);
        let entry = rule.and_then(|rule| self.rules.get(rule));
        let anchor = entry.map_or_else(AnchorPath::main, |entry| entry.anchor.clone());
        self.put_into_table(&anchor, &overload.table, Prefix::host(address));
        let Some(flush) = overload.flush else {
            return;
        };
        self.counters.count_limit(LimitCounter::OverloadFlush);
        self.flush_source(address, rule, flush);
    }

    /// As far as `set limit table-entries` lets it. A table that is `const` is no obstacle: PF's
    /// kernel fills it too.
    fn put_into_table(&mut self, anchor: &AnchorPath, name: &str, prefix: Prefix) {
        let entry = TableEntry {
            prefix,
            negated: false,
        };
        // As for `from <name>`: the anchor's own table, or else the main ruleset's.
        let own = TableRef {
            anchor: anchor.as_str(),
            name,
        };
        let found = [own, TableRef::from(name)]
            .into_iter()
            .find(|table| self.tables.find(*table).is_some());
        let table = found.unwrap_or(own);
        let known = self.tables.find(table).and_then(|id| self.tables.get(id));
        let new = known.map_or(1, |table| table.count_new(&[entry]));
        let total = self.entries_taken().saturating_add(new);
        if new == 0 || self.check_entries(total).is_err() {
            return;
        }
        let now = self.now;
        if let Some(table) = self.table_or_new(table) {
            table.add(now, &[entry]);
            self.advance_epoch();
        }
    }

    /// What the states of a source limiter's source ask of its table.
    pub(super) fn list_source(&mut self, listing: Option<Listing>) {
        match listing {
            Some(Listing::Add(table, prefix)) => {
                self.put_into_table(&AnchorPath::main(), &table, prefix);
            }
            Some(Listing::Remove(table, prefix)) => {
                let id = self.tables.find(TableRef::from(&table));
                if let Some(table) = id.and_then(|id| self.tables.get_mut(id)) {
                    table.delete(&[TableEntry {
                        prefix,
                        negated: false,
                    }]);
                    self.advance_epoch();
                }
            }
            None => {}
        }
    }

    /// The limiters that a state of `rule` counts for.
    pub(super) fn limiters_of(
        &self,
        rule: &CompiledRule,
        source: IpAddr,
    ) -> impl Iterator<Item = LimiterRef> + use<> {
        let states = rule.state_limiter.map(|used| LimiterRef::State(used.id));
        let used = rule.source_limiter;
        let sources = used.and_then(|used| self.limiters.source_of(used.id, source));
        states.into_iter().chain(sources)
    }

    /// Whether each packet of the state has to be looked at, because its length, its number or the
    /// end of a handshake matters.
    pub(super) fn is_metered(&self, state: &State) -> bool {
        let rule = state.rule.and_then(|rule| self.rules.get(rule));
        let rated = rule.is_some_and(|rule| rule.rule.max_packet_rate.is_some());
        let is_new = state.id == StateId(0);
        let tracked = state.sources.iter().any(|key| {
            key.kind == NodeKind::Limit && (is_new || self.sources.counts(key, state.id))
        });
        let to_connect = state.protocol() == Protocol::TCP && tracked && !state.connected;
        rated || to_connect || state.max_packet_size.is_some()
    }

    pub(super) fn source_status(&self) -> SourceStatus {
        SourceStatus {
            entries: self.sources.len(),
            searches: self.sources.searches,
            inserts: self.sources.inserts,
            removals: self.sources.removals,
        }
    }
}

/// `max-src-conn` and `max-src-conn-rate`.
fn exceeded(options: &SourceOptions, connected: Connected) -> [Option<LimitCounter>; 2] {
    let many = options
        .max_connections
        .is_some_and(|max| connected.connections > max);
    [
        many.then_some(LimitCounter::SourceConnections),
        connected
            .too_fast
            .then_some(LimitCounter::SourceConnectionRate),
    ]
}
