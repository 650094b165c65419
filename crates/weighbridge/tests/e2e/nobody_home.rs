//! The daemon dies, or is restarted: what crosses the box meanwhile, and what goes on afterwards.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::service::{HTTP, sha256_of_bytes};
use lab::{Configuration, Host, Lab, Role, Weighbridge, clock};

use crate::support::{BINARY, Bench, SILENCE, UNSHAPED, until, with_lab};

/// How long a daemon may take to start on a busy machine, and TCP to notice.
const START: Duration = Duration::from_mins(2);
/// How long Linux waits at most until it acknowledges what nothing goes with (`TCP_DELACK_MAX`), doubled.
const DELAYED_ACK: Duration = Duration::from_millis(400);
/// What a daemon must have written down at the latest.
const SNAPSHOT_LIMIT: Duration = Duration::from_secs(30);

fn start(lab: &Lab, files: &Configuration) -> Result<Weighbridge> {
    Weighbridge::start(lab, Path::new(BINARY), files)
}

fn article(settings: &str) -> Configuration {
    let files = Configuration::article(true);
    let text = format!("{}{settings}", files.text("weighbridge.toml"));
    files.with("weighbridge.toml", &text)
}

/// Whether the first server answers.
fn is_reached(host: &Host) -> bool {
    host.tcp_connect(Bench::server(22)).is_ok()
}

fn is_cut_off(host: &Host) -> bool {
    host.tcp_connect_within(SILENCE, Bench::server(22)).is_err()
}

fn unhook(lab: &Lab) -> Result<String> {
    let mut command = Command::new(BINARY);
    command.arg("unhook").stdin(Stdio::null());
    let output = lab.namespace(Role::Box).run(|| command.output())?;
    let said = String::from_utf8([output.stdout, output.stderr].concat())?;
    ensure!(output.status.success(), "{said}");
    Ok(said)
}

/// Waits until the states are written down with one more than there are now.
fn wait_for_snapshot(lab: &Lab, server: SocketAddr) -> Result<()> {
    let file = lab.directory().join("state/states");
    // An address is packed as its bytes, with the port behind it, which is one byte below 128.
    let IpAddr::V4(address) = server.ip() else {
        bail!("{server} is none of IPv4");
    };
    let wanted = [address.octets().as_slice(), &[u8::try_from(server.port())?]].concat();
    let written = clock::wait_until(SNAPSHOT_LIMIT, || {
        let packed = std::fs::read(&file).unwrap_or_default();
        packed.windows(wanted.len()).any(|part| part == wanted)
    });
    ensure!(written, "no snapshot after {SNAPSHOT_LIMIT:?}");
    Ok(())
}

/// A download by DSL that takes some seconds.
fn slow_download(lab: &Lab, bytes: u64) -> Result<std::thread::JoinHandle<Result<lab::Download>>> {
    let internet = lab.namespace(Role::Internet);
    internet.tc("qdisc add dev modem1 root tbf rate 80mbit burst 64k limit 256k")?;
    // The next daemon may take long to start.
    let host = lab.host(Role::H99).with_patience(START);
    Ok(host.download_in_background(Bench::server(HTTP), bytes))
}

fn assert_whole(
    lab: &Lab,
    download: std::thread::JoinHandle<Result<lab::Download>>,
    bytes: u64,
) -> Result<()> {
    let download = download.join().map_err(|_| anyhow::anyhow!("panicked"))??;
    assert_eq!(download.sha256, sha256_of_bytes(bytes));
    assert_eq!(
        download.server_saw.ip().to_string(),
        lab.dsl_lines()[0].outside_v4.to_string()
    );
    Ok(())
}

#[test]
fn after_a_crash_nothing_crosses_until_a_daemon_runs_again() -> Result<()> {
    with_lab("crash, block", UNSHAPED, |lab| {
        let host = lab.host(Role::H99);
        let mut daemon = start(&lab, &article(""))?;
        assert!(is_reached(&host));
        daemon.kill()?;
        assert!(is_cut_off(&host), "TCP crosses a box without a daemon");
        let router = IpAddr::from([216, 28, 123, 1]);
        assert!(host.is_unanswered(router, 100), "ICMP crosses");
        // ARP is not IP: it crosses as always.
        lab.namespace(Role::H99).ip("neigh flush all")?;
        assert!(host.is_unanswered(router, 100));
        let neighbours = || lab.namespace(Role::H99).ip("neigh show");
        until("the router has told its address", || {
            neighbours().is_ok_and(|told| told.contains("lladdr"))
        })?;

        let mut daemon = start(&lab, &article(""))?;
        until("it tells what was blocked", || {
            let log = daemon.log();
            log.contains("em1 was blocked and is filtered again")
        })?;
        assert!(is_reached(&host));
        daemon.stop()?;
        assert!(is_reached(&host), "an orderly stop lets everything pass");
        Ok(())
    })
}

