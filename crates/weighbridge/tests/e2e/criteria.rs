//! What rules ask beside a packet's headers, and what they do to packets beside passing them, on
//! real sockets and with the kernel's own counters.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use lab::counters::Count;
use lab::namespace::Namespace;
use lab::roles::SERVICES_V4;
use lab::{Capture, Configuration, Host, Role, Weighbridge};

use crate::support::{
    BINARY, Bench, PATIENCE, UNSHAPED, at_rest, until, until_same, with_daemon, with_lab,
};

/// `nobody`, on every Linux.
const NOBODY: u32 = 65_534;

/// The box's own way to the inside hosts, whatever their router.
const TO_INSIDE: &str = "route add 216.28.123.0/24 dev bridge0";

fn in_box(bench: &Bench) -> &Namespace {
    bench.lab.namespace(Role::Box)
}

/// Whether a process of `user` in the box gets a TCP connection.
fn connects(bench: &Bench, user: u32, to: SocketAddr) -> Result<bool> {
    let script = format!(
        "use IO::Socket::INET; $> = {user}; exit(IO::Socket::INET->new(PeerAddr => '{}', \
         PeerPort => {}, Timeout => 30) ? 0 : 1)",
        to.ip(),
        to.port()
    );
    let mut command = Command::new("perl");
    command.args(["-e", &script]);
    let mut child = in_box(bench).start(&mut command).context("perl")?;
    Ok(child.wait()?.success())
}

/// Packets of the rule with a label: the third word of today's `pfctl -sl`.
fn packets(bench: &Bench, label: &str) -> Result<u64> {
    let labels = bench.daemon.pfctl_ok(&["-s", "labels"])?;
    let line = labels.lines().find(|line| line.starts_with(label));
    let packets = line.and_then(|line| line.split_whitespace().nth(2));
    Ok(packets.context("the label's line")?.parse()?)
}

#[test]
fn a_rule_takes_the_connections_of_one_user_and_no_others() -> Result<()> {
    let rules = format!(
        "pass\nblock return out log (user) proto tcp user {NOBODY} label \"nobody\"\n\
         pass out proto tcp user 0 port 22 label \"root\"\n"
    );
    let rules = rules.replace("user 0 port 22", "to any port 22 user 0");
    let files = Configuration::modern(&rules);
    with_daemon("user", UNSHAPED, &files, |bench| {
        ensure!(connects(bench, 0, Bench::server(22))?, "root connects");
        ensure!(
            !connects(bench, NOBODY, Bench::server(22))?,
            "nobody is blocked"
        );
        let blocked = at_rest(|| packets(bench, "nobody"))?;
        ensure!((1..=5).contains(&blocked), "its SYN: {blocked}");
        until("a handshake", || {
            packets(bench, "root").is_ok_and(|packets| packets >= 3)
        })?;
        // What crosses the box has no owner here, whoever listens on that port.
        let stream = bench.lab.host(Role::H50).line_client(Bench::server(22))?;
        ensure!(stream.server_saw().ip() == Bench::t1(Role::H50));
        ensure!(packets(bench, "nobody")? == blocked, "forwarded: unknown");
        Ok(())
    })
}

#[test]
fn dup_to_sends_a_third_host_one_copy_of_each_packet() -> Result<()> {
    let rules = "pass\npass in on em1 dup-to (em0 192.168.0.1) inet proto udp from any \
                 to any port 5353 no state\n";
    with_daemon("dup-to", UNSHAPED, &Configuration::modern(rules), |bench| {
        let capture = Capture::start(bench.lab.namespace(Role::Modem1), "lan")?;
        let host = bench.lab.host(Role::H99);
        for round in 0..3_u8 {
            let answer = host.udp_exchange(Bench::server(5353), &[round]);
            ensure!(answer.is_ok(), "the packet itself arrives: {answer:?}");
        }
        let to = SERVICES_V4[0].octets();
        let is_copy =
            |frame: &[u8]| frame.get(12..14) == Some(&[8, 0]) && frame.get(30..34) == Some(&to);
        capture.wait_for(PATIENCE, 3, is_copy);
        let frames = capture.finish();
        let copies = frames.iter().filter(|frame| is_copy(frame)).count();
        ensure!(copies == 3, "{copies} copies among {} frames", frames.len());
        Ok(())
    })
}

