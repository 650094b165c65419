//! Two hosts and the links between them, each of which goes through a box in the middle: so that
//! a link can be cut with or without its ends seeing it.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::clock;
use lab::identity::RunId;
use lab::namespace::Namespace;
use rustix::process::{Pid, Signal, kill_process};

/// Links between the hosts.
const LINKS: usize = 2;
/// What has to happen has this long, on a machine that others use too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How long the keeper may take to start.
const START: Duration = Duration::from_mins(1);
/// How long LACP may take until it uses all ports.
const FORMATION: Duration = Duration::from_secs(30);

/// Waits until something is so that has to become so.
pub(crate) fn until(what: &str, is_so: impl FnMut() -> bool) -> Result<()> {
    ensure!(clock::wait_until(PATIENCE, is_so), "not so: {what}");
    Ok(())
}

/// The two hosts.
pub(crate) struct Site {
    pub(crate) run: RunId,
    /// Whose interfaces are `NAME0` and `NAME1`.
    pub(crate) host: Namespace,
    /// Whose interfaces are `p0` and `p1`.
    pub(crate) far: Namespace,
    /// What the links go through.
    pub(crate) middle: Namespace,
    /// Its ports to the far ends begin with this.
    far_ports: &'static str,
}

/// `weighbridge links run`, until it is dropped.
pub(crate) struct Keeper {
    child: Child,
    pub(crate) status: PathBuf,
    log: PathBuf,
}

impl Site {
    /// Builds it; the host's interfaces begin with `name`.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let site = Self::without_bridges(name)?;
        for link in 0..LINKS {
            let middle = &site.middle;
            middle.ip(&format!("link add m{link} type bridge mcast_snooping 0"))?;
            middle.ip(&format!("link set dev m{link} up"))?;
            middle.ip(&format!("link set dev a{link} master m{link}"))?;
            middle.ip(&format!(
                "link set dev a{link} type bridge_slave group_fwd_mask 0xfffd"
            ))?;
            site.whole(link, true)?;
        }
        Ok(site)
    }

    /// The same, but nothing joins the interfaces `aN` and `bN` in the middle.
    pub(crate) fn without_bridges(name: &str) -> Result<Self> {
        let run = RunId::new()?;
        let site = Self {
            host: Namespace::create(&run.namespace("host"))?,
            far: Namespace::create(&run.namespace("far"))?,
            middle: Namespace::create(&run.namespace("middle"))?,
            far_ports: "b",
            run,
        };
        for link in 0..LINKS {
            let middle = &site.middle;
            let (host, far) = (site.host.name(), site.far.name());
            middle.ip(&format!(
                "link add a{link} type veth peer name {name}{link} netns {host}"
            ))?;
            middle.ip(&format!(
                "link add b{link} type veth peer name p{link} netns {far}"
            ))?;
            for device in [format!("a{link}"), format!("b{link}")] {
                middle.ip(&format!("link set dev {device} up"))?;
            }
            site.host.ip(&format!("link set dev {name}{link} up"))?;
            site.far.ip(&format!("link set dev p{link} up"))?;
        }
        Ok(site)
    }

    /// Ends the links in TAP devices instead of the far host, and tells the devices' names.
    pub(crate) fn end_in_taps(&mut self) -> Result<Vec<String>> {
        for link in 0..LINKS {
            self.whole(link, false)?;
        }
        self.far_ports = "t";
        let taps: Vec<_> = (0..LINKS).map(|link| self.far_port(link)).collect();
        for (link, tap) in taps.iter().enumerate() {
            self.middle
                .ip(&format!("tuntap add dev {tap} mode tap vnet_hdr"))?;
            self.middle.ip(&format!("link set dev {tap} up"))?;
            self.whole(link, true)?;
        }
        Ok(taps)
    }

    fn far_port(&self, link: usize) -> String {
        format!("{}{link}", self.far_ports)
    }

    /// Cuts a link so that nobody sees it, or mends it.
    pub(crate) fn whole(&self, link: usize, whole: bool) -> Result<()> {
        let port = self.far_port(link);
        if !whole {
            self.middle.ip(&format!("link set dev {port} nomaster"))?;
            return Ok(());
        }
        self.middle
            .ip(&format!("link set dev {port} master m{link}"))?;
        let mask = format!("link set dev {port} type bridge_slave group_fwd_mask 0xfffd");
        self.middle.ip(&mask)?;
        Ok(())
    }

    /// Takes the carrier of both ends of a link away, or gives it back; of a TAP device's end only
    /// its machine can do that.
    pub(crate) fn carrier(&self, link: usize, on: bool) -> Result<()> {
        let state = if on { "up" } else { "down" };
        let port = self.far_port(link);
        self.middle.ip(&format!("link set dev a{link} {state}"))?;
        self.middle.ip(&format!("link set dev {port} {state}"))?;
        Ok(())
    }

    /// Frames that each link has carried from the host.
    pub(crate) fn carried(&self) -> Result<[u64; LINKS]> {
        let text = self.middle.read("/proc/thread-self/net/dev")?;
        let of = |name: &str| {
            let line = text
                .lines()
                .find(|line| line.trim_start().starts_with(name));
            let frames = line.and_then(|line| line.split_whitespace().nth(2));
            frames.and_then(|frames| frames.parse().ok()).unwrap_or(0)
        };
        Ok([of("a0:"), of("a1:")])
    }

    /// A switch at the far end, which has this address.
    pub(crate) fn switch(&self, address: &str) -> Result<()> {
        self.far.ip("link add br0 type bridge mcast_snooping 0")?;
        for link in 0..LINKS {
            self.far.ip(&format!("link set dev p{link} master br0"))?;
        }
        self.far.ip("link set dev br0 up")?;
        if !address.is_empty() {
            self.far.ip(&format!("address add {address} dev br0"))?;
        }
        Ok(())
    }

    /// Starts a keeper in a namespace with this `rc.conf`.
    pub(crate) fn keep(&self, inside: &Namespace, rc_conf: &str) -> Result<Keeper> {
        let file = |suffix: &str| {
            let name = format!("{}{suffix}", inside.name());
            self.run.directory().join(name)
        };
        let (conf, status, log) = (file(".conf"), file(".json"), file(".log"));
        fs::write(&conf, rc_conf)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_weighbridge"));
        command
            .args(["links", "run"])
            .arg(&conf)
            .env("WEIGHBRIDGE_LINKS", &status)
            .stderr(File::options().create(true).append(true).open(&log)?);
        let child = inside.start(&mut command)?;
        let mut keeper = Keeper { child, status, log };
        keeper.wait()?;
        Ok(keeper)
    }
}

