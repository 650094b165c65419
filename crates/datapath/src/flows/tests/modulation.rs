//! `modulate state`: sequence numbers that are others on the other side.

use pf_engine::wire::Meta;

use super::counting::lead;
use super::translation::nat;
use super::*;

/// What is added to the client's numbers, and to the server's: both go over the end.
const SHIFTS: [u32; 2] = [0xffff_ff00, 0x8000_0001];

fn modulated() -> Flow {
    Flow {
        shifts: SHIFTS,
        ..connection()
    }
}

/// What the client knows a number of the server as.
const fn theirs(number: u32) -> u32 {
    number.wrapping_add(SHIFTS[1])
}

/// A segment of the client with options.
fn with_options(flags: u8, (seq, ack): (u32, u32), options: &[u8], data: usize) -> Vec<u8> {
    let mut segment = Segment::new(CLIENT.1, SERVER.1, flags);
    (segment.seq, segment.ack, segment.window) = (seq, ack, 20_000);
    segment.options = options;
    build::tcp(&ip(CLIENT, SERVER), &segment, &vec![7; data])
}

/// A packet of the client as the kernel has to make it.
fn moved(packet: &[u8], edges: bool) -> Vec<u8> {
    moved_by(SHIFTS, packet, edges)
}

fn moved_by(shifts: [u32; 2], packet: &[u8], edges: bool) -> Vec<u8> {
    let mut bytes = packet.to_vec();
    let mut meta = Meta::parse(packet).expect("a segment");
    let tcp = *meta.tcp().expect("a segment");
    let back = 0u32.wrapping_sub(shifts[1]);
    let seq = tcp.seq.wrapping_add(shifts[0]);
    meta.set_tcp_seq(&mut bytes, seq).expect("fits");
    let ack = tcp.ack.wrapping_add(back);
    meta.set_tcp_ack(&mut bytes, ack).expect("fits");
    if edges {
        meta.add_to_sack_edges(&mut bytes, back).expect("fits");
    }
    bytes
}

fn sack(blocks: u32) -> Vec<u8> {
    let len = u8::try_from(2 + 8 * blocks).expect("short");
    let edges = (0..2 * blocks).map(|edge| theirs(9100 + 50 * edge).to_be_bytes());
    [
        &[1, 1, 5, len],
        edges.collect::<Vec<_>>().concat().as_slice(),
    ]
    .concat()
}

const TIMESTAMPS: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];

#[test]
fn numbers_are_moved_and_windows_are_in_their_sender_s_count() {
    let Some(mut bench) = Bench::new("modulated") else {
        return;
    };
    let id = bench.maps().put(&modulated()).expect("room");
    let packet = segment(ACK, 1000, theirs(9500), 100);
    let done = bench.run(Direction::In, &frame(&packet), 0);
    assert_eq!(done, Done::Passes(frame(&moved(&packet, false))));
    let [client, server] = bench.maps().read(id).windows.expect("windows");
    assert_eq!((client.seq_lo, client.seq_hi), (1100, 31_000));
    assert_eq!((server.seq_lo, server.seq_hi), (9000, 39_000));
    let unmoved = segment(ACK, 1100, 9500, 100);
    let done = bench.run(Direction::In, &frame(&unmoved), 0);
    assert_eq!(done, Done::ComesUp, "it acknowledges nobody's number");
}

#[test]
fn sack_blocks_are_moved_wherever_words_begin_and_else_come_up() {
    let Some(mut bench) = Bench::new("modulated, SACK") else {
        return;
    };
    bench.maps().put(&modulated()).expect("room");
    let behind = [&TIMESTAMPS[..], &sack(3)].concat();
    let before = [&sack(2)[..], &TIMESTAMPS].concat();
    let unaligned = [&[1, 1, 1, 1], &sack(1)[2..], &[1, 1]].concat();
    for (name, options) in [
        ("timestamps", TIMESTAMPS.to_vec()),
        ("one block", sack(1)),
        ("four blocks", sack(4)),
        ("timestamps and three blocks", behind),
        ("two blocks and timestamps", before),
        ("an even place", unaligned),
        ("others", vec![30, 4, 0, 0, 1, 1, 1, 0]),
    ] {
        let packet = with_options(ACK, (1000, theirs(9000)), &options, 10);
        let done = bench.run(Direction::In, &frame(&packet), 0);
        let wanted = frame(&moved(&packet, true));
        assert_eq!(done, Done::Passes(wanted), "{name}");
    }
    let odd_place = [&sack(1)[1..], &[1]].concat();
    let twice = [&sack(1)[..], &sack(1)].concat();
    let mut half = sack(1);
    half[3] = 8;
    for (name, options) in [
        ("an odd place", odd_place),
        ("two options", twice),
        ("half a block", half),
        ("no block", vec![1, 1, 5, 2]),
        ("beyond the header", vec![1, 1, 5, 18]),
        ("of no length", vec![1, 1, 30, 0]),
    ] {
        let packet = with_options(ACK, (1000, theirs(9000)), &options, 10);
        let done = bench.run(Direction::In, &frame(&packet), 0);
        assert_eq!(done, Done::ComesUp, "{name}");
    }
}

