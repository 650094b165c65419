//! All counters of an engine by name, and what differs between two looks.

use std::collections::BTreeMap;

use pf_engine::anchor::AnchorPath;
use pf_engine::counters::Traffic;
use pf_engine::decision::DropReason;
use pf_engine::engine::{Engine, RuleList};
use pf_engine::limiter::LimiterCounters;
use pf_engine::limits::LimitCounter;
use pf_engine::time::Instant;

/// Counters by name: one number, or packets and bytes.
pub(crate) type Counters = BTreeMap<String, [u64; 2]>;

/// All counters by name.
pub(crate) fn counters(engine: &Engine, now: Instant) -> Counters {
    let mut all = Counters::new();
    of_status(&mut all, engine);
    of_limiters(&mut all, engine);
    of_rules(&mut all, engine);
    of_ether_rules(&mut all, engine);
    for state in engine.states(now) {
        let name = format!("state {}", state.id.0);
        traffic(&mut all, &name, ["forward", "reply"], state.traffic);
    }
    of_tables(&mut all, engine);
    assert_eq!(counted_states(engine), walked_states(engine, now));
    all
}

/// The states of each interface, as they are counted when they come and go.
fn counted_states(engine: &Engine) -> BTreeMap<String, usize> {
    let references = engine.interface_references().into_iter();
    let states = references.map(|(name, references)| (name, references.states));
    states.filter(|(_, states)| *states > 0).collect()
}

/// The same by a walk over all.
fn walked_states(engine: &Engine, now: Instant) -> BTreeMap<String, usize> {
    let mut states = BTreeMap::new();
    for state in engine.states(now) {
        *states.entry(state.interface.to_owned()).or_default() += 1;
    }
    states
}

fn of_status(all: &mut Counters, engine: &Engine) {
    let status = engine.status();
    let cookies = status.syncookies;
    for (name, count) in [
        ("searches", status.searches),
        ("inserts", status.inserts),
        ("removals", status.removals),
        ("fragments", status.fragments as u64),
        ("synfloods", cookies.floods),
        ("syncookies sent", cookies.sent),
        ("syncookies validated", cookies.validated),
        ("resets refused", status.resets_refused),
        ("errors refused", status.errors_refused),
        ("addresses refused", status.addresses_refused),
        ("nodes inserts", status.sources.inserts),
        ("nodes removals", status.sources.removals),
    ] {
        all.insert(name.to_owned(), [count, 0]);
    }
    for (reason, count) in DropReason::ALL.iter().zip(status.reasons) {
        all.insert(format!("reason {}", reason.name()), [count, 0]);
    }
    for (limit, count) in LimitCounter::ALL.iter().zip(status.limits) {
        all.insert(format!("limit {}", limit.name()), [count, 0]);
    }
}

fn of_limiters(all: &mut Counters, engine: &Engine) {
    for limiter in engine.state_limiters() {
        let name = format!("state-limiter {}", limiter.definition.id);
        limiter_counters(all, &name, limiter.counters);
    }
    for limiter in engine.source_limiters() {
        let name = format!("source-limiter {}", limiter.definition.id);
        limiter_counters(all, &name, limiter.counters);
        all.insert(format!("{name} addrlimit"), [limiter.address_limited, 0]);
    }
}

fn of_rules(all: &mut Counters, engine: &Engine) {
    let lists = [
        ("scrub", RuleList::Scrub),
        ("filter", RuleList::Filter),
        ("nat", RuleList::Nat),
        ("rdr", RuleList::Rdr),
        ("binat", RuleList::Binat),
    ];
    let main = AnchorPath::main();
    let rulesets = std::iter::once(&main).chain(engine.anchors());
    let lists = rulesets.flat_map(|path| lists.map(|(list, which)| (path, list, which)));
    for (path, list, which) in lists {
        for rule in engine.rules_at(path, which) {
            let name = format!("{path} {list} {}", rule.number);
            let name = name.trim_start();
            let counters = rule.counters;
            all.insert(format!("{name} evaluations"), [counters.evaluations, 0]);
            all.insert(format!("{name} states"), [u64::from(counters.states), 0]);
            all.insert(format!("{name} created"), [counters.states_created, 0]);
            traffic(all, name, ["in", "out"], counters.traffic);
        }
    }
}

fn of_ether_rules(all: &mut Counters, engine: &Engine) {
    let main = AnchorPath::main();
    for path in std::iter::once(&main).chain(engine.anchors()) {
        for rule in engine.ether_rules_at(path) {
            let name = format!("{path} ether {}", rule.number);
            let name = name.trim_start();
            let evaluations = rule.counters.evaluations;
            all.insert(format!("{name} evaluations"), [evaluations, 0]);
            traffic(all, name, ["in", "out"], rule.counters.traffic);
        }
    }
}

fn of_tables(all: &mut Counters, engine: &Engine) {
    for table in engine.tables() {
        let name = format!("table {}", table.name);
        all.insert(format!("{name} match"), [table.matches, 0]);
        all.insert(format!("{name} nomatch"), [table.misses, 0]);
        traffic(all, &name, ["in-pass", "out-pass"], table.passed);
        traffic(all, &name, ["in-block", "out-block"], table.blocked);
        traffic(all, &name, ["in-xpass", "out-xpass"], table.xpassed);
    }
}

fn limiter_counters(all: &mut Counters, name: &str, counters: LimiterCounters) {
    all.insert(format!("{name} states"), [u64::from(counters.states), 0]);
    all.insert(format!("{name} admitted"), [counters.admitted, 0]);
    all.insert(format!("{name} hardlimit"), [counters.hard_limited, 0]);
    all.insert(format!("{name} ratelimit"), [counters.rate_limited, 0]);
}

fn traffic(all: &mut Counters, name: &str, [first, second]: [&str; 2], traffic: Traffic) {
    let (inwards, outwards) = (
        [traffic.packets_in, traffic.bytes_in],
        [traffic.packets_out, traffic.bytes_out],
    );
    all.insert(format!("{name} {first}"), inwards);
    all.insert(format!("{name} {second}"), outwards);
}

/// What changed, one a line: `name difference` or `name packets/bytes`.
pub(super) fn difference(before: &Counters, after: &Counters) -> Vec<String> {
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let mut lines = Vec::new();
    for name in names {
        // A state that is gone shows in `removals`.
        if name.starts_with("state ") && !after.contains_key(name) {
            continue;
        }
        let [a, b] = before.get(name).copied().unwrap_or_default();
        let [c, d] = after.get(name).copied().unwrap_or_default();
        let (first, second) = (
            c.wrapping_sub(a).cast_signed(),
            d.wrapping_sub(b).cast_signed(),
        );
        match (first, second) {
            (0, 0) => {}
            (packets, 0) => lines.push(format!("{name} {packets}")),
            (packets, bytes) => lines.push(format!("{name} {packets}/{bytes}")),
        }
    }
    lines.sort();
    lines
}
