//! `synproxy state`: two handshakes, and one connection of them.

use pf_engine::addr::Protocol;
use pf_engine::decision::{
    Basis, DropReason, EtherAddresses, Exit, GeneratedExit, LogAction, Verdict,
};
use pf_engine::env::Interface;
use pf_engine::rule::{Flush, Log, Overload, Rate, RouteKind, Rule, SourceTrack, tcp_flags};
use pf_engine::ruleset::{Ruleset, Syncookies};
use pf_engine::wire::Tcp;

use super::harness::*;
use super::persist::restarted;

const CLIENT: (&str, u16) = ("10.0.0.9", 1025);
const SERVER: (&str, u16) = ("192.0.2.80", 80);

fn rule() -> Rule {
    pass()
        .inbound()
        .on("em0")
        .proto(Protocol::TCP)
        .flags_s_sa()
        .synproxy()
}

fn proxying() -> Lab {
    Lab::router(filter(&[block(), rule()]))
}

fn header(bytes: &[u8]) -> (Tcp, Option<u16>) {
    let tcp = *meta(bytes).tcp().unwrap();
    (tcp, tcp.maximum_segment_size(bytes))
}

fn client(lab: &mut Lab, flags: u8, seq: u32, ack: u32, data: usize) -> Seen<'_> {
    lab.packet(In, "em0", tcp(CLIENT, SERVER, flags, seq, ack, data))
}

fn server(lab: &mut Lab, flags: u8, seq: u32, ack: u32, data: usize) -> Seen<'_> {
    lab.packet(Out, "em0", tcp(SERVER, CLIENT, flags, seq, ack, data))
}

/// What the client knows after its handshake, and the server after its own.
#[derive(Clone, Copy, Debug)]
struct Numbers {
    /// The number that the client was given in the server's name.
    to_client: u32,
    /// The number that the server was given in the client's.
    to_server: u32,
}

/// The client's number is 100, the server's 900.
fn connect(lab: &mut Lab) -> Numbers {
    let answer = client(lab, S, 100, 0, 0).answer().to_vec();
    let to_client = header(&answer).0.seq;
    let call = client(lab, A, 101, to_client.wrapping_add(1), 0)
        .passes()
        .bytes
        .clone();
    let to_server = header(&call).0.seq;
    let seen = server(lab, SA, 900, to_server.wrapping_add(1), 0);
    assert_eq!(seen.decision.verdict, Verdict::Pass(Exit::Continue));
    Numbers {
        to_client,
        to_server,
    }
}

#[test]
fn the_proxy_answers_the_client_then_calls_the_server_then_joins_them() {
    let mut lab = proxying();
    let syn = tcp_with(CLIENT, SERVER, S, 100, 0, 0, &[2, 4, 0x05, 0x00, 3, 3, 7]);
    let seen = lab
        .packet(In, "em0", syn)
        .drops(DropReason::Synproxy)
        .counts(
            "filter 0 evaluations 1
             filter 1 evaluations 1
             filter 1 states 1
             filter 1 created 1
             reason match 1
             reason synproxy 1
             searches 1
             inserts 1",
        );
    assert_eq!(seen.decision.generated[0].exit, GeneratedExit::Back);
    assert_eq!(tuple(seen.answer()), "192.0.2.80:80 > 10.0.0.9:1025");
    let (answer, mss) = header(seen.answer());
    assert_eq!((answer.flags, answer.ack, answer.window), (SA, 101, 0));
    assert_eq!(mss, Some(0x500), "what the client announced");
    assert_eq!(answer.window_scale(seen.answer()), None);
    drop(seen);
    assert_eq!(peers(&lab), (11, 0, 120), "PROXY:SRC, tcp.first");

    let seen = client(&mut lab, A, 101, answer.seq.wrapping_add(1), 0)
        .passes()
        .becomes("10.0.0.9:1025 > 192.0.2.80:80")
        .counts(
            "reason synproxy 1
             searches 1",
        );
    assert_eq!(seen.decision.basis, Basis::Packet);
    let (call, mss) = header(&seen.bytes);
    assert_eq!((call.flags, call.ack, call.window), (S, 0, 0));
    assert_eq!(mss, Some(0x500));
    assert_ne!(call.seq, 100, "a number of the proxy's own");
    drop(seen);
    assert_eq!(peers(&lab), (12, 0, 120), "PROXY:DST");

    let seen = server(&mut lab, SA, 900, call.seq.wrapping_add(1), 0)
        .becomes("192.0.2.80:80 > 10.0.0.9:1025")
        .counts(
            "reason synproxy 1
             searches 1",
        );
    assert_eq!(seen.decision.verdict, Verdict::Pass(Exit::Continue));
    let (window, _) = header(&seen.bytes);
    assert_eq!(
        (window.flags, window.seq, window.ack, window.window),
        (A, answer.seq.wrapping_add(1), 101, 5000)
    );
    assert_eq!(tuple(seen.answer()), "10.0.0.9:1025 > 192.0.2.80:80");
    let (ack, _) = header(seen.answer());
    assert_eq!(
        (ack.flags, ack.seq, ack.ack, ack.window),
        (A, call.seq.wrapping_add(1), 901, 5000)
    );
    let exit = seen.decision.generated[0].exit;
    drop(seen);
    let GeneratedExit::Onward { hook, ether, exit } = exit else {
        panic!("{exit:?}");
    };
    assert_eq!((hook.interface, hook.direction), (lab.index("em0"), In));
    assert_eq!((ether, exit), (None, Exit::Continue));
    assert_eq!(peers(&lab), (4, 4, 86_400));
}

