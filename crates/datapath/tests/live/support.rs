//! Hosts in network namespaces and a daemon that only passes on what it gets.

use std::fs::File;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::process::{self, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use aya::util::KernelVersion;
use datapath::netlink::Netlink;
use datapath::{
    Attachment, Datapath, DatapathConfig, DatapathStatistics, Error, FailPolicy, Reinjection,
    Upcall,
};
use pf_engine::decision::{Exit, Hook, Packet};
use pf_engine::env::IfIndex;
use pf_engine::rule::Direction;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::raw::RawSocket;

/// First kernels with TCX, and with what the part for XDP calls.
pub(crate) const TCX: KernelVersion = KernelVersion::new(6, 6, 0);
pub(crate) const XDP: KernelVersion = KernelVersion::new(5, 18, 0);

/// How long a test waits for a packet that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The same in whole seconds, as ping(8) wants it.
const PING_PATIENCE: u64 = PATIENCE.as_secs();

/// Between two looks at what changes by itself.
const A_MOMENT: Duration = Duration::from_millis(20);

/// How long a test waits for a packet that must not come.
pub(crate) const SILENCE: Duration = Duration::from_millis(300);

/// The network namespaces of one test; gone when it ends.
pub(crate) struct Lab {
    prefix: String,
    hosts: Vec<String>,
}

/// Whether this kernel is one that tests need, or newer; otherwise they say that they are left out.
#[expect(clippy::print_stdout, reason = "a test that is left out says so")]
pub(crate) fn is_at_least(test: &str, needed: KernelVersion) -> bool {
    let has = has(needed);
    if !has {
        println!("SKIPPED {test}: needs {needed:?}");
    }
    has
}

/// The same of what is but a part of a test.
pub(crate) fn has(needed: KernelVersion) -> bool {
    KernelVersion::current().expect("a kernel") >= needed
}

/// Waits until something is so that has to become so; whether it has.
pub(crate) fn until(mut is_so: impl FnMut() -> bool) -> bool {
    let tries = PATIENCE.as_millis() / A_MOMENT.as_millis();
    for _ in 0..tries {
        if is_so() {
            return true;
        }
        thread::park_timeout(A_MOMENT);
    }
    is_so()
}

impl Lab {
    /// Nothing, with a message, when the test cannot run.
    #[expect(clippy::print_stdout, reason = "a test that is left out says so")]
    pub(crate) fn new(test: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("SKIPPED {test}: needs root");
            return None;
        }
        Some(Self {
            prefix: format!("wbdp-{test}-{}", process::id()),
            hosts: Vec::new(),
        })
    }

    /// A host with nothing but a loopback interface. It speaks IPv6 only when asked to, so that
    /// packets can be counted.
    pub(crate) fn host(&mut self, host: &str) {
        let name = self.name(host);
        run("ip", &["netns", "add", &name]);
        self.hosts.push(name);
        self.within(host, || {
            write_sysctl("net/ipv6/conf/all/disable_ipv6", "1");
            write_sysctl("net/ipv6/conf/default/disable_ipv6", "1");
        });
        self.ip(host, "link set dev lo up");
    }

    /// Lets a host speak IPv6, without the packets that it would send by itself.
    pub(crate) fn enable_ipv6(&self, host: &str) {
        self.within(host, || {
            write_sysctl("net/ipv6/conf/all/disable_ipv6", "0");
            write_sysctl("net/ipv6/conf/default/disable_ipv6", "0");
            write_sysctl("net/ipv6/conf/default/router_solicitations", "0");
            write_sysctl("net/ipv6/conf/default/dad_transmits", "0");
        });
    }

    /// A cable between two hosts, up at both ends. Numbered MAC addresses: 02:…:`a`, 02:…:`b`.
    pub(crate) fn cable(&self, a: (&str, &str, u8), b: (&str, &str, u8)) {
        let ((host_a, if_a, mac_a), (host_b, if_b, mac_b)) = (a, b);
        let other = self.name(host_b);
        self.ip(
            host_a,
            &format!(
                "link add {if_a} address 02:00:00:00:00:{mac_a:02x} type veth \
                 peer name {if_b} address 02:00:00:00:00:{mac_b:02x} netns {other}"
            ),
        );
        self.ip(host_a, &format!("link set dev {if_a} up"));
        self.ip(host_b, &format!("link set dev {if_b} up"));
        // The kernel looks at carriers when it has time; until then it drops what is sent.
        self.until(host_a, if_a, "state UP");
        self.until(host_b, if_b, "state UP");
    }

    /// Waits until the kernel tells something of an interface.
    fn until(&self, host: &str, interface: &str, wanted: &str) {
        let arguments = format!("-d -o link show dev {interface}");
        let is_so = until(|| self.ip(host, &arguments).contains(wanted));
        assert!(is_so, "{interface} of {host} is never \"{wanted}\"");
    }

    /// Hosts `a` (10.0.0.1, MAC …:01) and `b` (10.0.0.2, MAC …:02) behind the ports `em1` and
    /// `fxp0` of a bridge on `box`. With `static_neighbours` no ARP is needed.
    pub(crate) fn bridged(&mut self) {
        for host in ["a", "b", "box"] {
            self.host(host);
        }
        self.cable(("a", "eth0", 1), ("box", "em1", 0x11));
        self.cable(("b", "eth0", 2), ("box", "fxp0", 0x12));
        self.ip(
            "box",
            "link add bridge0 type bridge forward_delay 0 mcast_snooping 0",
        );
        for port in ["em1", "fxp0"] {
            self.ip("box", &format!("link set dev {port} master bridge0"));
        }
        self.ip("box", "link set dev bridge0 up");
        for port in ["em1", "fxp0"] {
            self.until("box", port, "state forwarding");
        }
        self.ip("a", "address add 10.0.0.1/24 dev eth0");
        self.ip("b", "address add 10.0.0.2/24 dev eth0");
    }

    /// Host `c` (192.168.0.1, MAC …:03) at the port `em0` (192.168.1.64, MAC …:13) of `box`.
    pub(crate) fn routed(&mut self) {
        self.host("box");
        self.host("c");
        self.cable(("c", "eth0", 3), ("box", "em0", 0x13));
        self.ip("c", "address add 192.168.0.1/16 dev eth0");
        self.ip("box", "address add 192.168.1.64/16 dev em0");
        self.ip(
            "c",
            "neigh replace 192.168.1.64 lladdr 02:00:00:00:00:13 dev eth0",
        );
        self.ip(
            "box",
            "neigh replace 192.168.0.1 lladdr 02:00:00:00:00:03 dev em0",
        );
    }

    pub(crate) fn static_neighbours(&self) {
        let neigh = "neigh replace";
        self.ip(
            "a",
            &format!("{neigh} 10.0.0.2 lladdr 02:00:00:00:00:02 dev eth0"),
        );
        self.ip(
            "b",
            &format!("{neigh} 10.0.0.1 lladdr 02:00:00:00:00:01 dev eth0"),
        );
    }

    /// Runs `ip` on a host.
    pub(crate) fn ip(&self, host: &str, arguments: &str) -> String {
        let name = self.name(host);
        let mut all = vec!["-n", &name];
        all.extend(arguments.split_whitespace());
        run("ip", &all)
    }

    /// Runs a program on a host, if it and its kernel have what it takes.
    pub(crate) fn can(&self, host: &str, command: &str) -> bool {
        let name = self.name(host);
        let words = command.split_whitespace();
        let output = Command::new("ip")
            .args(["netns", "exec", &name])
            .args(words)
            .output();
        output.is_ok_and(|output| output.status.success())
    }

    /// Runs a program on a host.
    pub(crate) fn run(&self, host: &str, command: &str) -> String {
        let name = self.name(host);
        let mut all = vec!["netns", "exec", &name];
        all.extend(command.split_whitespace());
        run("ip", &all)
    }

    /// Two answers to pings, which are sent until they have come.
    pub(crate) fn ping(&self, host: &str, arguments: &str) {
        self.run(
            host,
            &format!("ping -c 2 -i 0.2 -w {PING_PATIENCE} {arguments}"),
        );
    }

    /// One ping and no more, to an address whose neighbour is known.
    pub(crate) fn ping_once(&self, host: &str, address: &str) {
        self.run(host, &format!("ping -c 1 -W {PING_PATIENCE} {address}"));
    }

    /// Runs a closure on a host.
    pub(crate) fn within<T: Send>(&self, host: &str, what: impl FnOnce() -> T + Send) -> T {
        let name = self.name(host);
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter(&name);
                what()
            });
            thread.join().expect("what ran on the host failed")
        })
    }

    /// A UDP socket on a host, which gives up after [`PATIENCE`].
    pub(crate) fn udp(&self, host: &str, address: &str) -> UdpSocket {
        self.within(host, || {
            let socket = UdpSocket::bind(address).expect("the address is the host's");
            socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
            socket
        })
    }

    /// A packet socket on a host's interface.
    pub(crate) fn raw(&self, host: &str, interface: &str) -> RawSocket {
        self.within(host, || RawSocket::open(index_here(interface)))
    }

    pub(crate) fn index(&self, host: &str, interface: &str) -> IfIndex {
        self.within(host, || index_here(interface))
    }

    /// Starts a daemon on `box` with hooks on `interfaces`, which answers each packet as
    /// `decide` says.
    pub(crate) fn daemon(
        &self,
        interfaces: &[&str],
        decide: impl FnMut(&mut Upcall) -> Answer + Send + 'static,
    ) -> Daemon {
        self.daemon_with(None, interfaces, decide)
    }

    pub(crate) fn daemon_with(
        &self,
        attachment: Option<Attachment>,
        interfaces: &[&str],
        decide: impl FnMut(&mut Upcall) -> Answer + Send + 'static,
    ) -> Daemon {
        let name = self.name("box");
        let indexes: Vec<IfIndex> = interfaces.iter().map(|i| self.index("box", i)).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, is_ready) = mpsc::channel();
        let thread = thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                enter(&name);
                let mut datapath = open(attachment).expect("the data path opens");
                for index in indexes {
                    datapath.attach(index).expect("the hooks go on");
                }
                ready.send(()).expect("the test waits");
                serve(&mut datapath, &stop, decide);
                datapath.statistics()
            }
        });
        is_ready.recv().expect("the daemon starts");
        Daemon {
            stop,
            thread: Some(thread),
        }
    }

    fn name(&self, host: &str) -> String {
        format!("{}-{host}", self.prefix)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for host in &self.hosts {
            let _ = Command::new("ip").args(["netns", "del", host]).output();
        }
    }
}

