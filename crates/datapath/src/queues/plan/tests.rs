//! What kernels are told, also those with qdiscs that this one may not have.

use pf_engine::queue::Written;

use super::*;

fn numbers() -> QueueNumbers {
    let mut numbers = QueueNumbers::default();
    for name in ["top", "std", "web"] {
        assert!(numbers.intern(name).is_some());
    }
    numbers
}

fn flow(name: &str, parent: Option<usize>, options: FlowQueue) -> Queue {
    Queue {
        name: name.to_owned(),
        parent,
        default: options.default,
        bound: false,
        options: QueueOptions::Flow(options),
        place: Written("pf.conf:1".to_owned()),
    }
}

fn tree(queues: Vec<Queue>) -> QueueTree {
    QueueTree {
        interface: "em0".to_owned(),
        altq: None,
        queues,
        place: Written("pf.conf:1".to_owned()),
    }
}

fn top() -> Queue {
    let options = FlowQueue {
        bandwidth: Some(straight(8_000_000)),
        ..FlowQueue::default()
    };
    flow("top", None, options)
}

/// Kind, handle, parent.
fn skeleton(objects: &[TcObject]) -> Vec<(&'static str, u32, u32)> {
    let parts = objects.iter().map(|o| (o.kind, o.handle, o.parent));
    parts.collect()
}

const ROOT: u32 = TcObject::ROOT;

/// The words of an option's value, 4 bytes behind its length and kind.
fn words(options: &[u8]) -> Vec<u32> {
    let words = options.chunks_exact(4);
    words
        .map(|word| u32::from_ne_bytes(word.try_into().expect("four bytes")))
        .collect()
}

#[test]
fn straight_rates_are_htbs() {
    let std = FlowQueue {
        bandwidth: Some(straight(800_000)),
        max: Some(straight(4_000_000)),
        default: true,
        qlimit: Some(7),
        ..FlowQueue::default()
    };
    let tree = tree(vec![top(), flow("std", Some(0), std)]);
    let objects = plan(&tree, &numbers()).expect("a plan");
    assert_eq!(
        skeleton(&objects),
        [
            ("htb", 0x5742_0000, ROOT),
            ("htb", 0x5742_0001, 0x5742_0000),
            ("htb", 0x5742_0002, 0x5742_0001),
            ("pfifo", 0, 0x5742_0002),
        ]
    );
    // version, rate2quantum, default class.
    assert_eq!(words(&objects[0].options)[1..4], [3, 10, 2]);
    let class = words(&objects[2].options);
    assert_eq!((class[3], class[6]), (100_000, 500_000), "bytes a second");
    // 3028 bytes at 100 kB/s, in 64 ns; 5000 bytes at 500 kB/s.
    assert_eq!(class[7..9], [473_125, 156_250]);
    assert_eq!(class[9], 10_000, "quantum");
    assert_eq!(words(&objects[3].options), [7]);
}

#[test]
fn bursts_are_hfscs() {
    let std = FlowQueue {
        bandwidth: Some(Curve {
            first: Some((Bandwidth::Bits(1_600_000), 20)),
            rate: Bandwidth::Bits(800_000),
        }),
        min: Some(straight(400_000)),
        default: true,
        ..FlowQueue::default()
    };
    let tree = tree(vec![top(), flow("std", Some(0), std)]);
    let objects = plan(&tree, &numbers()).expect("a plan");
    assert_eq!(
        skeleton(&objects),
        [
            ("hfsc", 0x5742_0000, ROOT),
            ("hfsc", 0x5742_0001, 0x5742_0000),
            ("hfsc", 0x5742_0002, 0x5742_0001),
            ("pfifo", 0, 0x5742_0002),
        ]
    );
    assert_eq!(objects[0].options, 2u16.to_ne_bytes());
    let top = words(&objects[1].options);
    assert_eq!(top[1..4], [0, 0, 1_000_000], "its share");
    assert_eq!(top[5..8], [0, 0, 1_000_000], "and no more than that");
    let std = words(&objects[2].options);
    assert_eq!(std[1..4], [0, 0, 50_000], "realtime");
    assert_eq!(std[5..8], [200_000, 20_000, 100_000], "linkshare");
}

