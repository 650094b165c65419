//! The same over IPv6: filtering, translation, `route-to`.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use lab::roles::SERVICES_V6;
use lab::service::{HTTP, OTHER, sha256_of_bytes};
use lab::{Configuration, Role};

use crate::fast_path::{BULK, assert_most_pass};
use crate::support::{SILENCE, UNSHAPED, with_daemon};

const RULES: &str = "\
localnet = \"2001:db8:28:123::/64\"
dslports = \"{ 22 80 443 }\"
dslnet = \"{ 2001:db8:28:123::34 2001:db8:28:123::99 }\"
nat on em0 inet6 from $dslnet to any port $dslports -> (em0)
pass quick on { fxp0 em1 } inet6 from $localnet to $localnet
block in log quick on em1 inet6 proto tcp from 2001:db8:28:123::10 to any port 8080
block return in quick on em1 inet6 proto tcp from 2001:db8:28:123::34 to any port 8080
pass in quick on em1 route-to (em0 2001:db8:d1::1) inet6 proto { tcp udp } from $dslnet \
    to !$localnet port $dslports modulate state label \"DSL6 $srcaddr:$dstport\"
pass on fxp0 keep state
";

fn files() -> Configuration {
    let em0 = "inet 192.168.1.64 255.255.0.0 NONE\ninet6 2001:db8:d1::64 64\n";
    let fxp0 = "inet 216.123.123.123 255.255.252.0 NONE\ninet6 2001:db8:28:123::b0 64\n";
    Configuration::article(true)
        .with("pf.conf", RULES)
        .with("hostname.em0", em0)
        .with("hostname.fxp0", fxp0)
}

fn server(port: u16) -> SocketAddr {
    SocketAddr::from((SERVICES_V6[0], port))
}

fn own(role: Role) -> IpAddr {
    role.inside_v6()
        .map_or(IpAddr::from([0_u8; 16]), IpAddr::V6)
}

/// By DSL, as [`RULES`] have it; both states move sequence numbers, and the second translates.
#[test]
fn bulk_over_ipv6_is_translated_and_modulated_in_the_kernel() -> Result<()> {
    let rules = "\
nat on em0 inet6 from 2001:db8:28:123::/64 to any -> (em0)
pass
pass in on em1 route-to (em0 2001:db8:d1::1) inet6 proto tcp to port 80 modulate state
pass out on em0 inet6 proto tcp modulate state
";
    let settings = "fast-path = \"on\"\n";
    let files = files().with("pf.conf", rules);
    let files = files.with("weighbridge.toml", settings);
    with_daemon("IPv6, fast path", UNSHAPED, &files, |bench| {
        let dsl = IpAddr::V6(bench.lab.dsl_lines()[0].box_v6());
        let digest = sha256_of_bytes(BULK);
        let host = bench.lab.host(Role::H99);
        assert_most_pass(bench, || {
            let download = host.download(server(HTTP), BULK)?;
            assert_eq!((&download.sha256, download.server_saw.ip()), (&digest, dsl));
            assert_eq!(host.upload(server(HTTP), BULK)?.sha256, digest);
            Ok(())
        })
    })
}

#[test]
fn listed_hosts_and_ports_are_translated_and_routed_out_by_dsl() -> Result<()> {
    with_daemon("IPv6 route-to", UNSHAPED, &files(), |bench| {
        let dsl = IpAddr::V6(bench.lab.dsl_lines()[0].box_v6());
        let host = bench.lab.host(Role::H99);
        let download = host.download(server(HTTP), 3_000_000)?;
        assert_eq!(download.sha256, sha256_of_bytes(3_000_000));
        assert_eq!(download.server_saw.ip(), dsl);
        assert_eq!(host.udp_exchange(server(443), b"six")?.0.ip(), dsl);
        let label = bench.daemon.label("DSL6 2001:db8:28:123::99:80")?;
        assert!(label.count.bytes > 3_000_000, "{label:?}");

        assert_eq!(
            host.udp_exchange(server(53), b"six")?.0.ip(),
            own(Role::H99)
        );
        let other = host.line_client(server(OTHER))?;
        assert_eq!(other.server_saw().ip(), own(Role::H99));
        let other = bench.lab.host(Role::H50).line_client(server(22))?;
        assert_eq!(other.server_saw().ip(), own(Role::H50));
        Ok(())
    })
}

#[test]
fn blocked_is_silent_and_block_return_answers() -> Result<()> {
    with_daemon("IPv6 block", UNSHAPED, &files(), |bench| {
        let refused = bench
            .lab
            .host(Role::H34)
            .tcp_connect(server(OTHER))
            .unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        let silent = bench
            .lab
            .host(Role::H10)
            .tcp_connect_within(SILENCE, server(OTHER))
            .unwrap_err();
        assert_eq!(silent.kind(), std::io::ErrorKind::TimedOut);
        bench
            .lab
            .host(Role::H10)
            .line_client(server(22))?
            .exchange("not blocked")?;
        Ok(())
    })
}

#[test]
fn pings_neighbours_and_the_box_s_own_address_work() -> Result<()> {
    with_daemon("IPv6 ping", UNSHAPED, &files(), |bench| {
        let host = bench.lab.host(Role::H50);
        host.ping(server(0).ip(), 1400)?;
        host.ping(IpAddr::V6("2001:db8:28:123::1".parse()?), 56)?;
        host.ping(IpAddr::V6("2001:db8:28:123::b0".parse()?), 56)?;
        let payload = vec![7; 5000];
        assert_eq!(host.udp_exchange(server(53), &payload)?.1, payload);
        Ok(())
    })
}

#[test]
fn a_smaller_mtu_of_the_dsl_path_is_told_to_the_client() -> Result<()> {
    with_daemon("IPv6 MTU", UNSHAPED, &files(), |bench| {
        bench
            .lab
            .namespace(Role::Modem1)
            .ip("link set dev wan mtu 1300")?;
        let upload = bench.lab.host(Role::H99).upload(server(HTTP), 400_000)?;
        assert_eq!(upload.sha256, sha256_of_bytes(400_000));
        bench
            .lab
            .namespace(Role::Box)
            .ip("link set dev em0 mtu 1280")?;
        let upload = bench.lab.host(Role::H34).upload(server(HTTP), 400_000)?;
        assert_eq!(upload.sha256, sha256_of_bytes(400_000));
        Ok(())
    })
}
