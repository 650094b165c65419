//! LACPDUs as their partner hears them: what is in them, and when they come.

use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::beats::{Beats, longest_gap};
use lab::{clock, requirements};

use super::ends::{End, FAR, NEAR, Pair, Who, rc_conf};
use super::flows::Flows;
use super::open_vswitch::{command, programs};
use super::site::{Keeper, Site};

/// Between two LACPDUs, at most.
const BEAT: Duration = Duration::from_millis(1_100);
/// Time under load.
const LOAD: Duration = Duration::from_secs(4);
/// How often is tried what somebody else's load may spoil.
const TRIES: usize = 4;
/// How long new files may take to be in force.
const RELOAD: Duration = Duration::from_secs(30);
/// Bytes of a datagram that fills a frame.
const FULL: usize = 1_472;

/// Threads that keep the machine busy, until they are dropped.
struct Busy {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Busy {
    fn start() -> Self {
        Self {
            stop: Arc::new(AtomicBool::new(false)),
            threads: Vec::new(),
        }
    }

    fn with(&mut self, mut work: impl FnMut() + Send + 'static) {
        let stop = Arc::clone(&self.stop);
        self.threads.push(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                work();
            }
        }));
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A program for each core that does nothing but compute, and one that sends all it can by the
/// links.
fn full_load(site: &Site) -> Result<Busy> {
    let mut busy = Busy::start();
    for _ in 0..std::thread::available_parallelism()?.get() {
        busy.with(std::hint::spin_loop);
    }
    let socket = site.host.run(|| UdpSocket::bind("0.0.0.0:0"))?;
    busy.with(move || {
        let _ = socket.send_to(&[0; FULL], (FAR, 9));
    });
    Ok(busy)
}

/// Gives our end another file, and has it read by the program that is there now.
fn reload(pair: &Pair) -> Result<()> {
    let End::Ours(keeper) = &pair.near else {
        return Ok(());
    };
    let alias = "ifconfig_lagg0_alias0=\"10.0.0.3/24\"\n";
    keeper.rewrite(&(rc_conf("em", NEAR) + alias))?;
    let output = keeper.weighbridge(&pair.site.host, &["links", "reload"])?;
    ensure!(output.status.success(), "{output:?}");
    let host = &pair.site.host;
    let has_alias = || {
        host.ip("address show dev lagg0")
            .is_ok_and(|text| text.contains("10.0.0.3/24"))
    };
    ensure!(
        clock::wait_until(RELOAD, has_alias),
        "no alias: {}",
        keeper.log()
    );
    let status = keeper.state()?;
    ensure!(
        status.pid == keeper.pid(),
        "another process: {}",
        status.pid
    );
    Ok(())
}

fn own_macs(pair: &Pair) -> Result<Vec<[u8; 6]>> {
    let End::Ours(keeper) = &pair.near else {
        return Ok(Vec::new());
    };
    let status = keeper.state()?;
    let ports = status.laggs.iter().flat_map(|lagg| &lagg.ports);
    ports.map(|port| mac(&port.own_mac)).collect()
}

fn mac(text: &str) -> Result<[u8; 6]> {
    let bytes: Vec<u8> = text
        .split(':')
        .filter_map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect();
    bytes.try_into().ok().context("a MAC address")
}

/// Our lagg with Open vSwitch, and where its programs are; nothing when the test cannot run.
fn with_open_vswitch(test: &str) -> Result<Option<(PathBuf, Pair)>> {
    if requirements::skip_test(test) {
        return Ok(None);
    }
    let Some(root) = programs(test) else {
        return Ok(None);
    };
    let pair = Pair::start(&root, Who::Ours, Who::OpenVSwitch)?;
    Ok(Some((root, pair)))
}

#[test]
fn no_gap_between_lacpdus_is_longer_than_promised_under_full_load_and_across_a_reload() -> Result<()>
{
    let test = "no_gap_between_lacpdus_is_longer_than_promised";
    let Some((_, pair)) = with_open_vswitch(test)? else {
        return Ok(());
    };
    let mut longest = gap_under_load(&pair)?;
    for _ in 1..TRIES {
        if longest <= BEAT {
            break;
        }
        longest = gap_under_load(&pair)?.min(longest);
    }
    ensure!(longest <= BEAT, "{longest:?}");
    Ok(())
}

