use super::*;
use crate::testing::{self, links};
use crate::{HashLayers, Protocol, WantedRoute};

const FAILOVER: &str = include_str!("../../tests/article/failover.conf");
const TRUNK: &str = include_str!("../../tests/article/trunk.conf");

fn interface<'l>(links: &'l WantedLinks, name: &str) -> &'l WantedInterface {
    links
        .interfaces
        .iter()
        .find(|i| i.name == name)
        .expect(name)
}

fn addresses(interface: &WantedInterface) -> Vec<String> {
    let text = |a: &WantedAddress| {
        let alias = if a.alias { " alias" } else { "" };
        format!("{}/{}{alias}", a.address, a.prefix_len)
    };
    interface.addresses.iter().map(text).collect()
}

fn faults(text: &str) -> Vec<String> {
    testing::faults(parse(text))
}

#[test]
fn the_articles_first_example_is_a_failover_lagg_with_bge1_as_its_master() {
    let links = links(FAILOVER);
    let names: Vec<&str> = links.interfaces.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(names, ["bge0", "bge1", "lagg0"]);
    let Device::Lagg(lagg) = &interface(&links, "lagg0").device else {
        panic!("no lagg");
    };
    assert_eq!(lagg.protocol, Protocol::Failover);
    assert_eq!(lagg.ports, ["bge1", "bge0"]);
    assert_eq!(addresses(interface(&links, "lagg0")), ["192.168.1.5/24"]);
    assert!(interface(&links, "bge0").up && interface(&links, "lagg0").up);
}

#[test]
fn the_articles_second_example_is_vlan_22_on_a_lagg() {
    let links = links(TRUNK);
    let vlan = interface(&links, "vlan0");
    assert_eq!(addresses(vlan), ["192.168.1.5/24"]);
    let Device::Vlan(device) = &vlan.device else {
        panic!("no vlan");
    };
    assert_eq!((device.id, device.parent.as_str()), (22, "lagg0"));
    assert_eq!(crate::check(&links), Vec::<String>::new());
}

#[test]
fn quotes_continuation_expansion_and_the_last_assignment_count() {
    let text = "lan=em0\ncloned_interfaces='lagg0'\nifconfig_em0=down\nifconfig_em0=up # twice\n\
                ifconfig_lagg0=\"laggproto lacp \\\n  laggport ${lan} lagghash l3,l4 \\\n up\"\n\
                sshd_enable=YES; pf_enable=\"YES\"\n";
    let read = parse(text).unwrap();
    assert_eq!(read.others, ["lan", "sshd_enable"]);
    assert_eq!(read.filter, Some(true));
    let Device::Lagg(lagg) = &interface(&read.links, "lagg0").device else {
        panic!("no lagg");
    };
    assert_eq!(
        (lagg.protocol, lagg.ports.as_slice()),
        (Protocol::Lacp, &["em0".to_owned()][..])
    );
    let layers = HashLayers {
        l2: false,
        l3: true,
        l4: true,
    };
    assert_eq!(lagg.hash, layers);
    assert!(interface(&read.links, "em0").up);
}

