use std::fs;
use std::path::Path;

use pf_engine::rule::Direction;
use pf_engine::view::HostPort;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::gateway::monitor::{GatewayView, TargetView};
use crate::gateway::probe::ProbeKind;
use crate::pfctl::show::records::{LinkRecord, QueueRecord, RuleRecord, StateRecord, TableRecord};
use crate::top::filter;
use crate::top::keys::{Asked, Key};
use crate::top::order;
use crate::top::rows::Row;
use crate::top::speed::Speed;
use crate::top::view::{VIEWS, named};

fn host(address: &str, port: u16) -> HostPort {
    HostPort {
        address: address.parse().expect("address"),
        port,
    }
}

fn state(id: u64, port: u16, bytes: u64) -> StateRecord {
    StateRecord {
        id,
        interface: "all".into(),
        protocol: 6,
        direction: Direction::In,
        source: host("192.0.2.7", port),
        destination: host("198.51.100.10", 443),
        gateway: None,
        peers: [4, 4],
        age: 3_725,
        expires_in: 86_399,
        packets: [bytes / 100, bytes / 50],
        bytes: [bytes, bytes * 9],
        rule: Some(3),
    }
}

fn states() -> Vec<Row> {
    vec![
        Row::State(state(1, 40_001, 1_000)),
        Row::State(StateRecord {
            direction: Direction::Out,
            source: host("203.0.113.1", 50_001),
            gateway: Some(host("10.0.0.9", 4_000)),
            peers: [2, 0],
            ..state(2, 40_002, 123_456_789)
        }),
        Row::State(StateRecord {
            protocol: 17,
            source: host("2001:db8::1", 53),
            destination: host("2001:db8:0:1:2:3:4:5", 53),
            peers: [1, 2],
            age: 0,
            expires_in: 30,
            rule: None,
            ..state(3, 53, 70)
        }),
        Row::State(StateRecord {
            protocol: 1,
            peers: [0, 0],
            destination: host("198.51.100.10", 8),
            ..state(4, 77, 84)
        }),
    ]
}

fn rule(number: u32, action: &str, label: &str) -> Row {
    Row::Rule(Box::new(RuleRecord {
        number,
        anchor: String::new(),
        action: action.into(),
        direction: Some(Direction::In),
        log: Some("log".into()),
        quick: true,
        interface: Some("!em0".into()),
        protocol: Some(6),
        state: Some("keep".into()),
        evaluations: 1203,
        packets: 8812,
        bytes: 1_203_344,
        states: 34,
        max: Some(100),
        label: label.into(),
        text: format!("{action} in log quick on ! em0 inet proto tcp all label \"{label}\""),
    }))
}

fn rules() -> Vec<Row> {
    let mut anchored = rule(0, "pass", "");
    if let Row::Rule(rule) = &mut anchored {
        rule.anchor = "authpf/smith(1234)".into();
        (rule.direction, rule.log, rule.quick) = (None, None, false);
        (rule.interface, rule.protocol, rule.state, rule.max) = (None, None, None, None);
    }
    // What a label may not do to the terminal.
    let hostile = rule(1, "block", "\u{1b}]0;owned\u{7}\u{1b}[2J\u{202e}");
    vec![rule(0, "pass", "DSL-1 web"), hostile, anchored]
}

fn queues() -> Vec<Row> {
    let queue = |name: &str, depth, dropped| {
        Row::Queue(Box::new(QueueRecord {
            interface: "em0".into(),
            name: name.into(),
            depth,
            bandwidth: 10_000_000,
            scheduler: "hfsc".into(),
            priority: None,
            packets: 12,
            bytes: 3456,
            dropped,
            waiting: 3,
            borrows: 2,
            suspends: 1,
        }))
    };
    vec![queue("root_em0", 0, 0), queue("std", 1, 7)]
}

fn links() -> Vec<Row> {
    let link = |name: &str, skip| {
        Row::Link(Box::new(LinkRecord {
            interface: name.into(),
            skip,
            passed_packets: [100, 200],
            passed_bytes: [10_000, 2_000_000_000],
            blocked_packets: [7, 0],
            blocked_bytes: [700, 0],
        }))
    };
    vec![link("em0", false), link("lo", true)]
}