/// The longest gap between two LACPDUs of a link.
fn gap_under_load(pair: &Pair) -> Result<Duration> {
    let macs = own_macs(pair)?;
    let heard = [
        Beats::start(&pair.site.far, "p0")?,
        Beats::start(&pair.site.far, "p1")?,
    ];
    let busy = full_load(&pair.site)?;
    clock::pause(LOAD);
    reload(pair)?;
    clock::pause(LOAD);
    drop(busy);
    let mut longest = Duration::ZERO;
    for (beats, mac) in heard.into_iter().zip(macs) {
        let beats = beats.finish();
        let gap = longest_gap(&beats, mac).context("no LACPDUs")?;
        longest = longest.max(gap);
    }
    Ok(longest)
}

#[test]
fn a_reload_interrupts_no_flow_and_wrong_files_change_nothing() -> Result<()> {
    let test = "a_reload_interrupts_no_flow";
    let Some((_, pair)) = with_open_vswitch(test)? else {
        return Ok(());
    };
    let End::Ours(keeper) = &pair.near else {
        return Ok(());
    };
    let mut gap = gap_across_reload(&pair, keeper)?;
    for _ in 1..TRIES {
        if gap < Duration::from_secs(1) {
            break;
        }
        gap = gap_across_reload(&pair, keeper)?.min(gap);
    }
    eprintln!("longest gap across a reload: {gap:?}");
    ensure!(gap < Duration::from_secs(1), "{gap:?}");
    ensure!(
        keeper.state()?.laggs[0].failovers == 0,
        "{:#?}",
        keeper.state()?
    );
    Ok(())
}

/// The longest gap of flows while files are read, and others that are wrong.
fn gap_across_reload(pair: &Pair, keeper: &Keeper) -> Result<Duration> {
    let flows = Flows::start(&pair.site.host, FAR)?;
    clock::pause(Duration::from_millis(500));
    reload(pair)?;
    keeper.rewrite("cloned_interfaces=\"lagg0\"\nifconfig_lagg0=\"laggproto lapc\"\n")?;
    keeper.weighbridge(&pair.site.host, &["links", "reload"])?;
    let told = || keeper.log().contains("the links stay as they are");
    ensure!(
        clock::wait_until(RELOAD, told),
        "not refused: {}",
        keeper.log()
    );
    ensure!(
        keeper
            .log()
            .contains(":2:27: invalid aggregation protocol: lapc"),
        "{}",
        keeper.log()
    );
    clock::pause(Duration::from_secs(4));
    flows.stop()
}

#[test]
fn tcpdump_reads_our_lacpdus_as_they_are_meant() -> Result<()> {
    let test = "tcpdump_reads_our_lacpdus";
    let Some((root, pair)) = with_open_vswitch(test)? else {
        return Ok(());
    };
    let macs = own_macs(&pair)?;
    let source = macs.first().context("a port")?;
    let source = source.map(|byte| format!("{byte:02x}")).join(":");
    let filter = format!("ether src {source} and ether proto 0x8809");
    let mut tcpdump = command(&root, "usr/bin/tcpdump");
    tcpdump
        .args(["-i", "p0", "-c", "1", "-e", "-n", "-vvv", &filter])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = pair.site.far.start(&mut tcpdump)?.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let state = "Activity, Timeout, Aggregation, Synchronization, Collecting, Distributing";
    for expected in [
        format!("{source} > 01:80:c2:00:00:02, ethertype Slow Protocols (0x8809), length 124"),
        "LACPv1, length 110".to_owned(),
        "Actor Information TLV (0x01), length 20".to_owned(),
        format!("System {source}, System Priority 32768, Key 1, Port 1, Port Priority 32768"),
        format!("State Flags [{state}]"),
        "Partner Information TLV (0x02), length 20".to_owned(),
        "Collector Information TLV (0x03), length 16".to_owned(),
        "Terminator TLV (0x00), length 0".to_owned(),
    ] {
        ensure!(said.contains(&expected), "not {expected:?}:\n{said}");
    }
    Ok(())
}
