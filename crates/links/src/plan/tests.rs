use super::*;
use crate::offload::Offload;
use crate::testing::links as wanted;

const OWN: Makers = Makers {
    lagg: Maker::Own,
    vlan: Maker::Own,
};

fn trunk() -> WantedLinks {
    wanted(
        "cloned_interfaces=\"lagg0 vlan0\"\nifconfig_em0=\"up\"\nifconfig_em1=\"up\"\n\
         ifconfig_lagg0=\"laggproto failover laggport em0 laggport em1\"\n\
         ifconfig_vlan0=\"vlan 22 vlandev lagg0 192.168.1.5 netmask 255.255.255.0\"\n\
         defaultrouter=\"192.168.1.1\"\n",
    )
}

fn machine(names: &[&str]) -> Snapshot {
    let link = |name: &&str| Present {
        name: (*name).to_owned(),
        mtu: 1500,
        ..Present::default()
    };
    Snapshot {
        links: names.iter().map(link).collect(),
        ..Snapshot::default()
    }
}

fn told(steps: &[Step]) -> Vec<String> {
    steps.iter().map(ToString::to_string).collect()
}

/// What the machine is after the steps.
fn after(mut machine: Snapshot, steps: &[Step]) -> Snapshot {
    for step in steps {
        carry_out(&mut machine, step);
    }
    machine
}

fn carry_out(machine: &mut Snapshot, step: &Step) {
    let new = |name: &String, kind| Present {
        name: name.clone(),
        kind,
        ..Present::default()
    };
    match step {
        Step::MakeBridge { name, .. } => machine.links.push(new(name, Kind::Bridge)),
        Step::MakeLagg { name, lagg, .. } => {
            machine.links.push(new(name, Kind::Lagg(lagg.clone())));
        }
        Step::MakeVlan { name, vlan, .. } => {
            machine.links.push(new(name, Kind::Vlan(vlan.clone())));
        }
        Step::Remove { name, .. } => removed(machine, name),
        Step::AddRoute { route, .. } => machine.routes.push(route.clone()),
        Step::Forward { v6: true, on } => machine.forward_v6 = *on,
        Step::Forward { v6: false, on } => machine.forward_v4 = *on,
        Step::SetMtu { name, mtu } => change(machine, name, |link| link.mtu = *mtu),
        Step::SetMac { name, mac } => change(machine, name, |link| link.mac = Some(*mac)),
        Step::SetDescription { name, text } => {
            change(machine, name, |link| link.description.clone_from(text));
        }
        Step::SetOffload { name, offload, on } => change(machine, name, |link| {
            let does = &mut link.offloads;
            match offload {
                Offload::RxChecksum => does.rx_checksum = *on,
                Offload::TxChecksum => does.tx_checksum = *on,
                Offload::Segmentation => does.segmentation = *on,
                Offload::Vlan => does.vlan = *on,
                Offload::Lro => does.lro = *on,
            }
        }),
        Step::AddPort { of, port } => {
            change(machine, port, |link| link.controller = Some(of.clone()));
        }
        Step::RemovePort { port, .. } => change(machine, port, |link| link.controller = None),
        Step::Up { name } => change(machine, name, |link| link.up = true),
        Step::AddAddress { name, address } => change(machine, name, |link| {
            link.addresses.push((address.address, address.prefix_len));
        }),
    }
}

/// As the kernel does it.
fn removed(machine: &mut Snapshot, name: &str) {
    let goes = |link: &Present| {
        let on_it = matches!(&link.kind, Kind::Vlan(vlan) if vlan.parent == name);
        link.name == name || on_it
    };
    machine.links.retain(|link| !goes(link));
    for link in &mut machine.links {
        link.controller.take_if(|controller| controller == name);
    }
    machine.routes.clear();
}

fn change(machine: &mut Snapshot, name: &str, with: impl FnOnce(&mut Present)) {
    let found = machine.links.iter_mut().find(|link| link.name == name);
    with(found.expect("a step names what is there"));
}

#[test]
fn the_articles_trunk_takes_these_steps_in_this_order() {
    let steps = diff(&trunk(), &machine(&["em0", "em1"]), OWN).unwrap();
    assert_eq!(
        told(&steps),
        [
            "TUNSETIFF lagg0: make a lagg, failover",
            "RTM_SETLINK em0: a port of lagg0",
            "RTM_SETLINK em1: a port of lagg0",
            "TUNSETIFF vlan0: make VLAN 22 of lagg0",
            "RTM_SETLINK em0: up",
            "RTM_SETLINK em1: up",
            "RTM_SETLINK lagg0: up",
            "RTM_SETLINK vlan0: up",
            "RTM_NEWADDR vlan0: 192.168.1.5/24",
            "RTM_NEWROUTE: 0.0.0.0/0 by 192.168.1.1",
        ]
    );
}

#[test]
fn when_the_steps_were_done_nothing_is_left_to_do() {
    let texts = [
        "cloned_interfaces=\"bridge0 lagg0\"\nifconfig_em0=\"mtu 9000 descr lan up\"\nifconfig_em1=up\n\
         ifconfig_lagg0=\"laggport em0 laggport em1 ether 2:0:0:0:0:9\"\n\
         ifconfig_bridge0=\"addm lagg0 addm em2 up inet 10.0.0.1/24\"\ngateway_enable=YES\n",
        "cloned_interfaces=\"lagg0\"\nifconfig_em0=up\nifconfig_lagg0=\"laggproto none laggport em0\"\n\
         ipv6_gateway_enable=YES\nvlans_lagg0=\"5 6\"\nifconfig_lagg0_5=\"10.5.0.1/24\"\n",
    ];
    for wanted in texts.map(wanted).into_iter().chain([trunk()]) {
        let before = machine(&["em0", "em1", "em2"]);
        let steps = diff(&wanted, &before, OWN).unwrap();
        let after = after(before, &steps);
        assert_eq!(diff(&wanted, &after, OWN), Ok(Vec::new()));
    }
}

