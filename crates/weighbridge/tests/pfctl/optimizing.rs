//! `pfctl -o`: rules in another order, and by what those in force have seen.

use std::fs;

use pf_conf::{LoadOptions, MemoryFiles};
use pf_engine::ruleset::Dialect;
use pf_engine::time::Instant;

use super::{Daemon, empty_engine, interfaces, offer, pfctl, tcp, udp};

/// Six hosts, a rule that is there twice, and a label with its rule's number.
const TO_OPTIMIZE: &str = "table <t> persist { 192.0.2.0/24 }
block in quick from <t>
block in quick from <t>
pass in proto tcp from { 10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6 } to port 22
pass out label \"rule $nr\"
";

/// The automatic table's name without the part that comes from its addresses.
fn without_digest(text: &str) -> String {
    let mut parts = text.split("__automatic_");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + "__automatic" + &part[8..])
}

#[test]
fn rules_are_optimized_as_asked() {
    let daemon = Daemon::start(Dialect::FreeBsd, empty_engine());
    let file = daemon.file("pf.conf", TO_OPTIMIZE);
    assert_eq!(daemon.says(&format!("-f {file}")), "");
    let shown = without_digest(&daemon.out("-vvsr"));
    let rules: Vec<&str> = shown.lines().filter(|l| l.starts_with('@')).collect();
    let table = "@1 pass in inet proto tcp from <__automatic_0:6> to any port = ssh \
                 flags S/SA keep state";
    assert_eq!(
        rules,
        [
            "@0 block drop in quick from <t:1> to any",
            table,
            "@2 pass out all flags S/SA keep state label \"rule 2\"",
        ]
    );
    let shown = daemon.out("-gvsr");
    let lines: Vec<&str> = shown.lines().take(4).collect();
    assert_eq!(lines[1], "  [ Skip steps: i=end d=2 sp=end da=end ]");
    assert_eq!(lines[2], "  [ queue: qname= qid=0 pqname= pqid=0 ]");
    assert!(lines[3].starts_with("  [ Evaluations: "), "{shown}");
    assert!(without_digest(&daemon.out("-vsT")).starts_with("c-a-r--\t__automatic_0\n"));
    assert_eq!(daemon.says(&format!("-o none -f {file}")), "");
    assert_eq!(daemon.out("-sr").lines().count(), 9);
    assert!(daemon.out("-sr").ends_with("label \"rule 8\"\n"));
    assert_eq!(daemon.says(&format!("-o profile -f {file}")), "");
    assert_eq!(daemon.out("-sr").lines().count(), 3);
}

/// Quick rules of one block; the traffic of [`profiled`] meets the last ones most.
const TO_PROFILE: &str = "\
block in quick proto tcp to port 21
block in quick proto tcp from { 10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4, 10.0.0.5, 192.0.2.7 } \
to port 22
block in quick proto tcp to port 23
block in quick proto udp to port 53
pass in quick on em0 proto tcp to port 25
pass in quick on em0 proto tcp to port 443
pass in quick on em0 proto tcp to port 80
block all
";

/// A daemon with the rules of `file`, not profiled, after 2 packets to port 80, 3 to 23, 5 to 22
/// and 7 to 53.
fn profiled(file: &str) -> Daemon {
    let text = fs::read(file).expect("rules");
    let options = LoadOptions {
        interfaces: interfaces(),
        ..LoadOptions::default()
    };
    let loaded = pf_conf::load("pf.conf", &text, &mut MemoryFiles::default(), &options);
    let mut loaded = loaded.unwrap_or_else(|errors| panic!("{errors}"));
    loaded.optimize(loaded.level(None), &[]);
    let mut engine = empty_engine();
    let start = Instant::from_secs(0);
    engine.install(start, loaded.ruleset).expect("installs");
    engine.set_enabled(start, true);
    offer(&mut engine, (0..2).map(|from| tcp(4000 + from, 80)));
    offer(&mut engine, (0..3).map(|from| tcp(4000 + from, 23)));
    offer(&mut engine, (0..5).map(|from| tcp(4000 + from, 22)));
    offer(&mut engine, (0..7).map(|from| udp(5000 + from, 53, 10)));
    Daemon::start(Dialect::FreeBsd, engine)
}

/// The port that each rule of `-sr` asks for, in their order.
fn ports(daemon: &Daemon) -> Vec<String> {
    let text = daemon.out("-sr");
    let asked = text.lines().filter_map(|line| line.split("port = ").nth(1));
    asked
        .filter_map(|rest| rest.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

/// Evaluations and packets of each rule, as `-vsr` prints them.
fn seen(daemon: &Daemon) -> Vec<(u64, u64)> {
    let text = daemon.out("-vsr");
    let lines = text.lines().filter(|line| line.contains("Evaluations:"));
    let number = |line: &str, name: &str| {
        let rest = line.split(name).nth(1).expect("the counter");
        let number = rest.split_whitespace().next().expect("a number");
        number.parse().expect("a number")
    };
    lines
        .map(|line| (number(line, "Evaluations:"), number(line, "Packets:")))
        .collect()
}

#[test]
fn a_profile_orders_the_rules_by_what_those_in_force_have_seen() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let file = dir.path().join("profiled.conf");
    fs::write(&file, TO_PROFILE).expect("write");
    let file = file.display().to_string();
    let in_file = dir.path().join("asks.conf");
    let asks = format!("set ruleset-optimization profile\n{TO_PROFILE}");
    fs::write(&in_file, asks).expect("write");
    for load in [
        format!("-o profile -f {file}"),
        format!("-f {}", in_file.display()),
    ] {
        let daemon = profiled(&file);
        let basic = ["ftp", "telnet", "domain", "ssh", "smtp", "https", "http"];
        assert_eq!(ports(&daemon), basic);
        let counted = [
            (17, 0),
            (10, 3),
            (14, 7),
            (7, 5),
            (2, 0),
            (2, 0),
            (2, 2),
            (0, 0),
        ];
        assert_eq!(seen(&daemon), counted);
        assert_eq!(daemon.says(&load), "");
        // By packets in each block: 7, 5, 3, 0 and 2, 0, 0.
        let by_packets = ["domain", "ssh", "telnet", "ftp", "http", "smtp", "https"];
        assert_eq!(ports(&daemon), by_packets);
        assert_eq!(seen(&daemon), [(0, 0); 8]);
        // As in PF a load begins new counters, so the next profile knows nothing.
        assert_eq!(daemon.says(&load), "");
        assert_eq!(ports(&daemon), basic);
    }
}

#[test]
fn a_check_prints_the_rules_as_they_would_be_installed() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let nowhere = dir.path().join("none.sock");
    let file = dir.path().join("pf.conf");
    fs::write(&file, TO_OPTIMIZE).expect("write");
    let run = |level: &str| {
        let config = dir.path().display();
        let words = format!("--config {config} {level} -nvf {}", file.display());
        without_digest(&pfctl(&nowhere, &words).out)
    };
    let table = "table <__automatic_0> const { 10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 \
                 10.0.0.6 }";
    let lines: Vec<String> = run("").lines().map(str::to_owned).collect();
    assert_eq!(lines[1], table);
    assert_eq!(lines.len(), 5);
    assert_eq!(run("-o basic"), run(""));
    assert_eq!(run("-o none").lines().count(), 10);
    fs::write(
        &file,
        format!("set ruleset-optimization none\n{TO_OPTIMIZE}"),
    )
    .expect("write");
    // PF does not print this option.
    assert_eq!(run("").lines().count(), 10);
    assert_eq!(run("-o basic").lines().count(), 5);
}
