//! `fmt`, `check` and `explain` as commands. What they say is compared with `tools/NAME.out`;
//! `UPDATE_GOLDEN=1` writes what was found.

#[path = "common/command.rs"]
mod command;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use weighbridge::tools::{check, explain, fmt};

use command::{Ran, parsed, ran};

fn fmt(arguments: &[&str]) -> Ran {
    ran(|output| fmt::execute(&parsed(arguments), output))
}

/// With the interfaces of the article, whatever this machine has.
const BOX: [&str; 6] = [
    "--interface=lo0=127.0.0.1/8",
    "--interface=em0=192.168.1.64/16,2001:db8::64/64",
    "--interface=em1",
    "--interface=fxp0=216.123.123.123/22",
    "--dialect=freebsd",
    "--config=/nonexistent",
];

fn check(arguments: &[&str]) -> Ran {
    let arguments: Vec<&str> = BOX.iter().chain(arguments).copied().collect();
    ran(|output| check::execute(&parsed(&arguments), output))
}

fn explain(arguments: &[&str]) -> Ran {
    let arguments: Vec<&str> = BOX.iter().chain(arguments).copied().collect();
    ran(|output| explain::execute(&parsed(&arguments), output))
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools")
}

fn file(name: &str) -> String {
    directory().join(name).display().to_string()
}

/// Compares with `name`, or writes it. Places are told by file name.
#[track_caller]
fn golden(name: &str, found: &str) {
    let found = found.replace(&format!("{}/", directory().display()), "");
    let path = directory().join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &found).expect("written");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, expected, "{name}");
}

fn explained_all(rules: &str, packets: &[&str]) -> String {
    packets.iter().map(|p| explained(rules, p)).collect()
}

fn explained(rules: &str, packet: &str) -> String {
    let ran = explain(&[&file(rules), "--packet", packet]);
    assert_eq!(ran.status, 0, "{}", ran.err);
    format!("$ {packet}\n{}\n", ran.out)
}

#[test]
fn explain_follows_the_articles_packet_out_of_the_dsl_line() {
    let packets = [
        "in on em1 tcp 216.28.123.175:1234 > 1.2.3.4:80 S",
        "in on em1 tcp 216.28.123.175:1234 > 216.28.124.9:80 S",
        "in on em0 tcp 9.9.9.9:1234 > 192.168.1.64:22",
        "out on fxp0 udp 216.28.123.99:53 > 8.8.8.8:53",
    ];
    golden(
        "explain-article.out",
        &explained_all("article.conf", &packets),
    );
}

#[test]
fn explain_tells_every_criterion_and_translation() {
    let packets = [
        "out on em0 tcp 10.0.0.9:4000 > 1.2.3.4:443",
        "in on em0 tcp 9.9.9.9:4000 > 192.168.1.64:8080",
        "in on em1 icmp6 [2001:db8::1] > [2001:db8::2]",
        "in on em1 inet6 icmp6 [2001:db8::1] > [2001:db8::2] echorep",
        "in on em0 icmp 9.9.9.9 > 192.168.1.64",
        "in on em1 tcp 10.0.0.1:1 > 10.0.0.2:2000 SA",
        "in on em1 tcp 10.0.0.1:1 > 10.0.0.2:2000 S",
        "in on em1 tcp 10.0.0.1:1 > 10.0.0.2:2000 S tos 0x10",
        "in on em1 gre 10.0.0.1 > 10.0.0.2",
        "in on lo0 tcp 127.0.0.1:1 > 127.0.0.1:2",
        "in on vlan7 udp 10.0.0.1:1 > 10.0.0.2:53",
    ];
    golden(
        "explain-modern.out",
        &explained_all("modern.conf", &packets),
    );
}