#[test]
fn aliases_ranges_ipv6_routes_and_vlans_of_an_interface_are_read() {
    let text = r#"
ifconfig_em0="inet 10.0.0.1/24 mtu 9000"
ifconfig_em0_alias0="inet 10.0.1.1 netmask 0xffffffff"
ifconfig_em0_aliases="inet 10.0.2.1/32 inet6 2001:db8:2::1 prefixlen 48 inet 10.0.3.8-9/32"
ipv4_addrs_em1="192.0.2.5-7/24"
ifconfig_em1_ipv6="inet6 2001:db8::1/64"
ifconfig_em1_descr="to the switch"
vlans_em0="101 guests"
create_args_guests="vlan 102"
ifconfig_em0_101="inet 10.1.1.1/24"
ifconfig_guests="10.1.2.1 netmask 255.255.255.0"
cloned_interfaces="bridge0"
ifconfig_bridge0="addm em2 addm em3 up inet 10.9.9.9/24"
defaultrouter="10.0.0.254"
ipv6_defaultrouter="NO"
static_routes="lab"
route_lab="-net 172.16.0.0/12 10.0.0.253"
gateway_enable="YES"
"#;
    let links = links(text);
    assert_eq!(
        addresses(interface(&links, "em0")),
        [
            "10.0.0.1/24",
            "10.0.1.1/32 alias",
            "10.0.2.1/32 alias",
            "2001:db8:2::1/48 alias",
            "10.0.3.8/32 alias",
            "10.0.3.9/32 alias",
        ]
    );
    assert_eq!(
        addresses(interface(&links, "em1")),
        [
            "192.0.2.5/24",
            "192.0.2.6/24 alias",
            "192.0.2.7/24 alias",
            "2001:db8::1/64 alias"
        ]
    );
    assert_eq!(
        interface(&links, "em1").description.as_deref(),
        Some("to the switch")
    );
    let vlan = |name: &str| match &interface(&links, name).device {
        Device::Vlan(vlan) => (vlan.parent.clone(), vlan.id),
        other @ (Device::Physical | Device::Bridge | Device::Lagg(_)) => panic!("{other:?}"),
    };
    assert_eq!(vlan("em0.101"), ("em0".into(), 101));
    assert_eq!(vlan("guests"), ("em0".into(), 102));
    assert_eq!(addresses(interface(&links, "em0.101")), ["10.1.1.1/24"]);
    assert_eq!(links.bridges[0].members, ["em2", "em3"]);
    assert!(links.bridges[0].up);
    let route = |destination: &str, prefix_len, gateway: &str| WantedRoute {
        destination: destination.parse().unwrap(),
        prefix_len,
        gateway: gateway.parse().unwrap(),
        interface: None,
    };
    assert_eq!(
        links.routes,
        [
            route("0.0.0.0", 0, "10.0.0.254"),
            route("172.16.0.0", 12, "10.0.0.253")
        ]
    );
    assert_eq!((links.forward_v4, links.forward_v6), (Some(true), None));
}

#[test]
fn routes_are_written_as_route8_and_rc_conf5_have_them() {
    let found = links(
        "static_routes=\"ext near:em0 one\"\nroute_ext=\"-net 10.0.0.0/24 -gateway 192.168.0.1\"\n\
         route_near=\"-net 10.1.0.0 -netmask 255.255.0.0 192.168.0.2\"\n\
         route_one=\"-host 10.2.3.4 192.168.0.3\"\nipv6_static_routes=\"six\"\n\
         ipv6_route_six=\"2001:db8:7:: -prefixlen 48 2001:db8::1\"\n",
    );
    let routes: Vec<_> = found
        .routes
        .iter()
        .map(|r| format!("{}/{} {}", r.destination, r.prefix_len, r.next_hop()))
        .collect();
    assert_eq!(
        routes,
        [
            "10.0.0.0/24 192.168.0.1",
            "10.1.0.0/16 192.168.0.2",
            "10.2.3.4/32 192.168.0.3",
            "2001:db8:7::/48 2001:db8::1",
        ]
    );
    assert_eq!(links("static_routes=NO\n").routes, []);
    for (route, fault) in [
        (
            "-net 10.0.0.0/24 -iface em0",
            "2:27: not supported: '-iface', a route without a gateway",
        ),
        (
            "-net 10.0.0.0 -prefixlen 33 10.9.9.9",
            "2:15: a length of 33 is too long for 10.0.0.0",
        ),
        (
            "-net 10.0.0.0/24",
            "1:16: a route needs a destination and a gateway",
        ),
        (
            "-net 10.0.0.0/24 10.9.9.9 -reject",
            "2:36: not supported: '-reject'",
        ),
    ] {
        let seen = faults(&format!("static_routes=\"a\"\nroute_a=\"{route}\"\n"));
        assert_eq!(seen, [fault], "{route}");
    }
}

#[test]
fn the_handbooks_missing_quote_is_told_where_it_opens() {
    let text = "cloned_interfaces=\"lagg0\nifconfig_lagg0=\"laggproto lacp\"\n";
    assert_eq!(faults(text)[0], "1:19: \" is not closed");
}