#[test]
fn data_flow_with_the_numbers_that_each_end_knows() {
    let mut lab = proxying();
    let known = connect(&mut lab);
    let seen = client(&mut lab, PA, 101, known.to_client.wrapping_add(1), 5000)
        .passes()
        .counts(
            "filter 1 in 1/5040
             state 1 forward 1/5040
             searches 1",
        );
    let (data, _) = header(&seen.bytes);
    assert_eq!((data.seq, data.ack), (known.to_server.wrapping_add(1), 901));
    drop(seen);
    let seen = server(&mut lab, PA, 901, known.to_server.wrapping_add(5001), 300).passes();
    let (data, _) = header(&seen.bytes);
    assert_eq!(
        (data.seq, data.ack),
        (known.to_client.wrapping_add(1), 5101)
    );
    drop(seen);
    let _ = client(&mut lab, FA, 5101, known.to_client.wrapping_add(301), 0).passes();
    let _ = server(&mut lab, FA, 1201, known.to_server.wrapping_add(5002), 0).passes();
    assert_eq!(peers(&lab).0, 9);
    let far = known.to_client.wrapping_add(1);
    let _ = client(&mut lab, PA, 900_000, far, 10).drops(DropReason::StateMismatch);
}

#[test]
fn what_is_lost_is_sent_again_with_the_same_numbers() {
    let mut lab = proxying();
    let first = client(&mut lab, S, 100, 0, 0).answer().to_vec();
    let again = client(&mut lab, S, 100, 0, 0)
        .drops(DropReason::Synproxy)
        .counts(
            "reason synproxy 1
             searches 1",
        );
    assert_eq!(again.answer(), first);
    drop(again);
    let ack = header(&first).0.seq.wrapping_add(1);
    let call = client(&mut lab, A, 101, ack, 0).passes().bytes.clone();
    // The client has data, and probes the window of 0.
    for (seq, data) in [(101, 0), (101, 1), (100, 0)] {
        let repeated = client(&mut lab, A, seq, ack, data).passes();
        assert_eq!(repeated.bytes, call);
    }
}

