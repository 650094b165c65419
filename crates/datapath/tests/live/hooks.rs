//! Putting hooks on and taking them off; what is refused.

use std::thread;

use caps::{CapSet, Capability, CapsHashSet};
use datapath::{Error, check_privileges, drop_capabilities};
use pf_engine::env::IfIndex;

use crate::support::{Lab, PATIENCE, empty_upcall, index_here, open, pass, until, wait_readable};

#[test]
fn nothing_is_left_when_the_daemon_is_gone() {
    let Some(mut lab) = Lab::new("gone") else {
        return;
    };
    lab.bridged();
    let daemon = lab.daemon(&["em1", "fxp0"], pass);
    lab.ping("a", "10.0.0.2");
    daemon.stop();
    // A child that another test has forked holds the hooks, too, until it executes: then they
    // take what comes, and nobody reads it.
    lab.ping("a", "10.0.0.2");
    let is_gone = || !lab.ip("box", "-o link show").contains("weighbridge0");
    assert!(until(is_gone));
}

#[test]
fn the_tap_says_nothing_by_itself() {
    let Some(mut lab) = Lab::new("quiet") else {
        return;
    };
    lab.host("box");
    lab.enable_ipv6("box");
    lab.within("box", || {
        let mut datapath = open(None).expect("opens");
        let mut upcall = empty_upcall();
        assert!(!datapath.receive(&mut upcall).expect("readable"));
        assert_eq!(datapath.statistics().invalid, 0);
        assert_eq!(datapath.tap(), index_here("weighbridge0"));
        // Something that is no upcall is counted and skipped.
        lab.ip("box", "link set dev weighbridge0 arp on");
        lab.ip("box", "address add 10.9.9.1/24 dev weighbridge0");
        lab.ip(
            "box",
            "neigh add 10.9.9.2 lladdr 02:00:00:00:00:09 dev weighbridge0",
        );
        let socket = lab.udp("box", "10.9.9.1:9");
        socket.send_to(b"stray", "10.9.9.2:9").expect("sends");
        wait_readable(datapath.fd(), PATIENCE);
        assert!(!datapath.receive(&mut upcall).expect("readable"));
        assert_eq!(datapath.statistics().invalid, 1);
    });
}

#[test]
fn packets_that_find_the_queue_full_are_counted() {
    let Some(mut lab) = Lab::new("full") else {
        return;
    };
    lab.bridged();
    lab.static_neighbours();
    let client = lab.udp("a", "10.0.0.1:9");
    lab.within("box", || {
        let mut datapath = open(None).expect("opens");
        datapath.attach(index_here("em1")).expect("attaches");
        for packet in 1..=1_500 {
            client.send_to(b"x", "10.0.0.2:9").expect("sends");
            // The kernel's own queue has room for a thousand.
            if packet % 100 == 0 {
                until(|| datapath.statistics().upcalls >= packet);
            }
        }
        let mut upcall = empty_upcall();
        let mut received = 0;
        while datapath.receive(&mut upcall).expect("readable") {
            received += 1;
        }
        let statistics = datapath.statistics();
        assert_eq!(statistics.upcalls, 1_500);
        assert_eq!(received, 1_000);
        assert_eq!(statistics.queue_full, 500);
    });
}

#[test]
fn an_interface_that_vanishes_and_returns_gets_its_hooks_again() {
    let Some(mut lab) = Lab::new("vanish") else {
        return;
    };
    lab.bridged();
    lab.within("box", || {
        let mut datapath = open(None).expect("opens");
        let before = index_here("em1");
        datapath.attach(before).expect("attaches");
        datapath.attach(before).expect("a second time does nothing");
        lab.ip("box", "link del dev em1");
        datapath.detach(before);
        datapath.detach(before);
        let error = datapath.attach(before).expect_err("it is gone").to_string();
        assert!(
            error.contains("cannot be filtered: No such device"),
            "{error}"
        );
        lab.cable(("a", "eth0", 1), ("box", "em1", 0x11));
        let after = index_here("em1");
        assert_ne!(after, before);
        datapath.attach(after).expect("attaches");
        lab.ip("a", "address add 10.0.0.1/24 dev eth0");
        lab.static_neighbours();
        let client = lab.udp("a", "10.0.0.1:9");
        client.send_to(b"x", "10.0.0.2:9").expect("sends");
        let mut upcall = empty_upcall();
        assert!(wait_readable(datapath.fd(), PATIENCE));
        assert!(datapath.receive(&mut upcall).expect("readable"));
        assert_eq!(upcall.hook.interface, after);
    });
}

