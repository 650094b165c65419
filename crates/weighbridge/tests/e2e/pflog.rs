//! Packets that are logged: live, in files, and as tcpdump reads them.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use lab::{Configuration, Role, Weighbridge, clock};

use crate::support::{
    BINARY, Bench, SILENCE, UNSHAPED, at_rest, until, until_same, with_daemon, with_lab,
};

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
        let live = Live::start(bench)?;
        let host = bench.lab.host(Role::H99);
        let wanted = format!(
            "rule 1/0(match): block in on em1: {}.",
            Bench::t1(Role::H99)
        );
        // Who listens may not listen yet.
        until("it is seen live", || {
            let blocked = host.tcp_connect_within(SILENCE, Bench::server(81));
            assert!(blocked.is_err());
            live.text().contains(&wanted)
        })?;
        let mut session = host.line_client(Bench::server(22))?;
        session.exchange("each packet is logged")?;
        drop(session);
        bench.lab.until_connections_end()?;
        let logs = bench.daemon.packet_logs().to_owned();
        let count = |name: &str| ours(&logs.join(name)).map(|lines| lines.len() as u64);
        // A log is a second behind.
        until("the SYN and a repetition are written", || {
            count("pflog0.pcap").is_ok_and(|lines| lines >= 2)
        })?;
        at_rest(|| {
            clock::pause(SILENCE);
            count("pflog0.pcap")
        })?;
        until_same(|| Ok((count("pflog1.pcap")?, counted(bench)?)))?;
        check_blocked(bench)?;
        check_passed(bench)?;
        let text = live.text();
        assert!(!text.contains(".22: "), "of pflog0 only: {text}");
        Ok(())
    })
}

/// `weighbridge log -f` of the first log, until it is dropped.
struct Live {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Live {
    fn start(bench: &Bench) -> Result<Self> {
        let mut child = Command::new(BINARY)
            .args(["log", "-f", "-i", "pflog0", "--socket"])
            .arg(bench.daemon.socket())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = BufReader::new(child.stdout.take().context("piped")?);
        let said = Arc::<Mutex<String>>::default();
        let into = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in output.lines().map_while(std::io::Result::ok) {
                let mut said = into.lock().unwrap_or_else(PoisonError::into_inner);
                said.push_str(&line);
                said.push('\n');
            }
        });
        Ok(Self { child, said })
    }

    fn text(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.clone()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