/// Listens with `IP_TRANSPARENT` (19) and tells every client where it wanted to go.
const TRANSPARENT_LISTENER: &str = "use Socket; $| = 1; \
    socket(my $s, PF_INET, SOCK_STREAM, 0) or die; \
    setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1); \
    setsockopt($s, 0, 19, pack('i', 1)) or die \"transparent: $!\"; \
    bind($s, pack_sockaddr_in(8022, inet_aton('127.0.0.1'))) or die; listen($s, 5) or die; \
    print \"ready\\n\"; \
    while (accept(my $c, $s)) { \
        my ($port, $address) = unpack_sockaddr_in(getsockname($c)); \
        syswrite($c, 'wanted ' . inet_ntoa($address) . \":$port\\n\"); close($c); }";

/// The same over IPv6: `IPV6_TRANSPARENT` is 75 at level 41 (linux/in6.h).
const TRANSPARENT_LISTENER_V6: &str = "use Socket qw(:all); $| = 1; \
    socket(my $s, PF_INET6, SOCK_STREAM, 0) or die; \
    setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1); \
    setsockopt($s, 41, 75, pack('i', 1)) or die \"transparent: $!\"; \
    bind($s, pack_sockaddr_in6(8022, inet_pton(AF_INET6, '::1'))) or die; listen($s, 5) or die; \
    print \"ready\\n\"; \
    while (accept(my $c, $s)) { \
        my ($port, $address) = unpack_sockaddr_in6(getsockname($c)); \
        syswrite($c, 'wanted [' . inet_ntop(AF_INET6, $address) . \"]:$port\\n\"); close($c); }";

/// A transparent listener in the box.
pub(crate) struct Listener(Child);

impl Listener {
    fn start(namespace: &Namespace) -> Result<Self> {
        Self::run(namespace, TRANSPARENT_LISTENER)
    }

    pub(crate) fn start_v6(namespace: &Namespace) -> Result<Self> {
        Self::run(namespace, TRANSPARENT_LISTENER_V6)
    }

