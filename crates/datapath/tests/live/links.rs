//! Links made as wanted, and as they were.

use std::collections::BTreeMap;
use std::net::IpAddr;

use datapath::Error;
use datapath::netlink::{Monitor, Netlink};
use datapath::offload::offloads;
use links::offload::Offload;
use links::{WantedAddress, WantedBridge, WantedInterface, WantedLinks};
use pf_engine::env::Interface;

use crate::support::{Lab, PATIENCE, wait_readable, write_sysctl};

/// A box with three interfaces, all down.
fn unconfigured(test: &str) -> Option<Lab> {
    let mut lab = Lab::new(test)?;
    for host in ["a", "b", "c", "box"] {
        lab.host(host);
    }
    lab.enable_ipv6("box");
    // No link-local addresses, which come and go with the carrier.
    lab.within("box", || {
        write_sysctl("net/ipv6/conf/default/addr_gen_mode", "1");
    });
    lab.cable(("a", "eth0", 1), ("box", "em1", 0x11));
    lab.cable(("b", "eth0", 2), ("box", "fxp0", 0x12));
    lab.cable(("c", "eth0", 3), ("box", "em0", 0x13));
    for interface in ["em1", "fxp0", "em0"] {
        lab.ip("box", &format!("link set dev {interface} down"));
    }
    Some(lab)
}

fn interface(name: &str, addresses: &[&str]) -> WantedInterface {
    WantedInterface {
        name: name.to_owned(),
        up: true,
        addresses: addresses.iter().map(|text| address(text)).collect(),
        ..WantedInterface::default()
    }
}

fn address(text: &str) -> WantedAddress {
    let (address, prefix_len) = text.split_once('/').expect("a prefix");
    WantedAddress {
        address: address.parse().expect("an address"),
        prefix_len: prefix_len.parse().expect("a length"),
        broadcast: None,
        alias: false,
    }
}

/// What the article's files ask for, with IPv6.
fn article() -> WantedLinks {
    WantedLinks {
        interfaces: vec![
            interface("em0", &["192.168.1.64/16", "fd02::64/64"]),
            interface("em1", &[]),
            interface("fxp0", &["216.123.123.123/22", "fd01::1/64"]),
        ],
        bridges: vec![WantedBridge {
            name: "bridge0".to_owned(),
            members: vec!["em1".to_owned(), "fxp0".to_owned()],
            up: true,
            ..WantedBridge::default()
        }],
        ..WantedLinks::default()
    }
}

/// All that `ip` and the kernel tell, without what moves by itself.
fn state(lab: &Lab) -> String {
    let objects = [
        "-o link",
        "-o address",
        "route show table all",
        "-6 route show table all",
    ];
    let listed: String = objects.map(|object| lab.ip("box", object)).concat();
    let filters = lab.within("box", || {
        ["em0", "em1", "fxp0"].map(|name| {
            let path = format!("/proc/sys/net/ipv4/conf/{name}/rp_filter");
            std::fs::read_to_string(path).expect("readable")
        })
    });
    let settled = listed.lines().filter(|line| !line.contains("ff00::/8"));
    settled.map(without_carrier).collect::<Vec<_>>().join("\n") + &filters.concat()
}

fn without_carrier(line: &str) -> String {
    let line = line.replace("NO-CARRIER,", "").replace(",LOWER_UP", "");
    let words: Vec<&str> = line.split(' ').collect();
    let kept = words.iter().enumerate().filter(|(at, word)| {
        let is_state = **word == "state" || (*at > 0 && words[at - 1] == "state");
        !is_state
    });
    kept.map(|(_, word)| *word).collect::<Vec<_>>().join(" ")
}

fn addresses(interface: &Interface) -> Vec<String> {
    let global = interface.addresses.iter().filter(|a| match a.address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    });
    global
        .map(|a| format!("{}/{}", a.address, a.prefix_len))
        .collect()
}