#[test]
fn segments_that_fit_no_handshake_are_dropped_and_leave_the_state_as_it_is() {
    let mut lab = proxying();
    let answer = client(&mut lab, S, 100, 0, 0).answer().to_vec();
    let ack = header(&answer).0.seq.wrapping_add(1);
    for (flags, seq, ack) in [
        (S, 101, 0),
        (A, 101, ack.wrapping_add(1)),
        (A, 102, ack),
        (FA, 101, ack),
        (R, 101, 0),
    ] {
        let seen = client(&mut lab, flags, seq, ack, 0).drops(DropReason::Synproxy);
        assert_eq!(seen.decision.generated, []);
    }
    let _ = server(&mut lab, SA, 900, 101, 0).drops(DropReason::Synproxy);
    assert_eq!(peers(&lab), (11, 0, 120));
    let _ = client(&mut lab, A, 101, ack, 0).passes();
    let _ = server(&mut lab, SA, 900, 77, 0).drops(DropReason::Synproxy);
    let _ = server(&mut lab, RA, 0, 77, 0).drops(DropReason::Synproxy);
    assert_eq!(peers(&lab), (12, 0, 120));
}

#[test]
fn the_segment_size_fits_the_links_and_is_never_tiny() {
    for (options, size) in [
        (&[2, 4, 0xff, 0xff][..], 1360),
        (&[2, 4, 0, 1], 64),
        (&[], 536),
    ] {
        let mut lab = proxying();
        lab.set_interfaces(|all| all[0].mtu = 1400);
        let syn = tcp_with(CLIENT, SERVER, S, 100, 0, 0, options);
        let answer = lab.packet(In, "em0", syn).answer().to_vec();
        assert_eq!(header(&answer).1, Some(size));
    }
}

#[test]
fn ipv6_is_proxied_as_ipv4_is() {
    let (client, server) = (("2001:db8:a::9", 1025), ("2001:db8:b::80", 80));
    let mut lab = proxying();
    let seen = lab.packet(In, "em0", tcp(client, server, S, 100, 0, 0));
    let (answer, mss) = header(seen.answer());
    assert_eq!(mss, Some(1220), "the default of IPv6");
    drop(seen);
    let ack = answer.seq.wrapping_add(1);
    let call = lab.packet(In, "em0", tcp(client, server, A, 101, ack, 0));
    let (call, _) = header(&call.passes().bytes);
    let ack = call.seq.wrapping_add(1);
    let joined = lab.packet(Out, "em0", tcp(server, client, SA, 900, ack, 0));
    assert_eq!(header(&joined.bytes).0.window, 5000);
    assert_eq!(
        tuple(joined.answer()),
        "2001:db8:a::9:1025 > 2001:db8:b::80:80"
    );
    drop(joined);
    assert_eq!(peers(&lab), (4, 4, 86_400));
}

#[test]
fn a_redirected_client_talks_to_the_address_it_called() {
    let rules = [rule().rdr_to("192.0.2.81", Some(8080))];
    let mut lab = Lab::router(filter(&rules));
    let answer = client(&mut lab, S, 100, 0, 0).answer().to_vec();
    assert_eq!(tuple(&answer), "192.0.2.80:80 > 10.0.0.9:1025");
    let ack = header(&answer).0.seq.wrapping_add(1);
    let call = client(&mut lab, A, 101, ack, 0)
        .passes()
        .becomes("10.0.0.9:1025 > 192.0.2.81:8080");
    let ack = header(&call.bytes).0.seq.wrapping_add(1);
    drop(call);
    let joined = lab
        .packet(
            Out,
            "em0",
            tcp(("192.0.2.81", 8080), CLIENT, SA, 900, ack, 0),
        )
        .becomes("192.0.2.80:80 > 10.0.0.9:1025");
    assert_eq!(tuple(joined.answer()), "10.0.0.9:1025 > 192.0.2.81:8080");
}

#[test]
fn a_synproxy_rule_for_what_goes_out_modulates() {
    let mut lab = Lab::router(filter(&[pass().outbound().on("em1").synproxy()]));
    let seen = lab
        .packet(Out, "em1", tcp(CLIENT, SERVER, S, 100, 0, 0))
        .passes();
    let (syn, _) = header(&seen.bytes);
    assert_ne!(syn.seq, 100);
    drop(seen);
    assert_eq!(peers(&lab), (2, 0, 120));
}

#[test]
fn what_does_not_open_a_connection_is_not_proxied() {
    let any = rule().change(|r| r.flags = None);
    let mut lab = Lab::router(filter(&[any]));
    let _ = client(&mut lab, PA, 5000, 9000, 100).passes();
    assert_eq!(peers(&lab).0, 2);
}

