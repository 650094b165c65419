//! Builds the article's network.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::client::Host;
use crate::clock;
use crate::identity::RunId;
use crate::namespace::Namespace;
use crate::roles::{DslLine, Role, SERVICES_V4, SERVICES_V6};
use crate::service::Services;

/// A T1's rate, both ways.
const T1_RATE: &str = "1544kbit";
/// The article's DSL line: 6 Mbit/s down, 1 up.
const DSL_DOWN_RATE: &str = "6mbit";
const DSL_UP_RATE: &str = "1mbit";
/// Queue of a line: burst of a few full frames, and at most this much waiting.
const QUEUE: &str = "burst 4000 latency 100ms";

/// How long connections may take to end, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// What may still be on its way when both ends know that a connection has ended.
const SETTLE: Duration = Duration::from_millis(100);

/// What to build.
#[derive(Clone, Copy, Debug)]
pub struct LabConfig {
    /// DSL lines, 1 to 3 (`em0`, `em3`, `em4`).
    pub dsl_lines: u8,
    /// Whether the lines have their rates; otherwise they are as fast as the machine.
    pub shaped: bool,
}

impl Default for LabConfig {
    /// The article: one DSL line, and every line at its rate.
    fn default() -> Self {
        Self {
            dsl_lines: 1,
            shaped: true,
        }
    }
}

/// The article's network, running. Dropping it removes everything.
#[derive(Debug)]
pub struct Lab {
    config: LabConfig,
    // Dropped in this order: services' threads leave their namespaces, then those go away.
    services: Services,
    hosts: BTreeMap<Role, Arc<Namespace>>,
    run: RunId,
}

impl Lab {
    /// Builds the network and starts the internet's services. The box has its ports and nothing
    /// else: start [`crate::Weighbridge`] in it, or [`Lab::bridge_plainly`].
    pub fn new(config: LabConfig) -> anyhow::Result<Self> {
        let missing = crate::requirements::missing();
        ensure!(missing.is_empty(), "{}", missing.join("\n"));
        let lines = usize::from(config.dsl_lines);
        ensure!(
            (1..=DslLine::ALL.len()).contains(&lines),
            "a lab has 1 to 3 DSL lines"
        );
        let run = RunId::new()?;
        let hosts = create_namespaces(&run, lines)?;
        let mut lab = Self {
            config,
            services: Services::default(),
            hosts,
            run,
        };
        lab.connect()?;
        lab.serve(Role::Internet)?;
        Ok(lab)
    }

    /// What was built.
    #[must_use]
    pub fn config(&self) -> LabConfig {
        self.config
    }

