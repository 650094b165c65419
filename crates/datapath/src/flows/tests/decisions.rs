//! Decisions without a state.

use pf_engine::flow::FlowBasis;

use super::*;

fn decided(basis: FlowBasis, key: FlowKey) -> Flow {
    Flow {
        basis,
        keys: [Some(key), None],
        windows: None,
        ..connection()
    }
}

fn from_client(protocol: Protocol) -> FlowKey {
    let (client, server) = (host(CLIENT.0, CLIENT.1), host(SERVER.0, SERVER.1));
    key(protocol, Direction::In, client, server)
}

#[test]
fn blocked_packets_end_in_the_kernel_and_are_counted() {
    let Some(mut bench) = Bench::new("blocked") else {
        return;
    };
    let udp = from_client(Protocol::UDP);
    let id = bench.maps().put(&decided(FlowBasis::Block, udp));
    let id = id.expect("room");
    let packet = frame(&build::udp(
        &ip(CLIENT, SERVER),
        CLIENT.1,
        SERVER.1,
        &[1; 9],
    ));
    assert_eq!(bench.run(Direction::In, &packet, 0), Done::Ends);
    assert_eq!(bench.run(Direction::In, &packet, 0), Done::Ends);
    let count = Count {
        packets: 2,
        bytes: 2 * 37,
    };
    assert_eq!(bench.maps().take(id).counts[0], count);
    assert_eq!(bench.run(Direction::In, &packet, 0), Done::ComesUp);
}

#[test]
fn a_blocked_syn_is_another_flow_than_the_data_behind_it() {
    let Some(mut bench) = Bench::new("blocked SYN") else {
        return;
    };
    let data = from_client(Protocol::TCP);
    let syn = FlowKey {
        opens: true,
        ..data
    };
    let id = bench.maps().put(&decided(FlowBasis::Block, syn));
    let id = id.expect("room");
    let mut run = |flags| {
        let packet = frame(&segment(flags, 1000, 9000, 0));
        bench.run(Direction::In, &packet, 0)
    };
    assert_eq!(run(tcp_flags::SYN), Done::Ends);
    let explicit_congestion = tcp_flags::SYN | tcp_flags::ECE | tcp_flags::CWR;
    assert_eq!(run(explicit_congestion), Done::Ends);
    for flags in [
        ACK,
        tcp_flags::SYN | ACK,
        tcp_flags::SYN | tcp_flags::FIN,
        tcp_flags::SYN | tcp_flags::RST,
        tcp_flags::SYN | tcp_flags::URG,
        tcp_flags::SYN | tcp_flags::PSH,
        0,
    ] {
        assert_eq!(run(flags), Done::ComesUp, "{flags:#x}");
    }
    assert_eq!(bench.maps().read(id).counts[0].packets, 2);
    let pass = decided(FlowBasis::Pass, data);
    assert!(bench.maps().put(&pass).is_some());
    let packet = frame(&segment(ACK, 5, 6, 100));
    assert!(
        bench.passes(Direction::In, &packet, 0),
        "whatever its numbers"
    );
}

#[test]
fn who_is_blocked_takes_no_room_of_states() {
    let Some(mut bench) = Bench::new("rooms") else {
        return;
    };
    let flow = |basis, port| {
        let key = from_client(Protocol::UDP);
        let source = host(CLIENT.0, port);
        decided(basis, FlowKey { source, ..key })
    };
    for port in 0..64 {
        let blocked = flow(FlowBasis::Block, port);
        assert!(bench.maps().put(&blocked).is_some());
    }
    let more = bench.maps().put(&flow(FlowBasis::Block, 64));
    assert_eq!(more, None, "no room for decisions");
    for port in 100..164 {
        let state = flow(FlowBasis::State, port);
        assert!(bench.maps().put(&state).is_some(), "{port}");
    }
    let more = bench.maps().put(&flow(FlowBasis::State, 164));
    assert_eq!(more, None, "no room for states");
}

#[test]
fn decisions_without_state_count_as_if_each_packet_had_been_evaluated() {
    let Some(mut bench) = Bench::new("twins without state") else {
        return;
    };
    let rule = |action, protocol| {
        let mut rule = Rule::new(action);
        rule.protocol = protocol;
        rule
    };
    let block = Action::Block(BlockReply::Drop);
    let rules = Ruleset {
        filter: vec![
            rule(Action::Pass, None),
            rule(block.clone(), Some(Protocol::TCP)),
            rule(Action::Match, Some(Protocol::UDP)),
            rule(block, Some(Protocol::ICMPV6)),
        ],
        ..Ruleset::default()
    };
    let sides = [Direction::In, Direction::Out];
    let done = compare(&mut bench, &rules, sides);
    assert!(done.passed > PACKETS / 20, "{done:?}");
    assert!(done.ended > PACKETS / 20, "{done:?}");
}