#[test]
fn a_flood_makes_a_state_for_each_syn_up_to_the_limits() {
    use pf_engine::ruleset::Limit;
    let ruleset = limit(filter(&[rule()]), Limit::States, 3);
    let mut lab = Lab::router(ruleset);
    for port in 1..=3 {
        let syn = tcp(("10.0.0.9", port), SERVER, S, 100, 0, 0);
        let _ = lab.packet(In, "em0", syn).drops(DropReason::Synproxy);
    }
    let syn = tcp(("10.0.0.9", 4), SERVER, S, 100, 0, 0);
    let seen = lab.packet(In, "em0", syn).drops(DropReason::Memory).counts(
        "filter 0 evaluations 1
             reason match 1
             reason memory 1
             searches 1",
    );
    assert_eq!(seen.decision.generated, []);
    drop(seen);
    lab.wait(131);
    assert_eq!(lab.engine.state_count(), 0);
    assert_eq!(lab.engine.status().syncookies.half_open, 0);
}

#[test]
fn a_client_with_too_many_connections_is_refused_before_the_server_is_called() {
    let rule = rule().change(|r| {
        r.state_options.source.track = Some(SourceTrack::Rule);
        r.state_options.source.max_connections = Some(1);
    });
    let mut lab = Lab::router(filter(&[rule]));
    let _ = connect(&mut lab);
    let second = (CLIENT.0, 1026);
    let answer = lab.packet(In, "em0", tcp(second, SERVER, S, 100, 0, 0));
    let ack = header(answer.answer()).0.seq.wrapping_add(1);
    drop(answer);
    let seen = lab
        .packet(In, "em0", tcp(second, SERVER, A, 101, ack, 0))
        .drops(DropReason::SrcLimit);
    assert_eq!(seen.decision.generated, []);
    drop(seen);
    assert_eq!(lab.engine.state_count(), 1);
}

#[test]
fn a_client_that_connects_too_fast_is_listed_and_flushed_before_the_server_is_called() {
    let rule = rule().change(|r| {
        let source = &mut r.state_options.source;
        source.track = Some(SourceTrack::Rule);
        source.max_connections = Some(5);
        source.max_connection_rate = Some(Rate {
            count: 1,
            seconds: 30,
        });
        source.overload = Some(Overload {
            table: "bad".to_owned(),
            flush: Some(Flush::Rule),
        });
    });
    let mut rules = filter(&[rule]);
    rules.tables.insert("bad".to_owned(), table(true, &[]));
    let mut lab = Lab::router(rules);
    let _ = connect(&mut lab);
    let other = ("10.0.0.8", 1025);
    let _ = lab
        .packet(In, "em0", tcp(other, SERVER, S, 1, 0, 0))
        .drops(DropReason::Synproxy);
    let second = (CLIENT.0, 1026);
    let answer = lab.packet(In, "em0", tcp(second, SERVER, S, 100, 0, 0));
    let ack = header(answer.answer()).0.seq.wrapping_add(1);
    drop(answer);
    let _ = lab
        .packet(In, "em0", tcp(second, SERVER, A, 101, ack, 0))
        .drops(DropReason::SrcLimit)
        .counts(
            "filter 0 states -2
             limit max-src-conn-rate 1
             limit overload flush states 1
             limit overload table insertion 1
             nodes removals 1
             reason src-limit 1
             removals 2
             searches 1",
        );
    let listed = lab.engine.table("bad").expect("the table").len;
    assert_eq!(listed, 1);
    assert_eq!(lab.engine.state_count(), 1, "the other client's");
}

