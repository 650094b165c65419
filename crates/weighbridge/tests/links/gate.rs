//! A lagg of ours passes nothing before the daemon has its hooks on it: at the start, when the process that is
//! the lagg comes back, and when the daemon hangs or is dead.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::namespace::Namespace;
use lab::{clock, requirements};
use links::status::Status;
use rustix::process::Signal;

use super::daemon::Daemon;
use super::flows::{Echo, reach};
use super::one_start::{is_there, kill};
use super::site::Site;

const NEAR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// Of the datagrams that the rules block.
const PORT: u16 = 9;
const LIMIT: Duration = Duration::from_secs(30);
/// Between two datagrams of a flood.
const PERIOD: Duration = Duration::from_micros(200);
/// How long it is looked whether nothing comes.
const SILENCE: Duration = Duration::from_millis(500);
const RC_CONF: &str = "cloned_interfaces=\"lagg0\"\nifconfig_em0=\"up\"\nifconfig_em1=\"up\"\n\
     ifconfig_lagg0=\"laggproto failover laggport em0 laggport em1 10.0.0.2/24\"\n";
const RULES: &str = "block in quick on lagg0 proto udp to port 9\n\
     block out quick on lagg0 proto udp to port 9\npass all\n";

/// Datagrams from one host to the other, until it is dropped.
struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    arrived: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Flood {
    fn start(from: &Namespace, inside: &Namespace, to: Ipv4Addr) -> Result<Self> {
        let mut flood = Self {
            stop: Arc::default(),
            sent: Arc::default(),
            arrived: Arc::default(),
            threads: Vec::new(),
        };
        let sender = from.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
        sender.set_nonblocking(true)?;
        flood.count(Arc::clone(&flood.sent), move || {
            clock::pause(PERIOD);
            sender.send_to(b"weighbridge", (to, PORT)).is_ok()
        });
        let receiver = inside.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)))?;
        receiver.set_read_timeout(Some(Duration::from_millis(50)))?;
        let mut buffer = [0; 64];
        flood.count(Arc::clone(&flood.arrived), move || {
            receiver.recv(&mut buffer).is_ok()
        });
        Ok(flood)
    }

    fn count(&mut self, into: Arc<AtomicU64>, mut work: impl FnMut() -> bool + Send + 'static) {
        let stop = Arc::clone(&self.stop);
        self.threads.push(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                into.fetch_add(u64::from(work()), Ordering::Relaxed);
            }
        }));
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    fn arrives(&self) -> bool {
        let before = self.arrived();
        clock::wait_until(LIMIT, || self.arrived() > before)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// `weighbridge links run` that no daemon has started, until it is dropped.
struct ByHand(Child);

impl Drop for ByHand {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A daemon with its lagg, and floods both ways that began before it.
struct Scene {
    site: Site,
    daemon: Option<Daemon>,
    directory: PathBuf,
    floods: [Flood; 2],
    _echo: Echo,
}

impl Scene {
    fn start(settings: &str) -> Result<Self> {
        let site = Site::new("em")?;
        site.switch("10.0.0.1/24")?;
        let mac = site.host.ip("-o link show dev em0")?;
        let mac = mac.split_once("link/ether ").context("no address")?.1;
        let mac = mac.split(' ').next().unwrap_or_default();
        // The far end has no need to ask, so that its packets come as soon as anything can.
        let known = format!("neighbour add 10.0.0.2 lladdr {mac} nud permanent dev br0");
        site.far.ip(&known)?;
        let floods = [
            Flood::start(&site.far, &site.host, NEAR)?,
            Flood::start(&site.host, &site.far, FAR)?,
        ];
        let echo = Echo::start(&site.far)?;
        let settings = format!(
            "log-directory = \"{}\"\n{settings}",
            site.run.directory().join("logs").display()
        );
        let files = [
            ("rc.conf", RC_CONF),
            ("pf.conf", RULES),
            ("weighbridge.toml", settings.as_str()),
        ];
        let daemon = Daemon::start(&site, &site.host, &files)?;
        reach(&site.host, FAR)?;
        let directory = daemon.directory().to_owned();
        Ok(Self {
            site,
            daemon: Some(daemon),
            directory,
            floods,
            _echo: echo,
        })
    }

    fn daemon(&self) -> Result<&Daemon> {
        self.daemon.as_ref().context("the daemon is dead")
    }

    fn links(&self) -> Result<Status> {
        let text = std::fs::read_to_string(self.directory.join("links.json"))?;
        Ok(Status::parse(&text)?)
    }

    fn weighbridge(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weighbridge"));
        command
            .env("WEIGHBRIDGE_LINKS", self.directory.join("links.json"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn ask(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = self.weighbridge();
        let child = self.site.host.start(command.args(arguments))?;
        Ok(child.wait_with_output()?)
    }

    /// Kills the process that is the lagg; the daemon starts another.
    fn keeper_comes_back(&self) -> Result<u32> {
        let before = self.links()?.pid;
        kill(before, Signal::KILL)?;
        let other = || self.links().is_ok_and(|status| status.pid != before);
        let back = clock::wait_until(LIMIT, other);
        ensure!(back, "not back:\n{}", self.daemon()?.log());
        reach(&self.site.host, FAR)?;
        Ok(self.links()?.pid)
    }

    /// Kills it, and starts another while the daemon does nothing.
    fn replace_keeper(&self) -> Result<ByHand> {
        self.kill_keeper();
        let mut command = self.weighbridge();
        let config = self.directory.join("config");
        command.args(["links", "run", "--config"]).arg(&config);
        let said = std::fs::File::create(self.directory.join("said"))?;
        command.stdout(Stdio::null()).stderr(said);
        let keeper = ByHand(self.site.host.start(&mut command)?);
        let other = || self.links().is_ok_and(|status| status.pid == keeper.0.id());
        ensure!(
            clock::wait_until(LIMIT, other),
            "no other lagg0:\n{}",
            std::fs::read_to_string(self.directory.join("said"))?
        );
        Ok(keeper)
    }

    fn is_shut(&self) -> bool {
        self.links()
            .is_ok_and(|status| status.laggs.iter().all(|lagg| lagg.shut))
    }

    /// Sees that not one datagram has come.
    fn nothing_came(&self) -> Result<()> {
        let came = self.floods.each_ref().map(Flood::arrived);
        ensure!(
            came == [0, 0],
            "{came:?} datagrams came in and went out unfiltered"
        );
        Ok(())
    }

    /// Ends the process that is the lagg, if it is there.
    fn kill_keeper(&self) {
        let Ok(keeper) = self.links().map(|status| status.pid) else {
            return;
        };
        let command = std::fs::read(format!("/proc/{keeper}/cmdline")).unwrap_or_default();
        let ours = self.directory.display().to_string();
        if String::from_utf8_lossy(&command).contains(&ours) {
            let _ = kill(keeper, Signal::KILL);
            let _ = clock::wait_until(LIMIT, || !is_there(keeper));
        }
    }

    fn kill_daemon(&mut self) {
        drop(self.daemon.take());
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.kill_daemon();
        self.kill_keeper();
    }
}

/// `Cap…` or another line of a process' status.
fn status_line(pid: u32, name: &str) -> Result<String> {
    let text = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    Ok(line.context("no such line")?.trim().to_owned())
}

/// The value of nice(1).
fn niceness(pid: u32) -> Result<i32> {
    let text = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"))?;
    let (_, fields) = text.rsplit_once(')').context("a status")?;
    let nice = fields.split_whitespace().nth(16).context("a status")?;
    Ok(nice.parse()?)
}

#[test]
fn nothing_passes_unfiltered_at_the_start_or_when_a_killed_keeper_comes_back() -> Result<()> {
    if requirements::skip_test("nothing_passes_unfiltered_at_the_start") {
        return Ok(());
    }
    let mut scene = Scene::start("")?;
    scene.nothing_came().context("at the start")?;
    for _ in 0..3 {
        scene.keeper_comes_back()?;
    }
    clock::pause(SILENCE);
    scene.nothing_came().context("when it came back")?;
    let [inwards, outwards] = &scene.floods;
    let flooded = || inwards.sent() > 1_000 && outwards.sent() > 1_000;
    ensure!(clock::wait_until(LIMIT, flooded), "no flood");
    scene.nothing_came().context("after that")?;
    // What was not filtered would have been seen.
    scene.daemon.take().context("a daemon")?.stop()?;
    let [inwards, outwards] = &scene.floods;
    ensure!(inwards.arrives() && outwards.arrives(), "no flood");
    Ok(())
}

#[test]
fn a_keeper_that_the_daemon_starts_again_has_priority_as_the_first_one_had() -> Result<()> {
    if requirements::skip_test("a_keeper_that_the_daemon_starts_again") {
        return Ok(());
    }
    let scene = Scene::start("")?;
    let first = niceness(scene.links()?.pid)?;
    let other = scene.keeper_comes_back()?;
    let prefers = || niceness(other).is_ok_and(|nice| nice == first);
    ensure!(
        clock::wait_until(LIMIT, prefers),
        "{first}, then {}: CapEff {}",
        niceness(other)?,
        status_line(other, "CapEff:")?
    );
    if first != -20 {
        eprintln!("this machine lets nobody have priority: {first}");
    }
    Ok(())
}

#[test]
fn a_lagg_passes_nothing_while_its_daemon_hangs_or_is_dead_until_it_is_let_go() -> Result<()> {
    if requirements::skip_test("a_lagg_passes_nothing_while_its_daemon_hangs") {
        return Ok(());
    }
    let mut scene = Scene::start("")?;
    scene.daemon()?.signal(Signal::STOP)?;
    let keeper = scene.replace_keeper()?;
    clock::pause(SILENCE);
    let shut = clock::wait_until(LIMIT, || scene.is_shut());
    ensure!(shut, "{:#?}", scene.links()?);
    let checked = scene.ask(&["check", "links"])?;
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    ensure!(checked.status.code() == Some(2), "{said}");
    ensure!(
        said.contains("passes nothing until the daemon filters it"),
        "{said}"
    );
    // It goes on where it was.
    scene.daemon()?.signal(Signal::CONT)?;
    reach(&scene.site.host, FAR)?;
    let open = clock::wait_until(LIMIT, || !scene.is_shut());
    ensure!(open, "{:#?}", scene.links()?);
    scene.nothing_came().context("while it hung")?;
    scene.kill_daemon();
    drop(keeper);
    let keeper = scene.replace_keeper()?;
    clock::pause(SILENCE);
    let shut = clock::wait_until(LIMIT, || scene.is_shut());
    ensure!(shut, "{:#?}", scene.links()?);
    scene.nothing_came().context("while it was dead")?;
    let said = scene.ask(&["unhook", "lagg0"])?;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    ensure!(said.contains("lagg0: packets pass unfiltered"), "{said}");
    ensure!(
        scene.floods[0].arrives(),
        "not let go: {:#?}",
        scene.links()?
    );
    drop(keeper);
    Ok(())
}

#[test]
fn a_lagg_passes_all_when_its_daemon_is_dead_and_its_policy_is_to_pass() -> Result<()> {
    if requirements::skip_test("a_lagg_passes_all_when_its_daemon_is_dead") {
        return Ok(());
    }
    let mut scene = Scene::start("fail-policy = \"pass\"\n")?;
    scene.nothing_came()?;
    scene.kill_daemon();
    let _keeper = scene.replace_keeper()?;
    ensure!(scene.floods[0].arrives(), "{:#?}", scene.links()?);
    Ok(())
}