#[test]
fn a_link_local_router_at_a_bridges_member_is_at_the_bridge() {
    let wanted = wanted(
        "cloned_interfaces=\"bridge0\"\nifconfig_bridge0=\"addm em0 up\"\nifconfig_em0=\"inet6 fd00::1/64\"\n\
         ipv6_defaultrouter=\"fe80::1%em0\"\n",
    );
    let before = machine(&["em0"]);
    let steps = diff(&wanted, &before, OWN).unwrap();
    let last = told(&steps).pop();
    assert_eq!(
        last.as_deref(),
        Some("RTM_NEWROUTE: ::/0 by fe80::1%bridge0")
    );
    let mut after = after(before, &steps);
    assert_eq!(diff(&wanted, &after, OWN), Ok(Vec::new()));
    // The same address at another interface is another router.
    after.routes[0].interface = Some("em1".to_owned());
    assert_eq!(
        told(&diff(&wanted, &after, OWN).unwrap()),
        ["RTM_NEWROUTE: ::/0 by fe80::1%bridge0 instead of fe80::1%em1"]
    );
}

#[test]
fn a_lagg_with_other_settings_is_made_anew_and_a_port_too_many_released() {
    let before = machine(&["em0", "em1", "em2"]);
    let mut there = after(before.clone(), &diff(&trunk(), &before, OWN).unwrap());
    change(&mut there, "em2", |link| {
        link.controller = Some("lagg0".into());
    });
    let steps = diff(&trunk(), &there, OWN).unwrap();
    assert_eq!(told(&steps), ["RTM_SETLINK em2: no port of lagg0 any more"]);
    change(&mut there, "lagg0", |link| {
        link.kind = Kind::Lagg(WantedLagg::default());
    });
    let steps = diff(&trunk(), &there, OWN).unwrap();
    assert_eq!(
        told(&steps),
        [
            "RTM_DELLINK lagg0: remove, it has other settings",
            "TUNSETIFF lagg0: make a lagg, failover",
            "RTM_SETLINK em0: a port of lagg0",
            "RTM_SETLINK em1: a port of lagg0",
            "TUNSETIFF vlan0: make VLAN 22 of lagg0",
            "RTM_SETLINK lagg0: up",
            "RTM_SETLINK vlan0: up",
            "RTM_NEWADDR vlan0: 192.168.1.5/24",
            "RTM_NEWROUTE: 0.0.0.0/0 by 192.168.1.1",
        ]
    );
    let mut there = after(there, &steps);
    assert_eq!(diff(&trunk(), &there, OWN), Ok(Vec::new()));
    change(&mut there, "vlan0", |link| {
        let parent = "lagg0".to_owned();
        let vlan = WantedVlan {
            parent,
            id: 23,
            priority: 0,
        };
        link.kind = Kind::Vlan(vlan);
    });
    let steps = diff(&trunk(), &there, OWN).unwrap();
    assert_eq!(
        told(&steps),
        [
            "RTM_DELLINK vlan0: remove, it is another VLAN",
            "TUNSETIFF vlan0: make VLAN 22 of lagg0",
            "RTM_SETLINK vlan0: up",
            "RTM_NEWADDR vlan0: 192.168.1.5/24",
            "RTM_NEWROUTE: 0.0.0.0/0 by 192.168.1.1",
        ]
    );
}

#[test]
fn what_cannot_be_done_is_told_all_at_once() {
    let nobody = Makers {
        lagg: Maker::Nobody,
        vlan: Maker::Nobody,
    };
    let mut machine = machine(&["em0"]);
    machine.links[0].controller = Some("bridge7".into());
    let problems = diff(&trunk(), &machine, nobody).unwrap_err();
    let told: Vec<&str> = problems.iter().map(|p| p.message.as_str()).collect();
    assert_eq!(
        told,
        [
            "em1: no such interface",
            "lagg0 cannot be made: this kernel has no bonding",
            "em0, a port of lagg0, is a port of bridge7",
            "vlan0 cannot be made: this kernel has no 802.1Q",
        ]
    );
}

#[test]
fn the_kernels_bonding_is_told_by_its_own_names() {
    let kernel = Makers {
        lagg: Maker::Kernel,
        vlan: Maker::Kernel,
    };
    let steps = told(&diff(&trunk(), &machine(&["em0", "em1"]), kernel).unwrap());
    assert_eq!(steps[0], "RTM_NEWLINK lagg0: make a bond, active-backup");
}

#[test]
fn what_the_hardware_does_is_switched_once() {
    let wanted = wanted(
        "cloned_interfaces=\"lagg0\"\nifconfig_em0=\"-tso -lro txcsum up\"\n\
         ifconfig_lagg0=\"laggport em0 -rxcsum up\"\n",
    );
    let mut machine = machine(&["em0"]);
    machine.links[0].offloads = Offloads {
        segmentation: true,
        ..Offloads::default()
    };
    let steps = diff(&wanted, &machine, OWN).unwrap();
    assert_eq!(
        told(&steps),
        [
            "SIOCETHTOOL em0: txcsum",
            "SIOCETHTOOL em0: -tso",
            "TUNSETIFF lagg0: make a lagg, failover",
            "RTM_SETLINK em0: a port of lagg0",
            // What a device does that is not there yet is not known.
            "SIOCETHTOOL lagg0: -rxcsum",
            "RTM_SETLINK em0: up",
            "RTM_SETLINK lagg0: up",
        ]
    );
    assert_eq!(diff(&wanted, &after(machine, &steps), OWN), Ok(vec![]));
}