fn tables() -> Vec<Row> {
    vec![Row::Table(Box::new(TableRecord {
        name: "spammers".into(),
        anchor: "mail".into(),
        addresses: 1_000_000,
        rules: 2,
        matches: 17,
        misses: 1_000,
        passed_packets: 5,
        passed_bytes: 500,
        blocked_packets: 12,
    }))]
}

fn gateways() -> Vec<Row> {
    let address = "192.0.2.254".parse().expect("address");
    let gateway = |up| {
        Row::Gateway(Box::new(GatewayView {
            interface: "em0".into(),
            address,
            up,
            since: 3_725.9,
            failures: 2,
            kind: ProbeKind::Icmp,
            quorum: 1,
            targets: vec![TargetView {
                address,
                port: None,
                up,
                rtt_ms: up.then_some(12.34),
                loss_percent: Some(if up { 0 } else { 100 }),
                to_go: if up { 0 } else { 5 },
                sent: 20,
                answered: 20,
            }],
        }))
    };
    vec![gateway(true), gateway(false)]
}

fn sample(kind: Kind) -> Sample {
    let rows = match kind {
        Kind::States => states(),
        Kind::Rules => rules(),
        Kind::Queues => queues(),
        Kind::Links => links(),
        Kind::Tables => tables(),
        Kind::Gateways => gateways(),
    };
    let speed = |at: usize| {
        (at > 0).then_some(Speed {
            packets: 12.0,
            bytes: 1_500.0,
            peak: 2_500_000.0,
        })
    };
    let rows: Vec<Measured> = rows
        .into_iter()
        .enumerate()
        .map(|(at, row)| Measured {
            row,
            speed: speed(at),
        })
        .collect();
    Sample {
        kind,
        enabled: true,
        total: rows.len(),
        left_out: 0,
        rows,
    }
}

