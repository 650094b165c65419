//! `pfctl -f`: loads, checks, and what is refused.

use std::fs;

use pf_engine::ruleset::Dialect;

use super::{Daemon, empty_engine, pfctl};

#[test]
fn a_load_is_whole_or_nothing_and_keeps_states() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let before = daemon.out("-sr");
    let bad = daemon.file(
        "bad.conf",
        "block all\npass in on em0 frobnicate\npass from $nowhere\n",
    );
    let refused = daemon.pfctl(&format!("-f {bad}"));
    assert_eq!(refused.status, 1);
    for expected in ["bad.conf:2", "bad.conf:3", "frobnicate", "nowhere"] {
        assert!(
            refused.err.contains(expected),
            "{expected} in {}",
            refused.err
        );
    }
    let end = refused.err.lines().last();
    let expected = "pfctl: Syntax error in config file: pf rules not loaded";
    assert_eq!(end, Some(expected));
    assert_eq!(daemon.out("-sr"), before);

    let list = daemon.file("spam", "192.0.2.66\n");
    let text =
        format!("table <spam> persist file \"{list}\"\nblock in from <spam>\npass in on $nic\n");
    let good = daemon.file("good.conf", &text);
    assert_eq!(daemon.says(&format!("-D nic=em0 -f {good}")), "");
    assert_eq!(
        daemon.out("-sr"),
        "block drop in from <spam> to any\npass in on em0 all flags S/SA keep state\n"
    );
    assert_eq!(daemon.out("-t spam -T show"), "   192.0.2.66\n");
    assert_eq!(daemon.out("-ss").lines().count(), 2);
    let own = format!("pid {} ", std::process::id());
    assert!(daemon.out("-vsr").contains(&own), "who loaded is known");
}

#[test]
fn the_daemons_dialect_rules_a_load_unless_one_is_named() {
    let daemon = Daemon::start(Dialect::OpenBsd3, empty_engine());
    let file = daemon.file(
        "pf.conf",
        "pass in on em0 proto tcp from any to any port 80\n",
    );
    daemon.says(&format!("-f {file}"));
    assert!(!daemon.out("-sr").contains("keep state"));
    daemon.says(&format!("--dialect freebsd -f {file}"));
    assert!(daemon.out("-sr").contains("keep state"));
}

#[test]
fn checking_needs_no_daemon() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let nowhere = dir.path().join("none.sock");
    let file = dir.path().join("pf.conf");
    fs::write(&file, "ext = \"em0\"\npass in on $ext\n").expect("write");
    let config = dir.path().display();
    let ran = pfctl(
        &nowhere,
        &format!("--config {config} -nvf {}", file.display()),
    );
    assert_eq!(ran.status, 0, "{ran:?}");
    assert_eq!(
        ran.out,
        "ext = \"em0\"\npass in on em0 all flags S/SA keep state\n"
    );
    fs::write(
        dir.path().join("weighbridge.toml"),
        "dialect = \"openbsd3\"\n",
    )
    .expect("write");
    let ran = pfctl(
        &nowhere,
        &format!("--config {config} -nvvf {}", file.display()),
    );
    assert_eq!(ran.out, "ext = \"em0\"\n@0 pass in on em0 all\n");
    let ran = pfctl(&nowhere, "-sr");
    assert_eq!(ran.status, 1);
    assert!(
        ran.err.contains("cannot reach the daemon at"),
        "{}",
        ran.err
    );
    assert!(
        ran.err.contains("is `weighbridge run` running?"),
        "{}",
        ran.err
    );
    let ran = pfctl(&nowhere, "-nf /nonexistent/pf.conf");
    assert_eq!(
        ran.err,
        "pfctl: /nonexistent/pf.conf: No such file or directory\n"
    );
}

