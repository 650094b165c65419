//! Independent counts: what a host's own kernel counted, to compare with Weighbridge's labels.

use std::collections::BTreeMap;

use anyhow::Context;

use crate::command::{Tool, run};
use crate::namespace::Namespace;

/// Packets and bytes (of IP packets, without the frame).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes of the IP packets, headers included.
    pub bytes: u64,
}

/// Frames and bytes (with the Ethernet header) of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCount {
    /// What came in.
    pub received: Count,
    /// What went out.
    pub sent: Count,
}

/// Counts the IPv4 TCP packets of one remote port at a host, with its kernel's packet filter:
/// exact, whatever the load, because it counts before the local stack takes or after it has
/// made each packet. Hosts of a shaped lab make one frame of every packet, and
/// [`FlowCounter::larger_than_a_frame`] proves it.
#[derive(Debug)]
pub struct FlowCounter<'a>(&'a Namespace);

impl<'a> FlowCounter<'a> {
    /// Starts counting at zero, also when it counted before.
    pub fn start(namespace: &'a Namespace, port: u16) -> anyhow::Result<Self> {
        let chain = |name: &str, hook: &str, side: &str| {
            format!(
                "chain {name} {{ type filter hook {hook} priority -300; tcp {side} {port} counter \
                 name crossed; tcp {side} {port} meta length > 1500 counter name large; }}"
            )
        };
        namespace.nft(&format!(
            "table ip weigh {{}}\ndelete table ip weigh\ntable ip weigh {{\n counter crossed {{ }}\n \
             counter large {{ }}\n {}\n {}\n}}\n",
            chain("inward", "prerouting", "sport"),
            chain("outward", "output", "dport"),
        ))?;
        Ok(Self(namespace))
    }

    /// What has been counted since the start.
    pub fn count(&self) -> anyhow::Result<Count> {
        named(self.0, "ip weigh", "crossed")
    }

    /// Packets that are no single frame; their count says nothing about frames.
    pub fn larger_than_a_frame(&self) -> anyhow::Result<Count> {
        named(self.0, "ip weigh", "large")
    }
}

/// Starts counting the frames with a VLAN tag that come in through a port: nft statements such
/// as `vlan id 5`, each with its counter's name.
pub fn count_frames(
    namespace: &Namespace,
    port: &str,
    rules: &[(&str, &str)],
) -> anyhow::Result<()> {
    let counters = rules
        .iter()
        .map(|(name, _)| format!(" counter {name} {{ }}\n"));
    let statements = rules
        .iter()
        .map(|(name, rule)| format!("  {rule} counter name {name}\n"));
    let hook = format!("  type filter hook ingress device \"{port}\" priority 0\n");
    let parts = counters
        .chain([" chain inward {\n".to_owned(), hook])
        .chain(statements);
    let body: String = parts.collect();
    namespace.nft(&format!("table netdev weigh {{\n{body} }}\n}}\n"))?;
    Ok(())
}

/// What a named counter of a table (`netdev weigh`) has counted.
pub fn named(namespace: &Namespace, table: &str, name: &str) -> anyhow::Result<Count> {
    let line = format!("list counter {table} {name}");
    let text = namespace.run(|| run(Tool::Nft, &line))?;
    parse_counter(&text).with_context(|| format!("cannot read nft's answer {text:?}"))
}

/// The first `packets N bytes M` of nft's listing.
fn parse_counter(text: &str) -> Option<Count> {
    let mut words = text
        .split_whitespace()
        .skip_while(|word| *word != "packets")
        .skip(1);
    let packets = words.next()?.parse().ok()?;
    let bytes = words.nth(1)?.parse().ok()?;
    Some(Count { packets, bytes })
}

/// The kernel's counters of every port of a namespace, by name.
pub fn ports(namespace: &Namespace) -> anyhow::Result<BTreeMap<String, PortCount>> {
    let text = namespace.read("/proc/thread-self/net/dev")?;
    Ok(text.lines().skip(2).filter_map(parse_port).collect())
}

/// The counters of one port; zero when it is not there.
pub fn port(namespace: &Namespace, name: &str) -> anyhow::Result<PortCount> {
    Ok(ports(namespace)?.remove(name).unwrap_or_default())
}

/// A line of proc(5)'s net/dev: eight columns received, eight sent, bytes and packets first.
fn parse_port(line: &str) -> Option<(String, PortCount)> {
    let (name, rest) = line.split_once(':')?;
    let columns: Vec<u64> = rest.split_whitespace().flat_map(str::parse).collect();
    let count = |first: usize| {
        Some(Count {
            packets: *columns.get(first + 1)?,
            bytes: *columns.get(first)?,
        })
    };
    Some((
        name.trim().to_owned(),
        PortCount {
            received: count(0)?,
            sent: count(8)?,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nft_counters_and_port_counters_are_read() {
        let text = "table ip weigh {\n\tcounter crossed {\n\t\tpackets 17 bytes 702\n\t}\n}\n";
        assert_eq!(
            parse_counter(text),
            Some(Count {
                packets: 17,
                bytes: 702
            })
        );
        let line = "  eth0: 1296 16 0 0 0 0 0 0 876 12 0 0 0 0 0 0";
        let count = PortCount {
            received: Count {
                packets: 16,
                bytes: 1296,
            },
            sent: Count {
                packets: 12,
                bytes: 876,
            },
        };
        assert_eq!(parse_port(line), Some(("eth0".to_owned(), count)));
    }
}
