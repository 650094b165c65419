//! Source tracking, limits of packets, limiters.

use pf_engine::addr::Family;
use pf_engine::limiter::{SourceLimiter, StateLimiter};
use pf_engine::rule::{Flush, LimiterUse, Rate, Rule, SourceOptions, SourceTrack, WhenLimited};

use super::{name, table_name};

fn rate(rate: Rate) -> String {
    format!("{}/{}", rate.count, rate.seconds)
}

/// `max-pkt-rate`, `max-pkt-size`.
pub(super) fn packets(rule: &Rule) -> impl Iterator<Item = String> {
    let per_time = rule.max_packet_rate.map(rate);
    let per_time = per_time.map(|rate| format!("max-pkt-rate {rate}"));
    let size = rule.max_packet_size;
    per_time
        .into_iter()
        .chain(size.map(|size| format!("max-pkt-size {size}")))
}

/// `source-track` and its kin.
pub(super) fn source(options: &SourceOptions, list: &mut Vec<String>) {
    list.extend(options.track.map(|track| {
        let word = match track {
            SourceTrack::Rule => "rule",
            SourceTrack::Global => "global",
        };
        format!("source-track {word}")
    }));
    let max = options.max_states;
    list.extend(max.map(|max| format!("max-src-states {max}")));
    let max = options.max_connections;
    list.extend(max.map(|max| format!("max-src-conn {max}")));
    let max = options.max_connection_rate.map(rate);
    list.extend(max.map(|max| format!("max-src-conn-rate {max}")));
    let max = options.max_nodes;
    list.extend(max.map(|max| format!("max-src-nodes {max}")));
    list.extend(options.overload.as_ref().map(|overload| {
        let flush = match overload.flush {
            None => "",
            Some(Flush::Rule) => " flush",
            Some(Flush::Global) => " flush global",
        };
        format!("overload {}{flush}", table_name(&overload.table))
    }));
}

/// `state limiter …`, `source limiter …` of a rule.
pub(super) fn limiters(rule: &Rule) -> impl Iterator<Item = String> {
    let uses = [
        ("state", rule.state_limiter),
        ("source", rule.source_limiter),
    ];
    let given = uses
        .into_iter()
        .filter_map(|(kind, used)| Some((kind, used?)));
    given.map(|(kind, LimiterUse { id, when_limited })| {
        let action = match when_limited {
            WhenLimited::NoMatch => "no-match",
            WhenLimited::Block => "block",
        };
        format!("{kind} limiter id {id} ({action})")
    })
}

/// The definition of a state limiter.
pub(crate) fn state_limiter(limiter: &StateLimiter) -> String {
    let mut words = vec![
        format!("state limiter {} id {}", name(&limiter.name), limiter.id),
        format!("limit {}", limiter.limit),
    ];
    words.extend(limiter.rate.map(|given| format!("rate {}", rate(given))));
    words.join(" ")
}

/// The definition of a source limiter.
pub(crate) fn source_limiter(limiter: &SourceLimiter) -> String {
    let mut words = vec![
        format!("source limiter {} id {}", name(&limiter.name), limiter.id),
        format!("entries {} limit {}", limiter.entries, limiter.limit),
    ];
    words.extend(limiter.rate.map(|given| format!("rate {}", rate(given))));
    for (family, mask) in [
        (Family::Inet, limiter.inet_mask),
        (Family::Inet6, limiter.inet6_mask),
    ] {
        if mask != family.bits() {
            words.push(format!("{family} mask {mask}"));
        }
    }
    words.extend(limiter.table.as_ref().map(|table| {
        let (name, above, below) = (table_name(&table.name), table.above, table.below);
        match below {
            0 => format!("table {name} above {above}"),
            below => format!("table {name} above {above} below {below}"),
        }
    }));
    words.join(" ")
}
