//! Connections whose sequence numbers are moved, in a flow cache.

use pf_engine::addr::Protocol;
use pf_engine::wire::Meta;

use super::{ACK, CLIENT, FIN, SERVER, SYN, Twins};
use crate::scenarios::harness::*;

#[test]
fn of_a_modulated_connection_the_syn_and_its_answer_come_up() {
    let mut twins = Twins::new(&filter(&[pass().modulate()]));
    let send = |twins: &mut Twins, forward: bool, flags, (seq, ack), sack: &[u32]| {
        let (ends, hooks) = if forward {
            ((CLIENT, SERVER), ["em0", "em1"])
        } else {
            ((SERVER, CLIENT), ["em1", "em0"])
        };
        let mut options = Vec::new();
        if !sack.is_empty() {
            options.extend([1, 1, 5, u8::try_from(2 + 4 * sack.len()).unwrap()]);
            options.extend(sack.iter().flat_map(|edge| edge.to_be_bytes()));
        }
        let sent = tcp_with(ends.0, ends.1, flags, seq, ack, 0, &options);
        let entered = twins.packet(In, hooks[0], &sent, 1).unwrap();
        let left = twins.packet(Out, hooks[1], &entered, 1).unwrap();
        twins.compare();
        *Meta::parse(&left).unwrap().tcp().unwrap()
    };
    let syn = send(&mut twins, true, SYN, (100, 0), &[]);
    let client = syn.seq.wrapping_sub(100);
    let ours = |number: u32| number.wrapping_add(client);
    let answer = send(&mut twins, false, SYN | ACK, (9000, ours(101)), &[]);
    assert_eq!(answer.ack, 101);
    let server = answer.seq.wrapping_sub(9000);
    let theirs = |number: u32| number.wrapping_add(server);
    assert!(client != 0 && server != 0);
    assert_eq!(twins.decided(), 4, "twice at each hook");
    let ack = send(&mut twins, true, ACK, (101, theirs(9001)), &[]);
    assert_eq!((ack.seq, ack.ack), (ours(101), 9001));
    let hole = [theirs(9401), theirs(9801)];
    let hole = send(&mut twins, true, ACK, (101, theirs(9001)), &hole);
    assert_eq!(hole.ack, 9001);
    send(&mut twins, false, ACK | FIN, (9001, ours(101)), &[]);
    send(&mut twins, true, ACK | FIN, (101, theirs(9002)), &[]);
    send(&mut twins, false, ACK, (9002, ours(102)), &[]);
    assert_eq!((twins.decided(), twins.modulated()), (4, 10));
    twins.cached.engine.follow_flows();
    assert_eq!(twins.cached.engine.flow_statistics().held, 0, "it is over");
}

#[test]
fn what_the_proxy_has_joined_is_in_the_cache() {
    let rule = pass().inbound().on("em0").proto(Protocol::TCP);
    let mut twins = Twins::new(&filter(&[block(), rule.flags_s_sa().synproxy()]));
    let mut send = |forward: bool, flags, (seq, ack): (u32, u32), data| {
        let (ends, direction) = if forward {
            ((CLIENT, SERVER), In)
        } else {
            ((SERVER, CLIENT), Out)
        };
        let bytes = tcp(ends.0, ends.1, flags, seq, ack, data);
        let passed = twins.packet(direction, "em0", &bytes, 1);
        twins.cached.engine.fill_flow_cache();
        twins.compare();
        let told = twins.plain.state(1).source.seq_hi;
        (passed, told, twins.modulated())
    };
    let (_, told, _) = send(true, SYN, (100, 0), 0);
    let ours = told.wrapping_add(1);
    let (call, ..) = send(true, ACK, (101, ours), 0);
    let call = *Meta::parse(&call.unwrap()).unwrap().tcp().unwrap();
    assert_eq!(call.flags, SYN);
    let theirs = call.seq.wrapping_add(1);
    assert!(send(false, SYN | ACK, (9000, theirs), 0).0.is_some());
    let mut by_cache = 0;
    for at in 0..12 {
        let forward = at * 10;
        let (data, ..) = send(true, ACK, (101 + forward, ours.wrapping_add(forward)), 10);
        let data = *Meta::parse(&data.unwrap()).unwrap().tcp().unwrap();
        let seen = (theirs.wrapping_add(forward), 9001 + forward);
        assert_eq!((data.seq, data.ack), seen);
        let numbers = (9001 + forward, theirs.wrapping_add(forward + 10));
        let (passed, _, modulated) = send(false, ACK, numbers, 10);
        assert!(passed.is_some());
        by_cache = modulated;
    }
    assert!(by_cache > 10, "{by_cache}");
}
