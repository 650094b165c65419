//! States over a restart: to records and back.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::addr::{Family, Prefix};
use crate::anchor::AnchorPath;
use crate::criteria::Treatment;
use crate::decision::StateId;
use crate::engine::Cacheable;
use crate::engine::{Engine, RuleList};
use crate::env::Interface;
use crate::installed::RuleId;
use crate::key::StateKey;
use crate::limiter::LimiterRef;
use crate::names::NameId;
use crate::nat::mapping;
use crate::nat64::protocol_in;
use crate::pool::{Choice, LoadKey};
use crate::record::{
    ExportedRule, Imported, Kept, LimiterRecord, LoadRecord, PeerRecord, RecordError, RuleBinding,
    SourceCursor, SourceRecord, StateRecord, StickyRecord, TrackedRecord,
};
use crate::route::NextHop;
use crate::ruleset::Limit;
use crate::source::{NodeKind, NodeUse, SourceKey, SourceNode};
use crate::state::{Count, State};
use crate::tcp::Peer;
use crate::tcpnorm::TcpNorm;
use crate::threshold::Threshold;
use crate::time::Instant;
use crate::view::HostPort;

/// What became of one record.
enum Outcome {
    Lives,
    Expired,
    WithoutInterface,
    WithoutRoom,
}

/// The rules that records speak of, by their number there.
type Bindings = BTreeMap<u32, RuleId>;

impl Engine {
    /// Takes over states and source nodes of before a restart, all of them or, on an error, none.
    /// `rules` tells for each number in the records what it stands for; `interfaces` are those
    /// that there are.
    /// States that are over, that have lost their interface or for which there is no room are
    /// left out and counted.
    ///
    /// # Errors
    /// When a record contradicts itself.
    pub fn import_states(
        &mut self,
        now: Instant,
        kept: Kept,
        rules: BTreeMap<u32, RuleBinding>,
        interfaces: &[Interface],
    ) -> Result<Imported, RecordError> {
        self.now = now;
        let faults = kept.states.iter().map(StateRecord::fault);
        let faults = faults.chain(kept.sources.iter().map(SourceRecord::fault));
        for (number, fault) in faults.enumerate() {
            if let Some(what) = fault {
                return Err(RecordError { number, what });
            }
        }
        let (bindings, retired) = self.bind(rules);
        let present: BTreeSet<&str> = interfaces.iter().map(|i| i.name.as_str()).collect();
        let mut imported = Imported::default();
        for record in kept.states {
            let counter = match self.take_over_one(&record, &bindings, &present) {
                Outcome::Lives => &mut imported.states,
                Outcome::Expired => &mut imported.expired,
                Outcome::WithoutInterface => &mut imported.without_interface,
                Outcome::WithoutRoom => &mut imported.without_room,
            };
            *counter = counter.saturating_add(1);
        }
        for record in kept.sources {
            self.restore_source(&record, &bindings, &present);
        }
        for rule in retired {
            self.rules.retire(rule);
        }
        self.net.invalidate();
        Ok(imported)
    }

    /// Hands over at most `max` states whose number is `from` or above, one after the other, as they can be
    /// kept over a restart. Returns where to go on; nothing when those were the last.
    pub fn export_states(
        &self,
        now: Instant,
        from: StateId,
        max: usize,
        mut take: impl FnMut(StateRecord),
    ) -> Option<StateId> {
        let mut states = self.states.iter_from(from).map(|(_, state)| state);
        for state in states.by_ref().take(max) {
            take(self.record(now, state));
        }
        states.next().map(|state| state.id)
    }

    /// At most `max` source nodes after `from`, and where to go on if there may be more.
    #[must_use]
    pub fn export_sources(
        &self,
        now: Instant,
        from: Option<SourceCursor>,
        max: usize,
    ) -> (Vec<SourceRecord>, Option<SourceCursor>) {
        let mut last = None;
        let nodes = self.sources.iter_after(from.map(|cursor| cursor.0));
        let records: Vec<SourceRecord> = nodes
            .take(max)
            .map(|(key, node)| {
                last = Some(SourceCursor(*key));
                self.source_record(now, key, node)
            })
            .collect();
        let more = records.len() == max;
        (records, last.filter(|_| more))
    }

