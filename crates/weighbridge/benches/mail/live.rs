//! On a wire: a veth pair in a network namespace, a sender at one end, p0f or us at the other.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::ensure;
use lab::RawSender;
use lab::clock;
use lab::identity::RunId;
use lab::namespace::Namespace;

use super::ask::{Asker, By};
use super::generate::{address, frame};
use super::process::{peak, processor_time};
use super::table::{Better, Table, Who, percentile};
use super::{Extent, SIGNATURES};

const BINARY: &str = env!("CARGO_BIN_EXE_weighbridge");
/// A file system in memory.
const MEMORY: &str = "/dev/shm";
/// Hosts that are known when questions are asked.
const KNOWN: u32 = 10_000;
/// Questions of each kind.
const QUESTIONS: u32 = 20_000;
/// SYNs of which it is measured when they are answered for.
const FRESH: u32 = 300;
/// SYNs of a flood, each of a new host, and how many a second.
const FLOOD: u32 = 200_000;
const RATES: [u32; 2] = [50_000, 100_000];
/// The last hosts of a flood, which are asked for.
const LAST: u32 = 6_000;
const PATIENCE: Duration = Duration::from_secs(20);
const SETTINGS: &str = r#"
[p0f]
listen = { socket = "DIR/p0f.sock" }
[text]
listen = { socket = "DIR/os.sock" }
[shared-memory]
file = "DIR/os.shm"
entries = 1000000
"#;

/// The wire.
struct Wire {
    site: Namespace,
    sender: RawSender,
    _id: RunId,
}

impl Wire {
    fn new() -> anyhow::Result<Self> {
        let id = RunId::new()?;
        let site = Namespace::create(&id.namespace("bench"))?;
        site.ip("link add near type veth peer name far")?;
        for end in ["near", "far"] {
            site.ip(&format!("link set {end} up"))?;
        }
        let sender = RawSender::open(&site, "far")?;
        Ok(Self {
            site,
            sender,
            _id: id,
        })
    }

    /// Sends SYNs of the hosts from `first` on, at most `rate` a second; the rate that was had.
    fn flood(&self, first: u32, count: u32, rate: u32) -> anyhow::Result<f64> {
        let begin = clock::now();
        for number in 0..count {
            self.sender.send(&frame(first + number, 4_711))?;
            let due = Duration::from_secs_f64(f64::from(number) / f64::from(rate));
            while begin.elapsed() < due {
                std::hint::spin_loop();
            }
        }
        Ok(f64::from(count) / begin.elapsed().as_secs_f64())
    }
}

/// A program that watches the wire.
struct Watcher {
    child: Child,
    dir: tempfile::TempDir,
}

impl Watcher {
    fn start(who: Who, wire: &Wire) -> anyhow::Result<Self> {
        // The table of answers lies in memory, as it should where it is used.
        let dir = tempfile::tempdir_in(MEMORY)?;
        let mut command = match who {
            Who::P0f => {
                let mut p0f = Command::new("p0f");
                p0f.args(["-i", "near", "-f", SIGNATURES, "-m", "100000,500000"]);
                p0f.arg("-s").arg(dir.path().join("p0f.sock"));
                p0f
            }
            Who::Weighbridge => ours(dir.path())?,
        };
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = wire.site.start(&mut command)?;
        let watcher = Self { child, dir };
        let there = clock::wait_until(PATIENCE, || watcher.answers());
        ensure!(there, "{command:?} does not answer");
        Ok(watcher)
    }

    fn answers(&self) -> bool {
        let asker = self.asker(By::P0fApi);
        asker.is_ok_and(|mut asker| asker.knows(address(0)).is_ok())
    }