#[test]
fn after_a_crash_everything_crosses_with_the_policy_pass() -> Result<()> {
    with_lab("crash, pass", UNSHAPED, |lab| {
        let host = lab.host(Role::H99);
        let mut daemon = start(&lab, &article("fail-policy = \"pass\"\n"))?;
        assert!(is_reached(&host));
        daemon.kill()?;
        let session = host.line_client(Bench::server(22))?;
        assert_eq!(session.server_saw().ip(), Bench::t1(Role::H99));
        Ok(())
    })
}

#[test]
fn unhook_lets_packets_pass_where_a_daemon_died_and_leaves_living_ones_alone() -> Result<()> {
    with_lab("unhook", UNSHAPED, |lab| {
        let host = lab.host(Role::H99);
        let mut daemon = start(&lab, &article(""))?;
        let said = unhook(&lab)?;
        assert!(
            said.contains("em1: left alone, a running weighbridge"),
            "{said}"
        );
        daemon.kill()?;
        assert!(is_cut_off(&host));
        let said = unhook(&lab)?;
        assert!(said.contains("em1: packets pass unfiltered"), "{said}");
        let session = host.line_client(Bench::server(22))?;
        assert_eq!(session.server_saw().ip(), Bench::t1(Role::H99));
        assert!(unhook(&lab)?.contains("nothing is blocked"));
        Ok(())
    })
}

#[test]
fn connections_by_dsl_and_t1_go_on_after_an_orderly_restart() -> Result<()> {
    with_lab("restart", UNSHAPED, |lab| {
        let mut daemon = start(&lab, &article(""))?;
        let mut by_dsl = lab.host(Role::H99).line_client(Bench::server(22))?;
        let mut by_t1 = lab.host(Role::H50).line_client(Bench::server(22))?;
        assert_eq!(
            by_dsl.server_saw().ip().to_string(),
            lab.dsl_lines()[0].outside_v4.to_string()
        );
        for session in [&mut by_dsl, &mut by_t1] {
            session.exchange("before")?;
        }
        let before = daemon.states()?.len();
        // Without hooks packets pass as they are: an acknowledgement that NAT does not translate is reset.
        clock::pause(DELAYED_ACK);
        daemon.stop()?;
        let daemon = start(&lab, &article(""))?;
        assert!(before > 0 && daemon.states()?.len() >= before.min(4));
        for session in [&mut by_dsl, &mut by_t1] {
            session.exchange("after").with_context(|| daemon.log())?;
        }
        let verbose = daemon.pfctl_ok(&["-vvss"])?;
        assert!(verbose.contains("rule "), "bound to their rules: {verbose}");
        Ok(())
    })
}

#[test]
fn a_running_transfer_goes_on_when_one_daemon_hands_over_to_the_next() -> Result<()> {
    with_lab("hand over", UNSHAPED, |lab| {
        let bytes = 30_000_000;
        let mut daemon = start(&lab, &article(""))?;
        let download = slow_download(&lab, bytes)?;
        clock::pause(Duration::from_millis(700));
        daemon.hand_over()?;
        assert!(is_cut_off(&lab.host(Role::H50)), "blocked meanwhile");
        let _daemon = start(&lab, &article(""))?;
        assert_whole(&lab, download, bytes)
    })
}

#[test]
fn a_running_transfer_goes_on_after_a_crash() -> Result<()> {
    with_lab("crash, states", UNSHAPED, |lab| {
        let bytes = 200_000_000;
        let mut daemon = start(&lab, &article(""))?;
        let host = lab.host(Role::H99).with_patience(START);
        let mut session = host.line_client(Bench::server(22))?;
        let download = slow_download(&lab, bytes)?;
        wait_for_snapshot(&lab, Bench::server(HTTP))?;
        clock::pause(Duration::from_secs(1));
        ensure!(
            !download.is_finished(),
            "the transfer is too short to show anything"
        );
        daemon.kill()?;
        let daemon = start(&lab, &article(""))?;
        session
            .exchange("after the crash")
            .with_context(|| daemon.log())?;
        // The rest may come as fast as it can.
        lab.namespace(Role::Internet)
            .tc("qdisc del dev modem1 root")?;
        assert_whole(&lab, download, bytes)
    })
}

#[test]
fn a_damaged_file_of_states_is_told_of_and_not_used() -> Result<()> {
    with_lab("damaged states", UNSHAPED, |lab| {
        let directory = lab.directory().join("state");
        std::fs::create_dir_all(&directory)?;
        std::fs::write(directory.join("states"), "{\"header\":{\"version\":1}}\n")?;
        let daemon = start(&lab, &article(""))?;
        until("the file is told of", || {
            daemon.log().contains("states is not used")
        })?;
        assert!(is_reached(&lab.host(Role::H99)));
        Ok(())
    })
}
