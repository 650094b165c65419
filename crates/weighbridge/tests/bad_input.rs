//! The binary, given what it must refuse: one clear message, a non-zero exit, nothing changed.
//! Nothing here gets as far as needing privileges.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

/// A user without rights, on every Linux (`nobody`).
const NOBODY: u32 = 65_534;

fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("temporary directory");
    // The unprivileged user must be able to read it.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
    for (name, text) in files {
        fs::write(dir.path().join(name), text).expect("write");
    }
    dir
}

fn weighbridge(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weighbridge"));
    command.args(arguments).env_remove("NOTIFY_SOCKET");
    command
}

fn run_in(dir: &Path, more: &[&str]) -> Output {
    let config = dir.display().to_string();
    let socket = dir.join("control.sock").display().to_string();
    let own = ["run", "--config", &config, "--socket", &socket];
    let all: Vec<&str> = own.iter().chain(more).copied().collect();
    weighbridge(&all).output().expect("starts")
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    assert!(text.starts_with("weighbridge: "), "{text}");
    assert!(!text.contains("ready"), "{text}");
    text
}

#[test]
fn a_missing_directory_is_named_with_what_to_do() {
    let text = refused(&run_in(Path::new("/nonexistent/weighbridge"), &[]));
    assert!(
        text.contains("/nonexistent/weighbridge: cannot read the directory"),
        "{text}"
    );
    assert!(text.contains("--config DIR"), "{text}");
}

#[test]
fn an_interface_that_does_not_exist_is_named_among_those_that_do() {
    let dir = directory(&[("hostname.nosuch0", "up\n"), ("pf.conf", "pass\n")]);
    let text = refused(&run_in(dir.path(), &[]));
    assert!(
        text.contains("no such interface: nosuch0 (") && text.contains("hostname.nosuch0)\n"),
        "{text}"
    );
    assert!(
        text.contains("hint: correct the name; there are: "),
        "{text}"
    );
    assert!(text.contains("lo"), "{text}");
}

#[test]
fn the_file_that_names_a_missing_interface_is_told() {
    for (file, text) in [
        ("bridgename.bridge0", "add nosuch0\nup\n"),
        ("rc.conf", "ifconfig_nosuch0=\"up\"\n"),
        ("weighbridge.toml", "interfaces = [\"nosuch0\"]\n"),
    ] {
        let dir = directory(&[(file, text), ("pf.conf", "pass\n")]);
        let text = refused(&run_in(dir.path(), &[]));
        let told = format!("nosuch0 ({})", dir.path().join(file).display());
        assert!(text.contains(&told), "{text}");
    }
}

#[test]
fn all_errors_of_all_files_come_in_one_go() {
    let dir = directory(&[
        ("weighbridge.toml", "enabled = maybe\n"),
        ("hostname.em0", "inet 1.2.3\n"),
        ("hostname.em1", "frobnicate\n"),
    ]);
    let text = refused(&run_in(dir.path(), &[]));
    for place in ["weighbridge.toml:1:", "hostname.em0:1:", "hostname.em1:1:"] {
        assert!(text.contains(place), "{place} in {text}");
    }
}

#[test]
fn every_error_of_the_rules_is_reported_with_its_line() {
    let dir = directory(&[
        ("weighbridge.toml", "interfaces = [\"lo\"]\n"),
        ("pf.conf", "pass in frob\nblock from $nowhere\npass on\n"),
    ]);
    let text = refused(&run_in(dir.path(), &["--plain"]));
    for line in ["pf.conf:1", "pf.conf:2", "pf.conf:3"] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(text.contains("nothing was changed"), "{text}");
    assert!(!dir.path().join("control.sock").exists());
}

#[test]
fn more_addresses_than_allowed_are_refused_before_anything_is_changed() {
    let rules = "set limit table-entries 1\ntable <t> { 192.0.2.1 192.0.2.2 }\nblock from <t>\n";
    let dir = directory(&[
        ("weighbridge.toml", "interfaces = [\"lo\"]\n"),
        ("pf.conf", rules),
    ]);
    let text = refused(&run_in(dir.path(), &[]));
    assert!(text.contains("pf.conf:2:7"), "{text}");
    assert!(text.contains("the limit of table-entries is 1"), "{text}");
    assert!(text.contains("nothing was changed"), "{text}");
}

#[test]
fn wrong_options_say_which_would_be_right() {
    let dir = directory(&[("weighbridge.toml", "interfaces = [\"lo\"]\n")]);
    for (option, word, right) in [
        ("--dialect", "netbsd", "freebsd, openbsd or openbsd3"),
        ("--log", "loud", "error, warn, info, debug or trace"),
    ] {
        let output = run_in(dir.path(), &[option, word]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let text = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(text.contains(right), "{text}");
    }
    let text = refused(&run_in(dir.path(), &["--rules", "/nonexistent/pf.conf"]));
    assert!(
        text.contains("/nonexistent/pf.conf: cannot read it"),
        "{text}"
    );
}

#[test]
fn without_privileges_it_says_what_is_missing() {
    if !is_root() {
        println!("skipped: becoming an unprivileged user takes root");
        return;
    }
    let dir = directory(&[("weighbridge.toml", "interfaces = [\"lo\"]\n")]);
    // The build directory may be closed to that user.
    let binary = dir.path().join("weighbridge");
    fs::copy(env!("CARGO_BIN_EXE_weighbridge"), &binary).expect("copies");
    let output = Command::new(&binary)
        .args(["run", "--config"])
        .arg(dir.path())
        .arg("--socket")
        .arg(dir.path().join("control.sock"))
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .expect("starts");
    let text = refused(&output);
    assert!(
        text.contains("CAP_NET_ADMIN") && text.contains("run as root"),
        "{text}"
    );
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn pfctl_without_a_daemon_says_how_to_get_one() {
    let dir = directory(&[]);
    let socket = dir.path().join("none.sock").display().to_string();
    let output = weighbridge(&["pfctl", "--socket", &socket, "-si"])
        .output()
        .expect("starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text.contains("pfctl: cannot reach the daemon at "),
        "{text}"
    );
    assert!(text.contains("is `weighbridge run` running?"), "{text}");
}

#[test]
fn called_as_pfctl_it_is_pfctl() {
    let dir = directory(&[("pf.conf", "pass in on em0\n")]);
    let link = dir.path().join("pfctl");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_weighbridge"), &link).expect("links");
    let output = Command::new(&link)
        .args(["--config"])
        .arg(dir.path())
        .arg("-nvf")
        .arg(dir.path().join("pf.conf"))
        .output()
        .expect("starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text, "pass in on em0 all flags S/SA keep state\n");
    let help = Command::new(&link).arg("--help").output().expect("starts");
    assert_eq!(help.status.code(), Some(0));
    let text = String::from_utf8_lossy(&help.stdout);
    assert!(
        text.contains("pfctl -nf pf.conf") && text.contains("-T replace"),
        "{text}"
    );
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let mut child = weighbridge(&["pfctl", "--help"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ends");
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
}