    /// The rule that a record calls `number`. Only good until the next change of the rules
    /// ([`Engine::epoch`]).
    #[must_use]
    pub fn exported_rule(&self, number: u32) -> Option<ExportedRule<'_>> {
        let id = RuleId::from_number(number);
        let entry = self.rules.get(id)?;
        Some(ExportedRule {
            anchor: &entry.anchor,
            list: RuleList::of(&entry.rule.action),
            number: entry.number,
            rule: &entry.rule,
        })
    }

    fn record(&self, now: Instant, state: &State) -> StateRecord {
        let name = |id: NameId| self.names.name(id).to_owned();
        let [forward, reply] = state.traffic;
        StateRecord {
            wire: state.wire.ends,
            stack: state.stack.ends,
            protocol: state.protocol(),
            direction: state.direction,
            bound: state.bound_for_keeps().map(name),
            origin: name(state.origin),
            rule: state.rule.map(RuleId::number),
            anchor: state.anchor.map(RuleId::number),
            translation_rule: state.translation_rule.map(RuleId::number),
            match_rules: state.match_rules.iter().map(|id| id.number()).collect(),
            timeout: state.timeout,
            age: now.saturating_since(state.created),
            idle: now.saturating_since(state.refreshed),
            source: peer_record(&state.source),
            destination: peer_record(&state.destination),
            traffic: [forward.packets, forward.bytes, reply.packets, reply.bytes],
            sloppy: state.sloppy,
            allow_options: state.allow_options,
            logged: state.logged,
            route: state
                .route
                .map(|(kind, hop)| (kind, name(hop.interface), hop.address)),
            ether: state.ether,
            way: state.way,
            tag: state.tag.map(name),
            endpoint_independent: state.endpoint_independent,
            scrub: state.scrub,
            treatment: state.treatment,
            queue: self.queue_record(state.treatment),
            owner: state.owner,
            norm: state.norm.as_ref().map(|norm| norm.records()),
            sticky: self.sticky_records(state),
            tracked: self.tracked_records(state),
            connected: state.connected,
            limiters: self.limiter_records(state),
            loads: state
                .loads
                .iter()
                .map(|key| self.load_record(key))
                .collect(),
            max_packet_size: state.max_packet_size,
        }
    }

    fn queue_record(&self, treatment: Treatment) -> Option<(String, String)> {
        let (normal, urgent) = treatment.queue?;
        let name = |id| self.queue_numbers.name(id).map(str::to_owned);
        Some((name(normal)?, name(urgent)?))
    }

    fn tracked_records(&self, state: &State) -> Vec<TrackedRecord> {
        let limits = state.sources.iter();
        let limits = limits.filter(|key| key.kind == NodeKind::Limit);
        let counting = limits.filter(|key| self.sources.counts(key, state.id));
        counting
            .map(|key| TrackedRecord {
                rule: key.rule.map(RuleId::number),
                source: key.address,
            })
            .collect()
    }

    fn limiter_records(&self, state: &State) -> Vec<LimiterRecord> {
        let limiters = state.limiters.iter();
        let counting = limiters.filter(|used| self.limiters.counts(**used, state.id));
        counting.map(limiter_record).collect()
    }

    fn sticky_records(&self, state: &State) -> Vec<StickyRecord> {
        let known = |key: &SourceKey| {
            if !self.sources.counts(key, state.id) {
                return None;
            }
            let choice = self.sources.get(key)?.choice?;
            let NodeKind::Sticky(pool) = key.kind else {
                return None;
            };
            Some(StickyRecord {
                rule: key.rule?.number(),
                pool,
                source: key.address,
                address: choice.address,
                interface: choice.interface.map(|id| self.names.name(id).to_owned()),
            })
        };
        state.sources.iter().filter_map(known).collect()
    }

    fn load_record(&self, key: &LoadKey) -> LoadRecord {
        let interface = key.choice.interface;
        LoadRecord {
            rule: key.rule.number(),
            pool: key.pool,
            address: key.choice.address,
            interface: interface.map(|id| self.names.name(id).to_owned()),
        }
    }

    fn source_record(&self, now: Instant, key: &SourceKey, node: &SourceNode) -> SourceRecord {
        let interface = node.choice.and_then(|choice| choice.interface);
        SourceRecord {
            rule: key.rule.map(RuleId::number),
            kind: key.kind,
            source: key.address,
            address: node.choice.and_then(|choice| choice.address),
            interface: interface.map(|id| self.names.name(id).to_owned()),
            age: now.saturating_since(node.created),
            packets: node.packets,
            bytes: node.bytes,
            rate: node.rate.as_ref().map_or(0, |rate| rate.count(now)),
            expires_in: (node.states == 0).then(|| node.expires.saturating_since(now)),
        }
    }

    /// The rules by their numbers in the records, and those of them that are not in force.
    fn bind(&mut self, rules: BTreeMap<u32, RuleBinding>) -> (Bindings, Vec<RuleId>) {
        let mut bindings = Bindings::new();
        let mut retired = Vec::new();
        for (key, binding) in rules {
            let id = match binding {
                RuleBinding::Installed(anchor, list, number) => {
                    self.installed_id(&anchor, list, number)
                }
                RuleBinding::Retired(anchor, rule) => {
                    let id = self.rules.install_retired(&anchor, *rule);
                    retired.push(id);
                    Some(id)
                }
            };
            bindings.extend(id.map(|id| (key, id)));
        }
        (bindings, retired)
    }

    fn installed_id(&self, anchor: &AnchorPath, list: RuleList, number: u32) -> Option<RuleId> {
        let rules = self.lists_at(anchor)?.list(list);
        rules.get(number as usize).map(|rule| rule.id)
    }

    fn take_over_one(
        &mut self,
        record: &StateRecord,
        bindings: &Bindings,
        present: &BTreeSet<&str>,
    ) -> Outcome {
        if !record
            .interfaces()
            .all(|name| present.contains(name.as_str()))
        {
            return Outcome::WithoutInterface;
        }
        let nodes = self.nodes(record, bindings);
        let state = self.state_of(record, bindings, &nodes);
        if self.lifetimes().is_over(&state) {
            return Outcome::Expired;
        }
        let full = self.is_reached(Limit::States, self.states.len());
        let apart = self.states.obstacles(&state, |_| false);
        if full || apart.map_or(true, |over| !over.is_empty()) {
            return Outcome::WithoutRoom;
        }
        self.put_back(state, nodes)
    }

    fn put_back(&mut self, mut state: State, nodes: Vec<(SourceKey, Option<Choice>)>) -> Outcome {
        self.next_state = self.next_state.wrapping_add(1);
        state.id = StateId(self.next_state);
        let id = state.id;
        self.has_carried |= state.treatment.is_carried();
        let rules = state.rule.into_iter().chain(state.anchor);
        let rules = rules.chain(state.translation_rule);
        let rules: Vec<RuleId> = rules.chain(state.match_rules.iter().copied()).collect();
        let mapping = state.endpoint_independent.then(|| mapping(&state));
        let half_open = state.is_half_open();
        let connected = state.connected;
        let (limiters, loads) = (state.limiters.clone(), state.loads.clone());
        let Some(slot) = self.states.insert(state) else {
            return Outcome::WithoutRoom;
        };
        self.note_later(slot);
        self.note_use(Limit::States);
        self.half_open_moved(false, half_open);
        for rule in rules {
            self.rules.refer_again(rule);
        }
        if let Some((inside, outside)) = mapping {
            self.mappings.refer(inside, outside);
        }
        for (key, choice) in nodes {
            let used = NodeUse {
                choice,
                ..NodeUse::of_limit(key)
            };
            self.refer_source(&used, id, (0, 0));
            if let Some(node) = self.sources.get_mut(&key).filter(|_| connected) {
                node.connections = node.connections.saturating_add(1);
            }
        }
        for limiter in limiters {
            self.limiters.resume(limiter, id);
        }
        for load in loads {
            self.loads.refer(load);
        }
        Outcome::Lives
    }

    /// A source node goes on: what its states do not tell of it.
    fn restore_source(
        &mut self,
        record: &SourceRecord,
        rules: &Bindings,
        present: &BTreeSet<&str>,
    ) {
        let rule = match record.rule {
            Some(number) => match rules.get(&number) {
                Some(id) => Some(*id),
                None => return,
            },
            None => None,
        };
        let key = SourceKey {
            rule,
            kind: record.kind,
            address: record.source,
        };
        let here = record
            .interface
            .as_deref()
            .is_none_or(|n| present.contains(n));
        let is_new = self.sources.get(&key).is_none();
        let keep = record.expires_in.unwrap_or_default();
        let full = self.is_reached(Limit::SrcNodes, self.sources.len());
        if !here || (is_new && (keep.is_zero() || full)) {
            return;
        }
        let rate = self.connection_rate(&key);
        let first = StateId(self.next_state.wrapping_add(1));
        if self.sources.restore(self.now, (key, first), rate, keep)
            && let Some(rule) = rule
        {
            self.rules.refer_node(rule);
        }
        self.note_use(Limit::SrcNodes);
        let interface = record.interface.as_ref().map(|n| self.names.intern(n));
        let now = self.now;
        if let Some(node) = self.sources.get_mut(&key) {
            if matches!(record.kind, NodeKind::Sticky(_)) {
                node.choice = Some(Choice {
                    address: record.address,
                    interface,
                });
            }
            node.created = before(now, record.age);
            node.packets = record.packets;
            node.bytes = record.bytes;
            node.rate = rate.map(|rate| Threshold::resumed(rate, now, record.rate));
        }
    }

    /// The source nodes of a state.
    fn nodes(
        &mut self,
        record: &StateRecord,
        rules: &Bindings,
    ) -> Vec<(SourceKey, Option<Choice>)> {
        let mut nodes = Vec::with_capacity(record.sticky.len());
        for one in &record.tracked {
            let rule = one.rule.map(|number| rules.get(&number).copied());
            // A rule that is gone tracks nobody.
            if rule == Some(None) {
                continue;
            }
            let key = SourceKey {
                rule: rule.flatten(),
                kind: NodeKind::Limit,
                address: one.source,
            };
            nodes.push((key, None));
        }
        for one in &record.sticky {
            let Some(rule) = rules.get(&one.rule) else {
                continue;
            };
            let key = SourceKey::sticky(*rule, one.pool, one.source);
            let interface = one.interface.as_ref().map(|name| self.names.intern(name));
            let choice = Choice {
                address: one.address,
                interface,
            };
            nodes.push((key, Some(choice)));
        }
        nodes
    }

    fn load_keys(&mut self, record: &StateRecord, rules: &Bindings) -> Vec<LoadKey> {
        let mut loads = Vec::with_capacity(record.loads.len());
        for one in &record.loads {
            let interface = one.interface.as_ref().map(|name| self.names.intern(name));
            loads.extend(rules.get(&one.rule).map(|rule| LoadKey {
                rule: *rule,
                pool: one.pool,
                choice: Choice {
                    address: one.address,
                    interface,
                },
            }));
        }
        loads
    }

    fn treatment_of(&mut self, record: &StateRecord) -> Treatment {
        let mut number = |name: &String| self.queue_numbers.intern(name);
        let queue = record.queue.as_ref();
        Treatment {
            queue: queue.and_then(|(normal, urgent)| Some((number(normal)?, number(urgent)?))),
            ..record.treatment
        }
    }

    fn state_of(
        &mut self,
        record: &StateRecord,
        rules: &Bindings,
        nodes: &[(SourceKey, Option<Choice>)],
    ) -> State {
        let loads = self.load_keys(record, rules);
        let rule = |number: Option<u32>| rules.get(&number?).copied();
        let key = |ends: [HostPort; 2]| StateKey {
            ends,
            protocol: protocol_in(Family::of(ends[0].address), record.protocol),
        };
        let treatment = self.treatment_of(record);
        let names = &mut self.names;
        let mut name = |name: &String| names.intern(name);
        let [packets, bytes, reply_packets, reply_bytes] = record.traffic;
        State {
            id: StateId(0),
            wire: key(record.wire),
            stack: key(record.stack),
            direction: record.direction,
            bound: record.bound.as_ref().map(&mut name),
            origin: name(&record.origin),
            rule: rule(record.rule),
            anchor: rule(record.anchor),
            translation_rule: rule(record.translation_rule),
            match_rules: record
                .match_rules
                .iter()
                .filter_map(|n| rule(Some(*n)))
                .collect(),
            timeout: record.timeout,
            created: before(self.now, record.age),
            refreshed: before(self.now, record.idle),
            source: peer(&record.source),
            destination: peer(&record.destination),
            traffic: [count(packets, bytes), count(reply_packets, reply_bytes)],
            sloppy: record.sloppy,
            allow_options: record.allow_options,
            logged: record.logged,
            route: record.route.as_ref().map(|(kind, interface, address)| {
                let interface = name(interface);
                (
                    *kind,
                    NextHop {
                        interface,
                        address: *address,
                    },
                )
            }),
            ether: record.ether,
            way: record.way,
            tag: record.tag.as_ref().map(&mut name),
            endpoint_independent: record.endpoint_independent,
            scrub: record.scrub,
            treatment,
            owner: record.owner,
            norm: record.norm.map(|ends| Box::new(TcpNorm::of_records(ends))),
            sources: nodes.iter().map(|(key, _)| *key).collect(),
            connected: record.connected,
            limiters: record.limiters.iter().filter_map(limiter_ref).collect(),
            loads,
            max_packet_size: record.max_packet_size,
            membership: None,
            flow: Cacheable::default(),
        }
    }
}