    fn asker(&self, by: By) -> std::io::Result<Asker> {
        Asker::new(by, self.dir.path())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ours(dir: &Path) -> anyhow::Result<Command> {
    let place = dir.display().to_string();
    std::fs::write(dir.join("mail.toml"), SETTINGS.replace("DIR", &place))?;
    let mut ours = Command::new(BINARY);
    ours.args(["watch", "-i", "near", "--hosts", "500000"]);
    ours.arg("--config").arg(dir);
    ours.arg("--state-dir").arg(dir.join("state"));
    Ok(ours)
}

pub(crate) fn measure(extent: Extent, table: &mut Table) -> anyhow::Result<()> {
    let wire = Wire::new()?;
    for round in 0..extent.rounds {
        println!("live: round {}", round + 1);
        for who in [Who::P0f, Who::Weighbridge] {
            let watcher = Watcher::start(who, &wire)?;
            let bys: &[By] = match who {
                Who::P0f => &[By::P0fApi],
                Who::Weighbridge => &[By::P0fApi, By::Text, By::Library],
            };
            for by in bys {
                fresh(extent, &wire, &watcher, (who, *by), table)?;
            }
            wire.flood(0, KNOWN, 20_000)?;
            let mut asker = watcher.asker(By::P0fApi)?;
            known(&mut asker, KNOWN - 1)?;
            for by in bys {
                questions(extent, &watcher, (who, *by), table)?;
            }
        }
        for rate in RATES {
            for who in [Who::P0f, Who::Weighbridge] {
                flooded(extent, &wire, who, rate, table)?;
            }
        }
    }
    Ok(())
}

/// Waits until host `number` is answered for.
fn known(asker: &mut Asker, number: u32) -> anyhow::Result<()> {
    let mut failed = None;
    let known = clock::wait_until(PATIENCE, || match asker.knows(address(number)) {
        Ok(known) => known,
        Err(error) => {
            failed = Some(error);
            true
        }
    });
    ensure!(
        known && failed.is_none(),
        "host {number} stays unknown: {failed:?}"
    );
    Ok(())
}

/// From a SYN on the wire to its answer.
fn fresh(
    extent: Extent,
    wire: &Wire,
    watcher: &Watcher,
    (who, by): (Who, By),
    table: &mut Table,
) -> anyhow::Result<()> {
    let mut asker = watcher.asker(by)?;
    let mut times = Vec::new();
    for number in 0..extent.of(FRESH) {
        let number = 12_000_000 + 10_000 * by.number() + number;
        let begin = clock::now();
        wire.sender.send(&frame(number, 4_711))?;
        while !asker.knows(address(number))? {
            ensure!(begin.elapsed() < PATIENCE, "host {number} stays unknown");
        }
        times.push(begin.elapsed().as_secs_f64() * 1e6);
        // Not in step with anybody's clock.
        clock::pause(Duration::from_micros(1_000 + u64::from(number % 7) * 300));
    }
    times.sort_by(f64::total_cmp);
    for (share, name) in [(50, "median"), (99, "99%")] {
        let what = format!("SYN to answer by {}, {name}", by.name());
        table.add(&what, "µs", Better::Less, who, percentile(&times, share));
    }
    Ok(())
}

/// Questions one after the other.
fn questions(
    extent: Extent,
    watcher: &Watcher,
    (who, by): (Who, By),
    table: &mut Table,
) -> anyhow::Result<()> {
    let mut asker = watcher.asker(by)?;
    let count = extent.of(QUESTIONS);
    let mut times = Vec::new();
    let begin = clock::now();
    for number in 0..count {
        let sent = clock::now();
        asker.knows(address(number * 7_919 % KNOWN))?;
        times.push(sent.elapsed().as_secs_f64() * 1e6);
    }
    let rate = f64::from(count) / begin.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    let name = by.name();
    let what = format!("questions a second by {name}");
    table.add(&what, "/s", Better::More, who, rate);
    for (share, percent) in [(50, "median"), (99, "99%")] {
        let what = format!("one question by {name}, {percent}");
        table.add(&what, "µs", Better::Less, who, percentile(&times, share));
    }
    Ok(())
}

/// How many of the last hosts of a flood are answered for, and what it cost.
fn flooded(
    extent: Extent,
    wire: &Wire,
    who: Who,
    rate: u32,
    table: &mut Table,
) -> anyhow::Result<()> {
    let watcher = Watcher::start(who, wire)?;
    let count = extent.of(FLOOD).max(LAST);
    let before = processor_time(&watcher.child)?;
    let had = wire.flood(0, count, rate)?;
    clock::pause(Duration::from_millis(500));
    let mut asker = watcher.asker(By::P0fApi)?;
    let mut known = 0_u32;
    for number in count - LAST..count {
        known += u32::from(asker.knows(address(number))?);
    }
    let cost = processor_time(&watcher.child)? - before;
    let share = f64::from(known) / f64::from(LAST) * 100.0;
    let name = format!("new hosts at {rate} SYNs a second");
    table.add(
        &format!("last {LAST} of {count} {name} that are known"),
        "%",
        Better::More,
        who,
        share,
    );
    let what = format!("processor time for {count} {name}");
    table.add(&what, "s", Better::Less, who, cost);
    table.add(
        &format!("memory after {count} {name}"),
        "MB",
        Better::Less,
        who,
        peak(&watcher.child),
    );
    println!("  {who:?}: {had:.0} SYNs a second were sent");
    Ok(())
}
