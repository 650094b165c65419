//! Held to account: what pfctl says was counted, against what the kernel of the host that sent
//! and received it has counted.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use anyhow::{Context, Result, ensure};
use lab::counters::{Count, named};
use lab::roles::{SERVICES_V4, SERVICES_V6};
use lab::service::OTHER;
use lab::{Configuration, Role, clock};

use crate::support::{Bench, PATIENCE, UNSHAPED, at_rest, until_same, with_daemon};

/// Nobody listens there, and the rules let nothing there.
const DISCARD: u16 = 9;
const PING_BYTES: usize = 400;
/// Bytes of an Ethernet header, which a kernel counts on the way out.
const ETHERNET: u64 = 14;

/// What is accounted for: the traffic of one family.
struct Case {
    /// nft's word.
    family: &'static str,
    /// The server that is spoken to.
    server: IpAddr,
    /// What of the host's traffic the rule with the label `inside` is about. Of IPv6 that is TCP:
    /// hosts look for their neighbours whenever they like.
    passed: &'static str,
    rules: &'static str,
    /// The states that this traffic makes.
    states: u64,
    /// Headers of a datagram.
    headers: u64,
    /// How often the host is looked for in the table: once for each state, and by each rule that
    /// a datagram that is refused could match.
    lookups: u64,
}

const IPV4: Case = Case {
    family: "ip",
    server: IpAddr::V4(SERVICES_V4[0]),
    passed: "",
    rules: "\
set loginterface em1
table <inside> counters { 216.28.123.0/24 }
pass in on em1 inet from <inside> to any keep state (source-track rule) label \"inside\"
block drop in quick on em1 inet proto udp from <inside> to any port 9 label \"refused\"
",
    // The ping and the connection. More pings might have other identifiers.
    states: 2,
    headers: 28,
    lookups: 2 + 2 * 3,
};

const IPV6: Case = Case {
    family: "ip6",
    server: IpAddr::V6(SERVICES_V6[0]),
    passed: "meta l4proto tcp",
    rules: "\
set loginterface em1
table <inside> counters { 2001:db8:28:123::/64 }
pass in on em1 inet6 proto tcp from <inside> to any keep state (source-track rule) label \"inside\"
block drop in quick on em1 inet6 proto udp from <inside> to any port 9 label \"refused\"
",
    states: 1,
    headers: 48,
    lookups: 1 + 3,
};

impl Case {
    /// The family's packets at the host, counted by its packet filter before the local stack
    /// takes and after it has made each packet.
    fn counters(&self) -> String {
        let (family, passed) = (self.family, self.passed);
        format!(
            "table {family} accounts {{
    counter received {{ }}
    counter sent {{ }}
    counter refused {{ }}
    chain inward {{
        type filter hook prerouting priority -300;
        iifname \"eth0\" {passed} counter name received
    }}
    chain outward {{
        type filter hook postrouting priority 300;
        oifname \"eth0\" udp dport 9 counter name refused accept
        oifname \"eth0\" {passed} counter name sent
    }}
}}
"
        )
    }
}

/// Everything that crosses the switch's way to the box, by family.
const LINE: &str = "table netdev line {
 counter in_ip { }
 counter out_ip { }
 counter in_ip6 { }
 counter out_ip6 { }
 chain out { type filter hook egress device \"uplink\" priority 0;
  ether type ip counter name in_ip
  ether type ip6 counter name in_ip6
 }
 chain in { type filter hook ingress device \"uplink\" priority 0;
  ether type ip counter name out_ip
  ether type ip6 counter name out_ip6
 }
}
";

/// What the host's kernel has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kernel {
    sent: Count,
    received: Count,
    refused: Count,
}

impl Kernel {
    fn of(bench: &Bench, case: &Case) -> Result<Self> {
        let host = bench.lab.namespace(Role::H99);
        let table = format!("{} accounts", case.family);
        let read = |name| named(host, &table, name);
        Ok(Self {
            sent: read("sent")?,
            received: read("received")?,
            refused: read("refused")?,
        })
    }
}