#[test]
fn every_fault_is_reported_with_its_place() {
    let text = "ifconfig_em0=\"DHCP\"\nifconfig_em1=\"inet 10.0.0.1 netmask 255.0.255.0\"\n\
                ifconfig_lagg0=\"laggproto magic\"\nif [ -f x ]; then\nx=`date`\n\
                cloned_interfaces=\"gif0\"\nifconfig_em2_alias1=\"inet 10.0.0.9/32\"\n\
                defaultrouter=gate\nwlans_ath0=\"wlan0\"\n";
    assert_eq!(
        faults(text),
        [
            "1:15: not supported: 'DHCP'",
            "2:37: expected a netmask, found '255.0.255.0'",
            "3:27: invalid aggregation protocol: magic",
            "4:1: expected NAME=\"VALUE\", found 'if'",
            "5:3: not supported: commands and redirections",
            "6:20: not supported: cloning 'gif0'",
            "7:1: ifconfig_em2_alias1 has no effect: the numbers before it have a gap",
            "8:15: expected an address of IPv4, found 'gate'",
            "9:1: not supported: wlans_ath0",
        ]
    );
}

#[test]
fn a_link_local_router_is_at_the_interface_that_is_named_with_it() {
    let found = links(
        "ipv6_defaultrouter=\"fe80::1%em0\"\nstatic_routes=\"lab\"\n\
         route_lab=\"-inet6 -net 2001:db8:7::/48 fe80::2%em0.101\"\n",
    );
    let routes: Vec<_> = found
        .routes
        .iter()
        .map(|route| {
            (
                route.destination.to_string(),
                route.prefix_len,
                route.next_hop(),
            )
        })
        .collect();
    let route = |to: &str, len, by: &str| (to.to_owned(), len, by.to_owned());
    assert_eq!(
        routes,
        [
            route("::", 0, "fe80::1%em0"),
            route("2001:db8:7::", 48, "fe80::2%em0.101")
        ]
    );
    for (router, fault) in [
        (
            "fe80::1",
            "fe80::1 is link-local: the interface that it is at is missing",
        ),
        (
            "2001:db8::1%em0",
            "2001:db8::1 is not link-local: it has no interface of its own",
        ),
        ("fe80::1%", "'' is no interface name"),
        ("%em0", "expected an address of IPv6, found '%em0'"),
        (
            "192.0.2.1%em0",
            "expected an address of IPv6, found '192.0.2.1%em0'",
        ),
    ] {
        let seen = faults(&format!("ipv6_defaultrouter=\"{router}\"\n"));
        assert_eq!(seen, [format!("1:20: {fault}")], "{router}");
    }
}

#[test]
fn contradictions_are_told() {
    let problems = |text: &str| crate::check(&links(text));
    assert_eq!(
        problems(
            "cloned_interfaces=\"lagg0 lagg1 vlan0\"\nifconfig_em0=\"10.0.0.1/24\"\n\
                  ifconfig_lagg0=\"laggport em0\"\nifconfig_lagg1=\"laggport em0\"\n"
        ),
        [
            "em0 has an address and is a port of lagg0",
            "em0 is a port of lagg0 and of lagg1",
            "em0 has an address and is a port of lagg1",
            "vlan0 has no parent: add `vlandev IF`",
            "vlan0 has no number: add `vlan N`",
        ]
    );
    let loops = problems(
        "cloned_interfaces=\"vlan1 vlan2\"\nifconfig_vlan1=\"vlan 1 vlandev vlan2\"\n\
                          ifconfig_vlan2=\"vlan 2 vlandev vlan1\"\n",
    );
    assert_eq!(
        loops,
        ["vlan1 is made of itself", "vlan2 is made of itself"]
    );
}

#[test]
fn expansion_cannot_fill_the_memory() {
    let mut text = "a=xxxxxxxxxxxxxxxx\n".to_owned();
    for _ in 0..64 {
        text.push_str("a=$a$a\n");
    }
    assert!(faults(&text)[0].contains("characters"));
}
