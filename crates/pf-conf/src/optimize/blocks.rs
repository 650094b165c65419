//! Blocks: which neighbours do the same to a packet.

use std::collections::BTreeMap;

use pf_engine::rule::{Action, Address, Endpoint, Pool, PoolKind, Rule, StateOptions};
use pf_engine::ruleset::TableDefinition;

use super::Item;

/// Cuts `items` into blocks, in their order.
pub(super) fn split(
    items: Vec<Item>,
    tables: &BTreeMap<String, TableDefinition>,
) -> Vec<Vec<Item>> {
    let mut blocks: Vec<Vec<Item>> = Vec::new();
    // What the rules of the last block do, unless nothing may join it.
    let mut last: Option<Rule> = None;
    for item in items {
        let alone = item.numbering.is_some() || stands_alone(&item.rule, tables);
        let does = (!alone).then(|| effect(&item.rule));
        match (&does, blocks.last_mut()) {
            (Some(_), Some(block)) if does == last => block.push(item),
            _ => blocks.push(vec![item]),
        }
        last = does;
    }
    blocks
}

/// The rule without what it asks of a packet. A criterion that is not taken out here keeps rules
/// that differ in it apart, which is always right.
fn effect(rule: &Rule) -> Rule {
    Rule {
        direction: None,
        interface: None,
        family: None,
        protocol: None,
        source: Endpoint::ANY,
        destination: Endpoint::ANY,
        flags: None,
        icmp: None,
        tos: None,
        tagged: None,
        ..rule.clone()
    }
}

/// Whether the rule counts, limits or draws something of its own. Every field is named, so that a
/// new one has to be thought about: criteria and plain effects are ignored, anything that the
/// rule keeps account of belongs into the answer.
fn stands_alone(rule: &Rule, tables: &BTreeMap<String, TableDefinition>) -> bool {
    let Rule {
        action,
        log,
        source,
        destination,
        state_options,
        labels,
        route,
        nat,
        rdr,
        anchor,
        once,
        af_to,
        criteria,
        identifier,
        treatment: _,
        queue: _,
        nat_pass: _,
        direction: _,
        quick: _,
        interface: _,
        family: _,
        protocol: _,
        flags: _,
        icmp: _,
        tos: _,
        fragment: _,
        allow_options: _,
        state: _,
        tag: _,
        tagged: _,
        scrub: _,
        fragments: _,
        set_tos: _,
        max_packet_rate,
        max_packet_size: _,
        state_limiter,
        source_limiter,
    } = rule;
    let StateOptions {
        max,
        policy: _,
        sloppy: _,
        no_sync: _,
        allow_related: _,
        source: tracking,
        timeouts: _,
    } = state_options;
    let route = route.as_ref().map(|route| &route.pool);
    let from = af_to.as_ref().map(|af_to| &af_to.from);
    let to = af_to.as_ref().and_then(|af_to| af_to.to.as_ref());
    let pools = [nat.as_ref(), rdr.as_ref(), from, to, route];
    let mut pools = pools.into_iter().flatten();
    let counted = [source, destination]
        .iter()
        .any(|endpoint| counts_addresses(endpoint, tables));
    // Each `match` rule acts for itself: logs, and translates what the ones before have left.
    let acts = *action == Action::Match && (log.is_some() || pools.clone().next().is_some());
    let own = anchor.is_some() || *once || criteria.probability.is_some() || identifier.is_some();
    let limits = max.is_some()
        || tracking.track.is_some()
        || max_packet_rate.is_some()
        || state_limiter.is_some()
        || source_limiter.is_some();
    own || acts || counted || limits || !labels.is_empty() || pools.any(draws)
}

/// Whether the choice of an address depends on what was chosen before.
fn draws(pool: &Pool) -> bool {
    pool.kind != PoolKind::Single || pool.sticky || pool.targets.len() > 1
}

fn counts_addresses(endpoint: &Endpoint, tables: &BTreeMap<String, TableDefinition>) -> bool {
    let Address::Table(name) = &endpoint.address else {
        return false;
    };
    tables.get(name).is_some_and(|table| table.counters)
}