/// A ping, lines over TCP, and datagrams that are not let through.
fn traffic(bench: &Bench, case: &Case) -> Result<()> {
    let host = bench.lab.host(Role::H99);
    let server = SocketAddr::new(case.server, OTHER);
    host.ping(server.ip(), PING_BYTES)?;
    let mut session = host.line_client(server)?;
    for line in ["one", "two", "a longer line that says nothing"] {
        session.exchange(line)?;
    }
    drop(session);
    host.namespace().run(|| -> Result<()> {
        let any = if server.is_ipv4() { "0.0.0.0" } else { "::" };
        let socket = UdpSocket::bind((any, 0))?;
        for len in [1, 100, 1000] {
            socket.send_to(&vec![0; len], (server.ip(), DISCARD))?;
        }
        Ok(())
    })
}

/// The number behind `name` in the first line with `line` (and behind it: `line` may be in a
/// heading above).
fn number(text: &str, line: &str, name: &str) -> Result<u64> {
    let at = text
        .find(line)
        .with_context(|| format!("no {line} in {text}"))?;
    let rest = &text[at + line.len()..];
    let at = rest
        .find(name)
        .with_context(|| format!("no {name} in {rest}"))?;
    let word = rest[at + name.len()..].split_whitespace().next();
    let digits = word.unwrap_or_default();
    digits
        .parse()
        .with_context(|| format!("{digits:?} behind {name}"))
}

fn pair(text: &str, line: &str) -> Result<Count> {
    Ok(Count {
        packets: number(text, line, "Packets:")?,
        bytes: number(text, line, "Bytes:")?,
    })
}

/// Packets and bytes of all states, from their openers and to them.
fn of_states(text: &str) -> Result<[Count; 2]> {
    let mut sums = [Count::default(); 2];
    for line in text.lines().filter(|line| line.contains(" pkts, ")) {
        let parts: Vec<&str> = line.split(", ").collect();
        let two = |suffix: &str| -> Result<[u64; 2]> {
            let part = parts.iter().find_map(|part| part.strip_suffix(suffix));
            let (a, b) = part
                .and_then(|part| part.trim().split_once(':'))
                .with_context(|| format!("no{suffix} in {line}"))?;
            Ok([a.parse()?, b.parse()?])
        };
        let (packets, bytes) = (two(" pkts")?, two(" bytes")?);
        for (sum, (packets, bytes)) in sums.iter_mut().zip(packets.into_iter().zip(bytes)) {
            sum.packets += packets;
            sum.bytes += bytes;
        }
    }
    Ok(sums)
}

/// The fields of a label's line behind its name.
fn label(bench: &Bench, name: &str) -> Result<Vec<u64>> {
    let text = bench.daemon.pfctl_ok(&["-vvsl"])?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let words = line.context("the label")?.split_whitespace();
    Ok(words.map(str::parse).collect::<Result<_, _>>()?)
}

fn assert_rules_and_labels(bench: &Bench, case: &Case, kernel: &Kernel) -> Result<()> {
    let both = Count {
        packets: kernel.sent.packets + kernel.received.packets,
        bytes: kernel.sent.bytes + kernel.received.bytes,
    };
    let rules = bench.daemon.pfctl_ok(&["-vvsr"])?;
    assert_eq!(pair(&rules, "label \"inside\"")?, both, "{rules}");
    assert_eq!(
        pair(&rules, "label \"refused\"")?,
        kernel.refused,
        "{rules}"
    );
    assert_eq!(
        number(&rules, "label \"inside\"", "State Creations:")?,
        case.states
    );
    let inside = label(bench, "inside ")?;
    let (sent, received) = (kernel.sent, kernel.received);
    assert_eq!(
        inside[1..],
        [
            both.packets,
            both.bytes,
            sent.packets,
            sent.bytes,
            received.packets,
            received.bytes,
            case.states,
        ]
    );
    let refused = kernel.refused;
    assert_eq!(
        label(bench, "refused ")?[1..],
        [
            refused.packets,
            refused.bytes,
            refused.packets,
            refused.bytes,
            0,
            0,
            0
        ]
    );
    Ok(())
}

