//! Open vSwitch with its datapath in user space, as LACP partner.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Capture, clock, requirements};
use rustix::process::{Pid, Signal, kill_process};

use super::flows::{Echo, Flows, reach};
use super::lacp::{LONGEST_GAP, alternate};
use super::site::{Keeper, Site};

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// A loss of carrier may cost no more; the best of some tries counts, for a busy machine delays
/// those who measure, and Open vSwitch.
const CARRIER_LIMIT: Duration = Duration::from_millis(100);
const TRIES: usize = 4;
/// Between two LACPDUs of ours, at most.
const BEAT: Duration = Duration::from_millis(1_100);

struct OpenVSwitch {
    directory: PathBuf,
}

fn is_there() -> bool {
    ["/usr/sbin/ovs-vswitchd", "/usr/sbin/ovsdb-server", SCHEMA]
        .iter()
        .all(|path| Path::new(path).exists())
}

impl OpenVSwitch {
    fn start(site: &Site) -> Result<Self> {
        let directory = site.run.directory().join("ovs");
        std::fs::create_dir(&directory)?;
        let ovs = Self { directory };
        let (database, socket) = (ovs.path("conf.db"), ovs.socket());
        ovs.run(Command::new("ovsdb-tool").args(["create", &database, SCHEMA]))?;
        ovs.run(Command::new("ovsdb-server").args([
            &database,
            &format!("--remote=p{socket}"),
            &format!("--pidfile={}", ovs.path("db.pid")),
            "--detach",
            "--log-file",
        ]))?;
        ovs.run(ovs.vsctl().arg("--no-wait").arg("init"))?;
        let pid = format!("--pidfile={}", ovs.path("switch.pid"));
        site.far.run(|| {
            ovs.run(Command::new("ovs-vswitchd").args([
                &socket,
                "--disable-system",
                &pid,
                "--detach",
                "--log-file",
            ]))
        })?;
        // The kernel hears its ports as well, and would answer for the bridge with a port's address.
        site.far.sysctl("net/ipv4/conf/all/arp_ignore", "1")?;
        let bond = "add-br br0 -- set bridge br0 datapath_type=netdev -- add-bond br0 bond0 p0 p1 \
                    lacp=active bond_mode=balance-tcp other_config:lacp-time=fast";
        ovs.run(ovs.vsctl().args(bond.split_whitespace()))?;
        site.far.ip(&format!("address add {ADDRESS}/24 dev br0"))?;
        site.far.ip("link set dev br0 up")?;
        Ok(ovs)
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    fn socket(&self) -> String {
        format!("unix:{}", self.path("db.sock"))
    }

    fn vsctl(&self) -> Command {
        let mut command = Command::new("ovs-vsctl");
        command.arg(format!("--db={}", self.socket()));
        command
    }

    fn run(&self, command: &mut Command) -> Result<String> {
        for variable in ["OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR"] {
            command.env(variable, &self.directory);
        }
        let output = command.output()?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{command:?}: {told}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn pid(&self, file: &str) -> Option<Pid> {
        let text = std::fs::read_to_string(self.path(file)).ok()?;
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

/// LACPDUs of this sender in a capture.
fn beats(frames: &[Vec<u8>], source: &[u8]) -> usize {
    let is_ours = |frame: &&Vec<u8>| {
        frame.get(12..14) == Some(&[0x88, 0x09]) && frame.get(6..12) == Some(source)
    };
    frames.iter().filter(is_ours).count()
}

/// The longest gap of any flow when a link loses its carrier, which it then gets back.
fn carrier_cut(site: &Site, keeper: &Keeper) -> Result<Duration> {
    reach(&site.host, ADDRESS)?;
    let flows = Flows::start(&site.host, ADDRESS)?;
    clock::pause(Duration::from_millis(500));
    site.carrier(0, false)?;
    clock::pause(Duration::from_secs(1));
    let cut = flows.stop()?;
    site.carrier(0, true)?;
    keeper.until("formed again", Duration::from_secs(6), |lagg| {
        lagg.ports.iter().all(|port| port.flags == 0x1c)
    })?;
    Ok(cut)
}

#[test]
fn open_vswitch_is_a_partner_and_links_that_die_in_turn_leave_one() -> Result<()> {
    if requirements::skip_test("open_vswitch_is_a_partner") {
        return Ok(());
    }
    if !is_there() {
        eprintln!("skipped open_vswitch_is_a_partner: apt-get install openvswitch-switch");
        return Ok(());
    }
    let site = Site::new("em")?;
    let _ovs = OpenVSwitch::start(&site)?;
    let keeper = site.keep(
        &site.host,
        "cloned_interfaces=\"lagg0\"\n\
         ifconfig_lagg0=\"laggproto lacp laggport em0 laggport em1 10.0.0.2/24\"\n",
    )?;
    keeper.until("formed", Duration::from_secs(6), |lagg| {
        lagg.ports.iter().all(|port| port.flags == 0x1c)
    })?;
    let _echo = Echo::start(&site.far)?;
    reach(&site.host, ADDRESS)?;

    let mut cut = Duration::MAX;
    for _ in 0..TRIES {
        cut = cut.min(carrier_cut(&site, &keeper)?);
        if cut < CARRIER_LIMIT {
            break;
        }
    }
    ensure!(cut < CARRIER_LIMIT, "a loss of carrier cost {cut:?}");

    let heard = Capture::start(&site.far, "p1")?;
    let before = clock::now();
    let longest = alternate(&site, ADDRESS, 4)?;
    let seconds = clock::now() - before;
    eprintln!("carrier {cut:?}, in turn {longest:?}");
    ensure!(
        longest <= LONGEST_GAP,
        "{longest:?}\n{:#?}",
        keeper.state()?
    );
    let own = keeper.state()?.laggs.first().context("a lagg")?.ports[1]
        .own_mac
        .clone();
    let bytes: Vec<u8> = own
        .split(':')
        .filter_map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect();
    let sent = beats(&heard.finish(), &bytes);
    // While its link was cut, half of the time, nothing of it was heard.
    let least = seconds.as_secs_f64() / BEAT.as_secs_f64() / 2.0 - 2.0;
    ensure!(
        f64::from(u32::try_from(sent)?) >= least,
        "{sent} LACPDUs of {own} in {seconds:?}"
    );
    Ok(())
}