    /// The DSL lines that were built.
    #[must_use]
    pub fn dsl_lines(&self) -> &'static [DslLine] {
        &DslLine::ALL[..usize::from(self.config.dsl_lines)]
    }

    /// The namespace of a role.
    ///
    /// # Panics
    /// When the lab was built without that modem.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "a test that names a modem it did not ask for"
    )]
    pub fn namespace(&self, role: Role) -> &Arc<Namespace> {
        self.hosts
            .get(&role)
            .expect("this lab was built without that modem")
    }

    /// A role as a client: connections, downloads, pings.
    #[must_use]
    pub fn host(&self, role: Role) -> Host {
        Host::new(role, Arc::clone(self.namespace(role)))
    }

    /// A directory of this lab, for configurations, sockets and captures.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.run.directory()
    }

    /// Starts the services of [`crate::service`] on an inside host too.
    pub fn serve(&mut self, role: Role) -> anyhow::Result<()> {
        let namespace = Arc::clone(self.namespace(role));
        self.services.start(&namespace)
    }

    /// Waits until no connection of an inside host or of the internet's servers has anything to
    /// send: acknowledgements may be delayed, and who has closed a socket has not ended with it.
    pub fn until_connections_end(&self) -> anyhow::Result<()> {
        let ends = Role::INSIDE.into_iter().chain([Role::Internet]);
        let hosts: Vec<_> = ends.map(|role| self.host(role)).collect();
        let is_closed = |host: &Host| host.open_connections().is_ok_and(|open| open == 0);
        let closed = clock::wait_until(PATIENCE, || hosts.iter().all(is_closed));
        ensure!(closed, "connections do not end");
        clock::pause(SETTLE);
        Ok(())
    }

    /// Bridges `em1` and `fxp0` with the kernel alone: the network before the article.
    pub fn bridge_plainly(&self) -> anyhow::Result<()> {
        let lines = [
            "link add name bridge0 type bridge forward_delay 0 mcast_snooping 0",
            "link set dev em1 master bridge0 up",
            "link set dev fxp0 master bridge0 up",
            "link set dev bridge0 up",
        ];
        self.namespace(Role::Box)
            .ip_batch(&lines.map(str::to_owned))?;
        Ok(())
    }

    /// What /etc/mygate does on a BSD box: the Cisco is the box's default gateway. Boxes that
    /// have no address on that network do without.
    pub(crate) fn set_default_route_of_box(&self) {
        let _ = self
            .namespace(Role::Box)
            .ip("route replace default via 216.123.120.1");
    }

    fn connect(&self) -> anyhow::Result<()> {
        self.connect_inside()
            .context("building the inside network")?;
        self.connect_cisco()
            .context("building the Cisco and its T1")?;
        for line in self.dsl_lines() {
            self.connect_dsl(line)
                .with_context(|| format!("building {:?}", line.modem))?;
        }
        self.connect_services().context("building the internet")?;
        // The article's sysctl.conf: net.inet.ip.forwarding=1.
        forward(self.namespace(Role::Box))?;
        self.stop_segmentation_offload()
            .context("switching segmentation offload off")
    }

    /// Inside hosts, switch, and the switch's uplink to `em1`.
    fn connect_inside(&self) -> anyhow::Result<()> {
        let switch = self.namespace(Role::Switch);
        switch
            .sysctl("net/bridge/bridge-nf-call-iptables", "0")
            .or_else(ignore_missing)?;
        let mut lines =
            vec!["link add name sw0 type bridge forward_delay 0 mcast_snooping 0".to_owned()];
        for role in Role::INSIDE {
            lines.push(self.veth(role.name(), role, "eth0"));
        }
        lines.push(self.veth("uplink", Role::Box, "em1"));
        for port in Role::INSIDE.map(Role::name).iter().chain(&["uplink"]) {
            lines.push(format!("link set dev {port} master sw0 up"));
        }
        lines.push("link set dev sw0 up".to_owned());
        switch.ip_batch(&lines)?;
        Role::INSIDE
            .into_iter()
            .try_for_each(|role| self.configure_inside_host(role))
    }

    fn configure_inside_host(&self, role: Role) -> anyhow::Result<()> {
        let (v4, v6) = role
            .inside_v4()
            .zip(role.inside_v6())
            .context("not an inside host")?;
        self.namespace(role).ip_batch(&[
            "link set dev eth0 up".to_owned(),
            format!("address add {v4}/24 dev eth0"),
            format!("address add {v6}/64 dev eth0 nodad"),
            "route add default via 216.28.123.1".to_owned(),
            "route add default via 2001:db8:28:123::1".to_owned(),
        ])?;
        Ok(())
    }

    fn connect_cisco(&self) -> anyhow::Result<()> {
        let cisco = self.namespace(Role::Cisco);
        forward(cisco)?;
        // A router would tell hosts of one wire to talk to each other directly; this one keeps
        // quiet, so that what it routes between its two inside networks stays observable.
        cisco.sysctl("net/ipv4/conf/all/send_redirects", "0")?;
        cisco.ip_batch(&[
            self.veth("lan", Role::Box, "fxp0"),
            self.veth("t1", Role::Internet, "t1"),
            "link set dev lan up".to_owned(),
            "link set dev t1 up".to_owned(),
            "address add 216.28.123.1/24 dev lan".to_owned(),
            "address add 216.123.120.1/22 dev lan".to_owned(),
            "address add 2001:db8:28:123::1/64 dev lan nodad".to_owned(),
            "address add 192.0.2.1/30 dev t1".to_owned(),
            "address add 2001:db8:71::1/64 dev t1 nodad".to_owned(),
            "route add default via 192.0.2.2".to_owned(),
            "route add default via 2001:db8:71::2".to_owned(),
        ])?;
        cisco.sysctl("net/ipv4/conf/lan/send_redirects", "0")?;
        self.namespace(Role::Internet).ip_batch(&[
            "link set dev t1 up".to_owned(),
            "address add 192.0.2.2/30 dev t1".to_owned(),
            "address add 2001:db8:71::2/64 dev t1 nodad".to_owned(),
            "route add 216.28.123.0/24 via 192.0.2.1".to_owned(),
            "route add 216.123.120.0/22 via 192.0.2.1".to_owned(),
            "route add 2001:db8:28::/48 via 2001:db8:71::1".to_owned(),
        ])?;
        self.shape(Role::Cisco, "t1", T1_RATE)?;
        self.shape(Role::Internet, "t1", T1_RATE)
    }

    fn connect_dsl(&self, line: &DslLine) -> anyhow::Result<()> {
        let modem = self.namespace(line.modem);
        let name = line.modem.name();
        forward(modem)?;
        let (provider, n) = (line.provider_v4(), line.number);
        modem.ip_batch(&[
            self.veth("lan", Role::Box, line.port),
            self.veth("wan", Role::Internet, name),
            "link set dev lan up".to_owned(),
            "link set dev wan up".to_owned(),
            format!("address add {} dev lan", line.modem_v4),
            format!("address add {}/64 dev lan nodad", line.modem_v6()),
            format!("address add {}/30 dev wan", line.outside_v4),
            format!("address add {}/64 dev wan nodad", line.outside_v6()),
            format!("route add default via {provider}"),
            format!("route add default via 2001:db8:e{n}::2"),
        ])?;
        modem.nft(
            "table ip nat {\n chain postrouting {\n  type nat hook postrouting priority 100;\n  \
             oifname \"wan\" masquerade\n }\n}\n",
        )?;
        self.namespace(Role::Internet).ip_batch(&[
            format!("link set dev {name} up"),
            format!("address add {provider}/30 dev {name}"),
            format!("address add 2001:db8:e{n}::2/64 dev {name} nodad"),
            format!("route add 2001:db8:d{n}::/64 via {}", line.outside_v6()),
        ])?;
        self.shape(line.modem, "wan", DSL_UP_RATE)?;
        self.shape(Role::Internet, name, DSL_DOWN_RATE)
    }

    fn connect_services(&self) -> anyhow::Result<()> {
        let v4 = SERVICES_V4.map(|address| format!("address add {address}/32 dev lo"));
        let v6 = SERVICES_V6.map(|address| format!("address add {address}/128 dev lo nodad"));
        let lines: Vec<_> = v4.into_iter().chain(v6).collect();
        self.namespace(Role::Internet).ip_batch(&lines)?;
        Ok(())
    }

    /// In a shaped lab every packet is one frame on the wire from its first host on: what one
    /// place counts can be compared with what another counts.
    fn stop_segmentation_offload(&self) -> anyhow::Result<()> {
        if !self.config.shaped {
            return Ok(());
        }
        for role in Role::INSIDE {
            self.namespace(role)
                .ip("link set dev eth0 gso_max_segs 1")?;
        }
        for port in ["t1"]
            .into_iter()
            .chain(self.dsl_lines().iter().map(|l| l.modem.name()))
        {
            self.namespace(Role::Internet)
                .ip(&format!("link set dev {port} gso_max_segs 1"))?;
        }
        Ok(())
    }

    fn shape(&self, role: Role, port: &str, rate: &str) -> anyhow::Result<()> {
        if self.config.shaped {
            let line = format!("qdisc add dev {port} root tbf rate {rate} {QUEUE}");
            self.namespace(role).tc(&line)?;
        }
        Ok(())
    }

    /// The `ip` line that makes a cable from `port` here to `peer_port` there.
    fn veth(&self, port: &str, peer: Role, peer_port: &str) -> String {
        let there = self.namespace(peer).name();
        format!("link add name {port} type veth peer name {peer_port} netns {there}")
    }
}

fn create_namespaces(run: &RunId, lines: usize) -> anyhow::Result<BTreeMap<Role, Arc<Namespace>>> {
    let modems = DslLine::ALL.iter().take(lines).map(|line| line.modem);
    let fixed = [Role::Switch, Role::Box, Role::Cisco, Role::Internet];
    let roles = Role::INSIDE.into_iter().chain(fixed).chain(modems);
    roles
        .map(|role| {
            Ok((
                role,
                Arc::new(Namespace::create(&run.namespace(role.name()))?),
            ))
        })
        .collect()
}

fn forward(router: &Namespace) -> anyhow::Result<()> {
    router.sysctl("net/ipv4/ip_forward", "1")?;
    router.sysctl("net/ipv6/conf/all/forwarding", "1")
}

/// Kernels without bridge netfilter have no switch for it.
fn ignore_missing(error: anyhow::Error) -> anyhow::Result<()> {
    let missing = |e: &std::io::Error| e.kind() == std::io::ErrorKind::NotFound;
    if error.downcast_ref().is_some_and(missing) {
        Ok(())
    } else {
        Err(error)
    }
}
