//! Rules for frames, on real frames: ARP, VLANs and what nobody has heard of.

use std::fs;
use std::net::UdpSocket;

use anyhow::{Context, Result, ensure};
use lab::service::OTHER;
use lab::{Capture, Configuration, RawSender, Role, clock};

use crate::support::{Bench, PATIENCE, SILENCE, UNSHAPED, until_is, until_same, with_daemon};

const ARP: [u8; 2] = [0x08, 0x06];
const IPV4: [u8; 2] = [0x08, 0x00];
const VLAN: [u8; 2] = [0x81, 0x00];
/// IEEE 802's type for experiments.
const EXPERIMENT: [u8; 2] = [0x88, 0xb5];
const BROADCAST: [u8; 6] = [0xff; 6];
const MARK: &[u8] = b"a frame that nobody has heard of, long enough for Ethernet";

/// Whether a host gets a connection to the internet.
fn reaches(bench: &Bench, role: Role) -> bool {
    // Its neighbour may have to be asked for again.
    clock::wait_until(PATIENCE, || !is_cut_off(bench, role))
}

fn is_cut_off(bench: &Bench, role: Role) -> bool {
    let host = bench.lab.host(role);
    host.tcp_connect_within(SILENCE, Bench::server(OTHER))
        .is_err()
}

