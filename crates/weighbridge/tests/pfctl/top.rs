//! `weighbridge top` over the control socket.

use std::collections::BTreeSet;

use pf_engine::ruleset::Dialect;
use serde_json::Value;
use weighbridge::top::command::{TopArguments, execute};

use super::{Daemon, engine_with_states};
use crate::command::{parsed, ran};

/// How often is asked beside a sample.
const TRIES: usize = 5;

fn top(daemon: &Daemon, arguments: &[&str]) -> String {
    let socket = daemon.socket().display().to_string();
    let own = ["--socket", &socket];
    let all: Vec<&str> = own.into_iter().chain(arguments.iter().copied()).collect();
    let arguments: TopArguments = parsed(&all);
    let ran = ran(|output| execute(&arguments, output));
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    ran.out
}

fn json(daemon: &Daemon, arguments: &[&str]) -> Value {
    let all: Vec<&str> = ["--json"].iter().chain(arguments).copied().collect();
    serde_json::from_str(&top(daemon, &all)).expect("JSON")
}

#[test]
fn a_hundred_thousand_states_are_sampled_while_others_are_served() {
    let engine = engine_with_states(1..=50_000, [53, 54]);
    let daemon = Daemon::start(Dialect::FreeBsd, engine);
    let sampled = || {
        std::thread::scope(|scope| {
            let sampled = scope.spawn(|| json(&daemon, &["-a", "-c", "0"]));
            let mut served = 0;
            while !sampled.is_finished() {
                assert_eq!(daemon.out("-s Running"), "Enabled\n");
                served += 1;
            }
            (sampled.join().expect("a sample"), served)
        })
    };
    let (mut sample, mut served) = sampled();
    // Who asks may have been held up.
    for _ in 1..TRIES {
        if served > 10 {
            break;
        }
        (sample, served) = sampled();
    }
    assert!(served > 10, "{served} answers between the pages");
    assert_eq!(
        (&sample["total"], &sample["enabled"]),
        (&100_000.into(), &true.into())
    );
    let rows = sample["rows"].as_array().expect("rows");
    let ids: BTreeSet<_> = rows.iter().filter_map(|row| row["id"].as_u64()).collect();
    assert_eq!((rows.len(), ids.len()), (100_000, 100_000));
    let filtered = json(&daemon, &["-f", "src port 4000 and dst port 54"]);
    assert_eq!(
        (&filtered["total"], &filtered["passed"]),
        (&100_000.into(), &1.into())
    );
    assert_eq!(filtered["rows"][0]["destination"]["port"], 54);
}

#[test]
fn states_rules_and_tables_are_listed_as_pftop_does() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    assert_eq!(
        top(&daemon, &["-b", "-o", "pkt"]),
        "\n\npfTop: Up State 1-2/2, View: default, Order: packets\n\
         PR    D SRC                   DEST                 STATE   AGE   EXP  PKTS BYTES\n\
         udp   I 192.0.2.7:5000        198.51.100.10:53      0:1     60     0     2   186\n\
         tcp   I 192.0.2.7:4000        198.51.100.10:80      0:2     60    60     1    40\n"
    );
    let rules = json(&daemon, &["-v", "label"]);
    let row = &rules["rows"][0];
    assert_eq!(
        (&row["label"], &row["evaluations"]),
        (&"web 80".into(), &3.into())
    );
    let tables = top(&daemon, &["-b", "-v", "tables", "1"]);
    assert!(tables.contains("Table 1-1/2, View: tables"), "{tables}");
    let links = json(&daemon, &["-v", "links", "-s", "1"]);
    assert_eq!(
        links["rows"][0]["blocked_packets"],
        serde_json::json!([1, 0])
    );
    assert_eq!(links["rows"][0]["speed"]["bytes"], 0.0);
}