impl Keeper {
    fn wait(&mut self) -> Result<()> {
        let end = clock::now() + START;
        while !self.status.exists() {
            let ended = self.child.try_wait()?;
            ensure!(
                ended.is_none() && clock::now() < end,
                "not started: {}",
                self.log()
            );
            clock::pause(Duration::from_millis(20));
        }
        Ok(())
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Runs `weighbridge` beside it.
    pub(crate) fn weighbridge(&self, inside: &Namespace, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weighbridge"));
        command
            .args(arguments)
            .env("WEIGHBRIDGE_LINKS", &self.status)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Ok(inside.start(&mut command)?.wait_with_output()?)
    }

    /// What it prints.
    pub(crate) fn ifconfig(&self, inside: &Namespace, interface: &str) -> Result<String> {
        let output = self.weighbridge(inside, &["ifconfig", interface])?;
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The status that it publishes.
    pub(crate) fn state(&self) -> Result<links::status::Status> {
        let text = fs::read_to_string(&self.status)?;
        links::status::Status::parse(&text).context("a status")
    }

    /// Waits until the status is so.
    pub(crate) fn until(
        &self,
        what: &str,
        limit: Duration,
        is: impl Fn(&links::status::LaggStatus) -> bool,
    ) -> Result<()> {
        let end = clock::now() + limit;
        loop {
            let status = self.state()?;
            if status.laggs.first().is_some_and(&is) {
                return Ok(());
            }
            ensure!(
                clock::now() < end,
                "not {what}: {status:#?}\n{}",
                self.log()
            );
            clock::pause(Duration::from_millis(20));
        }
    }

    /// Waits until LACP has all ports in use.
    pub(crate) fn formed(&self) -> Result<()> {
        self.until("formed", FORMATION, |lagg| {
            lagg.ports.iter().all(|port| port.flags == 0x1c)
        })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Puts this in the place of its `rc.conf`.
    pub(crate) fn rewrite(&self, rc_conf: &str) -> Result<()> {
        Ok(fs::write(self.status.with_extension("conf"), rc_conf)?)
    }

    /// Stops it and waits for its end.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let pid = i32::try_from(self.child.id())?;
        kill_process(Pid::from_raw(pid).context("a process")?, Signal::TERM)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