#[test]
fn flows_alone_are_fq_codels_own_qdisc_and_below_a_rate_a_leaf() {
    let only = FlowQueue {
        flows: Some(1024),
        quantum: Some(300),
        ..FlowQueue::default()
    };
    let objects = plan(&tree(vec![flow("top", None, only.clone())]), &numbers());
    let objects = objects.expect("a plan");
    assert_eq!(skeleton(&objects), [("fq_codel", 0x5743_0000, ROOT)]);
    let options = words(&objects[0].options);
    assert_eq!((options[1], options[3], options[5]), (50, 1024, 300));
    let limited = FlowQueue {
        bandwidth: Some(straight(8_000)),
        default: true,
        ..only
    };
    let objects = plan(&tree(vec![flow("top", None, limited)]), &numbers());
    let last = objects.expect("a plan").pop().expect("a leaf");
    assert_eq!((last.kind, last.parent), ("fq_codel", 0x5742_0001));
}

fn altq(discipline: Discipline, queues: &[(&str, u32, &[&'static str])]) -> QueueTree {
    let queue = |(name, priority, flags): &(&str, u32, &[&'static str])| {
        let mut scheduler = Scheduler::new(discipline);
        scheduler.flags = flags.to_vec();
        Queue {
            name: (*name).to_owned(),
            parent: None,
            default: scheduler.has("default"),
            bound: false,
            options: QueueOptions::Altq(AltqQueue {
                priority: Some(*priority),
                scheduler: Some(scheduler),
                bandwidth: Some(Bandwidth::Percent(50)),
                ..AltqQueue::default()
            }),
            place: Written("pf.conf:2".to_owned()),
        }
    };
    QueueTree {
        altq: Some(Altq {
            scheduler: Scheduler::new(discipline),
            bandwidth: 8_000_000,
            qlimit: None,
            tbrsize: None,
            children: queues.iter().map(|(name, ..)| (*name).to_owned()).collect(),
        }),
        ..tree(queues.iter().map(queue).collect())
    }
}

#[test]
fn cbq_lends_only_to_whom_may_borrow_and_the_larger_priority_goes_first() {
    let queues: [(&str, u32, &[&'static str]); 2] =
        [("std", 1, &["default"]), ("web", 7, &["borrow", "codel"])];
    let objects = plan(&altq(Discipline::Cbq, &queues), &numbers()).expect("a plan");
    assert_eq!(
        skeleton(&objects),
        [
            ("htb", 0x5742_0000, ROOT),
            ("htb", 0x5742_ffff, 0x5742_0000),
            ("htb", 0x5742_0002, 0x5742_ffff),
            ("pfifo", 0, 0x5742_0002),
            ("htb", 0x5742_0003, 0x5742_ffff),
            ("codel", 0, 0x5742_0003),
        ]
    );
    let (std, web) = (words(&objects[2].options), words(&objects[4].options));
    assert_eq!((std[3], std[6], std[11]), (500_000, 500_000, 6));
    assert_eq!((web[3], web[6], web[11]), (500_000, 1_000_000, 0));
}

#[test]
fn priq_is_htb_with_next_to_no_rates_and_ranks() {
    let queues: [(&str, u32, &[&'static str]); 2] = [("std", 3, &["default"]), ("web", 15, &[])];
    let objects = plan(&altq(Discipline::Priq, &queues), &numbers()).expect("a plan");
    let (std, web) = (words(&objects[2].options), words(&objects[4].options));
    assert_eq!((std[3], std[6], std[11]), (125, 1_000_000, 1));
    assert_eq!((web[3], web[6], web[11]), (125, 1_000_000, 0));
}

#[test]
fn what_linux_has_nothing_for_is_refused_with_its_place() {
    let queues: [(&str, u32, &[&'static str]); 1] = [("std", 1, &["rio", "default"])];
    let refused = plan(&altq(Discipline::Cbq, &queues), &numbers()).expect_err("no rio");
    assert_eq!(
        refused.to_string(),
        "pf.conf:2: queue std: `rio` has no equivalent in Linux\n  hint: leave it out"
    );
}
