use super::*;
use crate::testing::links;

fn trunk() -> WantedLinks {
    links(
        "cloned_interfaces=\"lagg0 vlan0\"\nifconfig_em0=\"up\"\nifconfig_em1=\"up\"\n\
         ifconfig_lagg0=\"laggproto failover laggport em1 laggport em0\"\n\
         ifconfig_vlan0=\"vlan 22 vlandev lagg0 192.168.1.5 netmask 255.255.255.0\"\n\
         defaultrouter=\"192.168.1.1\"\n",
    )
}

fn only(wanted: &WantedLinks, target: Target) -> String {
    let files = convert(wanted, target).unwrap();
    files.into_iter().next().unwrap().text
}

#[test]
fn the_articles_trunk_for_netplan() {
    assert_eq!(
        only(&trunk(), Target::Netplan),
        "network:\n  version: 2\n  renderer: networkd\n  ethernets:\n    em0: {}\n    em1: {}\n  \
         bonds:\n    lagg0:\n      interfaces: [em1, em0]\n      parameters:\n        \
         mode: active-backup\n        mii-monitor-interval: 100\n        primary: em1\n  \
         vlans:\n    vlan0:\n      id: 22\n      link: lagg0\n      addresses:\n        \
         - 192.168.1.5/24\n      routes:\n        - to: default\n          via: 192.168.1.1\n"
    );
}

#[test]
fn the_articles_trunk_for_networkd_has_milliseconds_and_a_primary() {
    let files = convert(&trunk(), Target::Networkd).unwrap();
    let text = |path: &str| {
        let file = files.iter().find(|file| file.path.ends_with(path));
        file.map_or_else(|| panic!("{path}"), |file| file.text.as_str())
    };
    assert_eq!(
        text("60-lagg0.netdev"),
        "[NetDev]\nName=lagg0\nKind=bond\n\n[Bond]\nMode=active-backup\nMIIMonitorSec=100ms\n"
    );
    assert!(text("60-em1.network").contains("Bond=lagg0\nPrimarySlave=yes\n"));
    assert!(!text("60-em0.network").contains("PrimarySlave"));
    assert!(text("60-lagg0.network").contains("VLAN=vlan0\n"));
    assert!(
        text("60-vlan0.network")
            .ends_with("Address=192.168.1.5/24\n\n[Route]\nGateway=192.168.1.1\n")
    );
}

#[test]
fn a_link_local_router_is_a_route_of_the_interface_that_is_named_with_it() {
    let text = |router: &str| {
        links(&format!(
            "ifconfig_em0=\"inet 10.0.0.1/24\"\nipv6_defaultrouter=\"{router}\"\n"
        ))
    };
    let wanted = text("fe80::1%em0");
    assert!(only(&wanted, Target::Netplan).contains("- to: default\n          via: fe80::1\n"));
    let by_hand = "up ip -6 route replace default via fe80::1 dev em0\n";
    assert!(only(&wanted, Target::Ifupdown).contains(by_hand));
    assert_eq!(
        convert(&text("fe80::1%em7"), Target::Netplan).unwrap_err(),
        ["fe80::1%em7: the next hop is in no network of these interfaces"]
    );
}

#[test]
fn the_articles_trunk_for_ifupdown() {
    assert_eq!(
        only(&trunk(), Target::Ifupdown),
        "auto em0\niface em0 inet manual\n    bond-master lagg0\n\n\
         auto em1\niface em1 inet manual\n    bond-master lagg0\n\n\
         auto lagg0\niface lagg0 inet manual\n    bond-slaves em1 em0\n    bond-mode active-backup\n    \
         bond-miimon 100\n    bond-primary em1\n\n\
         auto vlan0\niface vlan0 inet static\n    address 192.168.1.5/24\n    vlan-raw-device lagg0\n    \
         vlan-id 22\n    up ip route replace default via 192.168.1.1 dev vlan0\n\n"
    );
}

#[test]
fn a_bridge_over_lacp_has_the_addresses_of_its_members() {
    let wanted = links(
        "cloned_interfaces=\"lagg0 bridge0\"\nifconfig_em2=\"10.0.0.1/24\"\n\
         ifconfig_lagg0=\"laggproto lacp laggport em0 laggport em1 up\"\n\
         ifconfig_bridge0=\"addm lagg0 addm em2 up\"\n",
    );
    let text = only(&wanted, Target::Netplan);
    assert!(text.contains("mode: 802.3ad"), "{text}");
    assert!(
        text.contains("lacp-rate: fast") && text.contains("layer3+4"),
        "{text}"
    );
    assert!(
        text.ends_with("forward-delay: 0\n      addresses:\n        - 10.0.0.1/24\n"),
        "{text}"
    );
}

#[test]
fn what_hardware_is_not_to_do_is_said_in_the_tools_words() {
    let wanted = links("ifconfig_em0=\"-tso4 -rxcsum lro up\"\n");
    assert_eq!(
        only(&wanted, Target::Netplan),
        "network:\n  version: 2\n  renderer: networkd\n  ethernets:\n    em0:\n      \
         receive-checksum-offload: false\n      tcp-segmentation-offload: false\n      \
         large-receive-offload: true\n"
    );
    let wanted = links("ifconfig_em0=\"-tso -vlanhwtag tso up\"\n");
    assert_eq!(
        only(&wanted, Target::Ifupdown),
        "auto em0\niface em0 inet manual\n    up ethtool -K em0 tso on\n    \
         up ethtool -K em0 rxvlan off txvlan off\n\n"
    );
    let refused = convert(&wanted, Target::Netplan).unwrap_err();
    assert_eq!(refused, ["em0: -vlanhwtag: netplan has no word for it"]);
    let refused = convert(&wanted, Target::Networkd).unwrap_err();
    assert!(
        refused[0].starts_with("em0: tso: systemd.link(5) knows"),
        "{refused:?}"
    );
}

#[test]
fn what_the_tools_have_no_words_for_is_told() {
    let wanted = links(
        "cloned_interfaces=\"lagg0\"\nifconfig_lagg0=\"laggproto none laggport em0\"\n\
         defaultrouter=\"192.0.2.1\"\n",
    );
    assert_eq!(
        convert(&wanted, Target::Netplan).unwrap_err(),
        [
            "lagg0: Linux has no protocol `none`",
            "192.0.2.1: the next hop is in no network of these interfaces",
        ]
    );
}
