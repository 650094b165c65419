//! What follows from outcomes: who is throttled, and the files of the DNS list.

use std::fs;

use mail::throttle::{Kept, host_of};
use mail::time::Timestamp;
use weighbridge::mail::dnsbl::export::{ExportArguments, export};
use weighbridge::mail::spammers::{SpammersArguments, execute};
use weighbridge::mail::storage::Storage;

use crate::command::{Ran, parsed, ran};

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const SETTINGS: &str = "\
[reputation]
never = [\"198.51.100.0/24\"]
[throttle]
table = \"spammers\"
[dnsbl]
zone = \"bl.example.org\"
name-server = \"ns.example.org\"
least-rejected = 30
";

/// A state directory with three hosts in its database, which is also the configuration.
fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("mail.toml"), SETTINGS).expect("written");
    let mut storage = Storage::open(&dir.path().join("mail.db")).expect("it opens");
    let kept = |address: &str, rejected: f64, minutes: Option<u64>| Kept {
        host: host_of(address.parse().expect("an address")),
        accepted: 1.0,
        rejected,
        at: NOW,
        until: minutes.map(|minutes| Timestamp::from_secs(NOW.as_secs() + 60 * minutes)),
    };
    let hosts = [
        kept("192.0.2.66", 40.0, Some(42)),
        kept("2001:db8::66", 99.0, Some(7)),
        kept("192.0.2.7", 3.0, None),
        kept("198.51.100.9", 99.0, Some(9)),
    ];
    storage.keep_hosts(&hosts).expect("kept");
    dir
}

fn spammers(dir: &tempfile::TempDir, more: &[&str]) -> Ran {
    let place = dir.path().display().to_string();
    let arguments = [more, &["--config", &place, "--state-dir", &place]].concat();
    let arguments: SpammersArguments = parsed(&arguments);
    ran(|output| execute(&arguments, NOW, output))
}

#[test]
fn everyone_in_the_table_is_explained() {
    let dir = directory();
    let all = spammers(&dir, &[]);
    assert_eq!(
        (all.status, all.out.as_str()),
        (
            0,
            "2001:db8::/64: 99.0 rejected, 1.0 accepted (99.0%), throttled for 7 more minutes\n\
             192.0.2.66: 40.0 rejected, 1.0 accepted (97.6%), throttled for 42 more minutes\n"
        )
    );
    let innocent = spammers(&dir, &["192.0.2.7"]);
    assert_eq!(
        (innocent.status, innocent.out.as_str()),
        (
            1,
            "192.0.2.7: 3.0 rejected, 1.0 accepted (75.0%), not throttled\n"
        )
    );
    let own = spammers(&dir, &["198.51.100.9"]);
    assert!(
        own.status == 1 && own.out.ends_with("never throttled\n"),
        "{}",
        own.out
    );
    let json = spammers(&dir, &["192.0.2.66", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(json["host"], "192.0.2.66");
    assert_eq!(json["throttled"], true);
    assert_eq!(json["until"], NOW.as_secs() + 42 * 60);
    assert_eq!(spammers(&dir, &["--all"]).out.lines().count(), 4);
    assert_eq!(spammers(&dir, &["203.0.113.1"]).status, 1);
    let nowhere = tempfile::tempdir().expect("a directory");
    assert_eq!(spammers(&nowhere, &[]).status, 2);
}

#[test]
fn the_list_is_exported_whole_for_rbldnsd_and_bind() {
    let dir = directory();
    let place = dir.path().display().to_string();
    let zone = dir.path().join("bl.zone");
    let common = ["--config", &place, "--state-dir", &place];
    for form in [
        ["--rbldnsd", &place],
        ["--bind", zone.to_str().expect("text")],
    ] {
        let arguments: ExportArguments = parsed(&[&form[..], &common].concat());
        let done = ran(|output| export(&arguments, NOW, output).map_or(1, |()| 0));
        assert_eq!(done.status, 0, "{}", done.err);
    }
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).expect("written");
    let four = read("ip4trie");
    let why = "40.0 of 41.0 recent messages were rejected (old ones count less)";
    assert!(
        four.contains(&format!("\n192.0.2.66 :127.0.0.2:{why}\n")),
        "{four}"
    );
    assert!(
        !four.contains("192.0.2.7 ") && !four.contains("198.51.100"),
        "{four}"
    );
    assert!(read("ip6trie").contains("\n2001:db8::/64 :127.0.0.2:"));
    let zone = read("bl.zone");
    assert!(zone.contains("\n66.2.0.192 IN A 127.0.0.2\n"), "{zone}");
    assert!(zone.contains(" IN SOA ns.example.org. hostmaster.ns.example.org. 1699999980 "));
    assert!(!dir.path().join("bl.zone.new").exists());
}