#[test]
fn both_handshakes_go_on_after_a_restart() {
    let mut lab = proxying();
    let answer = client(&mut lab, S, 100, 0, 0).answer().to_vec();
    let ack = header(&answer).0.seq.wrapping_add(1);
    let mut lab = restarted(&lab, filter(&[block(), rule()]));
    assert_eq!(lab.engine.status().syncookies.half_open, 1);
    let call = client(&mut lab, A, 101, ack, 0).passes().bytes.clone();
    assert_eq!(header(&call).1, Some(536), "the segment size is kept");
    let mut lab = restarted(&lab, filter(&[block(), rule()]));
    let own = header(&call).0.seq.wrapping_add(1);
    let joined = server(&mut lab, SA, 900, own, 0);
    assert_eq!(joined.decision.verdict, Verdict::Pass(Exit::Continue));
    drop(joined);
    assert_eq!(peers(&lab), (4, 4, 86_400));
}

#[test]
fn nobody_answers_what_is_no_hosts_address() {
    let mut lab = proxying();
    let syn = tcp(("224.0.0.1", 1), SERVER, S, 100, 0, 0);
    let seen = lab.packet(In, "em0", syn).drops(DropReason::Synproxy);
    assert_eq!(seen.decision.generated, []);
    drop(seen);
    assert_eq!(lab.engine.state_count(), 0);
}

#[test]
fn a_logged_syn_is_logged_as_pf_logs_it() {
    let mut lab = Lab::router(filter(&[rule().change(|r| r.log = Some(Log::default()))]));
    let seen = client(&mut lab, S, 100, 0, 0);
    let [entry] = seen.decision.logged.as_slice() else {
        panic!("{:?}", seen.decision.logged);
    };
    assert_eq!(
        (entry.action, entry.reason),
        (LogAction::SynproxyDrop, DropReason::Synproxy)
    );
}

/// The article's bridge: clients behind em1, the uplink em0 routes to 192.168.0.1.
fn bridge(rules: &[Rule]) -> Lab {
    bridge_with(filter(rules))
}

fn bridge_with(ruleset: Ruleset) -> Lab {
    let with_mac = |mut interface: Interface, last| {
        interface.mac = Some(mac(last));
        interface
    };
    let interfaces = vec![
        with_mac(interface(1, "em0", &["192.168.1.64/16"]), 0xe0),
        with_mac(interface(2, "em1", &[]), 0xe1),
        with_mac(interface(3, "fxp0", &[]), 0xe2),
    ];
    Lab::new(interfaces, ruleset)
}

const INSIDE: (&str, u16) = ("216.28.123.99", 1025);
const OUTSIDE: (&str, u16) = ("198.51.100.7", 80);
/// Last bytes of the MAC addresses of the client and its gateway.
const FRAME: (u8, u8) = (9, 1);

fn from_inside(lab: &mut Lab, flags: u8, seq: u32, ack: u32) -> Seen<'_> {
    let frame = ether(FRAME.0, FRAME.1);
    lab.frame(
        In,
        "em1",
        tcp(INSIDE, OUTSIDE, flags, seq, ack, 0),
        Some(frame),
    )
}

#[test]
fn over_a_bridge_the_proxys_packets_are_in_frames_of_the_peers() {
    let rules = [
        pass().inbound().on("em1").synproxy(),
        pass().outbound().on("fxp0").keep(),
    ];
    let mut lab = bridge(&rules);
    let seen = from_inside(&mut lab, S, 100, 0);
    assert_eq!(seen.decision.generated[0].exit, GeneratedExit::Back);
    let (answer, _) = header(seen.answer());
    drop(seen);
    let call = from_inside(&mut lab, A, 101, answer.seq.wrapping_add(1))
        .passes()
        .bytes
        .clone();
    let frame = ether(FRAME.0, FRAME.1);
    let _ = lab.frame(Out, "fxp0", call.clone(), Some(frame)).passes();
    let ack = header(&call).0.seq.wrapping_add(1);
    let syn_ack = tcp(OUTSIDE, INSIDE, SA, 900, ack, 0);
    let back = frame.reversed();
    let _ = lab
        .frame(In, "fxp0", syn_ack.clone(), Some(back))
        .passes_unchanged();
    let seen = lab.frame(Out, "em1", syn_ack, Some(back));
    assert_eq!(seen.decision.verdict, Verdict::Pass(Exit::Continue));
    let [generated] = seen.decision.generated.clone().try_into().unwrap();
    drop(seen);
    let GeneratedExit::Onward { hook, ether, exit } = generated.exit else {
        panic!("{generated:?}");
    };
    assert_eq!((hook.interface, hook.direction), (lab.index("em1"), In));
    assert_eq!((ether, exit), (Some(frame), Exit::Continue));
    // It completes the state at the other port.
    let _ = lab
        .frame(Out, "fxp0", generated.bytes, Some(frame))
        .passes_unchanged();
    assert_eq!(lab.state(2).destination.state, 4);
}

