//! Source tracking (pf.conf(5), STATEFUL TRACKING OPTIONS): who has how many states and
//! connections, and what happens to who has too many.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use crate::addr::{Prefix, Protocol};
use crate::anchor::{AnchorPath, TableRef};
use crate::decision::DropReason;
use crate::engine::packet::Refused;
use crate::engine::translate::Course;
use crate::engine::{Engine, RuleList, SourceFilter};
use crate::evaluate::CompiledRule;
use crate::installed::RuleId;
use crate::limiter::{LimiterRef, Listing, SourceLimiterView, StateLimiterView};
use crate::limits::LimitCounter;
use crate::pool::Choice;
use crate::rule::{Flush, Overload, Rate, SourceOptions, SourceTrack, StateMode, Timeout};
use crate::ruleset::{Limit, TableEntry};
use crate::source::{Connected, NodeKind, SourceKey};
use crate::state::State;
use crate::tcp;
use crate::time::Instant;
use crate::view::{SourceStatus, SourceView};

impl Engine {
    /// `pfctl -K`: removes source nodes; states stay. Returns how many.
    pub fn kill_sources(&mut self, filter: SourceFilter) -> usize {
        self.remove_sources(Some(filter))
    }

    /// `pfctl -F Sources`: removes all source nodes; states stay. Returns how many.
    pub fn flush_sources(&mut self) -> usize {
        self.remove_sources(None)
    }

    /// The state limiters in force, by number.
    pub fn state_limiters(&self) -> impl Iterator<Item = StateLimiterView<'_>> {
        self.limiters.state_views()
    }

    /// The source limiters in force, by number.
    pub fn source_limiters(&self) -> impl Iterator<Item = SourceLimiterView<'_>> {
        self.limiters.source_views()
    }

    /// All source nodes from number `skip` on, in the order of their rules and addresses.
    pub fn sources(&self, skip: usize, now: Instant) -> impl Iterator<Item = SourceView> {
        let nodes = self.sources.iter_after(None).skip(skip);
        nodes.map(move |(key, node)| {
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
        })
    }

    /// `pfctl -I id -k source -k host`: a source limiter forgets the sources within a network;
    /// their states stay and no longer count. Returns how many sources.
    pub fn kill_limited_sources(&mut self, id: u8, within: Prefix) -> usize {
        let forgotten = self.limiters.forget(id, within);
        let gone: BTreeSet<Prefix> = forgotten.iter().map(|(prefix, _)| *prefix).collect();
        self.states.for_each_mut(|state| {
            state.limiters.retain(
                |used| !matches!(used, LimiterRef::Source(of, prefix) if *of == id && gone.contains(prefix)),
            );
        });
        for (_, listing) in forgotten {
            self.list_source(listing);
        }
        gone.len()
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
        course.nodes.push((key, None));
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

    /// One more state of a source, which has had this traffic already.
    pub(super) fn refer_source(
        &mut self,
        key: SourceKey,
        choice: Option<Choice>,
        (packets, bytes): (u64, u64),
    ) {
        let rate = self.connection_rate(&key);
        if self.sources.refer(self.now, key, choice, rate)
            && let Some(rule) = key.rule
        {
            self.rules.refer_node(rule);
        }
        self.note_use(Limit::SrcNodes);
        self.sources.count(&key, packets, bytes);
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
                self.sources.disconnect(key);
            }
            if self.sources.release(self.now, *key, keep) {
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

    fn forget_node(&mut self, key: &SourceKey) {
        if let Some(rule) = key.rule {
            self.rules.release_node(rule);
        }
    }

    pub(super) fn expire_sources(&mut self) {
        for key in self.sources.expire(self.now) {
            self.forget_node(&key);
        }
        self.limiters.expire(self.now);
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
        let Some(key) = keys.find(|key| key.kind == NodeKind::Limit).copied() else {
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
        let of_source = self.states.of_source(address);
        let flushed = of_source.filter(|(_, state)| flush == Flush::Global || state.rule == rule);
        let flushed: Vec<u32> = flushed.map(|(slot, _)| slot).collect();
        for slot in flushed {
            self.remove_state(slot);
        }
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
        self.tables_change();
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
                self.tables_change();
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
        let tracked = state.sources.iter().any(|key| key.kind == NodeKind::Limit);
        let to_connect = state.protocol() == Protocol::TCP && tracked && !state.connected;
        rated || to_connect || state.max_packet_size.is_some()
    }

    /// `pfctl -K`, `-F Sources`: removes the nodes that are wanted, also from their states.
    pub(super) fn remove_sources(&mut self, filter: Option<SourceFilter>) -> usize {
        let wanted = |key: &SourceKey, choice: Option<Choice>| {
            filter.is_none_or(|filter| is_wanted(filter, key, choice))
        };
        let doomed: BTreeSet<SourceKey> = self
            .sources
            .iter_after(None)
            .filter(|(key, node)| wanted(key, node.choice))
            .map(|(key, _)| *key)
            .collect();
        for key in &doomed {
            self.sources.remove(key);
            self.forget_node(key);
        }
        self.states.for_each_mut(|state| {
            state.sources.retain(|key| !doomed.contains(key));
        });
        doomed.len()
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

fn is_wanted(filter: SourceFilter, key: &SourceKey, choice: Option<Choice>) -> bool {
    let target = choice.and_then(|choice| choice.address);
    filter.source.contains(key.address)
        && filter
            .target
            .is_none_or(|wanted| target.is_some_and(|target| wanted.contains(target)))
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
