//! What must hold, and whether it does.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::contestants::Contestant;
use super::figures::Figures;
use super::jobs::Scene;
use super::measure::{rules, udp};

/// A ratio of two medians, better above 1, and what it has to be.
#[derive(Debug)]
pub(crate) struct Goal {
    what: String,
    needed: f64,
    /// Nothing when one of both has not been measured.
    found: Option<f64>,
    /// The same by what a packet costs the box.
    by_cost: Option<f64>,
}

impl Goal {
    fn is_met(&self) -> Option<bool> {
        self.found.map(|found| found >= self.needed)
    }

    const fn verdict(met: Option<bool>) -> &'static str {
        match met {
            Some(true) => "met",
            Some(false) => "NOT MET",
            None => "not measured",
        }
    }
}

/// All goals.
pub(crate) fn judge(figures: &Figures) -> Vec<Goal> {
    let mut goals = packets(figures);
    goals.extend(sockets(figures));
    goals.extend(by_rules(figures));
    goals
}

fn packets(figures: &Figures) -> Vec<Goal> {
    use Contestant::{Bridge, Cache, Nftables, Tcx, Xdp, XdpRedirect};
    let pairs = [
        (Cache, Bridge, 1.2),
        (Cache, Nftables, 3.0),
        (Cache, Tcx, 0.85),
        (Xdp, XdpRedirect, 0.75),
        (Xdp, Bridge, 1.2),
        (Xdp, Nftables, 3.0),
    ];
    let mut goals = Vec::new();
    for flows in [1, 10_000, 1_000_000] {
        let scene = if flows == 1_000_000 {
            Scene::Million
        } else {
            Scene::Packets
        };
        for (who, than, needed) in pairs {
            let what = udp(flows);
            let ratio = |unit| figures.row(scene, &what, unit)?.ratio(who, than);
            goals.push(Goal {
                what: format!("{what}: {} to {}", who.name(), than.name()),
                needed,
                found: ratio("kpps"),
                by_cost: ratio("ns of the box"),
            });
        }
    }
    goals
}

fn sockets(figures: &Figures) -> Vec<Goal> {
    use Contestant::{Bridge, Cache, NatCache, Nftables};
    let (tcp, more) = ("Gbit/s", "TCP, 4 streams");
    let all = [
        (Scene::Sockets, "TCP, 1 stream", tcp, Cache, Bridge, 0.97),
        (Scene::Sockets, more, tcp, Cache, Bridge, 0.97),
        (Scene::Nat, "TCP, 1 stream", tcp, NatCache, Bridge, 0.97),
        (Scene::Nat, more, tcp, NatCache, Bridge, 0.97),
        (
            Scene::Sockets,
            "new connections",
            "/s",
            Cache,
            Nftables,
            1.1,
        ),
        (
            Scene::Sockets,
            "round trip, p50",
            "us",
            Cache,
            Nftables,
            1.0,
        ),
        (
            Scene::Sockets,
            "round trip, p99",
            "us",
            Cache,
            Nftables,
            1.0,
        ),
    ];
    let goal =
        |(scene, what, unit, who, than, needed): (_, _, _, Contestant, Contestant, _)| Goal {
            what: format!("{what}: {} to {}", who.name(), than.name()),
            needed,
            found: figures
                .row(scene, what, unit)
                .and_then(|row| row.ratio(who, than)),
            by_cost: None,
        };
    all.into_iter().map(goal).collect()
}

fn by_rules(figures: &Figures) -> Vec<Goal> {
    let median = |scene, count, unit| {
        let row = figures.row(scene, &rules(count), unit)?;
        row.summary(Contestant::Cache).map(|(_, median, _)| median)
    };
    let ratio =
        |scene, few, many, unit| Some(median(scene, few, unit)? / median(scene, many, unit)?);
    let (known, first) = (Scene::Rules, Scene::First);
    let rate = ratio(known, 10_000, 1, "kpps");
    vec![
        Goal {
            what: "known flows: 10,000 rules to 1 rule".to_owned(),
            needed: 0.97,
            found: rate,
            by_cost: ratio(known, 1, 10_000, "ns of the box"),
        },
        Goal {
            what: "first packet: 100 rules to a hundredth of 10,000".to_owned(),
            needed: 1.0,
            found: ratio(first, 100, 10_000, "ns").map(|ratio| ratio * 100.0),
            by_cost: None,
        },
    ]
}

pub(crate) fn markdown(goals: &[Goal]) -> String {
    let ratio = |found: Option<f64>| found.map_or("-".to_owned(), |found| format!("{found:.2}"));
    let mut text =
        "| goal | at least | found | by cost of the box | |\n|---|---|---|---|---|\n".to_owned();
    for goal in goals {
        let (found, by_cost) = (ratio(goal.found), ratio(goal.by_cost));
        let verdict = Goal::verdict(goal.is_met());
        let (what, needed) = (&goal.what, goal.needed);
        let _ = writeln!(
            text,
            "| {what} | {needed:.2} | {found} | {by_cost} | {verdict} |"
        );
    }
    text
}

pub(crate) fn json(goals: &[Goal]) -> Value {
    let goal = |goal: &Goal| {
        json!({
            "what": goal.what,
            "at_least": goal.needed,
            "found": goal.found,
            "by_cost": goal.by_cost,
            "met": goal.is_met(),
        })
    };
    Value::Array(goals.iter().map(goal).collect())
}