fn assert_tables(bench: &Bench, case: &Case, kernel: &Kernel) -> Result<()> {
    for text in [
        bench.daemon.pfctl_ok(&["-vvsT"])?,
        bench.daemon.pfctl_ok(&["-t", "inside", "-vvT", "show"])?,
    ] {
        assert_eq!(pair(&text, "In/Pass:")?, kernel.sent, "{text}");
        assert_eq!(pair(&text, "Out/Pass:")?, kernel.received, "{text}");
        assert_eq!(pair(&text, "In/Block:")?, kernel.refused, "{text}");
        assert_eq!(pair(&text, "Out/Block:")?, Count::default(), "{text}");
    }
    let text = bench.daemon.pfctl_ok(&["-vvsT"])?;
    assert_eq!(
        number(&text, "Evaluations:", " Match:")?,
        case.lookups,
        "{text}"
    );
    assert_eq!(number(&text, "References:", "Rules:")?, 2, "{text}");
    Ok(())
}

/// The host as a source that is tracked.
fn assert_sources(bench: &Bench, case: &Case, kernel: &Kernel) -> Result<()> {
    let text = bench.daemon.pfctl_ok(&["-vvsS"])?;
    let both = kernel.sent.packets + kernel.received.packets;
    let bytes = kernel.sent.bytes + kernel.received.bytes;
    let counted = format!(", {both} pkts, {bytes} bytes, filter rule 0");
    ensure!(text.contains(&counted), "{counted} in {text}");
    let states = format!("( states {}, connections ", case.states);
    ensure!(text.contains(&states), "{states} in {text}");
    let info = bench.daemon.pfctl_ok(&["-vsi"])?;
    let table = "Source Tracking Table";
    assert_eq!(number(&info, table, "current entries")?, 1, "{info}");
    assert_eq!(number(&info, table, "inserts")?, 1, "{info}");
    assert_eq!(number(&info, table, "removals")?, 0, "{info}");
    // Each state is counted for its source when it is made, and its packets after that.
    ensure!(number(&info, table, "searches")? >= case.states, "{info}");
    Ok(())
}

/// Numbers of `pfctl -si` and `-vvsI` about em1, in one order: bytes in and out, packets passed
/// and blocked in, the same out.
type Interface = [u64; 6];

/// A column of "Interface Stats": 0 for IPv4, 1 for IPv6.
fn interface_stats(bench: &Bench, column: usize) -> Result<Interface> {
    let text = bench.daemon.pfctl_ok(&["-si"])?;
    let lines = text
        .lines()
        .skip_while(|line| !line.starts_with("Interface Stats for em1"));
    let numbers = lines.skip(1).take_while(|line| !line.is_empty());
    let numbers = numbers.filter_map(|line| {
        let words: Vec<u64> = line.split_whitespace().flat_map(str::parse).collect();
        words.get(column).copied()
    });
    let numbers: Vec<u64> = numbers.collect();
    numbers
        .try_into()
        .map_err(|_| anyhow::anyhow!("six numbers in {text}"))
}

/// The same of `-vvsI`.
fn interface_list(bench: &Bench, digit: char) -> Result<Interface> {
    let text = bench.daemon.pfctl_ok(&["-i", "em1", "-vvsI"])?;
    let read = |name: &str| pair(&text, &name.replace('N', &digit.to_string()));
    let (passed_in, blocked_in) = (read("InN/Pass:")?, read("InN/Block:")?);
    let (passed_out, blocked_out) = (read("OutN/Pass:")?, read("OutN/Block:")?);
    Ok([
        passed_in.bytes + blocked_in.bytes,
        passed_out.bytes + blocked_out.bytes,
        passed_in.packets,
        blocked_in.packets,
        passed_out.packets,
        blocked_out.packets,
    ])
}

/// What the switch's kernel has counted of a family on the line: in to the box, and out of it.
fn line(bench: &Bench, family: &str) -> Result<[Count; 2]> {
    let switch = bench.lab.namespace(Role::Switch);
    let read = |way: &str| named(switch, "netdev line", &format!("{way}_{family}"));
    let (mut incoming, outgoing) = (read("in")?, read("out")?);
    incoming.bytes -= ETHERNET * incoming.packets;
    Ok([incoming, outgoing])
}