#[test]
fn nothing_is_checked_in_a_dialect_that_is_not_known() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let nowhere = dir.path().join("none.sock");
    let file = dir.path().join("pf.conf");
    fs::write(&file, "pass in all\n").expect("write");
    let settings = "dialect = \"openbsd3\"\nflow-cach = 5\n";
    fs::write(dir.path().join("weighbridge.toml"), settings).expect("write");
    let check = format!("--config {} -nf {}", dir.path().display(), file.display());
    let ran = pfctl(&nowhere, &check);
    assert_eq!((ran.status, ran.out.as_str()), (1, ""), "{ran:?}");
    assert!(ran.err.contains("weighbridge.toml:2:1"), "{}", ran.err);
    assert!(ran.err.contains("name one with --dialect"), "{}", ran.err);
    let ran = pfctl(&nowhere, &format!("--dialect openbsd {check}"));
    assert_eq!(ran.status, 0, "{ran:?}");
}

#[test]
fn what_cannot_be_installed_is_printed_and_refused_unless_printing_was_all() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let nowhere = dir.path().join("none.sock");
    let file = dir.path().join("pf.conf");
    fs::write(&file, "set hostid 1\npass in proto tcp divert-to 8080\n").expect("write");
    let at = format!("--config {} ", dir.path().display());
    let with = |flags: &str| pfctl(&nowhere, &format!("{at}{flags} {}", file.display()));
    let rules = "set hostid 0x00000001\n\
                 pass in proto tcp all flags S/SA keep state divert-to 8080\n";
    let numbered = rules.replace("pass in", "@0 pass in");
    let only_printing = with("-o none -nvf");
    assert_eq!(only_printing.status, 0, "{only_printing:?}");
    assert_eq!(
        (only_printing.out.as_str(), only_printing.err.as_str()),
        (rules, "")
    );
    assert_eq!(with("-o none -nvvf").out, numbered);
    let plain = with("-nvf");
    assert_eq!((plain.status, plain.out.as_str()), (1, rules));
    assert!(
        plain.err.contains("pf.conf:2: not supported: divert-to\n"),
        "{}",
        plain.err
    );
    let silent = with("-o none -nf");
    assert_eq!((silent.status, silent.out.as_str()), (1, ""));
    assert!(
        silent.err.contains("pf.conf:2: not supported: divert-to\n"),
        "{}",
        silent.err
    );
    fs::write(&file, "pass in proto tcp divert-to\n").expect("write");
    let wrong = with("-o none -nvf");
    assert_eq!((wrong.status, wrong.out.as_str()), (1, ""));
    assert!(
        wrong.err.contains("pf.conf:1: syntax error\n"),
        "{}",
        wrong.err
    );
}

/// The number of an account in the text of passwd(5) or group(5).
fn numbered_in(file: &str, name: &str) -> u32 {
    let text = fs::read_to_string(file).expect("the file is readable");
    let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let line = lines.find(|fields| fields[0] == name).expect("the account");
    line[2].parse().expect("a number")
}

#[test]
fn users_and_groups_are_the_machines_own() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let nowhere = dir.path().join("none.sock");
    let file = dir.path().join("pf.conf");
    let at = format!(
        "--config {} -o none -nvf {}",
        dir.path().display(),
        file.display()
    );
    // FreeBSD's `games` is 7 and its `mail` 6.
    fs::write(&file, "pass proto tcp user games group mail\n").expect("write");
    let user = numbered_in("/etc/passwd", "games");
    let group = numbered_in("/etc/group", "mail");
    assert_ne!((user, group), (7, 6), "this machine is FreeBSD");
    let ran = pfctl(&nowhere, &at);
    assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{ran:?}");
    assert_eq!(
        ran.out,
        format!("pass proto tcp all user = {user} group = {group} flags S/SA keep state\n")
    );
    fs::write(&file, "pass proto tcp user _no_such_user\n").expect("write");
    let ran = pfctl(&nowhere, &at);
    assert_eq!((ran.status, ran.out.as_str()), (1, ""));
    assert!(
        ran.err.contains("pf.conf:1: unknown user _no_such_user\n"),
        "{}",
        ran.err
    );
}
