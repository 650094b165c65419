//! The same capture through p0f 3.09b and through us.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use weighbridge::mail::watch::{WatchArguments, execute};

use crate::command::{parsed, ran};
use crate::reference::syns;

const SIGNATURES: &str = "/etc/p0f/p0f.fp";
/// What must be equal, line for line.
const EQUAL: [&str; 3] = ["syn", "syn+ack", "mtu"];
/// Differences that are shown.
const SHOWN: usize = 20;

/// p0f's log of a capture; none when it is not installed.
#[expect(
    clippy::print_stderr,
    reason = "who reads the test's output shall know"
)]
fn p0f_log(capture: &Path, log: &Path) -> Option<String> {
    let mut p0f = Command::new("p0f");
    p0f.args(["-f", SIGNATURES, "-r"])
        .arg(capture)
        .arg("-o")
        .arg(log);
    let status = p0f
        .env("TZ", "UTC")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !status.is_ok_and(|status| status.success()) || !Path::new(SIGNATURES).exists() {
        eprintln!("skipped: no p0f on the PATH, or no {SIGNATURES} (Debian package p0f)");
        return None;
    }
    std::fs::read_to_string(log).ok()
}

fn our_log(capture: &Path, log: &Path) -> String {
    let (capture, log) = (capture.display().to_string(), log.display().to_string());
    let arguments: WatchArguments = parsed(&[
        "-r", &capture, "-o", &log, "--parity", "--quiet", "-f", SIGNATURES,
    ]);
    let ran = ran(|output| execute(&arguments, output));
    assert_eq!(
        (ran.status, ran.out.as_str(), ran.err.as_str()),
        (0, "", "")
    );
    std::fs::read_to_string(log).expect("it was written")
}

fn module(line: &str) -> &str {
    let behind = line.split_once(" mod=").map_or("", |(_, rest)| rest);
    behind.split('|').next().unwrap_or_default()
}

/// How often each line comes, of one module.
fn lines<'l>(log: &'l str, wanted: &str) -> BTreeMap<&'l str, usize> {
    let mut found = BTreeMap::new();
    for line in log.lines().filter(|line| module(line) == wanted) {
        *found.entry(line).or_default() += 1;
    }
    found
}

/// Lines that come more often in `one` than in `other`.
fn missing<'l>(one: &BTreeMap<&'l str, usize>, other: &BTreeMap<&'l str, usize>) -> Vec<&'l str> {
    let more = |line: &&str, count: usize| count > other.get(line).copied().unwrap_or(0);
    let one = one.iter().filter(|(line, count)| more(line, **count));
    one.map(|(line, _)| *line).collect()
}

#[test]
fn every_handshake_and_mtu_is_told_in_the_words_of_p0f() {
    let Some(capture) = syns() else {
        return;
    };
    let dir = tempfile::tempdir().expect("a directory");
    let Some(theirs) = p0f_log(&capture, &dir.path().join("p0f.log")) else {
        return;
    };
    let ours = our_log(&capture, &dir.path().join("ours.log"));
    let mut different = 0;
    for kind in [
        "syn",
        "syn+ack",
        "mtu",
        "uptime",
        "host change",
        "ip sharing",
    ] {
        let (their, our) = (lines(&theirs, kind), lines(&ours, kind));
        let (lacking, surplus) = (missing(&their, &our), missing(&our, &their));
        let count = |lines: &BTreeMap<&str, usize>| lines.values().sum::<usize>();
        println!(
            "{kind}: p0f {}, ours {}, lacking {}, surplus {}",
            count(&their),
            count(&our),
            lacking.len(),
            surplus.len()
        );
        for line in lacking.iter().take(SHOWN) {
            println!("  p0f:  {line}");
        }
        for line in surplus.iter().take(SHOWN) {
            println!("  ours: {line}");
        }
        if EQUAL.contains(&kind) {
            assert!(count(&their) > 1000, "{kind}: p0f said {}", count(&their));
            different += lacking.len() + surplus.len();
        }
    }
    assert_eq!(different, 0);
}

#[test]
fn with_our_signatures_more_is_known_than_p0f_knows() {
    let Some(capture) = syns() else {
        return;
    };
    let capture = capture.display().to_string();
    let arguments: WatchArguments = parsed(&["-r", &capture, "--json"]);
    let ran = ran(|output| execute(&arguments, output));
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    let events = ran
        .out
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let syns: Vec<_> = events.filter(|event| event["event"] == "syn").collect();
    let answered = syns.iter().filter(|syn| syn["os"] != "Unknown").count();
    let versions = syns.iter().filter(|syn| {
        syn["flavor"]
            .as_str()
            .is_some_and(|flavor| !flavor.is_empty())
    });
    println!(
        "{} SYNs, {answered} answered, {} with a version",
        syns.len(),
        versions.count()
    );
    assert!(answered * 100 / syns.len() >= 90);
}