/// Whatever crosses the interface, also of hosts that nobody asked, is in its counters.
fn assert_line(
    kernel: &Kernel,
    before: &(Interface, [Count; 2]),
    interface: impl Fn() -> Result<(Interface, [Count; 2])>,
) -> Result<()> {
    until_same(|| Ok(of_line(kernel, before, &interface()?))).map(drop)
}

/// What is counted of the line by pfctl, and what it should be by the kernel's counters.
fn of_line(
    kernel: &Kernel,
    before: &(Interface, [Count; 2]),
    after: &(Interface, [Count; 2]),
) -> (Vec<u64>, Vec<u64>) {
    let counted = after.0.iter().zip(before.0).map(|(a, b)| a - b);
    let crossed = |way: usize| Count {
        packets: after.1[way].packets - before.1[way].packets,
        bytes: after.1[way].bytes - before.1[way].bytes,
    };
    let (incoming, outgoing) = (crossed(0), crossed(1));
    let refused = kernel.refused.packets;
    let wanted = [
        incoming.bytes,
        outgoing.bytes,
        incoming.packets.saturating_sub(refused),
        refused,
        outgoing.packets,
        0,
    ];
    (counted.collect(), wanted.to_vec())
}

fn assert_interface(bench: &Bench, kernel: &Kernel) -> Result<()> {
    let text = bench.daemon.pfctl_ok(&["-i", "em1", "-vvsI"])?;
    assert_eq!(pair(&text, "In4/Pass:")?, kernel.sent, "{text}");
    assert_eq!(pair(&text, "Out4/Pass:")?, kernel.received, "{text}");
    assert_eq!(pair(&text, "In4/Block:")?, kernel.refused, "{text}");
    assert_eq!(pair(&text, "Out4/Block:")?, Count::default(), "{text}");
    Ok(())
}

fn assert_info(bench: &Bench, kernel: &Kernel) -> Result<()> {
    let text = bench.daemon.pfctl_ok(&["-si"])?;
    let own = "Interface Stats for em1";
    let incoming = kernel.sent.bytes + kernel.refused.bytes;
    assert_eq!(number(&text, own, "Bytes In")?, incoming, "{text}");
    assert_eq!(
        number(&text, own, "Bytes Out")?,
        kernel.received.bytes,
        "{text}"
    );
    let packets_in = "Packets In\n";
    assert_eq!(number(&text, packets_in, "Passed")?, kernel.sent.packets);
    assert_eq!(
        number(&text, packets_in, "Blocked")?,
        kernel.refused.packets
    );
    let packets_out = "Packets Out\n";
    assert_eq!(
        number(&text, packets_out, "Passed")?,
        kernel.received.packets
    );
    let states = bench.daemon.states()?.len();
    let entries = number(&text, "State Table", "current entries")?;
    assert_eq!(entries, u64::try_from(states)?);
    let inserts = number(&text, "State Table", "inserts")?;
    let removals = number(&text, "State Table", "removals")?;
    assert_eq!(inserts - removals, entries, "{text}");
    Ok(())
}

/// Waits for the last segments of the connection, and for the last datagrams, which are on their
/// way.
fn settle(bench: &Bench, case: &Case) -> Result<Kernel> {
    let settled = clock::wait_until(PATIENCE, || {
        let states = bench.daemon.pfctl_ok(&["-i", "em1", "-vss"]);
        let counted = states.as_ref().ok().and_then(|text| of_states(text).ok());
        let states = states.unwrap_or_default();
        let closed =
            states.contains("TIME_WAIT:TIME_WAIT") || states.contains("FIN_WAIT_2:FIN_WAIT_2");
        let refused = label(bench, "refused ").ok();
        let refused = refused.and_then(|fields| fields.get(1).copied());
        let kernel = Kernel::of(bench, case).ok();
        closed
            && counted == kernel.map(|kernel| [kernel.sent, kernel.received])
            && refused == kernel.map(|kernel| kernel.refused.packets)
    });
    let states = bench.daemon.pfctl_ok(&["-i", "em1", "-vss"])?;
    let kernel = Kernel::of(bench, case)?;
    ensure!(settled, "{states}\n{kernel:?}");
    Ok(kernel)
}

