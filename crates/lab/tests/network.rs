//! The lab itself, with a plain kernel bridge in the box: what Weighbridge is measured against.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lab::roles::{BOX_FXP0, SERVICES_V4, SERVICES_V6};
use lab::service::{HTTP, OTHER, sha256_of_bytes};
use lab::{Capture, Lab, LabConfig, RawSender, Role, counters, requirements};

/// A busy machine carries less than a line could.
const TRIES: usize = 5;
const PATIENCE: Duration = Duration::from_secs(20);

fn plain(config: LabConfig) -> anyhow::Result<Lab> {
    let lab = Lab::new(config)?;
    lab.bridge_plainly()?;
    Ok(lab)
}

fn unshaped() -> LabConfig {
    LabConfig {
        dsl_lines: 1,
        shaped: false,
    }
}

#[test]
fn inside_hosts_reach_the_internet_through_the_bridge_and_the_t1_in_both_families() {
    if requirements::skip_test("network") {
        return;
    }
    let lab = plain(unshaped()).unwrap();
    for role in Role::INSIDE {
        let host = lab.host(role);
        for server in [IpAddr::V4(SERVICES_V4[0]), IpAddr::V6(SERVICES_V6[1])] {
            host.ping(server, 1400).unwrap();
            let download = host.download((server, HTTP), 300_000).unwrap();
            assert_eq!(download.sha256, sha256_of_bytes(300_000));
            assert_eq!(Some(download.server_saw.ip()), role.inside_address(server));
            let (seen, _) = host.udp_exchange((server, 53), b"who am I").unwrap();
            assert_eq!(Some(seen.ip()), role.inside_address(server));
            let mut line = host.line_client((server, OTHER)).unwrap();
            line.exchange("hello").unwrap();
            assert_eq!(Some(line.server_saw().ip()), role.inside_address(server));
        }
    }
}

#[test]
fn the_t1_has_its_rate_both_ways() {
    if requirements::skip_test("rate") {
        return;
    }
    let lab = plain(LabConfig::default()).unwrap();
    let host = lab.host(Role::H99);
    let server = SocketAddr::from((SERVICES_V4[0], HTTP));
    let (mut down, mut up) = (0.0_f64, 0.0_f64);
    for _ in 0..TRIES {
        down = down.max(host.download(server, 300_000).unwrap().rate());
        up = up.max(host.upload(server, 300_000).unwrap().rate());
        if down > 1.1e6 && up > 1.0e6 {
            break;
        }
    }
    assert!((1.1e6..1.6e6).contains(&down), "{down} bit/s down");
    assert!((1.0e6..1.7e6).contains(&up), "{up} bit/s up");
}

#[test]
fn a_modem_translates_to_its_own_address_and_routes_ipv6_as_it_is() {
    if requirements::skip_test("modem") {
        return;
    }
    let lab = plain(LabConfig {
        dsl_lines: 3,
        shaped: false,
    })
    .unwrap();
    let bridge = lab.namespace(Role::Box);
    for line in lab.dsl_lines() {
        let (v4, v6) = (SERVICES_V4[0], SERVICES_V6[0]);
        let gateway = line.modem_v4.split('/').next().unwrap();
        bridge
            .ip_batch(&[
                format!("link set dev {} up", line.port),
                format!("address add {} dev {}", line.box_v4, line.port),
                format!("address add {}/64 dev {} nodad", line.box_v6(), line.port),
                format!("route replace {v4}/32 via {gateway}"),
                format!(
                    "route replace {v6}/128 via {} dev {}",
                    line.modem_v6(),
                    line.port
                ),
            ])
            .unwrap();
        let (seen, _) = lab.host(Role::Box).udp_exchange((v4, 53), b"4").unwrap();
        assert_eq!(seen.ip(), IpAddr::V4(line.outside_v4));
        let (seen, _) = lab.host(Role::Box).udp_exchange((v6, 53), b"6").unwrap();
        assert_eq!(seen.ip(), IpAddr::V6(line.box_v6()));
    }
}

#[test]
fn the_internet_reaches_servers_inside_and_the_cisco_routes_between_its_networks() {
    if requirements::skip_test("servers inside") {
        return;
    }
    let mut lab = plain(unshaped()).unwrap();
    lab.serve(Role::H50).unwrap();
    let inside = Role::H50.inside_v4().unwrap();
    let download = lab
        .host(Role::Internet)
        .download((inside, HTTP), 100_000)
        .unwrap();
    assert_eq!(download.sha256, sha256_of_bytes(100_000));
    lab.namespace(Role::Box)
        .ip_batch(&[
            format!("address add {BOX_FXP0}/22 dev bridge0"),
            "route add default via 216.123.120.1".to_owned(),
        ])
        .unwrap();
    lab.host(Role::H34).ping(BOX_FXP0, 56).unwrap();
    lab.host(Role::Internet).ping(BOX_FXP0, 56).unwrap();
}

#[test]
fn a_flow_counter_and_a_capture_agree_on_what_crossed_the_port() {
    if requirements::skip_test("counters") {
        return;
    }
    let lab = plain(LabConfig::default()).unwrap();
    let host = lab.host(Role::H99);
    let counter = counters::FlowCounter::start(host.namespace(), HTTP).unwrap();
    let capture = Capture::start(host.namespace(), "eth0").unwrap();
    host.download((SERVICES_V4[0], HTTP), 100_000).unwrap();
    lab.until_connections_end().unwrap();
    let frames = capture.finish();
    let count = counter.count().unwrap();
    assert_eq!(counter.larger_than_a_frame().unwrap().packets, 0);
    let lengths = frames
        .iter()
        .filter(|frame| frame[12..14] == [8, 0] && frame[23] == 6);
    let lengths: Vec<_> = lengths
        .map(|f| u64::from(u16::from_be_bytes([f[16], f[17]])))
        .collect();
    assert!(count.bytes > 100_000, "{count:?}");
    assert_eq!(
        (count.packets, count.bytes),
        (lengths.len() as u64, lengths.iter().sum())
    );
}

#[test]
fn raw_frames_with_a_vlan_tag_cross_the_switch_and_are_captured() {
    if requirements::skip_test("raw frames") {
        return;
    }
    let lab = plain(unshaped()).unwrap();
    let capture = Capture::start(lab.namespace(Role::Cisco), "lan").unwrap();
    let sender = RawSender::open(lab.namespace(Role::H34), "eth0").unwrap();
    let tagged = [
        &[0xff; 6][..],
        &[2, 0, 0, 0, 0, 1],
        &[0x81, 0, 0, 5, 0x88, 0xb5],
        &[7; 50],
    ];
    sender.send(&tagged.concat()).unwrap();
    let ours = |frame: &[u8]| frame.ends_with(&[7; 50]);
    capture.wait_for(PATIENCE, 1, ours);
    let frames = capture.finish();
    let count = frames.iter().filter(|frame| ours(frame)).count();
    assert_eq!(count, 1, "{frames:?}");
}

#[test]
fn dropping_a_lab_leaves_nothing_behind() {
    if requirements::skip_test("dropping") {
        return;
    }
    let lab = plain(unshaped()).unwrap();
    let name = lab.namespace(Role::Box).name().to_owned();
    assert!(lab::identity::existing().contains(&name));
    let prefix = name.trim_end_matches("box").to_owned();
    drop(lab);
    let left = lab::identity::existing();
    assert!(
        !left.iter().any(|name| name.starts_with(&prefix)),
        "{left:?}"
    );
}