/// Routed to the uplink em0 and translated there.
fn routed(rule: Rule) -> Ruleset {
    let rule = rule.inbound().on("em1").flags_s_sa();
    let leaves = pass().outbound().on("em0").flags_s_sa().keep();
    filter(&[
        rule.route(RouteKind::RouteTo, &[("em0", "192.168.0.1")]),
        leaves.nat_to("192.168.1.64"),
    ])
}

#[test]
fn routed_to_an_uplink_both_handshakes_are_translated_there() {
    connect_by_uplink(bridge_with(routed(pass().synproxy())), 1);
}

/// The call that a cookie stands for is the proxy's affair where it comes in, not where it leaves.
#[test]
fn routed_to_an_uplink_the_handshake_of_a_cookie_is_translated_there() {
    let mut ruleset = routed(pass().keep());
    ruleset.options.syncookies = Syncookies::Always;
    connect_by_uplink(bridge_with(ruleset), 0);
}

/// `states` are there when the client's SYN has been answered, and nothing has gone out.
fn connect_by_uplink(mut lab: Lab, states: usize) {
    let seen = from_inside(&mut lab, S, 100, 0).drops(DropReason::Synproxy);
    let (answer, _) = header(seen.answer());
    drop(seen);
    assert_eq!(lab.engine.state_count(), states, "nothing goes out yet");
    let call =
        from_inside(&mut lab, A, 101, answer.seq.wrapping_add(1)).leaves_by("em0", "192.168.0.1");
    let (syn, translated) = (header(&call.bytes).0, meta(&call.bytes));
    drop(call);
    assert_eq!(translated.source, ip("192.168.1.64"));
    assert_eq!((syn.flags, translated.ttl), (S, 63));
    let (uplink, port) = (("198.51.100.7", 80), syn.source_port);
    let syn_ack = tcp(
        uplink,
        ("192.168.1.64", port),
        SA,
        900,
        syn.seq.wrapping_add(1),
        0,
    );
    let seen = lab
        .frame(In, "em0", syn_ack, Some(ether(0xaa, 0xe0)))
        .goes_onto_the_wire("em1", ether(FRAME.1, FRAME.0))
        .becomes("198.51.100.7:80 > 216.28.123.99:1025");
    assert_eq!(header(&seen.bytes).0.flags, tcp_flags::ACK);
    let ack = seen.answer().to_vec();
    let exit = seen.decision.generated[0].exit;
    drop(seen);
    assert_eq!(
        tuple(&ack),
        format!("192.168.1.64:{port} > 198.51.100.7:80")
    );
    assert_eq!(header(&ack).0.ack, 901);
    let GeneratedExit::Onward {
        exit: Exit::Gateway {
            interface,
            next_hop,
        },
        ..
    } = exit
    else {
        panic!("{exit:?}");
    };
    assert_eq!((interface, next_hop), (lab.index("em0"), ip("192.168.0.1")));
    let states: Vec<_> = lab
        .states()
        .iter()
        .map(|state| (state.source.state, state.destination.state))
        .collect();
    assert_eq!(states, [(4, 4), (4, 4)]);
}

#[test]
fn frames_to_a_group_are_not_answered() {
    let mut lab = bridge(&[pass().inbound().on("em1").synproxy()]);
    let frame = EtherAddresses {
        source: mac(9),
        destination: [0xff; 6],
    };
    let syn = tcp(INSIDE, OUTSIDE, S, 100, 0, 0);
    let seen = lab
        .frame(In, "em1", syn, Some(frame))
        .drops(DropReason::Synproxy);
    assert_eq!(seen.decision.generated, []);
}