#[test]
fn the_articles_files_are_applied_and_a_member_reports_its_addresses() {
    let Some(lab) = unconfigured("apply") else {
        return;
    };
    lab.within("box", || {
        let mut netlink = Netlink::open().expect("opens");
        let applied = netlink.apply(&article()).expect("applies");
        assert!(!applied.steps.is_empty());
        let interfaces = netlink.interfaces().expect("listed");
        let named = |name: &str| {
            interfaces
                .iter()
                .find(|i| i.name == name)
                .unwrap_or_else(|| panic!("no {name}"))
        };
        let given = ["216.123.123.123/22", "fd01::1/64"];
        assert_eq!(addresses(named("fxp0")), given);
        assert_eq!(addresses(named("bridge0")), given);
        assert_eq!(addresses(named("em0")), ["192.168.1.64/16", "fd02::64/64"]);
        assert_eq!(addresses(named("em1")), [""; 0]);
        assert_eq!(named("fxp0").groups, ["fxp"]);
        let broadcast = named("fxp0").addresses[0].broadcast;
        assert_eq!(broadcast, Some(IpAddr::from([216, 123, 123, 255])));
        assert!(named("lo").loopback);
    });
    let listed = lab.ip("box", "-o address show dev bridge0");
    assert!(
        listed.contains("216.123.123.123/22 brd 216.123.123.255"),
        "{listed}"
    );
    assert!(!listed.contains("tentative"), "{listed}");
    let bridge = lab.ip("box", "-d -o link show dev bridge0");
    assert!(bridge.contains("forward_delay 0 "), "{bridge}");
    assert!(bridge.contains("stp_state 0 "), "{bridge}");
    assert!(bridge.contains("ageing_time 24000 "), "{bridge}");
    assert!(bridge.contains("mcast_snooping 0 "), "{bridge}");
}

#[test]
fn applying_twice_changes_nothing_and_undoing_restores_everything() {
    let Some(lab) = unconfigured("undo") else {
        return;
    };
    lab.within("box", || write_sysctl("net/ipv4/conf/em0/rp_filter", "1"));
    lab.ip("box", "link set dev fxp0 mtu 1400");
    let segments = || lab.within("box", || offloads("fxp0").segmentation);
    assert!(segments(), "veth has it from the start");
    let before = state(&lab);
    let mut wanted = article();
    wanted.interfaces[2].mtu = Some(1450);
    wanted.interfaces[2].offloads = BTreeMap::from([(Offload::Segmentation, false)]);
    wanted.interfaces[2].mac = Some([2, 0, 0, 0, 0, 0x99]);
    wanted.interfaces[2].description = Some("to the Cisco".to_owned());
    let (first, after, second, again) = lab.within("box", || {
        let mut netlink = Netlink::open().expect("opens");
        let first = netlink.apply(&wanted).expect("applies");
        let after = state(&lab);
        let second = netlink.apply(&wanted).expect("applies");
        (first, after, second, state(&lab))
    });
    assert_eq!(second.steps, [""; 0]);
    assert_eq!(again, after);
    assert_ne!(after, before);
    assert!(
        first.steps.contains(&"fxp0: MTU 1450".to_owned()),
        "{:?}",
        first.steps
    );
    assert!(
        first.steps.contains(&"fxp0: -tso".to_owned()),
        "{:?}",
        first.steps
    );
    assert!(!segments(), "it is still on");
    let loose = "em0: loose reverse path filter".to_owned();
    assert!(first.steps.contains(&loose), "{:?}", first.steps);
    lab.within("box", || {
        let mut netlink = Netlink::open().expect("opens");
        netlink.undo(second);
        netlink.undo(first);
    });
    assert_eq!(state(&lab), before);
    assert!(segments(), "it stays off");
}

#[test]
fn an_address_moves_to_the_bridge_with_its_routes_and_back() {
    let Some(lab) = unconfigured("move") else {
        return;
    };
    lab.ip("box", "link set dev fxp0 up");
    lab.ip("box", "address add 216.123.123.123/22 broadcast + dev fxp0");
    lab.ip("box", "route add default via 216.123.120.1");
    let before = state(&lab);
    lab.within("box", || {
        let mut netlink = Netlink::open().expect("opens");
        let applied = netlink.apply(&article()).expect("applies");
        let routes = lab.ip("box", "route show default");
        assert!(routes.contains("216.123.120.1 dev bridge0"), "{routes}");
        let interfaces = netlink.interfaces().expect("listed");
        let egress = interfaces
            .iter()
            .filter(|i| i.groups.iter().any(|group| group == "egress"))
            .map(|i| i.name.as_str());
        assert_eq!(egress.collect::<Vec<_>>(), ["fxp0", "bridge0"]);
        netlink.undo(applied);
    });
    assert_eq!(state(&lab), before);
}

#[test]
fn a_missing_interface_is_named_with_the_file_that_names_it() {
    let Some(lab) = unconfigured("missing") else {
        return;
    };
    let before = state(&lab);
    let mut wanted = article();
    wanted.bridges[0].members.push("em7".to_owned());
    wanted.interfaces.push(interface("em9", &[]));
    let error = lab.within("box", || {
        let mut netlink = Netlink::open().expect("opens");
        netlink.apply(&wanted).expect_err("refused").to_string()
    });
    let told = "em7 (named by bridgename.bridge0), em9 (named by hostname.em9): no such interface";
    assert!(error.starts_with(told), "{error}");
    assert_eq!(state(&lab), before);
}

