use super::*;
use crate::status::PortStatus;

const UP: u32 = 0x1043;
const MAC: [u8; 6] = [0, 0x11, 0x0a, 0x30, 0x21, 0x04];

fn nic(name: &str) -> Interface {
    Interface {
        name: name.to_owned(),
        flags: UP,
        mtu: 1500,
        mac: Some(MAC),
        carrier: true,
        controller: Some("lagg0".to_owned()),
        speed: Some(1000),
        full_duplex: Some(true),
        offloads: Offloads {
            rx_checksum: true,
            tx_checksum: true,
            segmentation: false,
            vlan: true,
            lro: false,
        },
        ..Interface::default()
    }
}

fn port(name: &str, flags: u8) -> PortStatus {
    PortStatus {
        name: name.to_owned(),
        flags,
        ..PortStatus::default()
    }
}

/// The article's second machine, as the kernel and our keeper tell it.
fn machine() -> Vec<Interface> {
    let made = |name: &str| Interface {
        controller: None,
        speed: None,
        offloads: Offloads::default(),
        ..nic(name)
    };
    let mut vlan = made("vlan0");
    vlan.addresses.push(ShownAddress {
        address: "192.168.1.145".parse().unwrap(),
        prefix_len: 24,
        broadcast: Some("192.168.1.255".parse().unwrap()),
        peer: None,
    });
    let hidden = Interface {
        hidden: true,
        ..made("lagg0.ports")
    };
    let mut all = vec![nic("bge0"), nic("bge1"), made("lagg0"), vlan, hidden];
    for (interface, index) in all.iter_mut().zip(1..) {
        interface.index = index;
    }
    let status = Status {
        laggs: vec![LaggStatus {
            name: "lagg0".to_owned(),
            protocol: "failover".to_owned(),
            ports: vec![port("bge1", 5), port("bge0", 0)],
            ..LaggStatus::default()
        }],
        vlans: vec![crate::status::VlanStatus {
            shut: false,
            name: "vlan0".to_owned(),
            parent: "lagg0".to_owned(),
            id: 22,
            priority: 0,
        }],
        ..Status::default()
    };
    complete(&mut all, Some(&status));
    relate(&mut all);
    all
}

#[test]
fn the_articles_second_output_is_printed_as_it_stands_there() {
    let text: String = machine()
        .iter()
        .map(|i| render(i, Style::Article, false))
        .collect();
    let expected = "\
bge0: flags=8843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST> metric 0 mtu 1500
\toptions=9b<RXCSUM,TXCSUM,VLAN_MTU,VLAN_HWTAGGING,VLAN_HWCSUM>
\tether 00:11:0a:30:21:04
\tmedia: Ethernet autoselect (1000baseTX <full-duplex>)
\tstatus: active
\tlagg: laggdev lagg0
bge1: flags=8843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST> metric 0 mtu 1500
\toptions=9b<RXCSUM,TXCSUM,VLAN_MTU,VLAN_HWTAGGING,VLAN_HWCSUM>
\tether 00:11:0a:30:21:04
\tmedia: Ethernet autoselect (1000baseTX <full-duplex>)
\tstatus: active
\tlagg: laggdev lagg0
lagg0: flags=8843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST> metric 0 mtu 1500
\toptions=9b<RXCSUM,TXCSUM,VLAN_MTU,VLAN_HWTAGGING,VLAN_HWCSUM>
\tether 00:11:0a:30:21:04
\tmedia: Ethernet autoselect
\tstatus: active
\tlaggproto failover
\tlaggport: bge0 flags=0<>
\tlaggport: bge1 flags=5<MASTER,ACTIVE>
vlan0: flags=8843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST> metric 0 mtu 1500
\toptions=3<RXCSUM,TXCSUM>
\tether 00:11:0a:30:21:04
\tinet 192.168.1.145 netmask 0xffffff00 broadcast 192.168.1.255
\tmedia: Ethernet autoselect
\tstatus: active
\tvlan: 22 parent interface: lagg0
";
    assert_eq!(text, expected);
}

#[test]
fn freebsd_14_puts_the_lagg_before_the_media() {
    let all = machine();
    let text = render(&all[2], Style::FreeBsd14, false);
    let expected = "\
lagg0: flags=1008843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST,LOWER_UP> metric 0 mtu 1500
\toptions=9b<RXCSUM,TXCSUM,VLAN_MTU,VLAN_HWTAGGING,VLAN_HWCSUM>
\tether 00:11:0a:30:21:04
\thwaddr 00:00:00:00:00:00
\tlaggproto failover lagghash l2,l3,l4
\tlaggport: bge0 flags=0<>
\tlaggport: bge1 flags=5<MASTER,ACTIVE>
\tgroups: lagg
\tmedia: Ethernet autoselect
\tstatus: active
\tnd6 options=29<PERFORMNUD,IFDISABLED,AUTO_LINKLOCAL>
";
    assert_eq!(text, expected);
    let vlan = render(&all[3], Style::FreeBsd14, false);
    assert!(vlan.contains("\tvlan: 22 vlanproto: 802.1q vlanpcp: 0 parent interface: lagg0\n"));
}

#[test]
fn the_ports_of_a_lagg_stand_as_each_freebsd_kept_them() {
    let mut all = vec![nic("em0"), nic("em1"), nic("em2"), nic("lagg0")];
    for (interface, index) in all.iter_mut().zip([7, 5, 6, 8]) {
        interface.index = index;
    }
    let ports = ["em0", "em1", "gone", "em2"].map(str::to_owned).to_vec();
    all[3].kind = Kind::Lagg(WantedLagg {
        ports,
        ..WantedLagg::default()
    });
    relate(&mut all);
    let listed = |style| {
        let text = render(&all[3], style, false);
        let ports = text
            .lines()
            .filter_map(|line| line.strip_prefix("\tlaggport: "));
        let names = ports.filter_map(|port| Some(port.split_once(' ')?.0.to_owned()));
        names.collect::<Vec<String>>()
    };
    assert_eq!(listed(Style::FreeBsd14), ["em1", "em2", "em0", "gone"]);
    assert_eq!(listed(Style::Article), ["em2", "gone", "em1", "em0"]);
}

#[test]
fn a_link_that_is_down_has_no_carrier_and_no_speed() {
    let mut nic = nic("em0");
    nic.carrier = false;
    let text = render(&nic, Style::Article, false);
    assert!(
        text.contains("\tmedia: Ethernet autoselect\n\tstatus: no carrier\n"),
        "{text}"
    );
}
