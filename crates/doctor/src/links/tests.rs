use super::*;

fn interface(name: &str) -> Interface {
    Interface {
        name: name.into(),
        up: true,
        mtu: 1500,
        ..Interface::default()
    }
}

fn member(name: &str) -> Interface {
    Interface {
        bridge: Some("bridge0".into()),
        ..interface(name)
    }
}

fn bridge() -> Interface {
    Interface {
        is_bridge: true,
        ..interface("bridge0")
    }
}

/// The bridge of the article, without a fault.
fn machine() -> Machine {
    Machine {
        interfaces: vec![
            Interface {
                is_loopback: true,
                ..interface("lo")
            },
            bridge(),
            member("em0"),
            member("em1"),
        ],
        forward_v4: Some(true),
        ..Machine::default()
    }
}

fn wanted() -> Wanted {
    Wanted {
        bridges: vec![(
            Place::file("bridgename.bridge0"),
            "bridge0".into(),
            vec!["em0".into(), "em1".into()],
        )],
        ..Wanted::default()
    }
}

fn ids(machine: &Machine, wanted: &Wanted) -> Vec<&'static str> {
    let steps = check(machine, wanted);
    steps
        .iter()
        .flat_map(Step::findings)
        .map(|finding| finding.id)
        .collect()
}

#[test]
fn a_sound_bridge_is_left_alone() {
    assert_eq!(ids(&machine(), &wanted()), Vec::<&str>::new());
    assert_eq!(
        ids(&Machine::default(), &Wanted::default()),
        Vec::<&str>::new()
    );
}

#[test]
fn the_bridge_that_holds_a_laggs_ports_is_down_on_purpose() {
    let mut lagg = machine();
    lagg.interfaces[1].up = false;
    lagg.interfaces[1].holds_ports = true;
    lagg.interfaces[2].mtu = 9000;
    lagg.bridge_netfilter = Some(true);
    assert_eq!(ids(&lagg, &Wanted::default()), [""; 0]);
    // Behind it the machine is a router like any other.
    lagg.forward_v4 = Some(false);
    let rules = Wanted {
        routes: true,
        policy_routes: true,
        routes_at: Some((Place::file("pf.conf"), "nat on lagg0".into())),
        ..Wanted::default()
    };
    assert_eq!(ids(&lagg, &rules), ["links/no-forwarding"]);
}

#[test]
fn what_is_about_to_be_made_is_not_missing() {
    let mut first = machine();
    first.interfaces.truncate(1);
    first.interfaces.push(interface("em0"));
    let file = Place::file("rc.conf");
    let mut wanted = Wanted {
        bridges: vec![(
            file.clone(),
            "bridge0".into(),
            vec!["em0".into(), "lagg0".into()],
        )],
        interfaces: vec![(file, "lagg0".into(), None)],
        ..Wanted::default()
    };
    assert_eq!(
        ids(&first, &wanted),
        ["links/missing-member", "links/missing-interface"]
    );
    wanted.made = vec!["bridge0".into(), "lagg0".into()];
    assert_eq!(ids(&first, &wanted), [""; 0]);
}

#[test]
fn each_fault_is_named() {
    type Break = fn(&mut Machine, &mut Wanted);
    let cases: [(&str, Break); 14] = [
        ("links/device-refused", |m, _| {
            m.devices = vec![bonding(Trial::Refused("not permitted".into()))];
        }),
        ("links/kernel-feature", |m, _| {
            m.missing_features = vec![MissingFeature::default()];
        }),
        ("links/loopback-down", |m, _| m.interfaces[0].up = false),
        ("links/bridge-down", |m, _| m.interfaces[1].up = false),
        ("links/member-down", |m, _| m.interfaces[3].up = false),
        ("links/bridge-netfilter", |m, _| {
            m.bridge_netfilter = Some(true);
        }),
        ("links/mtu-mismatch", |m, _| m.interfaces[3].mtu = 9000),
        ("links/offload", |m, _| {
            m.interfaces[2].offloads = vec!["large-receive-offload".into()];
        }),
        ("links/missing-member", |_, w| {
            w.bridges[0].2.push("em9".into());
        }),
        ("links/not-a-member", |m, w| {
            m.interfaces.push(interface("em2"));
            w.bridges[0].2.push("em2".into());
        }),
        ("links/missing-interface", |_, w| {
            w.interfaces
                .push((Place::file("hostname.em9"), "em9".into(), None));
        }),
        ("links/mtu-not-set", |_, w| {
            w.interfaces
                .push((Place::file("hostname.em0"), "em0".into(), Some(9000)));
        }),
        ("links/reverse-path-filter", |m, w| {
            m.interfaces[1].rp_filter = Some(1);
            m.interfaces[1].has_addresses = true;
            w.policy_routes = true;
        }),
        ("links/no-forwarding", |m, w| {
            m.forward_v4 = Some(false);
            w.routes = true;
            w.routes_at = Some((Place::file("pf.conf"), "nat on em0".into()));
        }),
    ];
    let (mut sliced, mut rules) = (machine(), wanted());
    sliced.forward_v4 = Some(false);
    (rules.routes, rules.policy_routes) = (true, true);
    rules.routes_at = Some((Place::file("pf.conf"), "nat on em0".into()));
    assert_eq!(ids(&sliced, &rules), [""; 0], "the article's bridge");
    for (id, break_it) in cases {
        let (mut machine, mut wanted) = (machine(), wanted());
        break_it(&mut machine, &mut wanted);
        assert_eq!(ids(&machine, &wanted), [id]);
    }
}

fn bonding(trial: Trial) -> DeviceKind {
    DeviceKind {
        name: "bonding",
        found: true,
        trial,
    }
}

#[test]
fn it_is_told_whether_a_device_was_tried_or_looked_up() {
    let untried = || Trial::Untried("it takes root".into());
    let missing = |trial| DeviceKind {
        found: false,
        ..bonding(trial)
    };
    for (kind, told) in [
        (
            bonding(Trial::Made),
            "bonding: tried, the kernel makes them",
        ),
        (
            bonding(untried()),
            "bonding: looked up, not tried (it takes root), the kernel makes them",
        ),
        (
            missing(untried()),
            "bonding: looked up, not tried (it takes root), `weighbridge links run` makes them",
        ),
        (
            missing(Trial::Refused("unknown".into())),
            "bonding: tried (unknown), `weighbridge links run` makes them",
        ),
    ] {
        assert_eq!(kind.describe(), told);
        assert_eq!(kind.fault(), None);
    }
}

#[test]
fn the_empty_bridge_of_a_container_engine_is_no_half_bridge() {
    let mut empty = machine();
    empty.interfaces.truncate(2);
    assert_eq!(ids(&empty, &Wanted::default()), Vec::<&str>::new());
    let mut half = machine();
    half.interfaces.truncate(3);
    half.interfaces[0].up = true;
    assert!(ids(&half, &wanted()).contains(&"links/half-bridge"));
}