    /// What it says to a host that wants to go elsewhere.
    pub(crate) fn asked(host: &Host, to: SocketAddr) -> Result<String> {
        let stream = host.tcp_connect(to)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line)
    }

    fn run(namespace: &Namespace, script: &str) -> Result<Self> {
        let mut command = Command::new("perl");
        command.args(["-e", script]).stdout(Stdio::piped());
        let mut listener = Self(namespace.start(&mut command).context("perl")?);
        let mut ready = String::new();
        let output = listener.0.stdout.as_mut().context("its output")?;
        BufReader::new(output).read_line(&mut ready)?;
        ensure!(ready == "ready\n", "it listens");
        Ok(listener)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_connection_across_the_bridge_is_diverted_to_a_socket_of_the_box() -> Result<()> {
    let rules = "pass\npass in on em1 inet proto tcp from any to any port 22 \
                 divert-to 127.0.0.1 port 8022\n";
    let files = Configuration::modern(rules).with("weighbridge.toml", "dialect = \"openbsd\"\n");
    with_lab("divert-to", UNSHAPED, |lab| {
        let mut daemon = Weighbridge::start(&lab, Path::new(BINARY), &files)?;
        let inside = lab.namespace(Role::Box);
        inside.ip(TO_INSIDE)?;
        let _listener = Listener::start(inside)?;
        let to = Bench::server(22);
        for _ in 0..2 {
            let line = Listener::asked(&lab.host(Role::H99), to)?;
            ensure!(
                line == format!("wanted {to}\n"),
                "the listener said {line:?}"
            );
        }
        // Other ports go where they were going.
        let other = lab.host(Role::H99).line_client(Bench::server(110))?;
        ensure!(other.server_saw().ip() == Bench::t1(Role::H99));
        drop(other);
        daemon.stop()?;
        let left = inside.ip("rule show")?;
        ensure!(
            !left.contains("22338"),
            "no rule of routing is left: {left}"
        );
        daemon.forget_log();
        Ok(())
    })
}

#[test]
fn what_comes_in_goes_by_the_routing_table_of_its_rule() -> Result<()> {
    let rules = "pass\npass in on em1 inet proto tcp from 216.28.123.99 to any rtable 7\n";
    with_daemon("rtable", UNSHAPED, &Configuration::modern(rules), |bench| {
        in_box(bench).ip(TO_INSIDE)?;
        in_box(bench).ip("route add default via 192.168.0.1 table 7")?;
        for role in [Role::H99, Role::H50] {
            let host = bench.lab.namespace(role);
            host.ip("route replace default via 216.123.123.123 dev eth0 onlink")?;
        }
        bench
            .lab
            .namespace(Role::Modem1)
            .ip("route add 216.28.123.0/24 via 192.168.1.64")?;
        ensure!(bench.way_of(Role::H99, 22)? == bench.dsl(1), "by the table");
        ensure!(
            bench.way_of(Role::H50, 22)? == Bench::t1(Role::H50),
            "as ever"
        );
        Ok(())
    })
}

/// `(packets, bytes)` of a direction in `pfctl -si`: passed, in IPv4.
fn shown(info: &str, direction: &str) -> Result<Count> {
    let number = |line: &str| line.split_whitespace().rev().nth(1)?.parse::<u64>().ok();
    let mut lines = info
        .lines()
        .skip_while(|line| !line.starts_with("Interface Stats"));
    let bytes = format!("  Bytes {direction} ");
    let bytes = lines.clone().find(|line| line.starts_with(&bytes));
    let packets = format!("  Packets {direction}");
    let _ = lines.find(|line| *line == packets);
    let count = |line: Option<&str>| line.and_then(number).context("a number");
    Ok(Count {
        bytes: count(bytes)?,
        packets: count(lines.next())?,
    })
}

/// IPv4 packets among `frames` to the box's own address on the DSL line.
fn to_the_box(frames: &[Vec<u8>]) -> Count {
    let box_em0 = lab::roles::BOX_EM0.octets();
    let wanted = |frame: &&Vec<u8>| {
        frame.get(12..14) == Some(&[8, 0]) && frame.get(30..34) == Some(&box_em0)
    };
    let lengths = frames.iter().filter(wanted).map(|frame| {
        let length = [frame[16], frame[17]];
        u64::from(u16::from_be_bytes(length))
    });
    lengths.fold(Count::default(), |sum, bytes| Count {
        packets: sum.packets + 1,
        bytes: sum.bytes + bytes,
    })
}

#[test]
fn loginterface_counts_what_came_over_the_wire() -> Result<()> {
    let rules = "set loginterface em0\npass\n\
                 pass in on em1 route-to (em0 192.168.0.1) inet from 216.28.123.99\n\
                 match out on em0 inet nat-to (em0)\n";
    let files = Configuration::modern(rules);
    with_daemon("loginterface", UNSHAPED, &files, |bench| {
        let capture = Capture::start(bench.lab.namespace(Role::Modem1), "lan")?;
        bench.daemon.pfctl_ok(&["-F", "info"])?;
        let host = bench.lab.host(Role::H99);
        for payload in [&b"x"[..], b"twenty bytes of text"] {
            host.udp_exchange(Bench::server(53), payload)?;
        }
        host.line_client(Bench::server(22))?.exchange("a line")?;
        bench.lab.until_connections_end()?;
        let counted = until_same(|| {
            let info = bench.daemon.pfctl_ok(&["-s", "info"])?;
            Ok((shown(&info, "In")?, to_the_box(&capture.frames())))
        })?;
        let info = bench.daemon.pfctl_ok(&["-s", "info"])?;
        ensure!(counted.packets > 4, "two answers and a connection: {info}");
        ensure!(shown(&info, "Out")?.packets > 4, "what it sent: {info}");
        Ok(())
    })
}

#[test]
fn the_box_knows_what_it_has_received_and_where() -> Result<()> {
    let rules =
        "pass\nblock return out quick on fxp0 inet proto tcp to any port 110 received-on em1\n";
    with_daemon(
        "received-on",
        UNSHAPED,
        &Configuration::modern(rules),
        |bench| {
            let host = bench.lab.host(Role::H99);
            let refused = host.tcp_connect(Bench::server(110));
            ensure!(refused.is_err(), "what came in by em1 is refused");
            let own: IpAddr = lab::roles::BOX_FXP0.into();
            let stream = bench
                .lab
                .host(Role::Box)
                .tcp_connect_from(own, Bench::server(110))?;
            ensure!(
                stream.peer_addr()? == Bench::server(110),
                "the box's own is not"
            );
            Ok(())
        },
    )
}
