//! Translation on real traffic: `af-to` from hosts with IPv6 to servers with IPv4, and ports of
//! NAT that run out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result};
use lab::roles::SERVICES_V4;
use lab::service::{HTTP, OTHER, sha256_of_bytes};
use lab::{Configuration, Role};

use crate::support::{Bench, SILENCE, UNSHAPED, with_daemon};

const NAT64: &str = "\
set reassemble yes
pass in quick on em1 route-to (em0 192.168.0.1) inet6 from any to 64:ff9b::/96 \\
    af-to inet from (em0) label nat64
pass
";

/// A server's address behind the well-known prefix (RFC 6052, section 2.1).
fn behind_prefix(server: Ipv4Addr) -> IpAddr {
    let [a, b, c, d] = server.octets();
    let word = |high, low| u16::from_be_bytes([high, low]);
    IpAddr::V6(Ipv6Addr::new(
        0x64,
        0xff9b,
        0,
        0,
        0,
        0,
        word(a, b),
        word(c, d),
    ))
}

#[test]
fn hosts_reach_ipv4_servers_from_ipv6_by_ping_tcp_and_udp() -> Result<()> {
    let files = Configuration::modern(NAT64);
    with_daemon("NAT64", UNSHAPED, &files, |bench| {
        let host = bench.lab.host(Role::H99);
        let server = behind_prefix(SERVICES_V4[0]);
        host.ping(server, 56)?;
        host.ping(server, 3000)?;
        let (seen, answer) = host.udp_exchange(SocketAddr::new(server, 53), b"six to four")?;
        assert_eq!((seen.ip(), answer), (bench.dsl(1), b"six to four".to_vec()));
        let download = host.download(SocketAddr::new(server, HTTP), 1_000_000)?;
        assert_eq!(download.sha256, sha256_of_bytes(1_000_000));
        assert_eq!(download.server_saw.ip(), bench.dsl(1));
        let upload = host.upload(SocketAddr::new(server, HTTP), 1_000_000)?;
        assert_eq!(upload.sha256, sha256_of_bytes(1_000_000));
        let labels = bench.daemon.pfctl_ok(&["-sl"])?;
        let bytes = labels.split_whitespace().nth(3).map(str::parse::<u64>);
        assert!(bytes.context("no label")?? > 2_000_000, "{labels}");
        assert_printed_as_pf_does(bench)
    })
}

/// `em0 tcp OUTSIDE:PORT (CLIENT[PORT]) -> SERVER:80 (64:ff9b::…[80])`.
fn assert_printed_as_pf_does(bench: &Bench) -> Result<()> {
    let states = bench.daemon.states()?;
    let client = Role::H99.inside_v6().context("an address")?;
    let found = states.iter().find(|state| {
        state.starts_with("all tcp 192.168.1.64:")
            && state.contains(&format!(" ({client}["))
            && state.contains(&format!(
                " -> {}:80 (64:ff9b::c633:640a[80])",
                SERVICES_V4[0]
            ))
    });
    found.with_context(|| format!("no such state among {states:#?}"))?;
    Ok(())
}

#[test]
fn ports_of_nat_that_have_run_out_come_back() -> Result<()> {
    let rules = "\
nat on em0 inet from 216.28.123.0/24 to any -> (em0) port 30000:30001
pass quick on { fxp0 em1 } inet from 216.28.123.0/24 to 216.28.123.0/24
pass in quick on em1 route-to (em0 192.168.0.1) inet proto tcp from 216.28.123.0/24 to any
pass
";
    let files = Configuration::modern(rules);
    with_daemon("NAT ports", UNSHAPED, &files, |bench| {
        let host = bench.lab.host(Role::H99);
        let server = Bench::server(OTHER);
        let mut first = host.line_client(server)?;
        let mut second = host.line_client(server)?;
        let third = host.tcp_connect_within(SILENCE, server);
        assert!(third.is_err(), "there are two ports");
        let status = bench.daemon.pfctl_ok(&["-si"])?;
        let failed = status
            .lines()
            .find_map(|line| line.trim().strip_prefix("map-failed"))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|count| count.parse::<u64>().ok());
        assert!(failed > Some(0), "{status}");
        first.exchange("still there")?;
        second.exchange("so am I")?;
        bench.daemon.pfctl_ok(&["-F", "states"])?;
        host.line_client(server)?.exchange("free again")?;
        Ok(())
    })
}
