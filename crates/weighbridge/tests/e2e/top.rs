//! `weighbridge top` against a running daemon: what it prints is what pfctl says and what the
//! wire has carried.

use std::process::{Command, Output};

use anyhow::{Context, Result, anyhow, ensure};
use lab::clock::wait_until;
use lab::service::OTHER;
use lab::{Configuration, Role};
use serde_json::Value;

use crate::support::{BINARY, Bench, PATIENCE, UNSHAPED, with_daemon};

const RULES: &str = "\
table <inside> { 216.28.123.0/24 }
block drop in quick on em1 inet proto udp from any to any port 9 label \"refused\"
pass in on em1 inet from <inside> to any keep state label \"inside\"
pass out on em1
pass on fxp0
";

fn top(bench: &Bench, arguments: &[&str]) -> Result<Output> {
    let output = Command::new(BINARY)
        .args(["top", "--socket"])
        .arg(bench.daemon.socket())
        .args(arguments)
        .output()?;
    Ok(output)
}

fn printed(bench: &Bench, arguments: &[&str]) -> Result<String> {
    let output = top(bench, arguments)?;
    ensure!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    Ok(String::from_utf8(output.stdout)?)
}

fn json(bench: &Bench, arguments: &[&str]) -> Result<Vec<Value>> {
    let mut all = vec!["--json"];
    all.extend(arguments);
    let text = printed(bench, &all)?;
    let lines = text.lines().map(serde_json::from_str);
    Ok(lines.collect::<Result<_, _>>()?)
}

/// Packets and bytes of the one state that `filter` leaves, in pfctl's words by `top`, and
/// pfctl's line of them.
fn usage_by_both(bench: &Bench, filter: &str) -> Result<(String, String)> {
    let sampled = json(bench, &["-f", filter])?;
    let row = &sampled[0]["rows"][0];
    let states = bench.daemon.pfctl_ok(&["-vvss"])?;
    let id = format!("id: {:016x}", row["id"].as_u64().context("an id")?);
    let (before, _) = states.split_once(&id).context("the same state")?;
    let usage = before.lines().rev().nth(1).context("a line of usage")?;
    let sum = |key: &str| format!("{}:{}", row[key][0], row[key][1]);
    let top = format!("{} pkts, {} bytes", sum("packets"), sum("bytes"));
    Ok((top, usage.to_owned()))
}

#[test]
fn states_rules_links_and_tables_are_those_that_pfctl_shows() -> Result<()> {
    let files = Configuration::article(true).with("pf.conf", RULES);
    with_daemon("top", UNSHAPED, &files, |bench| {
        let mut session = bench
            .lab
            .host(Role::H99)
            .line_client(Bench::server(OTHER))?;
        session.exchange("a line")?;
        let port = OTHER.to_string();
        let filter = format!("tcp and src net 216.28.123 and dst port {port}");

        let text = printed(bench, &["-b", "-w", "120", "-f", &filter])?;
        let lines: Vec<_> = text.lines().collect();
        ensure!(lines.len() == 5, "{text}");
        ensure!(lines[2].starts_with("pfTop: Up State 1-1/1 ("), "{text}");
        ensure!(lines[3].starts_with("PR"), "{text}");
        ensure!(lines[4].contains("ESTABLISHED:ESTABLISHED"), "{text}");

        // The connection's last acknowledgement may come between the two that are asked.
        let mut told = Err(anyhow!("not asked"));
        let agree = wait_until(PATIENCE, || {
            told = usage_by_both(bench, &filter);
            told.as_ref()
                .is_ok_and(|(top, pfctl)| pfctl.contains(top.as_str()))
        });
        ensure!(agree, "{told:?}");

        let rules = printed(bench, &["-b", "-a", "-v", "label", "-w", "120"])?;
        ensure!(rules.contains(" refused "), "{rules}");
        ensure!(rules.contains(" inside "), "{rules}");
        let tables = printed(bench, &["-b", "-v", "tables"])?;
        ensure!(tables.contains("inside"), "{tables}");
        let gateways = printed(bench, &["-b", "-v", "gateways"])?;
        ensure!(gateways.contains("Gateway no entries"), "{gateways}");
        Ok(())
    })
}

#[test]
fn rates_are_those_of_the_connection_between_two_samples() -> Result<()> {
    let files = Configuration::article(true).with("pf.conf", RULES);
    with_daemon("top rates", UNSHAPED, &files, |bench| {
        let mut session = bench
            .lab
            .host(Role::H99)
            .line_client(Bench::server(OTHER))?;
        session.exchange("before")?;
        let filter = format!("dst port {OTHER} and in");
        let arguments = ["-v", "speed", "-s", "1", "-d", "2", "-f", &filter];
        // Silence, once the last acknowledgement has come; then as many bytes as the state counts.
        let mut samples = Vec::new();
        let silent = wait_until(PATIENCE, || {
            samples = json(bench, &arguments).unwrap_or_default();
            samples.len() == 2 && samples[1]["rows"][0]["speed"]["bytes"] == 0.0
        });
        ensure!(silent, "{samples:?}");
        let speed = std::thread::scope(|scope| {
            let asked =
                scope.spawn(|| json(bench, &["-v", "speed", "-s", "2", "-d", "3", "-f", &filter]));
            let mut told = Ok(());
            while told.is_ok() && !asked.is_finished() {
                told = session.exchange(&"x".repeat(1000)).map(drop);
            }
            asked.join()
        });
        let samples = speed.map_err(|_| anyhow::anyhow!("panicked"))??;
        let bytes = |sample: &Value| -> Result<u64> {
            let both = &sample["rows"][0]["bytes"];
            Ok(both[0].as_u64().context("bytes")? + both[1].as_u64().context("bytes")?)
        };
        let between = bytes(&samples[2])? - bytes(&samples[1])?;
        let told = samples[2]["rows"][0]["speed"]["bytes"]
            .as_f64()
            .context("a speed")?;
        ensure!(between > 1000, "{between} bytes");
        // Two seconds lie between the samples, and what asking takes.
        let seconds = f64::from(u32::try_from(between)?) / told;
        ensure!(
            (1.9..60.0).contains(&seconds),
            "{between} bytes at {told}: {seconds} s"
        );
        Ok(())
    })
}

#[test]
fn wrong_words_and_an_absent_daemon_are_told() -> Result<()> {
    let run = |arguments: &[&str]| Command::new(BINARY).arg("top").args(arguments).output();
    let told = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let filter = run(&["-b", "-f", "src port 80 and frob"])?;
    assert_eq!(filter.status.code(), Some(2));
    assert_eq!(
        told(&filter),
        "weighbridge top: filter: column 17: 'frob' is no number of a port\n  \
         src port 80 and frob\n                  ^\n"
    );
    let absent = "/nonexistent";
    for (arguments, status, part) in [
        (["-b", "-v", "nothing"], 2, "no view is named 'nothing'"),
        (["-b", "-o", "colour"], 2, "no order is named 'colour'"),
        (["-i", "--socket", absent], 2, "-i needs a terminal"),
        (["-b", "--socket", absent], 1, "cannot reach the daemon"),
    ] {
        let output = run(&arguments)?;
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
        assert!(told(&output).contains(part), "{arguments:?}: {output:?}");
    }
    Ok(())
}
