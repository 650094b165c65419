//! The IPv6 half of what rules do to packets beside passing them, and the priority that the kernel
//! sees.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use lab::counters::named;
use lab::roles::SERVICES_V6;
use lab::{Configuration, Role};

use crate::criteria::Listener;
use crate::support::{Bench, UNSHAPED, with_daemon};

/// The box with addresses on the inside network and on the DSL line.
fn files(rules: &str) -> Configuration {
    let em0 = "inet 192.168.1.64 255.255.0.0 NONE\ninet6 2001:db8:d1::64 64\n";
    let fxp0 = "inet 216.123.123.123 255.255.252.0 NONE\ninet6 2001:db8:28:123::b0 64\n";
    Configuration::modern(rules)
        .with("hostname.em0", em0)
        .with("hostname.fxp0", fxp0)
}

fn server(port: u16) -> SocketAddr {
    SocketAddr::from((SERVICES_V6[0], port))
}

#[test]
fn what_comes_in_over_ipv6_goes_by_the_routing_table_of_its_rule() -> Result<()> {
    let rules = "pass\npass in on em1 inet6 proto tcp from 2001:db8:28:123::99 to any rtable 7\n";
    with_daemon("rtable IPv6", UNSHAPED, &files(rules), |bench| {
        let inside = bench.lab.namespace(Role::Box);
        inside.ip("-6 route add default via 2001:db8:28:123::1")?;
        inside.ip("-6 route add default via 2001:db8:d1::1 dev em0 table 7")?;
        for role in [Role::H99, Role::H50] {
            let host = bench.lab.namespace(role);
            host.ip("-6 route replace default via 2001:db8:28:123::b0 dev eth0")?;
        }
        let modem = bench.lab.namespace(Role::Modem1);
        modem.nft(
            "table ip6 seen {\n counter by_table { }\n chain through { \
             type filter hook forward priority 0; tcp dport 22 counter name by_table; }\n}\n",
        )?;
        let by_table = || -> Result<u64> { Ok(named(modem, "ip6 seen", "by_table")?.packets) };
        // Answers come by the T1, whatever way the question took.
        let mut other = bench.lab.host(Role::H50).line_client(server(22))?;
        other.exchange("as ever")?;
        ensure!(by_table()? == 0, "by the ordinary table");
        let mut session = bench.lab.host(Role::H99).line_client(server(22))?;
        session.exchange("by the table")?;
        ensure!(by_table()? > 2, "a handshake and a line");
        Ok(())
    })
}

#[test]
fn a_connection_over_ipv6_is_diverted_to_a_socket_of_the_box() -> Result<()> {
    let rules = "pass\npass in on em1 inet6 proto tcp from any to any port 22 \
                 divert-to ::1 port 8022\n";
    let files = files(rules).with("weighbridge.toml", "dialect = \"openbsd\"\n");
    with_daemon("divert-to IPv6", UNSHAPED, &files, |bench| {
        let _listener = Listener::start_v6(bench.lab.namespace(Role::Box))?;
        for _ in 0..2 {
            let wanted = Listener::asked(&bench.lab.host(Role::H99), server(22))?;
            ensure!(wanted == format!("wanted {}\n", server(22)), "{wanted:?}");
        }
        // Other ports go where they were going.
        let mut other = bench.lab.host(Role::H99).line_client(server(110))?;
        other.exchange("past it")
    })
}

/// nft's `meta priority` is `skb->priority`, seen where the packet leaves.
#[test]
fn the_kernel_sees_the_priority_that_a_rule_has_set() -> Result<()> {
    let rules = "pass no state\n\
                 pass out on fxp0 inet proto udp to port 53 set prio 5\n\
                 pass out on fxp0 inet6 proto udp to port 53 set prio 2\n";
    with_daemon("set prio", UNSHAPED, &files(rules), |bench| {
        let inside = bench.lab.namespace(Role::Box);
        inside.nft(
            "table netdev prio {\n counter five { }\n counter two { }\n counter others { }\n \
             chain leaving { type filter hook egress device \"fxp0\" priority 0; \
             ether type ip udp dport 53 meta priority 0:5 counter name five; \
             ether type ip6 udp dport 53 meta priority 0:2 counter name two; \
             udp dport 443 meta priority { 0:5, 0:2 } counter name others; }\n}\n",
        )?;
        let host = bench.lab.host(Role::H99);
        for _ in 0..3 {
            host.udp_exchange(Bench::server(53), b"urgent")?;
            host.udp_exchange(Bench::server(443), b"not at all")?;
        }
        for _ in 0..2 {
            host.udp_exchange(server(53), b"in its time")?;
        }
        let count = |name| named(inside, "netdev prio", name).context("nft's counter");
        assert_eq!(count("five")?.packets, 3);
        assert_eq!(count("two")?.packets, 2);
        assert_eq!(count("others")?.packets, 0);
        Ok(())
    })
}
