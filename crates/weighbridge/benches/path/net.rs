//! Two hosts and the box between them.

use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lab::capture::ethernet_address;
use lab::identity::RunId;
use lab::namespace::Namespace;
use pf_engine::decision::EtherAddresses;
use rustix::thread::{CpuSet, sched_setaffinity};

/// Where the client's packets go.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
/// First address of the generator's flows: of the same network, of no host.
pub(crate) const FLOWS: Ipv4Addr = Ipv4Addr::new(10, 9, 64, 0);
/// The box, where it is a router.
const ROUTER: &str = "10.9.0.254";

/// Of the generator, the client, and what the kernel does in the box for either.
pub(crate) const CLIENT_CPU: usize = 0;
/// Of the server and the daemon.
pub(crate) const SERVER_CPU: usize = 1;

/// The network of one contestant.
pub(crate) struct Net {
    pub(crate) client: Namespace,
    pub(crate) inside: Namespace,
    pub(crate) server: Namespace,
    // Dropped last: it removes them.
    pub(crate) run: RunId,
}

impl Net {
    /// With a bridge in the box, or a router.
    pub(crate) fn new(routes: bool) -> Result<Self> {
        let run = RunId::new()?;
        let host = |role: &str| Namespace::create(&run.namespace(role));
        let net = Self {
            client: host("a")?,
            inside: host("m")?,
            server: host("b")?,
            run,
        };
        // Packets that nobody asked for would be counted and cost time.
        for host in [&net.client, &net.inside, &net.server] {
            host.sysctl("net/ipv6/conf/all/disable_ipv6", "1")?;
            host.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        }
        net.cables()?;
        if routes { net.route() } else { net.bridge() }?;
        Ok(net)
    }

    fn cables(&self) -> Result<()> {
        for (host, own, port) in [(&self.client, "a0", "ma"), (&self.server, "b0", "mb")] {
            let peer = self.inside.name();
            host.ip(&format!(
                "link add {own} type veth peer name {port} netns {peer}"
            ))?;
            host.ip(&format!("link set dev {own} up"))?;
            self.inside.ip(&format!("link set dev {port} up"))?;
        }
        self.server
            .ip(&format!("address add {SERVER}/16 dev b0"))
            .map(drop)
            .context("the server's address")
    }

    fn bridge(&self) -> Result<()> {
        self.client.ip("address add 10.9.0.1/16 dev a0")?;
        self.inside.ip("link add br0 type bridge")?;
        self.inside.ip("link set dev br0 up")?;
        for port in ["ma", "mb"] {
            self.inside.ip(&format!("link set dev {port} master br0"))?;
        }
        let entry = ethernet_address(&self.server, "b0").map(ethernet)?;
        let learnt = Command::new("bridge")
            .args(["-n", self.inside.name(), "fdb", "replace"])
            .args([&entry, "dev", "mb", "master", "static"])
            .status()
            .context("bridge")?;
        ensure!(learnt.success(), "bridge fdb");
        Ok(())
    }

    fn route(&self) -> Result<()> {
        self.client.ip("address add 10.8.0.1/24 dev a0")?;
        self.inside.ip("address add 10.8.0.254/24 dev ma")?;
        self.inside.ip(&format!("address add {ROUTER}/16 dev mb"))?;
        self.client.ip("route add default via 10.8.0.254")?;
        self.server.ip(&format!("route add default via {ROUTER}"))?;
        self.inside.sysctl("net/ipv4/ip_forward", "1")
    }

    /// Addresses of frames from the client to the server over the bridge.
    pub(crate) fn ether(&self) -> Result<EtherAddresses> {
        Ok(EtherAddresses {
            source: ethernet_address(&self.client, "a0")?,
            destination: ethernet_address(&self.server, "b0")?,
        })
    }

    /// What the box's port needs to make packets of frames that come from no socket: without it,
    /// and without a program in the driver, a veth pair has nobody who takes them.
    pub(crate) fn receive_frames(&self) -> Result<()> {
        let mut command = Command::new("ethtool");
        command.args(["-K", "ma", "gro", "on"]);
        let done = self.inside.run(|| command.status());
        let done = done.context("ethtool, of the package ethtool, is needed")?;
        ensure!(done.success(), "ethtool -K ma gro on");
        Ok(())
    }
}

/// The number of an interface.
pub(crate) fn index_of(host: &Namespace, interface: &str) -> Result<u32> {
    // /sys shows the interfaces of the namespace in which it was mounted.
    let listed = host.ip(&format!("-o link show dev {interface}"))?;
    let number = listed.split(':').next().unwrap_or_default();
    number.trim().parse().context(listed.clone())
}

fn ethernet(address: [u8; 6]) -> String {
    address.map(|byte| format!("{byte:02x}")).join(":")
}

/// Keeps this thread, and the processes that it starts, on a CPU; on one of a single CPU there is
/// nothing to choose.
pub(crate) fn pin(cpu: usize) -> Result<()> {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let mut set = CpuSet::new();
    set.set(cpu.min(count - 1));
    sched_setaffinity(None, &set).context("pinning a thread")
}