#[test]
fn an_interface_without_ethernet_header_is_refused() {
    let Some(mut lab) = Lab::new("tun") else {
        return;
    };
    lab.host("box");
    lab.ip("box", "tuntap add dev tun9 mode tun");
    lab.within("box", || {
        let mut datapath = open(None).expect("opens");
        let error = datapath.attach(index_here("tun9")).expect_err("refused");
        assert!(
            error.to_string().starts_with("tun9 has no Ethernet header"),
            "{error}"
        );
        let error = datapath.attach(IfIndex(9_999)).expect_err("refused");
        assert!(matches!(error, Error::Kernel { .. }), "{error}");
    });
}

#[test]
fn the_largest_mtu_works_and_a_larger_one_is_refused() {
    let Some(mut lab) = Lab::new("mtu") else {
        return;
    };
    lab.bridged();
    for (host, device) in [
        ("a", "eth0"),
        ("b", "eth0"),
        ("box", "em1"),
        ("box", "fxp0"),
    ] {
        lab.ip(host, &format!("link set dev {device} mtu 16026"));
    }
    let daemon = lab.daemon(&["em1", "fxp0"], pass);
    lab.ping("a", "-M do -s 15998 10.0.0.2");
    assert_eq!(daemon.stop().upcall_failed, 0);
    lab.within("box", || {
        let mut datapath = open(None).expect("opens");
        let error = datapath.attach(index_here("lo")).expect_err("refused");
        assert!(
            error.to_string().starts_with("lo has an MTU of 65536: "),
            "{error}"
        );
    });
}

#[test]
fn a_second_daemon_is_told_that_there_is_one() {
    let Some(mut lab) = Lab::new("second") else {
        return;
    };
    lab.host("box");
    lab.within("box", || {
        let _first = open(None).expect("opens");
        let error = open(None).expect_err("refused").to_string();
        assert!(
            error.starts_with("cannot make the TAP device weighbridge0: "),
            "{error}"
        );
        assert!(
            error.contains("another weighbridge seems to run"),
            "{error}"
        );
    });
}

#[test]
fn missing_capabilities_are_named() {
    let Some(_lab) = Lab::new("caps") else {
        return;
    };
    // Capabilities belong to a thread.
    let checked = thread::spawn(|| {
        caps::drop(None, CapSet::Effective, Capability::CAP_BPF).expect("root may");
        check_privileges()
    });
    let error = checked.join().expect("ends").expect_err("refused");
    assert_eq!(
        error.to_string(),
        "not permitted: CAP_BPF is missing\n  hint: run as root"
    );
}

#[test]
fn the_data_path_works_with_the_capabilities_that_are_kept() {
    let Some(mut lab) = Lab::new("drop") else {
        return;
    };
    lab.bridged();
    lab.within("box", || {
        let mut datapath = open(None).expect("opens");
        let em1 = index_here("em1");
        drop_capabilities().expect("root may");
        let kept: CapsHashSet = [
            Capability::CAP_NET_ADMIN,
            Capability::CAP_NET_RAW,
            Capability::CAP_BPF,
            Capability::CAP_PERFMON,
        ]
        .into();
        for set in [CapSet::Effective, CapSet::Permitted, CapSet::Bounding] {
            assert_eq!(caps::read(None, set).expect("readable"), kept);
        }
        datapath.attach(em1).expect("attaches");
        assert_eq!(datapath.statistics().upcalls, 0);
    });
}
