//! The plug-in as it is run by a monitoring system: by a user without any privileges.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use lab::clock::wait_until;
use lab::{Configuration, Role};

use crate::support::{BINARY, Bench, PATIENCE, UNSHAPED, with_daemon};

/// `nobody` of Debian.
const NOBODY: u32 = 65_534;
const GATEWAY: &str = "\n[[gateway]]\ninterface = \"em0\"\naddress = \"192.168.0.1\"\n\
    [status]\nsocket = \"DIR/status.sock\"\n";

/// Runs the binary for `nobody` in the box; its exit status and what it says.
fn as_nobody(bench: &Bench, dir: &Path, words: &[&str]) -> Result<(Option<i32>, String)> {
    let mut command = Command::new(BINARY);
    command
        .args(words)
        .env("WEIGHBRIDGE_STATUS_SOCKET", dir.join("status.sock"))
        .env("WEIGHBRIDGE_SOCKET", bench.daemon.socket())
        .uid(NOBODY)
        .gid(NOBODY)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = bench.lab.namespace(Role::Box).start(&mut command)?;
    let output = child.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8(said)?))
}

#[test]
fn nobody_may_check_everything_and_the_control_socket_stays_closed() -> Result<()> {
    let dir = tempfile::tempdir()?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    let place = dir.path().display().to_string();
    let files =
        Configuration::modern("pass\n").with("weighbridge.toml", &GATEWAY.replace("DIR", &place));
    with_daemon("status", UNSHAPED, &files, |bench| {
        let check = |words: &[&str]| as_nobody(bench, dir.path(), &[&["check"], words].concat());
        let told = |words: &[&str], status, begin: &str| -> Result<String> {
            // A daemon that is held up answers too late, and knows its gateways later.
            let is_so =
                |code: Option<i32>, said: &str| code == Some(status) && said.starts_with(begin);
            let so = || check(words).is_ok_and(|(code, said)| is_so(code, &said));
            wait_until(PATIENCE, so);
            let (code, said) = check(words)?;
            ensure!(is_so(code, &said), "{words:?}: {code:?} {said}");
            Ok(said)
        };
        let said = told(&["daemon", "-v"], 0, "DAEMON OK: answers in ")?;
        for data in ["'time'=", "'states'=", "'lost'=0c", "'cached'="] {
            ensure!(said.contains(data), "{data}: {said}");
        }
        told(&["daemon", "-w", "@0:10"], 1, "DAEMON WARNING: ")?;
        told(
            &["uplinks"],
            0,
            "UPLINKS OK: 1 of 1 gateways work | 'working'=1;1:;1:;0;1",
        )?;
        told(&["bridge"], 0, "BRIDGE OK: bridge0: ")?;
        told(&["links"], 3, "LINKS UNKNOWN: no aggregated links")?;
        // Root's alone: the control socket, by whatever way.
        let control = bench.daemon.socket().display().to_string();
        told(
            &["daemon", "--socket", &control],
            3,
            "DAEMON UNKNOWN: cannot reach the daemon",
        )?;
        for words in [["pfctl", "-d"], ["pfctl", "-si"], ["flows", "--json"]] {
            let (code, said) = as_nobody(bench, dir.path(), &words)?;
            ensure!(
                code != Some(0) && said.contains("ermission denied"),
                "{words:?}: {said}"
            );
        }
        bench.daemon.pfctl_ok(&["-d"])?;
        // An answer of before may be given once more.
        told(&["daemon"], 1, "DAEMON WARNING: answers in ").map(drop)
    })?;
    let gone = Command::new(BINARY)
        .args(["check", "daemon", "--socket"])
        .arg(dir.path().join("status.sock"))
        .output()?;
    ensure!(gone.status.code() == Some(2), "{gone:?}");
    Ok(())
}
