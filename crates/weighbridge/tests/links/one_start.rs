//! `weighbridge run` with laggs and VLANs in its files: one start makes all of it, and what is the laggs
//! outlives the daemon.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{clock, requirements};
use rustix::process::{Pid, Signal, kill_process};

use super::daemon::Daemon;
use super::flows::{Echo, Flows, reach};
use super::site::{Site, until};

const FAR: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 0, 0, 1);
const LIMIT: Duration = Duration::from_secs(30);
/// A restart may interrupt what goes by the lagg no longer; the best of some tries counts, for a busy
/// machine delays those who measure.
const LONGEST_GAP: Duration = Duration::from_secs(2);
const TRIES: usize = 4;
const RC_CONF: &str = "cloned_interfaces=\"lagg0\"\nifconfig_em0=\"up\"\nifconfig_em1=\"up\"\n\
     ifconfig_lagg0=\"laggproto failover laggport em0 laggport em1 10.0.0.2/24\"\n\
     defaultrouter=\"10.0.0.1\"\n";

pub(crate) fn kill(pid: u32, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("a process")?;
    Ok(kill_process(pid, signal)?)
}

pub(crate) fn is_there(pid: u32) -> bool {
    // A dead child that nobody has waited for is none.
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
    status.is_ok_and(|text| !text.contains("State:\tZ"))
}

/// Restarts the daemon; the longest gap of flows meanwhile.
fn restart(site: &Site, daemon: Daemon, keeper: u32) -> Result<(Daemon, Duration)> {
    let flows = Flows::start(&site.host, FAR)?;
    let directory = daemon.stop()?;
    clock::pause(Duration::from_millis(500));
    ensure!(is_there(keeper), "it has ended with the daemon");
    let daemon = Daemon::again(&site.host, directory)?;
    reach(&site.host, FAR)?;
    ensure!(daemon.links()?.pid == keeper, "{:?}", daemon.links()?);
    Ok((daemon, flows.stop()?))
}

#[test]
fn one_start_makes_the_lagg_and_filters_it_and_the_lagg_outlives_the_daemon_and_is_watched()
-> Result<()> {
    if requirements::skip_test("one_start_makes_the_lagg") {
        return Ok(());
    }
    let site = Site::new("em")?;
    site.switch("10.0.0.1/24")?;
    let logs = site.run.directory().join("logs").display().to_string();
    let settings = format!("log-directory = \"{logs}\"\n");
    let files = [
        ("rc.conf", RC_CONF),
        (
            "pf.conf",
            "block in on lagg0 proto udp to port 9\npass all\n",
        ),
        ("weighbridge.toml", settings.as_str()),
    ];
    let daemon = Daemon::start(&site, &site.host, &files)?;
    let _echo = Echo::start(&site.far)?;
    reach(&site.host, FAR)?;
    until("it tells what it filters", || {
        daemon.log().contains("filtering lagg0 (")
    })?;
    let routes = site.host.ip("route show default")?;
    ensure!(routes.contains("via 10.0.0.1 dev lagg0"), "{routes}");
    let keeper = daemon.links()?.pid;

    // Over a restart the lagg stays, and so does what is filtered.
    let (mut daemon, mut gap) = restart(&site, daemon, keeper)?;
    for _ in 1..TRIES {
        if gap < LONGEST_GAP {
            break;
        }
        let (next, other) = restart(&site, daemon, keeper)?;
        (daemon, gap) = (next, gap.min(other));
    }
    ensure!(gap < LONGEST_GAP, "{gap:?}\n{}", daemon.log());

    // One that is killed is started again, and its lagg is filtered again.
    kill(keeper, Signal::KILL)?;
    let other = || daemon.links().is_ok_and(|status| status.pid != keeper);
    ensure!(
        clock::wait_until(LIMIT, other),
        "not started again:\n{}",
        daemon.log()
    );
    reach(&site.host, FAR)?;
    until("it tells that lagg0 is back", || {
        daemon.log().contains("lagg0 is back and filtered")
    })?;
    let other = daemon.links()?.pid;
    daemon.stop()?;
    kill(other, Signal::TERM)?;
    ensure!(
        clock::wait_until(LIMIT, || !is_there(other)),
        "{other} goes on"
    );
    Ok(())
}

#[test]
fn a_lagg_that_cannot_be_made_ends_the_start_and_leaves_nothing() -> Result<()> {
    if requirements::skip_test("a_lagg_that_cannot_be_made") {
        return Ok(());
    }
    let site = Site::new("em")?;
    let rc_conf = RC_CONF.replace("em1", "em9");
    let Err(error) = Daemon::start(&site, &site.host, &[("rc.conf", &rc_conf)]) else {
        anyhow::bail!("it runs");
    };
    let text = format!("{error:#}");
    ensure!(text.contains("em9"), "{text}");
    ensure!(
        site.host.ip("link show dev lagg0").is_err(),
        "lagg0 is there"
    );
    Ok(())
}