const fn limiter_record(limiter: &LimiterRef) -> LimiterRecord {
    match limiter {
        LimiterRef::State(id) => LimiterRecord::State(*id),
        LimiterRef::Source(id, prefix) => {
            LimiterRecord::Source(*id, prefix.address(), prefix.prefix_len())
        }
    }
}

fn limiter_ref(record: &LimiterRecord) -> Option<LimiterRef> {
    Some(match record {
        LimiterRecord::State(id) => LimiterRef::State(*id),
        LimiterRecord::Source(id, address, len) => {
            LimiterRef::Source(*id, Prefix::new(*address, *len)?.masked())
        }
    })
}

/// The moment `span` before `now`; at most as far back as time goes.
const fn before(now: Instant, span: Duration) -> Instant {
    Instant::from_origin(now.since_origin().saturating_sub(span))
}

const fn count(packets: u64, bytes: u64) -> Count {
    Count { packets, bytes }
}

const fn peer_record(peer: &Peer) -> PeerRecord {
    PeerRecord {
        state: peer.state,
        seq_lo: peer.seq_lo,
        seq_hi: peer.seq_hi,
        max_win: peer.max_win,
        seq_diff: peer.seq_diff,
        window_scale: peer.window_scale,
        mss: peer.mss,
    }
}

const fn peer(record: &PeerRecord) -> Peer {
    Peer {
        state: record.state,
        seq_lo: record.seq_lo,
        seq_hi: record.seq_hi,
        max_win: record.max_win,
        seq_diff: record.seq_diff,
        window_scale: record.window_scale,
        mss: record.mss,
        stale: true,
    }
}
