//! From what mail servers report to what the packet filter lets a host do.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::clock::wait_until;
use lab::service::OTHER;
use lab::{Configuration, Role};
use weighbridge::control::client::{Client, ClientError};
use weighbridge::control::protocol::Request;

use crate::support::{BINARY, Bench, PATIENCE, UNSHAPED, with_daemon};

const RULES: &str = "table <spammers> persist\n\
     pass in quick on em1 inet proto tcp from <spammers> to port 7777 keep state \
     (max-src-states 3)\n\
     pass\n";
const TABLES: &str =
    "\n[tables]\nnames = [\"spammers\"]\nsocket = \"DIR/tables.sock\"\nentries = 5\n";
const MAIL: &str = "\
[text]
listen = { socket = \"DIR/os.sock\" }
[throttle]
table = \"spammers\"
socket = \"DIR/tables.sock\"
least-rejected = 3
duration = \"25s\"
";
/// When nobody is throttled any more: it is looked every second.
const LATER: Duration = Duration::from_secs(90);

/// `weighbridge watch` on the bridge.
struct Watch(Child);

impl Watch {
    fn start(bench: &Bench, dir: &Path) -> Result<Self> {
        let mut command = Command::new(BINARY);
        command.args(["watch", "-i", "em1", "--quiet", "--config"]);
        command.arg(dir).arg("--state-dir").arg(dir.join("state"));
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = bench.lab.namespace(Role::Box).start(&mut command)?;
        let mut said = BufReader::new(child.stderr.take().context("piped")?);
        let mut line = String::new();
        said.read_line(&mut line)?;
        ensure!(line == "weighbridge watch: ready\n", "{line}");
        Ok(Self(child))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn reject(socket: &Path, address: IpAddr, times: usize) -> Result<()> {
    for _ in 0..times {
        let mut stream = UnixStream::connect(socket)?;
        writeln!(stream, "outcome reject data {address} 4711")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer == "ok", "{answer}");
    }
    Ok(())
}

fn spammers(dir: &Path, address: IpAddr) -> Result<(Option<i32>, String)> {
    let ran = Command::new(BINARY)
        .args(["spammers", &address.to_string(), "--config"])
        .arg(dir)
        .arg("--state-dir")
        .arg(dir.join("state"))
        .output()?;
    Ok((ran.status.code(), String::from_utf8(ran.stdout)?))
}

#[test]
fn who_sends_what_is_rejected_may_open_three_connections_for_a_time() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let place = dir.path().display().to_string();
    std::fs::write(dir.path().join("mail.toml"), MAIL.replace("DIR", &place))?;
    let rules = RULES.replace("7777", &OTHER.to_string());
    let files =
        Configuration::modern(&rules).with("weighbridge.toml", &TABLES.replace("DIR", &place));
    with_daemon("throttle", UNSHAPED, &files, |bench| {
        let host = bench.lab.host(Role::H50);
        let address = Bench::t1(Role::H50);
        let listed = |bench: &Bench| bench.daemon.pfctl_ok(&["-t", "spammers", "-T", "show"]);
        let watch = Watch::start(bench, dir.path())?;
        reject(&dir.path().join("os.sock"), address, 4)?;
        let entered = || listed(bench).is_ok_and(|listed| listed.trim() == address.to_string());
        ensure!(wait_until(PATIENCE, entered), "{:?}", listed(bench));
        let (status, why) = spammers(dir.path(), address)?;
        ensure!(
            status == Some(0) && why.contains("4.0 rejected"),
            "{status:?} {why}"
        );

        let mut open = Vec::new();
        for _ in 0..3 {
            let mut client = host.line_client(Bench::server(OTHER))?;
            client.exchange("hello")?;
            open.push(client);
        }
        let fourth = host.tcp_connect_within(Duration::from_secs(1), Bench::server(OTHER));
        ensure!(fourth.is_err(), "a fourth connection of a spammer");

        // Only the named table, and only so many addresses.
        let mut client = Client::connect(&dir.path().join("tables.sock"))?;
        let refused = client.call(&Request::Describe, &mut |_| Ok(()));
        ensure!(
            matches!(refused, Err(ClientError::Refused(_))),
            "{refused:?}"
        );

        // The daemon's rules are read again, and the mail side restarts: the table stays as it is.
        drop(watch);
        bench.daemon.load(&rules)?;
        ensure!(entered(), "{:?}", listed(bench));
        let _watch = Watch::start(bench, dir.path())?;
        let left = || listed(bench).is_ok_and(|listed| listed.trim().is_empty());
        ensure!(wait_until(LATER, left), "{:?}", listed(bench));
        ensure!(spammers(dir.path(), address)?.0 == Some(1), "it is over");
        host.line_client(Bench::server(OTHER))?.exchange("again")?;
        Ok(())
    })
}