/// What the screen shows, without the blanks at the ends of lines.
fn drawn(shown: &Shown, sample: &Sample, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("terminal");
    terminal
        .draw(|frame| draw(frame, shown, sample, true))
        .expect("draws");
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for y in 0..height {
        let line: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Compares with the file of that name; with `WEIGHBRIDGE_GOLDEN=write` it is written.
fn golden(name: &str, text: &str) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/top/screen/golden");
    let file = dir.join(format!("{name}.txt"));
    if std::env::var_os("WEIGHBRIDGE_GOLDEN").is_some_and(|value| value == "write") {
        fs::create_dir_all(&dir).expect("directory");
        fs::write(&file, text).expect("written");
    }
    let expected = fs::read_to_string(&file).expect("a golden file");
    assert_eq!(text, expected, "{name}");
}

#[test]
fn each_view_looks_as_it_should_on_80_and_on_160_columns() {
    for (at, view) in VIEWS.iter().enumerate() {
        let mut shown = Shown::default();
        let _ = shown.select(at);
        let sample = sample(view.kind);
        for width in [80, 160] {
            let text = drawn(&shown, &sample, width, 9);
            golden(&format!("{}-{width}", view.name), &text);
        }
    }
}

#[test]
fn nothing_hostile_reaches_the_screen() {
    for name in ["rules", "label"] {
        let mut shown = Shown::default();
        let _ = shown.select(named(name).expect("a view"));
        let text = drawn(&shown, &sample(Kind::Rules), 400, 9);
        assert!(text.contains("\\u{1b}]0;owned\\u{7}"), "{text}");
        let plain = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
        assert!(text.chars().all(plain), "{text:?}");
    }
    let shown = Shown {
        message: Some("daemon: \u{1b}[31mred".into()),
        ..Shown::default()
    };
    let text = drawn(&shown, &sample(Kind::States), 80, 9);
    assert!(text.contains("> daemon: \\u{1b}[31mred"), "{text}");
}

#[test]
fn the_first_line_tells_what_is_shown_of_how_much() {
    let mut sample = sample(Kind::States);
    let mut shown = Shown::default();
    let first = |shown: &Shown, sample: &Sample| summary(shown, sample, 2);
    assert_eq!(
        first(&shown, &sample),
        "pfTop: Up State 1-2/4, View: default, Order: none"
    );
    shown.start = 3;
    shown.order = Order::Bytes;
    (shown.reversed, shown.paused) = (true, true);
    let parsed = filter::parse("tcp", &|_| Vec::new()).expect("a filter");
    shown.filter = Some(("tcp".into(), parsed));
    (sample.total, sample.enabled) = (200, false);
    assert_eq!(
        first(&shown, &sample),
        "pfTop: Down State 4-4/4 (200), View: default, Order: bytes (rev) PAUSED"
    );
    sample.rows.clear();
    sample.left_out = 5;
    assert_eq!(
        first(&shown, &sample),
        "pfTop: Down State no entries (200), left out: 5, View: default, Order: bytes (rev) PAUSED"
    );
}

#[test]
fn states_are_sorted_by_every_order_and_the_other_way_round() {
    use order::Order;
    let sorted = |order, reversed| {
        let mut rows = sample(Kind::States).rows;
        order::sort(&mut rows, order, reversed);
        let id = |row: &Measured| {
            let Row::State(state) = &row.row else {
                panic!("{:?}", row.row);
            };
            state.id
        };
        rows.iter().map(id).collect::<Vec<_>>()
    };
    for (order, expected) in [
        (Order::None, [1, 2, 3, 4]),
        (Order::Bytes, [2, 1, 4, 3]),
        (Order::Packets, [2, 1, 3, 4]),
        (Order::Age, [1, 2, 4, 3]),
        (Order::Expiry, [1, 2, 4, 3]),
        (Order::Source, [4, 1, 2, 3]),
        (Order::Destination, [4, 1, 2, 3]),
        (Order::SourcePort, [3, 4, 1, 2]),
        (Order::DestinationPort, [4, 3, 1, 2]),
        (Order::Rate, [2, 3, 4, 1]),
        (Order::Peak, [2, 3, 4, 1]),
    ] {
        let got = sorted(order, false);
        // Equal ones stay as they come.
        assert_eq!(got, expected, "{order:?}");
    }
    assert_eq!(sorted(Order::Bytes, true), [3, 4, 1, 2]);
    assert_eq!(sorted(Order::Rate, true), [1, 2, 3, 4]);
}

#[test]
fn what_is_typed_and_the_page_of_keys_are_shown() {
    let sample = sample(Kind::States);
    let shown = Shown {
        typing: Some((Asked::Filter, "tcp port 80".into())),
        ..Shown::default()
    };
    let text = drawn(&shown, &sample, 80, 6);
    assert_eq!(text.lines().nth(1), Some("Filter: tcp port 80"));
    let mut shown = Shown::default();
    let _ = shown.press(Key::Char('h'), 4, 4, &|_| Vec::new());
    let text = drawn(&shown, &sample, 80, 24);
    assert!(text.contains("toggle the Cache") && text.contains("press any key"));
    assert!(text.lines().all(|line| line.chars().count() <= 79));
}

#[test]
fn no_screen_is_too_small() {
    for view in 0..VIEWS.len() {
        let mut shown = Shown {
            start: usize::MAX,
            typing: Some((Asked::Delay, "1".repeat(500))),
            ..Shown::default()
        };
        let _ = shown.select(view);
        shown.start = usize::MAX;
        for (width, height) in [(1, 1), (2, 3), (5, 2), (80, 4)] {
            let _ = drawn(&shown, &sample(shown.view().kind), width, height);
        }
    }
}

#[test]
fn lines_are_limited_as_asked() {
    let shown = Shown {
        lines: Some(2),
        cached: false,
        ..Shown::default()
    };
    let lines = lines(&shown, &sample(Kind::States), 200, 24);
    assert_eq!(lines.len(), HEADER_LINES + 2);
    assert_eq!(page(&shown, 4), 1);
    // Without a cache there are no rates.
    let mut shown = shown;
    let _ = shown.select(7);
    assert!(!title(&layout(&shown, 200)).contains("RATE"));
}
