//! VLANs of the kernel's own: their packets are those of the VLAN's device, with or without the flow cache.

use std::net::UdpSocket;

use anyhow::{Result, ensure};
use lab::service::{HTTP, sha256_of_bytes};
use lab::{Configuration, Role};

use crate::fast_path::{ON, assert_most_pass, flow_counter, flows};
use crate::support::{Bench, IN_GUEST, PATIENCE, UNSHAPED, with_daemon};

/// The host is in VLAN 7, its packets leave by DSL.
const RULES: &str = "\
nat on em0 inet from 10.77.0.0/24 to any -> (em0)
pass
block in on em1 inet from 10.77.0.0/24
pass in on vlan7 route-to (em0 192.168.0.1) inet proto tcp modulate state
pass in on vlan7 route-to (em0 192.168.0.1) inet proto udp keep state
";
const VLAN: &str = "vlan 7 vlandev em1\ninet 10.77.0.1 255.255.255.0\n";
/// Emulation is slow.
const BYTES: u64 = 1_000_000;
const DATAGRAMS: u64 = 1_000;

/// Datagrams and TCP, which come tagged, go without tags and back.
#[test]
fn flows_of_a_vlan_s_device_are_cached_and_fused_and_its_tags_are_the_kernel_s() -> Result<()> {
    if std::env::var_os(IN_GUEST).is_none() {
        println!("SKIPPED vlans: in a guest, for this machine's kernel may have none");
        return Ok(());
    }
    let files = Configuration::modern(RULES).with("weighbridge.toml", ON);
    let files = files.with("hostname.vlan7", VLAN);
    with_daemon("VLAN", UNSHAPED, &files, |bench| {
        let host = bench.lab.host(Role::H99);
        let server = Bench::server(443);
        for line in [
            "link add link eth0 name vlan7 type vlan id 7",
            "address add 10.77.0.2/24 dev vlan7",
            "link set vlan7 up",
            &format!("route add {}/32 via 10.77.0.1", server.ip()),
        ] {
            host.namespace().ip(line)?;
        }
        let socket = host.namespace().run(|| UdpSocket::bind("10.77.0.2:0"))?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        for _ in 0..DATAGRAMS {
            lab::client::udp_exchange_over(&socket, &[5; 100])?;
        }
        let fused = flow_counter(bench, "fused")?;
        ensure!(fused > DATAGRAMS, "{:?}", flows(bench)?);
        assert_most_pass(bench, || {
            let download = host.download(Bench::server(HTTP), BYTES)?;
            assert_eq!(download.sha256, sha256_of_bytes(BYTES));
            assert_eq!(download.server_saw.ip(), bench.dsl(1));
            Ok(())
        })
    })
}
