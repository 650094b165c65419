//! `set fingerprints`, `-s osfp`, `-F osfp`.

use pf_engine::ruleset::Dialect;

use super::{Daemon, empty_engine};

const LIST: &str = "S4:64:1:60:M*,S,T,N,W0: Linux:2.4::x\n\
                    S44:128:1:48:M*,N,N,S: windows:XP:SP1:x\n\
                    S44:128:1:48:M*,N,N,S: Windows:2000::x\n\
                    16384:64:1:44:M*: FreeBSD:2.0-2.1::x\n";

#[test]
fn a_list_is_loaded_listed_and_cleared() {
    let daemon = Daemon::start(Dialect::FreeBsd, empty_engine());
    let list = daemon.file("list.os", LIST);
    let rules = format!(
        "set fingerprints \"{list}\"\npass in proto tcp from any os \"LINUX 2.4\" to any\n"
    );
    let rules = daemon.file("os.conf", &rules);
    assert_eq!(daemon.says(&format!("-f {rules}")), "");
    assert_eq!(
        daemon.out("-qso"),
        "Class\tVersion\tSubtype(subversion)\n\
         -----\t-------\t-------------------\n\
         FreeBSD\t\n\
         FreeBSD\t2.0\t\n\
         FreeBSD\t2.0-2.1\t\n\
         FreeBSD\t2.1\t\n\
         Linux\t\n\
         Linux\t2.4\t\n\
         windows\t\n\
         windows\t2000\t\n\
         windows\tXP\t\n\
         windows\tXP\tSP1\t\n"
    );
    assert_eq!(
        daemon.out("-sr"),
        "pass in proto tcp from any os \"Linux 2.4\" to any flags S/SA keep state\n"
    );
    let all = daemon.out("-sa");
    assert!(
        all.contains("\nOS FINGERPRINTS:\n12 fingerprints loaded\n"),
        "{all}"
    );
    assert_eq!(daemon.says("-F osfp"), "", "as PF, which says nothing");
    assert_eq!(daemon.out("-s osfp"), "");
    assert!(!daemon.out("-sa").contains("OS FINGERPRINTS"));
    // Without `set fingerprints` it is the list that the program has.
    let plain = daemon.file("plain.conf", "pass\n");
    assert_eq!(daemon.says(&format!("-f {plain}")), "");
    assert!(daemon.out("-s osfp").contains("\nWindows\tXP\tSP1\t\n"));
}

#[test]
fn a_list_with_a_fault_is_refused_with_its_place() {
    let daemon = Daemon::start(Dialect::FreeBsd, empty_engine());
    let list = daemon.file("list.os", "# a comment\nS4:300:1:60:.:Linux:2.4::x\n");
    let rules = daemon.file("os.conf", &format!("set fingerprints \"{list}\"\npass\n"));
    let refused = daemon.pfctl(&format!("-f {rules}"));
    assert_eq!(refused.status, 1);
    let place = format!("{list}:2: TTL is greater than 255\n");
    assert!(refused.err.contains(&place), "{}", refused.err);
}