#[test]
fn explain_says_the_same_as_json() {
    let packet = "in on em1 tcp 216.28.123.175:1234 > 1.2.3.4:80 S";
    let ran = explain(&[&file("article.conf"), "--json", "--packet", packet]);
    golden("explain-article.json", &ran.out);
    let value: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(value["verdict"]["action"], "pass");
    assert_eq!(value["verdict"]["interface"], "em0");
    assert_eq!(value["evaluations"][1]["direction"], "out");
    assert_eq!(value["states"].as_array().map(Vec::len), Some(2));
}

#[test]
fn explain_answers_the_same_question_the_same_way() {
    let packet = "in on em1 tcp 216.28.123.175:1234 > 1.2.3.4:80 S";
    assert_eq!(
        explained("article.conf", packet),
        explained("article.conf", packet)
    );
}

#[test]
fn explain_refuses_a_packet_it_cannot_read_with_a_caret() {
    let ran = explain(&[
        &file("article.conf"),
        "--packet",
        "in on em1 tcp 1.2.3.4 > 1.2.3.5:80",
    ]);
    assert_eq!(
        ran,
        Ran {
            status: 2,
            out: String::new(),
            err: "weighbridge: packet: a port is missing: ADDRESS:PORT\n  \
                  in on em1 tcp 1.2.3.4 > 1.2.3.5:80\n                ^^^^^^^\n"
                .into(),
        }
    );
}

#[test]
fn explain_refuses_rules_with_errors() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("bad.conf");
    fs::write(&path, "pass frm any\n").expect("written");
    let name = path.display().to_string();
    let ran = explain(&[&name, "--packet", "in on em1 udp 1.2.3.4:1 > 1.2.3.5:80"]);
    assert_eq!((ran.status, ran.out.as_str()), (1, ""));
    assert!(
        ran.err.starts_with(&format!("{name}:1: syntax error")),
        "{}",
        ran.err
    );
}

#[test]
fn check_is_silent_on_the_articles_rules() {
    for dialect in ["freebsd", "openbsd3"] {
        let arguments = [
            "--dialect",
            dialect,
            "--config=/nonexistent",
            "--interface=em0=192.168.1.64/16",
            "--interface=em1",
            "--interface=fxp0=216.123.123.123/22",
            &file("article.conf"),
        ];
        let ran = ran(|output| check::execute(&parsed(&arguments), output));
        assert_eq!(
            ran,
            Ran {
                status: 0,
                out: String::new(),
                err: String::new()
            }
        );
    }
}

#[test]
fn check_tells_what_looks_wrong_and_ends_with_2() {
    let ran = check(&[&file("wrong.conf")]);
    assert_eq!((ran.status, ran.out.as_str()), (2, ""));
    golden("check-wrong.out", &ran.err);
}

#[test]
fn check_speaks_json() {
    let ran = check(&["--json", &file("wrong.conf")]);
    assert_eq!((ran.status, ran.err.as_str()), (2, ""));
    golden("check-wrong.json", &ran.out);
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("bad.conf");
    fs::write(&path, "pass frm any\n").expect("written");
    let ran = check(&["--json", &path.display().to_string()]);
    assert_eq!((ran.status, ran.err.as_str()), (1, ""));
    let value: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(value["errors"][0]["line"], 1);
    assert_eq!(value["errors"][0]["column"], 6);
    assert_eq!(value["errors"][0]["code"], "PF001");
}

