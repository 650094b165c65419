//! The box, with what carries packets through it.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use datapath::bench::{At, Redirect};
use rustix::process::{Pid, Signal, kill_process};

use super::contestants::Contestant;
use super::net::{Net, SERVER_CPU, index_of, pin};
use super::rules::{self, Wanted};

const BINARY: &str = env!("CARGO_BIN_EXE_weighbridge");

/// Flows for which the cache's room is not that of a new installation.
const MANY: u32 = 20_000;

/// What was set up for a contestant. Dropping it ends the daemon.
pub(crate) enum Carrier {
    Kernel,
    Redirects { _both: Box<[Redirect; 2]> },
    Daemon(Daemon),
}

/// The contestant cannot be set up here, and says why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refused(pub(crate) String);

/// A running Weighbridge.
pub(crate) struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // Who has ended already is not there to be killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Daemon {
    pub(crate) fn process(&self) -> u32 {
        self.0.id()
    }

    fn stop(mut self) -> Result<()> {
        let pid = Pid::from_raw(self.0.id().cast_signed()).context("a process")?;
        kill_process(pid, Signal::TERM)?;
        ensure!(self.0.wait()?.success(), "weighbridge failed");
        Ok(())
    }
}

impl Carrier {
    pub(crate) fn set_up(net: &Net, who: Contestant, wanted: Wanted) -> Result<Self> {
        let filtered = if who == Contestant::Nftables {
            "1"
        } else {
            "0"
        };
        net.inside
            .sysctl("net/bridge/bridge-nf-call-iptables", filtered)?;
        if let Some(at) = who.redirects() {
            let flows = who.counts_flows().then_some(wanted.flows);
            return redirects(net, at, flows);
        }
        if let Some(fast_path) = who.fast_path() {
            return daemon(net, fast_path, wanted).map(Self::Daemon);
        }
        if who != Contestant::Bridge {
            net.inside
                .sysctl("net/netfilter/nf_conntrack_udp_timeout", "600")?;
            net.inside.nft(&rules::nftables(wanted))?;
        }
        Ok(Self::Kernel)
    }

    pub(crate) fn daemon(&self) -> Option<&Daemon> {
        match self {
            Self::Daemon(daemon) => Some(daemon),
            Self::Kernel | Self::Redirects { .. } => None,
        }
    }

    /// Ends it, and says whether it ended well.
    pub(crate) fn take_down(self) -> Result<()> {
        match self {
            Self::Daemon(daemon) => daemon.stop(),
            Self::Kernel | Self::Redirects { .. } => Ok(()),
        }
    }
}

/// That count so many flows, or do nothing else.
fn redirects(net: &Net, at: At, flows: Option<u32>) -> Result<Carrier> {
    let (a, b) = (index_of(&net.inside, "ma")?, index_of(&net.inside, "mb")?);
    let both = net.inside.run(|| {
        let way = |from, to| match flows {
            Some(flows) => Redirect::counting(from, to, at, flows),
            None => Redirect::new(from, to, at),
        };
        Ok::<_, datapath::Error>([way("ma", b)?, way("mb", a)?])
    })?;
    Ok(Carrier::Redirects {
        _both: Box::new(both),
    })
}

fn daemon(net: &Net, fast_path: &str, wanted: Wanted) -> Result<Daemon> {
    let config = net.run.directory().join("config");
    std::fs::create_dir_all(&config)?;
    // Without it virtual pairs are served by the hooks alone.
    let also = match fast_path {
        "xdp" => "[xdp]\non-veth = true\n",
        _ => "",
    };
    let room = match wanted.flows {
        MANY.. => wanted.states(),
        _ => datapath::FLOW_STATES_DEFAULT,
    };
    let settings = format!(
        "interfaces = [\"ma\", \"mb\"]\nfast-path = \"{fast_path}\"\nlog = \"warn\"\n\
         flow-cache = {room}\nlog-directory = \"{}\"\n{also}",
        config.display()
    );
    std::fs::write(config.join("weighbridge.toml"), settings)?;
    std::fs::write(config.join("pf.conf"), rules::pf_conf(wanted))?;
    let mut command = Command::new(BINARY);
    command.arg("run").arg("--config").arg(&config);
    command.arg("--socket").arg(socket(net));
    command.arg("--state-dir").arg(config.join("state"));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::piped());
    let mut daemon = net.inside.run(|| {
        pin(SERVER_CPU)?;
        anyhow::Ok(Daemon(command.spawn()?))
    })?;
    let mut log = BufReader::new(daemon.0.stderr.take().context("its log")?);
    let mut said = String::new();
    while !said
        .lines()
        .last()
        .is_some_and(|line| line.contains("ready"))
    {
        if log.read_line(&mut said)? == 0 {
            bail!(Refused(reason(&said, &config)));
        }
    }
    // Who writes to a pipe that nobody reads is stopped.
    std::thread::spawn(move || log.read_to_end(&mut Vec::new()));
    Ok(daemon)
}

/// What a daemon said before it ended, without what differs from run to run.
fn reason(said: &str, config: &Path) -> String {
    let lines = said.lines().map(str::trim);
    let lines = lines.filter(|line| !line.starts_with("hint:"));
    let text = lines.collect::<Vec<_>>().join(" ");
    text.replace(&format!("{}/", config.display()), "")
}

fn socket(net: &Net) -> PathBuf {
    net.run.directory().join("control.sock")
}
