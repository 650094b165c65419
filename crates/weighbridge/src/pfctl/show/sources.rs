//! `-s Sources`.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pf_engine::engine::RuleList;
use pf_engine::record::{PoolUse, SourceCursor};
use pf_engine::ruleset::Dialect;
use pf_engine::view::{NodeKind, SourceView};

use super::{ITEMS_PER_PAGE, View, time};

/// The nodes after one of them.
pub(super) fn page(view: &View<'_>, after: Option<SourceCursor>) -> (String, Option<SourceCursor>) {
    let mut text = String::new();
    let mut last = after;
    let mut nodes = view.engine.sources_after(after, view.now);
    for (cursor, node) in nodes.by_ref().take(ITEMS_PER_PAGE) {
        write_node(&mut text, &node, view.dialect, view.style.verbose);
        last = Some(cursor);
    }
    (text, last.filter(|_| nodes.next().is_some()))
}

fn write_node(text: &mut String, node: &SourceView, dialect: Dialect, verbose: u8) {
    let _ = write!(text, "{}", node.address);
    match dialect {
        Dialect::OpenBsd => write_chosen(text, node),
        Dialect::FreeBsd | Dialect::OpenBsd3 => {
            let target = node.target.unwrap_or_else(|| unspecified(node.address));
            let _ = write!(text, " -> {target}");
        }
    }
    let _ = writeln!(
        text,
        " ( states {}, connections {}, rate {}.{}/{}s )",
        node.states,
        node.connections,
        node.rate / 1000,
        node.rate % 1000 / 100,
        node.rate_seconds,
    );
    if verbose >= 1 {
        write_usage(text, node, dialect);
    }
}

const fn unspecified(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// OpenBSD names what the address was chosen for.
fn write_chosen(text: &mut String, node: &SourceView) {
    let keyword = match node.kind {
        NodeKind::Limit => return,
        NodeKind::Sticky(PoolUse::Nat) => "nat-to",
        NodeKind::Sticky(PoolUse::Rdr) => "rdr-to",
        NodeKind::Sticky(PoolUse::Route) => "route-to",
    };
    if let Some(target) = node.target {
        let _ = write!(text, " {keyword} {target}");
    }
}

fn write_usage(text: &mut String, node: &SourceView, dialect: Dialect) {
    let _ = write!(text, "   age {}", time::hours(node.age));
    if let Some(left) = node.expires_in {
        let _ = write!(text, ", expires in {}", time::hours(left));
    }
    let _ = write!(text, ", {} pkts, {} bytes", node.packets, node.bytes);
    if let Some((list, number)) = node.rule {
        let kind = match list {
            _ if dialect == Dialect::OpenBsd => "",
            RuleList::Nat | RuleList::Binat => "nat ",
            RuleList::Rdr => "rdr ",
            RuleList::Filter | RuleList::Scrub => "filter ",
        };
        let _ = write!(text, ", {kind}rule {number}");
    }
    if dialect == Dialect::FreeBsd {
        text.push_str(match node.kind {
            NodeKind::Limit => ", limit source-track",
            NodeKind::Sticky(PoolUse::Nat | PoolUse::Rdr) => ", NAT/RDR sticky-address",
            NodeKind::Sticky(PoolUse::Route) => ", route sticky-address",
        });
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn node() -> SourceView {
        SourceView {
            address: "2001:db8:44::1".parse().expect("an address"),
            target: None,
            kind: NodeKind::Limit,
            rule: Some((RuleList::Filter, 4)),
            states: 2,
            connections: 2,
            rate: 1940,
            rate_seconds: 20,
            age: Duration::from_secs(7),
            expires_in: None,
            packets: 6,
            bytes: 504,
        }
    }

    fn text(node: &SourceView, dialect: Dialect, verbose: u8) -> String {
        let mut text = String::new();
        write_node(&mut text, node, dialect, verbose);
        text
    }

    #[test]
    fn a_tracked_source_is_told_as_freebsd_tells_it() {
        assert_eq!(
            text(&node(), Dialect::FreeBsd, 2),
            "2001:db8:44::1 -> :: ( states 2, connections 2, rate 1.9/20s )\n   \
             age 00:00:07, 6 pkts, 504 bytes, filter rule 4, limit source-track\n"
        );
    }

    #[test]
    fn a_sticky_source_without_states_tells_when_it_goes() {
        let node = SourceView {
            address: "192.0.2.1".parse().expect("an address"),
            target: Some("198.51.100.9".parse().expect("an address")),
            kind: NodeKind::Sticky(PoolUse::Nat),
            rule: Some((RuleList::Nat, 0)),
            states: 0,
            connections: 0,
            rate: 0,
            rate_seconds: 0,
            expires_in: Some(Duration::from_secs(61)),
            ..node()
        };
        assert_eq!(
            text(&node, Dialect::FreeBsd, 1),
            "192.0.2.1 -> 198.51.100.9 ( states 0, connections 0, rate 0.0/0s )\n   age 00:00:07, \
             expires in 00:01:01, 6 pkts, 504 bytes, nat rule 0, NAT/RDR sticky-address\n"
        );
        assert_eq!(
            text(&node, Dialect::OpenBsd, 1),
            "192.0.2.1 nat-to 198.51.100.9 ( states 0, connections 0, rate 0.0/0s )\n   age \
             00:00:07, expires in 00:01:01, 6 pkts, 504 bytes, rule 0\n"
        );
        assert_eq!(
            text(&node, Dialect::OpenBsd3, 0),
            "192.0.2.1 -> 198.51.100.9 ( states 0, connections 0, rate 0.0/0s )\n"
        );
    }
}
