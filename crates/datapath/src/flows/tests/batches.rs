//! Many flows at once.

use std::time::Instant as Clock;

use super::*;

fn datagram(port: u16) -> Vec<u8> {
    let packet = build::udp(&ip((CLIENT.0, port), SERVER), port, 53, &[1; 9]);
    frame(&packet)
}

fn passes(bench: &mut Bench, port: u16) -> bool {
    bench.passes(Direction::In, &datagram(port), 0)
}

fn flows(ports: impl Iterator<Item = u16>) -> Vec<Flow> {
    ports.map(|port| datagrams(CLIENT.0, port)).collect()
}

fn keys(bench: &mut Bench) -> usize {
    bench.maps().flows.keys().count()
}

#[test]
fn what_is_put_together_is_told_each_for_itself() {
    let Some(mut bench) = Bench::new("together") else {
        return;
    };
    let put = bench.maps().put_all(&flows(1..71));
    let held: Vec<FlowId> = put.iter().copied().flatten().collect();
    assert_eq!((put.len(), held.len()), (70, 64), "there is no more room");
    assert!(put.iter().skip(64).all(Option::is_none));
    for port in [8, 41, 41] {
        assert!(passes(&mut bench, port));
    }
    assert!(!passes(&mut bench, 65));
    // Others than all, in another order, and with gaps between.
    let asked: Vec<FlowId> = [60, 40, 7, 3].map(|at| held[at]).into();
    let packets = |told: Vec<FlowProgress>| -> Vec<u64> {
        let first = told.iter().map(|progress| progress.counts[0].packets);
        first.collect()
    };
    assert_eq!(packets(bench.maps().read_all(&asked)), [0, 2, 1, 0]);
    assert!(passes(&mut bench, 4));
    assert_eq!(packets(bench.maps().take_all(&asked)), [0, 2, 1, 1]);
    for port in [4, 8, 41, 61] {
        assert!(!passes(&mut bench, port));
    }
    assert!(passes(&mut bench, 5), "the others stay");
    assert_eq!(keys(&mut bench), 60);
    assert_eq!(
        bench
            .maps()
            .put_all(&flows(100..105))
            .iter()
            .flatten()
            .count(),
        4
    );
}

#[test]
fn what_an_emptied_cache_leaves_goes_when_its_slots_are_used_again() {
    let Some(mut bench) = Bench::new("emptied") else {
        return;
    };
    let put = bench.maps().put_all(&flows(1..65));
    let held: Vec<FlowId> = put.into_iter().flatten().collect();
    assert!(passes(&mut bench, 1));
    bench.maps().suspend();
    let told = bench.maps().take_all(&held);
    assert_eq!(told[0].counts[0].packets, 1);
    assert!((1..65).all(|port| !passes(&mut bench, port)));
    // Half of the keys come again, in other slots than before: they must outlive those.
    let put = bench.maps().put_all(&flows((33..97).rev()));
    let held: Vec<FlowId> = put.into_iter().flatten().collect();
    assert_eq!(held.len(), 64);
    assert!((33..97).all(|port| passes(&mut bench, port)));
    assert!((1..33).all(|port| !passes(&mut bench, port)));
    assert_eq!(keys(&mut bench), 64);
    let told = bench.maps().take_all(&held);
    assert!(told.iter().all(|flow| flow.counts[0].packets == 1));
    assert_eq!(keys(&mut bench), 0);
}

#[test]
fn the_cache_takes_the_memory_that_is_stated() {
    const SLOTS: u32 = 32_768;
    let Some(mut bench) = Bench::with_slots("memory", SLOTS) else {
        return;
    };
    let memory = bench.maps().memory();
    let each = memory / u64::from(SLOTS);
    assert!((550..700).contains(&each), "{memory} bytes for {SLOTS}");
}

/// Prints what a million flows cost; nothing but time that may go wrong.
#[test]
#[ignore = "takes 600 MB and some seconds: for the figures of docs/performance.md"]
#[expect(clippy::disallowed_methods, reason = "it measures")]
fn a_million_flows_are_put_read_emptied_and_put_again() {
    const MANY: usize = 1_000_000;
    let slots = u32::try_from(MANY).expect("small") + FLOW_DECISIONS_MAX;
    let Some(mut bench) = Bench::with_slots("million", slots) else {
        return;
    };
    let flow = |at: usize| {
        let address = format!("10.1.{}.{}", at / 50_000 / 200, at / 50_000 % 200 + 1);
        datagrams(&address, u16::try_from(at % 50_000).expect("small"))
    };
    let flows: Vec<Flow> = (0..MANY).map(flow).collect();
    println!("{} bytes", bench.maps().memory());
    let mut held = Vec::new();
    for round in ["put", "put again"] {
        let begin = Clock::now();
        let put = bench.maps().put_all(&flows);
        held = put.into_iter().flatten().collect();
        println!("{round}: {:?}", begin.elapsed());
        assert_eq!(held.len(), MANY);
        let begin = Clock::now();
        let told = bench.maps().read_all(&held);
        println!("read: {:?}", begin.elapsed());
        assert_eq!(told.len(), MANY);
        let begin = Clock::now();
        bench.maps().read_all(&held[..4096]);
        println!("read 4096: {:?}", begin.elapsed());
        if round == "put" {
            let begin = Clock::now();
            bench.maps().suspend();
            bench.maps().take_all(&held);
            println!("emptied: {:?}", begin.elapsed());
        }
    }
    let begin = Clock::now();
    bench.maps().take_all(&held);
    println!("taken: {:?}", begin.elapsed());
}
