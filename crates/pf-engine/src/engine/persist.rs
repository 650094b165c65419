//! States over a restart: to records and back.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::addr::Family;
use crate::anchor::AnchorPath;
use crate::decision::StateId;
use crate::engine::{Engine, RuleList};
use crate::env::Interface;
use crate::installed::RuleId;
use crate::key::StateKey;
use crate::names::NameId;
use crate::nat::mapping;
use crate::nat64::protocol_in;
use crate::pool::Choice;
use crate::record::{
    ExportedRule, Imported, PeerRecord, RecordError, RuleBinding, StateRecord, StickyRecord,
};
use crate::route::NextHop;
use crate::ruleset::Limit;
use crate::source::SourceKey;
use crate::state::{Count, State};
use crate::tcp::Peer;
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
    pub(super) fn state_records(
        &self,
        now: Instant,
        from: StateId,
        max: usize,
    ) -> (Vec<StateRecord>, Option<StateId>) {
        let mut states = self.states.iter_from(from).map(|(_, state)| state);
        let records = states
            .by_ref()
            .take(max)
            .map(|state| self.record(now, state))
            .collect();
        (records, states.next().map(|state| state.id))
    }

    pub(super) fn rule_of_record(&self, number: u32) -> Option<ExportedRule<'_>> {
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
            bound: state.bound.map(name),
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
            owner: state.owner,
            sticky: self.sticky_records(state),
        }
    }

    fn sticky_records(&self, state: &State) -> Vec<StickyRecord> {
        let known = |key: &SourceKey| {
            let choice = self.sources.choice(key)?;
            Some(StickyRecord {
                rule: key.rule.number(),
                pool: key.pool,
                source: key.address,
                address: choice.address,
                interface: choice.interface.map(|id| self.names.name(id).to_owned()),
            })
        };
        state.sources.iter().filter_map(known).collect()
    }

    pub(super) fn take_over(
        &mut self,
        records: Vec<StateRecord>,
        rules: BTreeMap<u32, RuleBinding>,
        interfaces: &[Interface],
    ) -> Result<Imported, RecordError> {
        for (number, record) in records.iter().enumerate() {
            if let Some(what) = record.fault() {
                return Err(RecordError { number, what });
            }
        }
        let (bindings, retired) = self.bind(rules);
        let present: BTreeSet<&str> = interfaces.iter().map(|i| i.name.as_str()).collect();
        let mut imported = Imported::default();
        for record in records {
            let counter = match self.take_over_one(&record, &bindings, &present) {
                Outcome::Lives => &mut imported.states,
                Outcome::Expired => &mut imported.expired,
                Outcome::WithoutInterface => &mut imported.without_interface,
                Outcome::WithoutRoom => &mut imported.without_room,
            };
            *counter = counter.saturating_add(1);
        }
        for rule in retired {
            self.rules.retire(rule);
        }
        self.net.invalidate();
        Ok(imported)
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
        let sticky = self.sticky(record, bindings);
        let state = self.state_of(record, bindings, &sticky);
        if self.lifetimes().is_over(&state) {
            return Outcome::Expired;
        }
        let limit = self.limit(Limit::States);
        let full = limit != 0 && self.states.len() >= limit as usize;
        let apart = self.states.obstacles(&state, |_| false);
        if full || apart.map_or(true, |over| !over.is_empty()) {
            return Outcome::WithoutRoom;
        }
        self.put_back(state, sticky)
    }

    fn put_back(&mut self, mut state: State, sticky: Vec<(SourceKey, Choice)>) -> Outcome {
        self.next_state = self.next_state.wrapping_add(1);
        state.id = StateId(self.next_state);
        self.has_priorities |= state.treatment.priority.is_some();
        let rules = state.rule.into_iter().chain(state.anchor);
        let rules = rules.chain(state.translation_rule);
        let rules: Vec<RuleId> = rules.chain(state.match_rules.iter().copied()).collect();
        let mapping = state.endpoint_independent.then(|| mapping(&state));
        let half_open = state.is_half_open();
        if self.states.insert(state).is_none() {
            return Outcome::WithoutRoom;
        }
        self.half_open_moved(false, half_open);
        for rule in rules {
            self.rules.refer_again(rule);
        }
        if let Some((inside, outside)) = mapping {
            self.mappings.refer(inside, outside);
        }
        for (key, choice) in sticky {
            self.sources.refer(key, choice);
        }
        Outcome::Lives
    }

    fn sticky(&mut self, record: &StateRecord, rules: &Bindings) -> Vec<(SourceKey, Choice)> {
        let mut sticky = Vec::with_capacity(record.sticky.len());
        for one in &record.sticky {
            let Some(rule) = rules.get(&one.rule) else {
                continue;
            };
            let key = SourceKey {
                rule: *rule,
                pool: one.pool,
                address: one.source,
            };
            let interface = one.interface.as_ref().map(|name| self.names.intern(name));
            let choice = Choice {
                address: one.address,
                interface,
            };
            sticky.push((key, choice));
        }
        sticky
    }

    fn state_of(
        &mut self,
        record: &StateRecord,
        rules: &Bindings,
        sticky: &[(SourceKey, Choice)],
    ) -> State {
        let rule = |number: Option<u32>| rules.get(&number?).copied();
        let key = |ends: [HostPort; 2]| StateKey {
            ends,
            protocol: protocol_in(Family::of(ends[0].address), record.protocol),
        };
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
            treatment: record.treatment,
            owner: record.owner,
            sources: sticky.iter().map(|(key, _)| *key).collect(),
        }
    }
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
