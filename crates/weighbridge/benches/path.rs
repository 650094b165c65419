//! Packets through the box beside the kernel's own bridge, in one run: without a filter, with
//! `br_netfilter` and a stateful nftables ruleset, and with Weighbridge, with and without its flow
//! cache; both filters have 100 rules.
//!
//! `make bench-path` (root). Three network namespaces on two veth pairs; rounds are interleaved;
//! each figure is the median with the least and the greatest. `PATH_BENCH_ROUNDS` (5) and
//! `PATH_BENCH_MILLIS` (1000, of each measurement) make it shorter, `PATH_BENCH_JSON` names a file
//! for the figures.

#![expect(clippy::print_stdout, reason = "this is what a benchmark is for")]

#[path = "path/boxes.rs"]
mod boxes;
#[path = "path/figures.rs"]
mod figures;
#[path = "common/samples.rs"]
mod samples;
#[path = "path/traffic.rs"]
mod traffic;

use std::time::Duration;

use anyhow::Context;

use self::boxes::{Net, Variant};
use self::figures::{Better, Figures};

fn setting(name: &str, default: u64) -> anyhow::Result<u64> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}={text}")),
        Err(_) => Ok(default),
    }
}

fn measure(net: &Net, who: Variant, time: Duration, figures: &mut Figures) -> anyhow::Result<()> {
    for flows in [1, 1000] {
        let rate = traffic::datagrams(net, flows, time)?;
        let what = format!("UDP, {flows} flows");
        figures.add(&what, "kpps", Better::More, who, rate / 1000.0);
    }
    for streams in [1, 4] {
        let rate = traffic::bulk(net, streams, time)?;
        let what = format!("TCP, {streams} streams");
        figures.add(&what, "Gbit/s", Better::More, who, rate / 1e9);
    }
    let rate = traffic::connections(net, time)?;
    figures.add("new connections", "/s", Better::More, who, rate);
    let (median, high) = traffic::latency(net)?;
    figures.add("round trip, p50", "us", Better::Less, who, median);
    figures.add("round trip, p99", "us", Better::Less, who, high);
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let missing = lab::requirements::missing();
    if !missing.is_empty() {
        println!("no measurements: {}", missing.join(", "));
        return Ok(());
    }
    let rounds = setting("PATH_BENCH_ROUNDS", 5)?.max(1);
    let time = Duration::from_millis(setting("PATH_BENCH_MILLIS", 1000)?.max(100));
    let net = Net::new()?;
    let mut figures = Figures::default();
    for _ in 0..rounds {
        for who in Variant::ALL {
            let filter = net.set_up(who)?;
            measure(&net, who, time, &mut figures).with_context(|| format!("{who:?}"))?;
            filter.take_down(&net)?;
        }
        let rate = traffic::generated(&net, time)?;
        figures.add(
            "UDP, dropped where it comes in",
            "kpps",
            Better::More,
            Variant::Bridge,
            rate / 1000.0,
        );
    }
    println!("{rounds} rounds\n\n{}", figures::markdown(&figures));
    if let Ok(path) = std::env::var("PATH_BENCH_JSON") {
        std::fs::write(&path, figures::json(&figures).to_string()).context(path)?;
    }
    Ok(())
}
