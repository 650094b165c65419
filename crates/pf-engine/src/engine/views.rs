//! What the engine shows of itself.

use crate::anchor::AnchorPath;
use crate::counters::Traffic;
use crate::decision::StateId;
use crate::engine::{Engine, RuleList};
use crate::evaluate::CompiledRule;
use crate::installed::PoolUse;
use crate::state::{Count, State};
use crate::tcp::Peer;
use crate::time::Instant;
use crate::view::{InstalledRule, NodeKind, PeerView, StateOptions, StateView};

impl Engine {
    /// The installed rules of one list, in order, with their counters.
    pub fn rules(&self, list: RuleList) -> impl Iterator<Item = InstalledRule<'_>> {
        self.rules_at(&AnchorPath::main(), list)
    }

    /// As [`Engine::rules`], of the ruleset at `anchor`.
    pub fn rules_at<'a>(
        &'a self,
        anchor: &AnchorPath,
        list: RuleList,
    ) -> impl Iterator<Item = InstalledRule<'a>> + use<'a> {
        let lists = self.lists_at(anchor);
        let rules = lists.map_or(&[][..], |lists| lists.list(list));
        rules
            .iter()
            .filter_map(|rule| self.rule_view(rule, rules.len()))
    }

    /// The anchors that there are, in the order of their paths.
    pub fn anchors(&self) -> impl Iterator<Item = &AnchorPath> {
        self.anchors.iter().map(|anchor| &anchor.path)
    }

    /// Whether there is such an anchor. The main ruleset is always there.
    #[must_use]
    pub fn has_anchor(&self, path: &AnchorPath) -> bool {
        path.is_main() || self.anchors.find(path).is_some()
    }

    /// The path of the text that filled an anchor, if one did: its own or that of a ruleset
    /// around it.
    #[must_use]
    pub fn filled_by(&self, path: &AnchorPath) -> Option<&AnchorPath> {
        self.anchors.at(path)?.filled_by.as_ref()
    }

    /// All states, in the order of their numbers. `now` tells age and expiry.
    pub fn states(&self, now: Instant) -> impl Iterator<Item = StateView<'_>> {
        self.states_from(StateId(0), now)
    }

    /// The states whose number is `from` or above, in order: a long listing made in pieces.
    /// Getting to the first of them does not cost a walk over those before it.
    pub fn states_from(&self, from: StateId, now: Instant) -> impl Iterator<Item = StateView<'_>> {
        self.states
            .iter_from(from)
            .map(move |(_, state)| self.state_view(state, now))
    }

    /// Number of states.
    #[must_use]
    pub fn state_count(&self) -> usize {
        self.states.len()
    }

    /// A rule of a list with `len` rules.
    fn rule_view(&self, rule: &CompiledRule, len: usize) -> Option<InstalledRule<'_>> {
        let entry = self.rules.get(rule.id)?;
        let number = |at: usize| u32::try_from(at).ok().filter(|_| at < len);
        Some(InstalledRule {
            number: entry.number?,
            rule: &entry.rule,
            counters: self.rules.counters(rule.id)?,
            skip_steps: rule.skip.map(number),
            expired: entry.expired,
        })
    }

    fn state_view<'a>(&'a self, state: &State, now: Instant) -> StateView<'a> {
        let number = |id| self.rules.get(id).and_then(|entry| entry.number);
        let route = state.route.map(|(kind, hop)| {
            let default = state.wire.tuple(state.direction).destination.address;
            (
                kind,
                hop.address.unwrap_or(default),
                self.names.name(hop.interface),
            )
        });
        StateView {
            id: state.id,
            creator_id: self.config.creator_id,
            interface: state.bound.map_or("all", |bound| self.names.name(bound)),
            original_interface: self.names.name(state.origin),
            direction: state.direction,
            family: state.wire.family(),
            protocol: state.protocol(),
            wire: state.wire.ends,
            stack: state.stack.ends,
            source: peer_view(&state.source),
            destination: peer_view(&state.destination),
            age: now.saturating_since(state.created),
            expires_in: self.lifetimes().end(state).saturating_since(now),
            traffic: traffic(state.traffic),
            rule: state.rule.and_then(number),
            anchor: state.anchor.and_then(number),
            route,
            ether: state.ether,
            scrub: state.scrub,
            asked: asked(state),
        }
    }
}

fn asked(state: &State) -> StateOptions {
    let counts_for = |kind: NodeKind| state.sources.iter().any(|source| source.kind == kind);
    let sticks = |pool: PoolUse| counts_for(NodeKind::Sticky(pool));
    StateOptions {
        allow_options: state.allow_options,
        sloppy: state.sloppy,
        priority: state.treatment.priority,
        source_track: counts_for(NodeKind::Limit),
        sticky_translation: sticks(PoolUse::Nat) || sticks(PoolUse::Rdr),
        sticky_route: sticks(PoolUse::Route),
        log_all: state.logged,
        routing_table: state.treatment.routing_table,
    }
}

const fn peer_view(peer: &Peer) -> PeerView {
    PeerView {
        state: peer.state,
        seq_lo: peer.seq_lo,
        seq_hi: peer.seq_hi,
        seq_diff: peer.seq_diff,
        window_scale: peer.window_scale,
    }
}

const fn traffic([forward, reply]: [Count; 2]) -> Traffic {
    Traffic {
        packets_in: forward.packets,
        bytes_in: forward.bytes,
        packets_out: reply.packets,
        bytes_out: reply.bytes,
    }
}
