//! What the engine shows of itself.

use crate::anchor::AnchorPath;
use crate::counters::Traffic;
use crate::decision::StateId;
use crate::engine::{Engine, RuleList};
use crate::evaluate::CompiledRule;
use crate::state::{Count, State};
use crate::tcp::Peer;
use crate::time::Instant;
use crate::view::{InstalledRule, PeerView, StateView};

impl Engine {
    pub(super) fn rule_views<'a>(
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

    /// A rule of a list with `len` rules.
    fn rule_view(&self, rule: &CompiledRule, len: usize) -> Option<InstalledRule<'_>> {
        let entry = self.rules.get(rule.id)?;
        let number = |at: usize| u32::try_from(at).ok().filter(|_| at < len);
        Some(InstalledRule {
            number: entry.number?,
            rule: &entry.rule,
            counters: entry.counters,
            skip_steps: rule.skip.map(number),
            expired: entry.expired,
        })
    }

    pub(super) fn state_views(
        &self,
        from: StateId,
        now: Instant,
    ) -> impl Iterator<Item = StateView<'_>> {
        self.states
            .iter_from(from)
            .map(move |(_, state)| self.state_view(state, now))
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
        }
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