#[test]
fn a_failure_half_way_leaves_everything_as_it_was() {
    let Some(lab) = unconfigured("halfway") else {
        return;
    };
    let before = state(&lab);
    let mut wanted = article();
    // The kernel refuses a multicast address, after all else was done.
    wanted.interfaces[2].addresses.push(address("ff02::1/64"));
    let error = lab.within("box", || {
        let mut netlink = Netlink::open().expect("opens");
        netlink.apply(&wanted).expect_err("refused").to_string()
    });
    assert!(
        error.starts_with("cannot give ff02::1/64 to bridge0: "),
        "{error}"
    );
    assert_eq!(state(&lab), before);
}

#[test]
fn what_contradicts_the_machine_is_refused_before_anything_is_done() {
    let Some(lab) = unconfigured("conflict") else {
        return;
    };
    lab.ip("box", "link add br9 type bridge");
    lab.ip("box", "link set dev em1 master br9");
    let mut no_bridge = article();
    no_bridge.bridges[0].name = "em0".to_owned();
    no_bridge.interfaces.remove(0);
    lab.within("box", || {
        let mut netlink = Netlink::open().expect("opens");
        for wanted in [article(), no_bridge] {
            let error = netlink.apply(&wanted).expect_err("refused");
            assert!(matches!(error, Error::Conflict { .. }), "{error}");
        }
    });
}

#[test]
fn an_interface_that_returns_is_made_as_wanted_again() {
    let Some(lab) = unconfigured("returns") else {
        return;
    };
    lab.within("box", || {
        let mut netlink = Netlink::open().expect("opens");
        let mut monitor = Monitor::open().expect("opens");
        let _first = netlink.apply(&article()).expect("applies");
        assert!(monitor.drain().expect("readable"));
        assert!(!monitor.drain().expect("readable"));
        lab.ip("box", "link del dev em1");
        assert!(wait_readable(monitor.fd(), PATIENCE));
        assert!(monitor.drain().expect("readable"));
        lab.cable(("a", "eth0", 1), ("box", "em1", 0x11));
        let second = netlink.apply(&article()).expect("applies");
        let told = [
            "em1: a port of bridge0",
            "em1: lets spanning tree, LACP and LLDP cross",
        ];
        assert_eq!(second.steps, told);
    });
}

#[test]
fn an_address_that_has_no_effect_on_a_port_is_warned_of() {
    let Some(lab) = unconfigured("stray") else {
        return;
    };
    lab.ip("box", "address add 10.7.7.7/24 dev fxp0");
    lab.within("box", || {
        let mut netlink = Netlink::open().expect("opens");
        let applied = netlink.apply(&article()).expect("applies");
        let told = "fxp0: warning: 10.7.7.7 has no effect on a port of bridge0";
        assert!(
            applied.steps.iter().any(|step| step == told),
            "{:?}",
            applied.steps
        );
    });
}

#[test]
fn other_media_than_auto_are_warned_of() {
    let Some(lab) = unconfigured("media") else {
        return;
    };
    let mut wanted = article();
    wanted.interfaces[1].media = Some("100baseTX".to_owned());
    lab.within("box", || {
        let mut netlink = Netlink::open().expect("opens");
        let _first = netlink.apply(&wanted).expect("applies");
        let second = netlink.apply(&wanted).expect("applies");
        assert_eq!(second.steps.len(), 1);
        assert!(second.steps[0].starts_with("em1: warning: media \"100baseTX\""));
    });
}

#[test]
fn routes_are_listed_with_the_longest_destination_first() {
    let Some(lab) = unconfigured("routes_are_listed_with_the_longest_destination_first") else {
        return;
    };
    lab.ip("box", "link set dev em0 up");
    lab.ip("box", "addr add 192.168.1.64/16 dev em0");
    lab.ip("box", "route add default via 192.168.0.1");
    lab.ip("box", "route add 10.0.0.0/8 via 192.168.0.2");
    let (routes, index) = lab.within("box", || {
        let mut netlink = Netlink::open().expect("netlink");
        let routes = netlink.routes().expect("routes");
        let index = netlink.interfaces().expect("interfaces");
        let em0 = index.iter().find(|i| i.name == "em0").expect("em0").index;
        (routes, em0)
    });
    let lines: Vec<String> = routes
        .iter()
        .filter(|route| route.destination.address().is_ipv4())
        .map(|route| {
            assert_eq!(route.interface, index);
            let gateway = route.gateway.map(|g| g.to_string()).unwrap_or_default();
            format!("{} {gateway}", route.destination.masked())
                .trim_end()
                .to_owned()
        })
        .collect();
    assert_eq!(
        lines,
        [
            "192.168.0.0/16",
            "10.0.0.0/8 192.168.0.2",
            "0.0.0.0/0 192.168.0.1"
        ]
    );
}