/// What a state goes on with when its address has left the table.
fn assert_xpass(bench: &Bench, case: &Case) -> Result<()> {
    let mut session = bench
        .lab
        .host(Role::H99)
        .line_client(SocketAddr::new(case.server, OTHER))?;
    session.exchange("in the table")?;
    bench.daemon.pfctl_ok(&["-t", "inside", "-T", "flush"])?;
    let counted = |what: &str| -> Result<[Count; 2]> {
        let text = bench.daemon.pfctl_ok(&["-vvsT"])?;
        let [incoming, outgoing] = ["In", "Out"].map(|way| pair(&text, &format!("{way}/{what}:")));
        Ok([incoming?, outgoing?])
    };
    let passed = counted("Pass")?;
    session.exchange("out of it")?;
    let sum = |[a, b]: [Count; 2]| Count {
        packets: a.packets + b.packets,
        bytes: a.bytes + b.bytes,
    };
    // What was under way when the address left the table counts before or behind.
    until_same(|| {
        let kernel = Kernel::of(bench, case)?;
        let xpassed = counted("XPass")?;
        let both = [0, 1].map(|way| sum([passed[way], xpassed[way]]));
        Ok((both, [kernel.sent, kernel.received]))
    })?;
    assert!(counted("XPass")?.iter().all(|count| count.packets > 0));
    assert_eq!(counted("Pass")?, passed);
    Ok(())
}

fn accounts_of(case: &Case, bench: &Bench) -> Result<()> {
    bench.lab.namespace(Role::H99).nft(&case.counters())?;
    bench.lab.namespace(Role::Switch).nft(LINE)?;
    let (column, digit) = if case.family == "ip" {
        (0, '4')
    } else {
        (1, '6')
    };
    let interface = || -> Result<(Interface, [Count; 2])> {
        let stats = interface_stats(bench, column)?;
        ensure!(stats == interface_list(bench, digit)?, "both say the same");
        Ok((stats, line(bench, case.family)?))
    };
    let before = at_rest(interface)?;
    traffic(bench, case)?;
    let kernel = settle(bench, case)?;
    let refused = Count {
        packets: 3,
        bytes: 1101 + 3 * case.headers,
    };
    assert_eq!(kernel.refused, refused);
    // The handshake and three lines each way.
    assert!(kernel.sent.packets.min(kernel.received.packets) > 4);
    assert_line(&kernel, &before, interface).with_context(|| case.family)?;
    assert_rules_and_labels(bench, case, &kernel)?;
    assert_tables(bench, case, &kernel)?;
    assert_sources(bench, case, &kernel)
}

#[test]
fn what_pfctl_counts_is_what_the_hosts_kernel_counts() -> Result<()> {
    let files = Configuration::modern(IPV4.rules);
    with_daemon("accounts", UNSHAPED, &files, |bench| {
        accounts_of(&IPV4, bench)?;
        let kernel = Kernel::of(bench, &IPV4)?;
        assert_interface(bench, &kernel)?;
        assert_info(bench, &kernel)?;
        assert_xpass(bench, &IPV4)
    })
}

#[test]
fn what_pfctl_counts_with_a_flow_cache_is_what_the_hosts_kernel_counts() -> Result<()> {
    for (case, name) in [
        (&IPV4, "cached accounts"),
        (&IPV6, "cached accounts of IPv6"),
    ] {
        let files = Configuration::modern(case.rules);
        let files = files.with("weighbridge.toml", "fast-path = \"on\"\n");
        with_daemon(name, UNSHAPED, &files, |bench| {
            accounts_of(case, bench)?;
            assert_xpass(bench, case)
        })?;
    }
    Ok(())
}

#[test]
fn what_pfctl_counts_of_ipv6_is_what_the_hosts_kernel_counts() -> Result<()> {
    let files = Configuration::modern(IPV6.rules);
    with_daemon("accounts of IPv6", UNSHAPED, &files, |bench| {
        accounts_of(&IPV6, bench)?;
        assert_xpass(bench, &IPV6)
    })
}
