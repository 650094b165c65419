//! Two hosts and the box between them, with what filters there.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use lab::identity::RunId;
use lab::namespace::Namespace;
use rustix::process::{Pid, Signal, kill_process};

const BINARY: &str = env!("CARGO_BIN_EXE_weighbridge");
/// Rules that match nothing of the traffic, before the one that lets it pass with state.
const RULES: u32 = 99;

/// Who filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Variant {
    /// Nobody: the kernel's bridge.
    Bridge,
    /// The kernel's bridge with `br_netfilter`, connection tracking and nftables.
    Nftables,
    /// Weighbridge, each packet by the daemon.
    Daemon,
    /// Weighbridge with its flow cache.
    Cache,
}

impl Variant {
    pub(crate) const ALL: [Self; 4] = [Self::Bridge, Self::Nftables, Self::Daemon, Self::Cache];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge, no filter",
            Self::Nftables => "bridge, nftables",
            Self::Daemon => "fast-path off",
            Self::Cache => "fast-path on",
        }
    }
}

/// The network.
pub(crate) struct Net {
    pub(crate) client: Namespace,
    pub(crate) inside: Namespace,
    pub(crate) server: Namespace,
    run: RunId,
}

/// What was set up for a variant.
pub(crate) enum Filter {
    None,
    Rules,
    Daemon(Child),
}

impl Net {
    pub(crate) fn new() -> Result<Self> {
        let run = RunId::new()?;
        let host = |role: &str| Namespace::create(&run.namespace(role));
        let (client, inside, server) = (host("a")?, host("m")?, host("b")?);
        let pairs = [(&client, "a0", "ma", 1), (&server, "b0", "mb", 2)];
        inside.ip("link add br0 type bridge")?;
        inside.ip("link set dev br0 up")?;
        for (host, own, port, number) in pairs {
            let peer = inside.name();
            host.ip(&format!(
                "link add {own} type veth peer name {port} netns {peer}"
            ))?;
            host.ip(&format!("address add 10.9.0.{number}/24 dev {own}"))?;
            host.ip(&format!("link set dev {own} up"))?;
            inside.ip(&format!("link set dev {port} master br0"))?;
            inside.ip(&format!("link set dev {port} up"))?;
        }
        Ok(Self {
            client,
            inside,
            server,
            run,
        })
    }

    pub(crate) fn set_up(&self, variant: Variant) -> Result<Filter> {
        let filtered = variant == Variant::Nftables;
        let call = if filtered { "1" } else { "0" };
        self.inside
            .sysctl("net/bridge/bridge-nf-call-iptables", call)?;
        match variant {
            Variant::Bridge => Ok(Filter::None),
            Variant::Nftables => {
                self.inside.nft(&nftables())?;
                Ok(Filter::Rules)
            }
            Variant::Daemon => Ok(Filter::Daemon(self.daemon("off")?)),
            Variant::Cache => Ok(Filter::Daemon(self.daemon("on")?)),
        }
    }

    fn daemon(&self, fast_path: &str) -> Result<Child> {
        let config = self.run.directory().join(format!("config-{fast_path}"));
        std::fs::create_dir_all(&config)?;
        let settings = format!(
            "interfaces = [\"ma\", \"mb\"]\nfast-path = \"{fast_path}\"\nlog = \"warn\"\n\
             log-directory = \"{}\"\n",
            config.display()
        );
        std::fs::write(config.join("weighbridge.toml"), settings)?;
        std::fs::write(config.join("pf.conf"), pf_conf())?;
        let mut command = Command::new(BINARY);
        command.arg("run").arg("--config").arg(&config);
        command.arg("--socket").arg(self.socket());
        command.arg("--state-dir").arg(config.join("state"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = self.inside.start(command.stderr(Stdio::piped()))?;
        let mut lines = BufReader::new(child.stderr.take().context("its log")?).lines();
        let ready = lines.any(|line| line.is_ok_and(|line| line.contains("ready")));
        ensure!(ready, "weighbridge did not start");
        // Who writes to a pipe that nobody reads is stopped.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(child)
    }

    fn socket(&self) -> PathBuf {
        self.run.directory().join("control.sock")
    }
}

impl Filter {
    pub(crate) fn take_down(self, net: &Net) -> Result<()> {
        match self {
            Self::None => {}
            Self::Rules => {
                net.inside.nft("flush ruleset\n")?;
            }
            Self::Daemon(mut child) => {
                let pid = Pid::from_raw(child.id().cast_signed()).context("a process")?;
                kill_process(pid, Signal::TERM)?;
                ensure!(child.wait()?.success(), "weighbridge failed");
            }
        }
        Ok(())
    }
}

fn pf_conf() -> String {
    let mut text = String::new();
    for rule in 1..=RULES {
        let _ = writeln!(
            text,
            "block drop quick inet proto udp from 10.77.0.{rule} to any port {rule}"
        );
    }
    text + "pass keep state\n"
}

fn nftables() -> String {
    let mut text =
        "table inet bench {\n chain forward {\n  type filter hook forward priority 0;\n  \
                    ct state established,related accept\n  ct status confirmed accept\n"
            .to_owned();
    for rule in 1..=RULES {
        let _ = writeln!(text, "  ip saddr 10.77.0.{rule} udp dport {rule} drop");
    }
    text + "  accept\n }\n}\n"
}