#[test]
fn check_warns_of_interfaces_that_rules_name_and_nobody_filters() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("written");
    write("hostname.em0", "up\n");
    write("hostname.em1", "up\n");
    write(
        "pf.conf",
        "nat on em0 from any to any -> (em0)\nnat on fxp0 from any to any -> (fxp0)\n\
         pass in on em1 route-to { (em0 192.168.0.1) (fxp0 216.123.123.1) } round-robin \
         from any to any\npass out on em1 reply-to (em7 10.0.0.1) from any to any\n",
    );
    let config = format!("--config={}", dir.path().display());
    let file = dir.path().join("pf.conf").display().to_string();
    let mut arguments = BOX[..5].to_vec();
    arguments.extend([config.as_str(), "--plain", &file]);
    let warned = ran(|output| check::execute(&parsed(&arguments), output));
    assert_eq!(warned.status, 2, "{}", warned.err);
    assert_eq!(warned.err.matches("[PF112]").count(), 2, "{}", warned.err);
    for told in [
        "pf.conf:2: warning: `nat on fxp0`: fxp0 is not filtered",
        "pf.conf:3: warning: `route-to fxp0`: fxp0 is not filtered",
    ] {
        assert!(warned.err.contains(told), "{}", warned.err);
    }
    write("hostname.fxp0", "up\n");
    let quiet = ran(|output| check::execute(&parsed(&arguments), output));
    assert_eq!((quiet.status, quiet.err.as_str()), (0, ""));
}

#[test]
fn options_that_cannot_be_read_are_refused() {
    for (arguments, message) in [
        (vec!["-D", "x"], "use NAME=VALUE"),
        (vec!["--interface=em9=1.2.3.4/99"], "is not ADDRESS/LENGTH"),
    ] {
        let arguments = [vec!["--config=/nonexistent", "x.conf"], arguments].concat();
        let ran = ran(|output| check::execute(&parsed(&arguments), output));
        assert_eq!(ran.status, 2, "a wrong command line");
        assert!(ran.err.contains(message), "{}", ran.err);
    }
    let ran = check(&["/nonexistent/pf.conf"]);
    let message = "weighbridge: /nonexistent/pf.conf: No such file or directory\n";
    assert_eq!((ran.status, ran.err.as_str()), (1, message));
}

#[test]
fn fmt_prints_the_layout() {
    let ran = fmt(&[&file("article.conf")]);
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    golden("fmt-article.out", &ran.out);
}

#[test]
fn fmt_check_names_what_would_change_and_writes_nothing() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (good, bad) = (dir.path().join("good.conf"), dir.path().join("bad.conf"));
    fs::write(&good, "pass in\n").expect("written");
    fs::write(&bad, "pass   in\n").expect("written");
    let (good, bad) = (good.display().to_string(), bad.display().to_string());
    let ran = fmt(&["--check", &good, &bad]);
    assert_eq!((ran.status, ran.out), (2, format!("{bad}: would change\n")));
    assert_eq!(fs::read_to_string(&bad).expect("there"), "pass   in\n");
    assert_eq!(fmt(&["--check", &good]).status, 0);
}

#[test]
fn fmt_in_place_keeps_the_mode_and_touches_only_what_changes() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("pf.conf");
    fs::write(&path, "pass   in\n").expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("mode");
    let link = dir.path().join("link.conf");
    std::os::unix::fs::symlink("pf.conf", &link).expect("link");
    let ran = fmt(&["--in-place", &link.display().to_string()]);
    assert_eq!(
        ran,
        Ran {
            status: 0,
            out: String::new(),
            err: String::new()
        }
    );
    assert_eq!(fs::read_to_string(&path).expect("there"), "pass in\n");
    assert!(link.is_symlink());
    let mode = fs::metadata(&path).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    assert_eq!(fs::read_dir(dir.path()).expect("there").count(), 2);
}

#[test]
fn fmt_writes_nothing_when_one_file_has_errors() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (good, bad) = (dir.path().join("a.conf"), dir.path().join("b.conf"));
    fs::write(&good, "pass   in\n").expect("written");
    fs::write(&bad, "pass frm\n").expect("written");
    let bad_name = bad.display().to_string();
    let ran = fmt(&["-i", &good.display().to_string(), &bad_name]);
    assert_eq!((ran.status, ran.out.as_str()), (1, ""));
    assert!(
        ran.err.starts_with(&format!("{bad_name}:1: syntax error")),
        "{}",
        ran.err
    );
    assert_eq!(fs::read_to_string(&good).expect("there"), "pass   in\n");
}
