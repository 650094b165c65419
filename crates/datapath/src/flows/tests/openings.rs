//! Connections that the kernel opens itself.

use super::*;

const SLOTS: u32 = 1024;
const OFFER: [u8; 4] = [3, 3, 7, 1];

impl Twins<'_> {
    /// A segment of a connection from this port, to the server or back.
    fn segment(
        &mut self,
        port: u16,
        forward: bool,
        (flags, seq, ack): (u8, u32, u32),
        data: usize,
    ) {
        let client = (CLIENT.0, port);
        let (direction, from, to) = if forward {
            (Direction::In, client, SERVER)
        } else {
            (Direction::Out, SERVER, client)
        };
        let mut segment = Segment::new(from.1, to.1, flags);
        (segment.seq, segment.ack, segment.window) = (seq, ack, 5000);
        if flags & tcp_flags::SYN != 0 {
            segment.options = &OFFER;
        }
        let bytes = build::tcp(&ip(from, to), &segment, &vec![7; data]);
        assert!(self.packet(direction, forward, bytes).is_some());
    }

    fn connection(&mut self, port: u16) {
        let (syn, fin) = (tcp_flags::SYN, tcp_flags::FIN);
        self.segment(port, true, (syn, 100, 0), 0);
        self.segment(port, false, (syn | ACK, 9000, 101), 0);
        self.segment(port, true, (ACK, 101, 9001), 1);
        self.segment(port, false, (ACK | fin, 9001, 102), 1);
        self.segment(port, true, (ACK | fin, 102, 9003), 0);
        self.segment(port, false, (ACK, 9003, 103), 0);
    }

    fn opened(&mut self) -> u64 {
        self.cached.0.follow_flows();
        self.cached.0.flow_statistics().opened
    }
}

#[test]
fn connections_that_differ_in_their_port_alone_are_opened_in_the_kernel() {
    let Some(mut bench) = Bench::with_slots("openings", SLOTS) else {
        return;
    };
    let mut twins = Twins::new(&mut bench, &Ruleset::default());
    // More than slots are granted at a time, and than there are.
    for port in 1..=700 {
        twins.connection(port);
        if port % 5 == 0 {
            twins.cached.0.follow_flows();
        }
        if port % 50 == 0 {
            twins.compare(port.into());
        }
    }
    assert_eq!(twins.opened(), 698);
    assert_eq!(twins.cached.0.flow_statistics().decided, 2);
    // Ports are used again, of connections that are over.
    for port in 1..=100 {
        twins.connection(port);
        twins.cached.0.follow_flows();
    }
    twins.compare(0);
    assert_eq!(twins.opened(), 798);
    let flows = twins.cached.0.flow_statistics();
    assert_eq!((flows.held, flows.put, flows.taken), (0, 800, 800));
}

#[test]
fn a_syn_that_the_kernel_may_not_open_by_comes_up() {
    let Some(mut bench) = Bench::with_slots("openings that end", SLOTS) else {
        return;
    };
    let mut twins = Twins::new(&mut bench, &Ruleset::default());
    for port in 1..=3 {
        twins.connection(port);
    }
    assert_eq!(twins.opened(), 1);
    // The same again while its connection is there.
    twins.segment(9, true, (tcp_flags::SYN, 100, 0), 0);
    twins.segment(9, true, (tcp_flags::SYN, 100, 0), 0);
    twins.compare(0);
    assert_eq!(twins.opened(), 2);
    // The cache is emptied: it begins anew.
    twins.cached.0.settle_flows();
    let decided = twins.cached.0.flow_statistics().decided;
    twins.connection(10);
    assert!(twins.cached.0.flow_statistics().decided > decided);
    twins.compare(0);
}

#[test]
fn what_the_kernel_is_not_told_of_in_time_comes_up() {
    let Some(mut bench) = Bench::with_slots("too many openings", SLOTS) else {
        return;
    };
    let mut twins = Twins::new(&mut bench, &Ruleset::default());
    for port in 1..=2 {
        twins.connection(port);
    }
    let max = u16::try_from(SLOTS / 2 / 16).expect("few");
    for port in 3..=max + 2 {
        twins.segment(port, true, (tcp_flags::SYN, 100, 0), 0);
    }
    assert_eq!(twins.cached.0.flow_statistics().decided, 2);
    twins.segment(2000, true, (tcp_flags::SYN, 100, 0), 0);
    assert_eq!(twins.cached.0.flow_statistics().decided, 3, "all are used");
    assert_eq!(twins.opened(), u64::from(max));
    twins.segment(2001, true, (tcp_flags::SYN, 100, 0), 0);
    assert_eq!(twins.opened(), u64::from(max) + 1);
    twins.compare(0);
}

#[test]
fn random_traffic_with_openings_counts_as_without() {
    let Some(mut bench) = Bench::with_slots("twins with openings", SLOTS) else {
        return;
    };
    let sides = [Direction::In, Direction::Out];
    let tally = compare(&mut bench, &Ruleset::default(), sides);
    assert!(tally.passed > PACKETS / 8);
}