/// What the daemon does with a packet: puts it back, or drops it.
pub(crate) type Answer = Option<Reinjection>;

/// Everything goes on.
#[expect(clippy::unnecessary_wraps, reason = "one of several ways to decide")]
pub(crate) fn pass(upcall: &mut Upcall) -> Answer {
    Some(Reinjection::Decided(upcall.hook, Exit::Continue))
}

pub(crate) struct Daemon {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<DatapathStatistics>>,
}

impl Daemon {
    /// Ends the daemon.
    pub(crate) fn stop(mut self) -> DatapathStatistics {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("stopped once");
        thread.join().expect("the daemon failed")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How often a name that is taken is asked for again, 20 ms apart.
const TRIES_FOR_A_NAME: u32 = 500;

pub(crate) fn open(attachment: Option<Attachment>) -> Result<Datapath, Error> {
    open_as(attachment, FailPolicy::Pass)
}

pub(crate) fn open_as(
    attachment: Option<Attachment>,
    policy: FailPolicy,
) -> Result<Datapath, Error> {
    let config = DatapathConfig {
        tap: "weighbridge0".to_owned(),
        policy,
        fast_path: datapath::FastPath::Off,
        flow_states: datapath::FLOW_STATES_DEFAULT,
    };
    open_with_config(&config, attachment)
}

pub(crate) fn open_with_config(
    config: &DatapathConfig,
    attachment: Option<Attachment>,
) -> Result<Datapath, Error> {
    // A child that another test has forked holds the last TAP's descriptor until it executes.
    for _ in 0..TRIES_FOR_A_NAME {
        match open_now(config, attachment) {
            Err(Error::Kernel { source, .. }) if source.kind() == ErrorKind::ResourceBusy => {
                thread::park_timeout(A_MOMENT);
            }
            other => return other,
        }
    }
    open_now(config, attachment)
}

fn open_now(config: &DatapathConfig, attachment: Option<Attachment>) -> Result<Datapath, Error> {
    match attachment {
        None => Datapath::open(config),
        Some(attachment) => Datapath::open_with(config, attachment),
    }
}

fn serve(
    datapath: &mut Datapath,
    stop: &AtomicBool,
    mut decide: impl FnMut(&mut Upcall) -> Answer,
) {
    let mut upcall = empty_upcall();
    while !stop.load(Ordering::Relaxed) {
        wait_readable(datapath.fd(), Duration::from_millis(20));
        while datapath.receive(&mut upcall).expect("the TAP is there") {
            if let Some(to) = decide(&mut upcall) {
                datapath
                    .send(&upcall.packet.bytes, upcall.packet.ether, to)
                    .expect("the packet goes back");
            }
        }
    }
}

pub(crate) fn empty_upcall() -> Upcall {
    Upcall {
        hook: Hook {
            interface: IfIndex(0),
            direction: Direction::In,
        },
        content: datapath::Content::default(),
        packet: Packet::default(),
    }
}

pub(crate) fn wait_readable(fd: impl AsFd, patience: Duration) -> bool {
    wait_any_readable(std::iter::once(fd.as_fd()), patience)
}

pub(crate) fn wait_any_readable<'a>(
    fds: impl Iterator<Item = BorrowedFd<'a>>,
    patience: Duration,
) -> bool {
    let timeout = Timespec::try_from(patience).expect("short");
    let polled = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    let mut polled: Vec<_> = polled.collect();
    poll(&mut polled, Some(&timeout)).expect("poll works") > 0
}

pub(crate) fn index_here(interface: &str) -> IfIndex {
    let interfaces = Netlink::open()
        .and_then(|mut netlink| netlink.interfaces())
        .expect("the kernel lists interfaces");
    interfaces
        .iter()
        .find(|i| i.name == interface)
        .unwrap_or_else(|| panic!("no interface {interface}"))
        .index
}

pub(crate) fn write_sysctl(name: &str, value: &str) {
    let path = Path::new("/proc/sys").join(name);
    if path.exists() {
        std::fs::write(&path, value).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

fn enter(namespace: &str) {
    let file = File::open(Path::new("/run/netns").join(namespace)).expect("the namespace is there");
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .expect("root may enter it");
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {stdout}{stderr}"
    );
    stdout.into_owned()
}