#[test]
fn options_that_cannot_be_read_do_not_matter_where_nothing_is_moved() {
    let Some(mut bench) = Bench::new("odd options") else {
        return;
    };
    bench.maps().put(&connection()).expect("room");
    let packet = with_options(ACK, (1000, 9000), &[1, 1, 30, 0], 10);
    assert!(bench.passes(Direction::In, &frame(&packet), 0));
}

#[test]
fn the_answer_to_a_syn_comes_up_where_its_number_is_to_be_drawn() {
    let Some(mut bench) = Bench::new("modulated, answer") else {
        return;
    };
    let unheard = FlowWindow {
        seq_hi: 1,
        max_win: 1,
        ..FlowWindow::default()
    };
    let mut begun = modulated();
    let [client, _] = begun.windows.expect("windows");
    let client = FlowWindow { state: 2, ..client };
    begun.windows = Some([client, unheard]);
    bench.maps().put(&begun).expect("room");
    let mut answer = Segment::new(SERVER.1, CLIENT.1, tcp_flags::SYN | ACK);
    (answer.seq, answer.ack) = (9000, 1001u32.wrapping_add(SHIFTS[0]));
    let answer = build::tcp(&ip(SERVER, CLIENT), &answer, &[]);
    let done = bench.run(Direction::Out, &frame(&answer), 0);
    assert_eq!(done, Done::ComesUp);
}

#[test]
fn a_super_packet_is_moved_as_its_segments_would_be() {
    let Some(mut bench) = Bench::new("modulated, large") else {
        return;
    };
    let id = bench.maps().put(&modulated()).expect("room");
    let packet = with_options(ACK, (1000, theirs(9000)), &TIMESTAMPS, 2500);
    let done = bench.run(Direction::In, &frame(&packet), 1000);
    assert_eq!(done, Done::Passes(frame(&moved(&packet, false))));
    assert_eq!(bench.maps().read(id).counts[0].packets, 3);
}

#[test]
fn two_states_on_one_way_each_move_what_the_other_has_left() {
    let Some(mut bench) = Bench::new("modulated twice") else {
        return;
    };
    let second = [7, 0xffff_fff0];
    let entered = Flow {
        keys: [None; 2],
        ..modulated()
    };
    let [client, server] = entered.windows.expect("windows");
    let client = FlowWindow {
        seq_lo: client.seq_lo.wrapping_add(SHIFTS[0]),
        seq_hi: client.seq_hi.wrapping_add(SHIFTS[0]),
        ..client
    };
    let left = Flow {
        windows: Some([client, server]),
        shifts: second,
        ..entered
    };
    let [entered, left] = lead(bench.maps(), [&entered, &left]);
    let acknowledged = theirs(9000).wrapping_add(second[1]);
    let options = [&TIMESTAMPS[..], &sack(2)].concat();
    let packet = with_options(ACK, (1000, acknowledged), &options, 100);
    let (_, out) = bench.run_program(Direction::In, &frame(&packet), 0);
    let wanted = moved_by(second, &moved(&packet, true), true);
    assert_eq!(out, frame_of(&wanted, ETHER.reversed()));
    let maps = bench.maps();
    for (flow, base) in [(entered, 1100), (left, 1100u32.wrapping_add(SHIFTS[0]))] {
        let [client, server] = maps.read(flow).windows.expect("windows");
        assert_eq!((client.seq_lo, server.seq_lo), (base, 9000));
        assert_eq!(maps.read(flow).counts[0].packets, 1);
    }
}

#[test]
fn the_kernel_moves_sequence_numbers_byte_for_byte_as_the_engine_does() {
    let mut modulate = Rule::new(Action::Pass);
    modulate.state = StateMode::Modulate;
    let plain = Ruleset {
        filter: vec![modulate],
        ..Ruleset::default()
    };
    let translated = Ruleset {
        nat: vec![nat("198.51.100.7")],
        ..plain.clone()
    };
    for rules in [plain, translated] {
        let Some(mut bench) = Bench::new("modulated twins") else {
            return;
        };
        let moved = compare(&mut bench, &rules, [Direction::Out, Direction::In]);
        assert!(moved.translated > PACKETS / 20, "{moved:?}");
    }
}
