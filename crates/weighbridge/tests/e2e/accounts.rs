//! Held to account: what pfctl says was counted, against what the kernel of the host that sent
//! and received it has counted.

use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::counters::{Count, named};
use lab::service::OTHER;
use lab::{Configuration, Role, clock};

use crate::support::{Bench, UNSHAPED, with_daemon};

/// Nobody listens there, and the rules let nothing there.
const DISCARD: u16 = 9;
const PATIENCE: Duration = Duration::from_secs(5);
const PING_BYTES: usize = 400;
/// The ping and the connection. More pings might have other identifiers.
const STATES: u64 = 2;

const RULES: &str = "\
set loginterface em1
table <inside> counters { 216.28.123.0/24 }
pass in on em1 inet from <inside> to any keep state label \"inside\"
block drop in quick on em1 inet proto udp from any to any port 9 label \"refused\"
";

/// IPv4 at the host, counted by its packet filter before the local stack takes and after it has
/// made each packet.
const COUNTERS: &str = "\
table ip accounts {
    counter received { }
    counter sent { }
    counter refused { }
    chain inward {
        type filter hook prerouting priority -300;
        iifname \"eth0\" counter name received
    }
    chain outward {
        type filter hook postrouting priority 300;
        oifname \"eth0\" udp dport 9 counter name refused accept
        oifname \"eth0\" counter name sent
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
    fn of(bench: &Bench) -> Result<Self> {
        let host = bench.lab.namespace(Role::H99);
        let read = |name| named(host, "ip accounts", name);
        Ok(Self {
            sent: read("sent")?,
            received: read("received")?,
            refused: read("refused")?,
        })
    }
}

/// A ping, lines over TCP, and datagrams that are not let through.
fn traffic(bench: &Bench) -> Result<()> {
    let host = bench.lab.host(Role::H99);
    let server = Bench::server(OTHER);
    host.ping(server.ip(), PING_BYTES)?;
    let mut session = host.line_client(server)?;
    for line in ["one", "two", "a longer line that says nothing"] {
        session.exchange(line)?;
    }
    drop(session);
    host.namespace().run(|| -> Result<()> {
        let socket = UdpSocket::bind(("0.0.0.0", 0))?;
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

fn assert_rules_and_labels(bench: &Bench, kernel: &Kernel) -> Result<()> {
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
        STATES
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
            STATES,
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

fn assert_tables(bench: &Bench, kernel: &Kernel) -> Result<()> {
    for text in [
        bench.daemon.pfctl_ok(&["-vvsT"])?,
        bench.daemon.pfctl_ok(&["-t", "inside", "-vvT", "show"])?,
    ] {
        assert_eq!(pair(&text, "In/Pass:")?, kernel.sent, "{text}");
        assert_eq!(pair(&text, "Out/Pass:")?, kernel.received, "{text}");
        assert_eq!(pair(&text, "In/Block:")?, Count::default(), "{text}");
    }
    Ok(())
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

#[test]
fn what_pfctl_counts_is_what_the_hosts_kernel_counts() -> Result<()> {
    let files = Configuration::modern(RULES);
    with_daemon("accounts", UNSHAPED, &files, |bench| {
        bench.lab.namespace(Role::H99).nft(COUNTERS)?;
        traffic(bench)?;
        // The last segments of the connection are on their way.
        let settled = clock::wait_until(PATIENCE, || {
            let shown = bench.daemon.pfctl_ok(&["-i", "em1", "-vvsI"]);
            let shown = shown.and_then(|text| pair(&text, "Out4/Pass:"));
            let states = bench.daemon.pfctl_ok(&["-ss"]).unwrap_or_default();
            let closed =
                states.contains("TIME_WAIT:TIME_WAIT") || states.contains("FIN_WAIT_2:FIN_WAIT_2");
            closed && shown.ok() == Kernel::of(bench).ok().map(|kernel| kernel.received)
        });
        ensure!(settled, "{}", bench.daemon.pfctl_ok(&["-vss"])?);
        let kernel = Kernel::of(bench)?;
        assert_eq!(
            kernel.refused,
            Count {
                packets: 3,
                bytes: 1101 + 3 * 28
            }
        );
        // The ping, its answer, the handshake and three lines each way.
        assert!(kernel.sent.packets.min(kernel.received.packets) > 4);
        let states = bench.daemon.pfctl_ok(&["-i", "em1", "-vss"])?;
        let [sent, received] = of_states(&states)?;
        assert_eq!((sent, received), (kernel.sent, kernel.received), "{states}");
        assert_rules_and_labels(bench, &kernel)?;
        assert_tables(bench, &kernel)?;
        assert_interface(bench, &kernel)?;
        assert_info(bench, &kernel)
    })
}
