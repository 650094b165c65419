//! Open vSwitch with its datapath in user space: a LACP partner, and a contestant.

use std::ffi::OsString;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lab::namespace::Namespace;
use rustix::process::{Pid, Signal, kill_process};

use super::packages::unpacked;
use super::site::Site;

const SWITCH: &str = "usr/lib/openvswitch-switch/ovs-vswitchd";
const DATABASE: &str = "usr/sbin/ovsdb-server";
const SCHEMA: &str = "usr/share/openvswitch/vswitch.ovsschema";

/// Where its programs are, and tcpdump: `/` if they are installed, else where they are unpacked;
/// none, and a line on standard error, when they are not there.
pub(crate) fn programs(test: &str) -> Option<PathBuf> {
    let is_installed = |path: &&str| Path::new("/").join(path).exists();
    if [SWITCH, DATABASE, SCHEMA, "usr/bin/tcpdump"]
        .iter()
        .all(is_installed)
    {
        return Some("/".into());
    }
    unpacked(test, "openvswitch")
}

/// A command of these programs.
pub(crate) fn command(root: &Path, program: &str) -> Command {
    let mut command = Command::new(root.join(program));
    if root != Path::new("/") {
        command.env("LD_LIBRARY_PATH", libraries(root));
    }
    command
}

fn libraries(root: &Path) -> OsString {
    let below = |directory: &str| fs::read_dir(root.join(directory)).into_iter().flatten();
    let entries = below("usr/lib").chain(below("lib")).flatten();
    let paths: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with("-linux-gnu"))
        .collect();
    std::env::join_paths(paths).unwrap_or_default()
}

/// One switch, with a database of its own.
pub(crate) struct OpenVSwitch {
    root: PathBuf,
    directory: PathBuf,
}

impl OpenVSwitch {
    /// A switch `br0` in a namespace, with a bond of these ports by LACP and this address.
    pub(crate) fn start(
        site: &Site,
        inside: &Namespace,
        root: &Path,
        ports: &str,
        address: Ipv4Addr,
    ) -> Result<Self> {
        let directory = site.run.directory().join(format!("{}-ovs", inside.name()));
        fs::create_dir(&directory)?;
        let ovs = Self {
            root: root.to_owned(),
            directory,
        };
        ovs.serve(inside)?;
        // The kernel hears its ports as well, and would answer for the bridge with a port's address.
        inside.sysctl("net/ipv4/conf/all/arp_ignore", "1")?;
        let bond = format!(
            "add-br br0 -- set bridge br0 datapath_type=netdev -- add-bond br0 bond0 {ports} \
             lacp=active bond_mode=balance-tcp other_config:lacp-time=fast"
        );
        ovs.run(ovs.vsctl().args(bond.split_whitespace()))?;
        inside.ip(&format!("address add {address}/24 dev br0"))?;
        inside.ip("link set dev br0 up")?;
        Ok(ovs)
    }

    fn serve(&self, inside: &Namespace) -> Result<()> {
        let (database, socket) = (self.path("conf.db"), self.socket());
        let schema = self.root.join(SCHEMA).display().to_string();
        self.run(
            self.program("usr/bin/ovsdb-tool")
                .args(["create", &database, &schema]),
        )?;
        self.run(self.program(DATABASE).args([
            &database,
            &format!("--remote=p{socket}"),
            &format!("--pidfile={}", self.path("db.pid")),
            &format!("--unixctl={}", self.path("db.ctl")),
            "--detach",
            "--log-file",
        ]))?;
        self.run(self.vsctl().arg("--no-wait").arg("init"))?;
        let pid = format!("--pidfile={}", self.path("switch.pid"));
        let control = format!("--unixctl={}", self.path("switch.ctl"));
        let options = ["--disable-system", "--detach", "--log-file"];
        let switch = || {
            self.run(
                self.program(SWITCH)
                    .args([&socket, &pid, &control])
                    .args(options),
            )
        };
        inside.run(switch).map(drop)
    }

    /// Whether the link by `port` carries traffic.
    pub(crate) fn carries(&self, port: &str) -> Result<bool> {
        let text = self.ask("bond/show")?;
        Ok(text.contains(&format!("member {port}: enabled")))
    }

    /// What it says to a command about its bond.
    pub(crate) fn ask(&self, command: &str) -> Result<String> {
        let target = self.path("switch.ctl");
        self.run(
            self.program("usr/bin/ovs-appctl")
                .args(["-t", &target, command, "bond0"]),
        )
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    fn socket(&self) -> String {
        format!("unix:{}", self.path("db.sock"))
    }

    fn program(&self, path: &str) -> Command {
        command(&self.root, path)
    }

    fn vsctl(&self) -> Command {
        let mut command = self.program("usr/bin/ovs-vsctl");
        command.arg(format!("--db={}", self.socket()));
        command
    }

    fn run(&self, command: &mut Command) -> Result<String> {
        for variable in ["OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR"] {
            command.env(variable, &self.directory);
        }
        let output = command.output().with_context(|| format!("{command:?}"))?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{command:?}: {told}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn pid(&self, file: &str) -> Option<Pid> {
        let text = fs::read_to_string(self.path(file)).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }
}

impl Drop for OpenVSwitch {
    fn drop(&mut self) {
        for file in ["switch.pid", "db.pid"] {
            if let Some(pid) = self.pid(file) {
                let _ = kill_process(pid, Signal::TERM);
            }
        }
    }
}
