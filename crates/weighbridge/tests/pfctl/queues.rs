//! `pfctl -s queue`.

use std::fs;

use pf_engine::ruleset::Dialect;

use super::Daemon;

pub(super) const QUEUES: &str = "\
altq on em0 cbq bandwidth 10Mb queue { std }
queue std bandwidth 50% qlimit 60 cbq(default borrow)
pass in on em0 queue std
";

#[test]
fn queues_are_shown_with_the_kernels_counters_and_one_that_is_refused_leaves_the_rules() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let dir = daemon.dir.path();
    let good = dir.join("queues.conf");
    fs::write(&good, QUEUES).expect("written");
    assert_eq!(daemon.pfctl(&format!("-f {}", good.display())).status, 0);
    let root = "queue root_em0 on em0 bandwidth 10Mb priority 0 cbq( wrr root ) {std}\n";
    let std = "queue  std on em0 bandwidth 5Mb qlimit 60 cbq( borrow default ) \n";
    assert_eq!(daemon.out("-sq"), format!("{root}{std}"));
    let zero = "  [ pkts:          0  bytes:          0  dropped pkts:      0 bytes:      0 ]\n  \
                [ qlength:   0/ 50  borrows:      0  suspends:      0 ]\n";
    let counted = "  [ pkts:         12  bytes:       3456  dropped pkts:      7 bytes:      0 ]\n  \
                   [ qlength:   3/ 60  borrows:      2  suspends:      1 ]\n";
    assert_eq!(daemon.out("-vsq"), format!("{root}{zero}{std}{counted}"));
    let bad = dir.join("refused.conf");
    fs::write(&bad, QUEUES.replace("em0", "em9")).expect("written");
    let refused = daemon.pfctl(&format!("-f {}", bad.display()));
    assert_eq!(refused.status, 1);
    assert!(
        refused.err.contains("refused.conf:1: no such interface"),
        "{}",
        refused.err
    );
    assert_eq!(daemon.out("-sq"), format!("{root}{std}"));
    assert_eq!(daemon.says("-F queue"), "altq cleared\n");
    assert_eq!(daemon.out("-sq"), "No queue in use\n");
    assert_eq!(daemon.out("--dialect openbsd -sq"), "");
    assert!(!daemon.out("-sa").contains("No queue in use"));
}