fn mac(bench: &Bench, role: Role, port: &str) -> Result<[u8; 6]> {
    let told = bench
        .lab
        .namespace(role)
        .ip(&format!("-o link show dev {port}"))?;
    let text = told
        .split_whitespace()
        .skip_while(|word| *word != "link/ether")
        .nth(1);
    let bytes = text.context("its address")?.split(':');
    let bytes: Vec<u8> = bytes
        .map(|byte| u8::from_str_radix(byte, 16))
        .collect::<Result<_, _>>()?;
    bytes.try_into().ok().context("six bytes")
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn forget_neighbors(bench: &Bench) -> Result<()> {
    for (role, port) in [
        (Role::H99, "eth0"),
        (Role::H50, "eth0"),
        (Role::Cisco, "lan"),
    ] {
        let namespace = bench.lab.namespace(role);
        namespace.ip(&format!("neigh flush dev {port}"))?;
    }
    Ok(())
}

/// A number below the first rule in `pfctl -vs ether`.
fn counted(bench: &Bench, name: &str) -> Result<usize> {
    let listed = bench.daemon.pfctl_ok(&["-vs", "ether"])?;
    let mut words = listed.split_whitespace().skip_while(|word| *word != name);
    Ok(words.nth(1).context(listed.clone())?.parse()?)
}

/// Sees that so many of these frames arrive at a port when a host has sent one.
fn arriving(
    bench: &Bench,
    frame: &[u8],
    (role, port): (Role, &str),
    wanted: impl Fn(&[u8]) -> bool,
    count: usize,
) -> Result<()> {
    let capture = Capture::start(bench.lab.namespace(role), port)?;
    RawSender::open(bench.lab.namespace(Role::H99), "eth0")?.send(frame)?;
    capture.wait_for(PATIENCE, count, &wanted);
    let frames = capture.finish();
    let arrived = frames.iter().filter(|frame| wanted(frame)).count();
    ensure!(arrived == count, "{arrived} at {port}, not {count}");
    Ok(())
}

fn frame(destination: [u8; 6], source: [u8; 6], ether_type: [u8; 2], rest: &[u8]) -> Vec<u8> {
    [&destination[..], &source, &ether_type, rest].concat()
}

#[test]
fn arp_is_blocked_by_type_and_direction_and_counted_to_the_frame() -> Result<()> {
    let files = Configuration::modern("pass\n");
    with_daemon("ether_arp", UNSHAPED, &files, |bench| {
        ensure!(reaches(bench, Role::H99), "without rules for frames");
        bench.lab.until_connections_end()?;
        let rules = "ether block in on em1 proto 0x0806 label \"arp\"\npass\n";
        bench.daemon.load(rules)?;
        forget_neighbors(bench)?;
        let source = mac(bench, Role::H99, "eth0")?;
        // Who is not answered asks no more once nobody wants to know.
        let inside = bench.lab.namespace(Role::H99);
        inside.sysctl("net/ipv4/neigh/eth0/mcast_solicit", "1")?;
        let capture = Capture::start(bench.lab.namespace(Role::H99), "eth0")?;
        ensure!(is_cut_off(bench, Role::H99), "nobody answers");
        let asked = || {
            let sent = capture.frames();
            let sent = sent.iter().filter(|frame| {
                frame.get(6..12) == Some(&source) && frame.get(12..14) == Some(&ARP)
            });
            sent.map(Vec::len).collect::<Vec<_>>()
        };
        let counted = || -> Result<(usize, usize)> {
            Ok((counted(bench, "Packets:")?, counted(bench, "Bytes:")?))
        };
        let (packets, _) = until_same(|| {
            let lengths = asked();
            Ok((counted()?, (lengths.len(), lengths.iter().sum::<usize>())))
        })?;
        ensure!(packets > 0, "it has asked");
        let listed = bench.daemon.pfctl_ok(&["-vvs", "ether"])?;
        ensure!(
            listed.starts_with("@0 ether block in on em1 proto 0x0806 l3 all label \"arp\"\n")
                && listed.contains("  [ Last Active Time: ")
                && !listed.contains("N/A"),
            "{listed}"
        );
        ensure!(bench.daemon.pfctl_ok(&["-s", "labels"])?.is_empty());
        let flushed = bench.daemon.pfctl(&["-F", "ethernet"])?;
        let said = String::from_utf8_lossy(&flushed.stderr).into_owned();
        ensure!(said.contains("Ethernet rules cleared"), "{said}");
        ensure!(reaches(bench, Role::H99), "the rules are gone");
        bench
            .daemon
            .load("ether block out on em1 proto 0x0806\npass\n")?;
        forget_neighbors(bench)?;
        ensure!(is_cut_off(bench, Role::H99), "the answer is blocked");
        Ok(())
    })
}

#[test]
fn a_portal_knows_hosts_by_their_ethernet_address() -> Result<()> {
    let files = Configuration::modern("pass\n");
    with_daemon("ether_captive", UNSHAPED, &files, |bench| {
        let known = text(mac(bench, Role::H50, "eth0")?);
        let portal = format!(
            "ether pass quick proto 0x0806\n\
             ether pass in quick on em1 from {known}\n\
             ether pass in on em1 tag guest\n\
             block in quick on em1 inet proto tcp tagged guest label \"guests\"\n\
             pass\n"
        );
        bench.daemon.load(&portal)?;
        ensure!(reaches(bench, Role::H50), "it is known");
        ensure!(is_cut_off(bench, Role::H99), "a guest");
        let labels = bench.daemon.pfctl_ok(&["-s", "labels"])?;
        let packets = labels.split_whitespace().nth(2);
        ensure!(packets.is_some_and(|packets| packets != "0"), "{labels}");
        let stranger = text(mac(bench, Role::H99, "eth0")?);
        bench
            .daemon
            .load(&format!("ether block in on em1 from {stranger}\npass\n"))?;
        ensure!(reaches(bench, Role::H50) && is_cut_off(bench, Role::H99));
        let prefix = format!("{}:00:00:00/24", &stranger[..8]);
        let other = if known[..8] == stranger[..8] {
            known
        } else {
            "00:01:02:03:04:05".to_owned()
        };
        bench.daemon.load(&format!(
            "ether block out on em1 to {prefix}\nether pass out on em1 to {other}\npass\n"
        ))?;
        ensure!(is_cut_off(bench, Role::H99), "by its first half");
        Ok(())
    })
}

#[test]
fn an_anchor_is_filled_while_frames_cross_and_asks_for_addresses_and_tags() -> Result<()> {
    let rules = "ether block in on em1\nether anchor \"portal\" in on em1 all\npass\n";
    with_daemon(
        "ether_anchor",
        UNSHAPED,
        &Configuration::modern(rules),
        |bench| {
            ensure!(is_cut_off(bench, Role::H99), "the anchor is empty");
            let file = bench.lab.directory().join("portal.conf");
            fs::write(
                &file,
                "ether pass proto 0x0806\nether pass l3 from 216.28.123.99\n",
            )?;
            let file = file.display().to_string();
            bench.daemon.pfctl_ok(&["-a", "portal", "-f", &file])?;
            ensure!(reaches(bench, Role::H99), "let in by its address");
            ensure!(is_cut_off(bench, Role::H50), "another address");
            let listed = bench.daemon.pfctl_ok(&["-a", "*", "-s", "ether"])?;
            assert_eq!(
                listed,
                "ether block in on em1 l3 all\n\
             ether anchor \"portal\" in on em1 l3 all {\n  \
               ether pass proto 0x0806 l3 all\n  \
               ether pass proto 0x0800 l3 from 216.28.123.99 to any\n\
             }\n"
            );
            bench
                .daemon
                .pfctl_ok(&["-a", "portal", "-qF", "ethernet"])?;
            ensure!(is_cut_off(bench, Role::H99), "the anchor is empty again");
            bench.daemon.load(
                "ether block out on fxp0 proto 0x0800 ! tagged vip\n\
             pass\npass in on em1 inet proto tcp from 216.28.123.99 tag vip\n",
            )?;
            ensure!(reaches(bench, Role::H99) && is_cut_off(bench, Role::H50));
            Ok(())
        },
    )
}

#[test]
fn frames_without_ip_cross_as_they_are_or_go_where_a_rule_says() -> Result<()> {
    let files = Configuration::modern("pass\n");
    with_daemon("ether_frames", UNSHAPED, &files, |bench| {
        let source = mac(bench, Role::H99, "eth0")?;
        let router = mac(bench, Role::Cisco, "lan")?;
        let unknown = frame(BROADCAST, source, EXPERIMENT, MARK);
        let same = |seen: &[u8]| seen == unknown;
        let (inside, dsl) = ((Role::Cisco, "lan"), (Role::Modem1, "lan"));
        for rules in ["pass\n", "ether pass\npass\n"] {
            bench.daemon.load(rules)?;
            arriving(bench, &unknown, inside, same, 1).context(rules)?;
        }
        let short = frame(router, source, IPV4, &[0x45; 19]);
        let is_short = |seen: &[u8]| seen.starts_with(&short);
        arriving(bench, &short, inside, is_short, 0)?;
        bench.daemon.load("ether block proto 0x88b5\npass\n")?;
        arriving(bench, &unknown, inside, same, 0)?;
        bench
            .daemon
            .load("ether pass in on em1 bridge-to em0 proto 0x88b5\npass\n")?;
        arriving(bench, &unknown, dsl, same, 1)?;
        arriving(bench, &unknown, inside, same, 0)?;
        until_is(&2, || counted(bench, "Packets:"))?;
        assert_eq!(counted(bench, "Bytes:")?, 2 * unknown.len());
        Ok(())
    })
}

#[test]
fn frames_of_a_vlan_cross_and_are_asked_for_by_their_tag() -> Result<()> {
    let files = Configuration::modern("pass\n");
    with_daemon("ether_vlan", UNSHAPED, &files, |bench| {
        let source = mac(bench, Role::H99, "eth0")?;
        let rest = [&[0, 7][..], &EXPERIMENT, MARK].concat();
        let tagged = frame(BROADCAST, source, VLAN, &rest);
        // The kernel shows a packet socket the frame without its tag.
        let shown = frame(BROADCAST, source, EXPERIMENT, MARK);
        let same = |seen: &[u8]| seen == shown || seen == tagged;
        for (rules, arrived) in [
            ("pass\n", 1),
            ("ether pass\nblock\n", 1),
            ("ether block in on em1 proto 0x88b5\npass\n", 1),
            ("ether block out on fxp0 proto 0x8100\npass\n", 0),
        ] {
            bench.daemon.load(rules)?;
            let place = (Role::Cisco, "lan");
            arriving(bench, &tagged, place, same, arrived).context(rules)?;
        }
        until_is(&tagged.len(), || counted(bench, "Bytes:"))?;
        Ok(())
    })
}

#[test]
fn the_frame_of_a_packet_that_is_routed_is_asked_for_when_it_leaves() -> Result<()> {
    let rules = "pass\npass in on em1 route-to (em0 192.168.0.1) inet proto udp from any \
                 to any port 5353 no state\n";
    with_daemon(
        "ether_route",
        UNSHAPED,
        &Configuration::modern(rules),
        |bench| {
            let modem = mac(bench, Role::Modem1, "lan")?;
            let sent = |bench: &Bench, payload: &[u8], limit| -> Result<usize> {
                let capture = Capture::start(bench.lab.namespace(Role::Modem1), "lan")?;
                let host = bench.lab.host(Role::H99);
                let socket = host.namespace().run(|| UdpSocket::bind("0.0.0.0:0"))?;
                // The answer does not find its way back.
                socket.send_to(payload, Bench::server(5353))?;
                let wanted = |frame: &[u8]| {
                    frame.get(..6) == Some(&modem)
                        && frame.get(12..14) == Some(&IPV4)
                        && frame.ends_with(payload)
                };
                capture.wait_for(limit, 1, wanted);
                let frames = capture.finish();
                Ok(frames.iter().filter(|frame| wanted(frame)).count())
            };
            ensure!(sent(bench, b"without", PATIENCE)? > 0);
            let passing = format!("ether pass out on em0 to {}\n{rules}", text(modem));
            bench.daemon.load(&passing)?;
            let arrived = sent(bench, b"passing", PATIENCE)?;
            ensure!(arrived > 0 && counted(bench, "Packets:")? >= arrived);
            let blocking = format!("ether block out on em0 to {}\n{rules}", text(modem));
            bench.daemon.load(&blocking)?;
            assert_eq!(sent(bench, b"blocking", SILENCE)?, 0);
            Ok(())
        },
    )
}
