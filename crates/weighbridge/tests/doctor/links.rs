//! The machine's links, in a network namespace.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lab::identity::RunId;
use lab::namespace::Namespace;
use lab::{clock, requirements};

use super::{BINARY, doctor};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_half_made_bridge_and_its_mtus_are_told_and_a_whole_one_is_left_alone() {
    if requirements::skip_test("doctor::links") {
        return;
    }
    let run = RunId::new().expect("an id");
    let namespace = Namespace::create(&run.namespace("box")).expect("a namespace");
    for (file, text) in [
        ("hostname.em0", "up\n"),
        ("bridgename.bridge0", "add em0\nadd em1\nup\n"),
        ("pf.conf", "pass all\n"),
    ] {
        fs::write(run.directory().join(file), text).expect("written");
    }
    for line in [
        "link add em0 type veth peer name p0",
        "link add em1 type veth peer name p1",
        "link add bridge0 type bridge",
        "link set em0 master bridge0 up",
        "link set em1 mtu 1400 up",
        "link set p0 up",
        "link set p1 up",
        "link set bridge0 up",
    ] {
        namespace.ip(line).expect("ip");
    }
    let look = || {
        let mut command = Command::new(BINARY);
        command
            .args(["doctor", "links", "--config"])
            .arg(run.directory());
        namespace.run(|| doctor(&mut command))
    };
    let (status, text) = look();
    assert_eq!(status, 1, "{text}");
    assert!(
        text.contains("links/half-bridge") && text.contains("links/not-a-member"),
        "{text}"
    );
    namespace.ip("link set em1 master bridge0").expect("ip");
    let (status, text) = look();
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("em0 1500, em1 1400"), "{text}");
    namespace.ip("link set em1 mtu 1500").expect("ip");
    // The kernel tells of a carrier a moment later.
    let is_whole = || {
        let (status, text) = look();
        status != 1 && !text.contains("warning")
    };
    assert!(clock::wait_until(PATIENCE, is_whole), "{}", look().1);
    namespace.ip("link set lo down").expect("ip");
    assert!(look().1.contains("links/loopback-down"));
}

#[test]
fn laggs_and_vlans_of_the_kernel_are_tried_by_root_and_looked_up_by_others() {
    use std::os::unix::process::CommandExt;

    if requirements::skip_test("doctor::links, devices of the kernel") {
        return;
    }
    let run = RunId::new().expect("an id");
    let namespace = Namespace::create(&run.namespace("box")).expect("a namespace");
    let ask = |command: &mut Command| {
        command.args(["doctor", "links", "-v", "--config", "/nonexistent"]);
        let (_, text) = namespace.run(|| doctor(command));
        let line = text.lines().find(|line| line.contains("bonding: "));
        line.unwrap_or_else(|| panic!("nothing of bonding: {text}"))
            .to_owned()
    };
    let before = namespace.ip("link").expect("ip");
    let line = ask(&mut Command::new(BINARY));
    // A module that is there and not loaded stays so.
    let is_tried = |kind: &str| {
        let (_, told) = line.split_once(kind).expect("both are told");
        told.starts_with("tried") || told.starts_with("looked up, not tried (its module")
    };
    assert!(is_tried("bonding: ") && is_tried("802.1Q: "), "{line}");
    assert_eq!(namespace.ip("link").expect("ip"), before);
    // The program may be where nobody else may look.
    let directory = tempfile::tempdir().expect("a directory");
    let program = directory.path().join("weighbridge");
    lab::command::copy_program(Path::new(BINARY), &program).expect("copied");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(directory.path(), open).expect("opened");
    let line = ask(Command::new(&program).uid(65_534).gid(65_534));
    let untried = ": looked up, not tried (";
    assert_eq!(line.matches(untried).count(), 2, "{line}");
}

#[test]
fn what_links_check_says_of_a_start_up_file_is_a_finding() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("hostname.em0"), "inet 300.0.0.1\n").expect("written");
    let mut command = Command::new(BINARY);
    let checked = command
        .args(["links", "check", "--config"])
        .arg(directory.path())
        .output()
        .expect("it runs");
    let said = String::from_utf8(checked.stderr).expect("text");
    let said = said
        .lines()
        .find_map(|line| line.split_once("hostname.em0:1:"));
    let (_, said) = said.expect("an error with its place");
    let (_, message) = said.split_once(": ").expect("a message");
    let mut command = Command::new(BINARY);
    command
        .args(["doctor", "links", "--config"])
        .arg(directory.path());
    let (status, text) = doctor(&mut command);
    assert_eq!(status, 1, "{text}");
    let message = message.split('\n').next().unwrap_or(message);
    assert!(
        text.contains(message) && text.contains("hostname.em0:1"),
        "{message}: {text}"
    );
}
