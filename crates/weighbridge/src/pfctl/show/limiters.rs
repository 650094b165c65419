//! `-s LimiterStates`, `-s LimiterSrcs`. The fifth and sixth column are those that PF's own tests
//! look at: how often states were too many, and how often they came too fast.

use std::fmt::Write;

use pf_engine::limiter::LimiterCounters;
use pf_engine::rule::Rate;

use super::View;

/// `-s LimiterStates`.
pub(super) fn states(view: &View<'_>) -> String {
    let mut text = String::new();
    for limiter in view.engine.state_limiters() {
        if text.is_empty() {
            write_row(
                &mut text,
                ["ID", "USE/LIMIT", "RATE", "ADMIT", "HARDLIM", "RATELIM"],
                "NAME",
            );
        }
        let definition = limiter.definition;
        let used = format!("{}/{}", limiter.counters.states, definition.limit);
        let id = definition.id.to_string();
        let rate = rate(definition.rate);
        write_counters(
            &mut text,
            [&id, &used, &rate],
            limiter.counters,
            &definition.name,
        );
    }
    text
}

/// `-s LimiterSrcs`, with `-v` the sources of each.
pub(super) fn sources(view: &View<'_>) -> String {
    let mut text = String::new();
    for limiter in view.engine.source_limiters() {
        if text.is_empty() {
            write_row(
                &mut text,
                ["ID", "USE/ADDRS", "RATE", "ADMIT", "HARDLIM", "RATELIM"],
                "ADDRLIM NAME",
            );
        }
        let definition = limiter.definition;
        let used = format!("{}/{}", limiter.sources.len(), definition.entries);
        let id = definition.id.to_string();
        let rate = rate(definition.rate);
        let end = format!("{:>7} {}", limiter.address_limited, definition.name);
        write_counters(&mut text, [&id, &used, &rate], limiter.counters, &end);
        if view.style.verbose >= 1 {
            for (prefix, counters) in &limiter.sources {
                let (address, len) = (prefix.address(), prefix.prefix_len());
                let _ = writeln!(
                    text,
                    "    {address}/{len} states {}/{} admit {} hardlim {} ratelim {}",
                    counters.states,
                    definition.limit,
                    counters.admitted,
                    counters.hard_limited,
                    counters.rate_limited,
                );
            }
        }
    }
    text
}

fn rate(rate: Option<Rate>) -> String {
    rate.map_or_else(
        || "nil".to_owned(),
        |rate| format!("{}/{}", rate.count, rate.seconds),
    )
}

fn write_counters(
    text: &mut String,
    [id, used, rate]: [&str; 3],
    counters: LimiterCounters,
    end: &str,
) {
    let numbers = [
        counters.admitted,
        counters.hard_limited,
        counters.rate_limited,
    ];
    let [admitted, hard, fast] = numbers.map(|number| number.to_string());
    write_row(text, [id, used, rate, &admitted, &hard, &fast], end);
}

fn write_row(text: &mut String, [id, used, rate, admit, hard, fast]: [&str; 6], end: &str) {
    let _ = writeln!(
        text,
        "{id:>3} {used:>17} {rate:>11} {admit:>12} {hard:>12} {fast:>12} {end}"
    );
}
