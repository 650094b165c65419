//! Packets that are logged: live, in files, and as tcpdump reads them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Configuration, Role, Weighbridge, clock};

use crate::support::{BINARY, Bench, PATIENCE, SILENCE, UNSHAPED, with_daemon, with_lab};

/// A log is at most a second behind.
const BEHIND: Duration = Duration::from_millis(1200);

const RULES: &str = "\
pass
block in log quick on em1 inet proto tcp to port 81
pass in log (all, to pflog1) on em1 inet proto tcp to port 22 label ssh
";

/// Standard output of a command, line by line.
fn lines(command: &mut Command) -> Result<Vec<String>> {
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {text}");
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn ours(path: &Path) -> Result<Vec<String>> {
    lines(Command::new(BINARY).arg("log").arg(path))
}

/// Nothing where there is no tcpdump.
fn tcpdump(path: &Path) -> Result<Option<Vec<String>>> {
    let there = Command::new("tcpdump").arg("--version").output().is_ok();
    if !there {
        return Ok(None);
    }
    let mut command = Command::new("tcpdump");
    command.args(["-n", "-e", "-t", "-r"]).arg(path);
    lines(&mut command).map(Some)
}

#[test]
fn what_a_rule_logs_is_seen_live_in_files_and_by_tcpdump() -> Result<()> {
    with_daemon("pflog", UNSHAPED, &Configuration::modern(RULES), |bench| {
        let mut live = Command::new(BINARY)
            .args(["log", "-f", "-i", "pflog0", "--socket"])
            .arg(bench.daemon.socket())
            .stdout(Stdio::piped())
            .spawn()?;
        let host = bench.lab.host(Role::H99);
        let blocked = host.tcp_connect_within(SILENCE, Bench::server(81));
        assert!(blocked.is_err());
        let mut session = host.line_client(Bench::server(22))?;
        session.exchange("each packet is logged")?;
        clock::pause(BEHIND);
        let written = || is_written(bench).is_ok_and(|written| written);
        ensure!(clock::wait_until(PATIENCE, written), "the logs lag behind");
        check_blocked(bench)?;
        check_passed(bench)?;
        live.kill()?;
        let output = live.wait_with_output()?;
        let text = String::from_utf8(output.stdout)?;
        let wanted = format!(
            "rule 1/0(match): block in on em1: {}.",
            Bench::t1(Role::H99)
        );
        assert!(text.contains(&wanted), "live: {text}");
        assert!(!text.contains(".22: "), "of pflog0 only: {text}");
        Ok(())
    })
}

/// Whether the SYN and a repetition, and all that the label counts, are in the files.
fn is_written(bench: &Bench) -> Result<bool> {
    let logs = bench.daemon.packet_logs();
    let lines = |name: &str| ours(&logs.join(name)).map(|lines| lines.len() as u64);
    Ok(lines("pflog0.pcap")? >= 2 && lines("pflog1.pcap")? == counted(bench)?)
}

/// What the label counts.
fn counted(bench: &Bench) -> Result<u64> {
    let label = bench.daemon.pfctl_ok(&["-sl"])?;
    let counted = label
        .strip_prefix("ssh ")
        .and_then(|line| line.split(' ').nth(1));
    Ok(counted.context("a line of the label")?.parse()?)
}

/// The SYN and its repetitions.
fn check_blocked(bench: &Bench) -> Result<()> {
    let path = bench.daemon.packet_logs().join("pflog0.pcap");
    assert_eq!(
        std::fs::metadata(&path)?.permissions().mode() & 0o777,
        0o600
    );
    let start = format!(
        "rule 1/0(match): block in on em1: {}.",
        Bench::t1(Role::H99)
    );
    let end = format!(" > {}: Flags [S], seq ", dotted(81));
    let is_it = |line: &&String| line.contains(&start) && line.contains(&end);
    let found = ours(&path)?;
    let count = found.iter().filter(is_it).count();
    assert!(count >= 2, "{found:#?}");
    if let Some(theirs) = tcpdump(&path)? {
        assert_eq!(theirs.iter().filter(is_it).count(), count, "{theirs:#?}");
        assert_eq!(theirs.len(), found.len());
    }
    Ok(())
}

/// As many lines as the rule's label counts packets.
fn check_passed(bench: &Bench) -> Result<()> {
    let path = bench.daemon.packet_logs().join("pflog1.pcap");
    let counted = counted(bench)?;
    let found = ours(&path)?;
    assert_eq!(found.len() as u64, counted, "{found:#?}");
    let part = |text: &str| found.iter().any(|line| line.contains(text));
    assert!(part("rule 2/0(match): pass in on em1: "), "{found:#?}");
    assert!(part("rule 2/0(match): pass out on em1: "), "{found:#?}");
    if let Some(theirs) = tcpdump(&path)? {
        assert_eq!(theirs.len() as u64, counted, "{theirs:#?}");
        let strange = theirs
            .iter()
            .find(|line| !line.starts_with("rule 2/0(match): pass "));
        assert_eq!(strange, None);
    }
    Ok(())
}

/// A server's address and port as tcpdump writes them.
fn dotted(port: u16) -> String {
    let server = Bench::server(port);
    format!("{}.{}", server.ip(), server.port())
}

#[test]
fn a_directory_that_cannot_be_written_is_one_clear_error_before_anything_is_changed() -> Result<()>
{
    with_lab("pflog directory", UNSHAPED, |lab| {
        let files = Configuration::modern("pass\n");
        let files = files.with("weighbridge.toml", "log-directory = \"/proc/none\"\n");
        let (status, said) = Weighbridge::fail(&lab, Path::new(BINARY), &files, &[])?;
        assert!(!status.success());
        let line = said
            .lines()
            .find(|line| line.contains("cannot write packet logs to"));
        let line = line.context(said.clone())?;
        assert!(line.contains("/proc/none: "), "{line}");
        assert!(
            line.contains("set log-directory in weighbridge.toml"),
            "{line}"
        );
        Ok(())
    })
}
