//! Shares of what comes up.

use std::num::NonZeroU32;

use aya::maps::PerCpuArray;

use super::*;
use crate::program::{Counter, UPCALL_SHARES};
use crate::shares::{SharesData, UpcallShares};

impl Bench {
    fn bound(&mut self, source: u32, interface: u32) {
        let shares = UpcallShares {
            source: NonZeroU32::new(source),
            interface: NonZeroU32::new(interface),
        };
        let map = self.ebpf.map_mut(UPCALL_SHARES).expect("a map");
        let mut map: Array<_, SharesData> = map.try_into().expect("an array");
        map.set(0, shares.data(), 0).expect("sets");
    }

    /// How many of so many packets come up.
    fn come_up(&mut self, direction: Direction, from: &str, packets: usize) -> usize {
        let to = if from.contains(':') {
            "2001:db8::80"
        } else {
            SERVER.0
        };
        let packet = build::udp(&ip((from, 0), (to, 0)), 7, 9, &[]);
        let all = (0..packets).map(|_| self.run(direction, &frame(&packet), 0));
        all.filter(|done| *done == Done::ComesUp).count()
    }

    fn held_back(&self) -> u64 {
        let map = self.ebpf.map("counters").expect("a map");
        let map: PerCpuArray<_, u64> = map.try_into().expect("an array");
        let values = map.get(&(Counter::HeldBack as u32), 0).expect("a value");
        values.iter().sum()
    }
}

#[test]
fn a_source_that_has_had_its_share_is_held_back_and_the_others_are_not() {
    let Some(mut bench) = Bench::new("shares of sources") else {
        return;
    };
    assert_eq!(bench.come_up(Direction::In, "10.0.0.5", 300), 300);
    bench.bound(1, 0);
    // So many may come at once, and one is due.
    assert_eq!(bench.come_up(Direction::In, "10.0.0.5", 200), 129);
    assert_eq!(bench.held_back(), 71);
    assert_eq!(bench.come_up(Direction::In, "10.0.0.6", 100), 100);
    assert_eq!(bench.come_up(Direction::In, "2001:db8:0:5::1", 100), 100);
    let neighbour = bench.come_up(Direction::In, "2001:db8:0:5::2", 100);
    assert_eq!(neighbour, 29, "one network is one source");
    assert_eq!(bench.come_up(Direction::In, "2001:db8:0:6::1", 100), 100);
    let own = bench.come_up(Direction::Out, "10.0.0.5", 200);
    assert_eq!(own, 200, "the box's own");
    // The cache may have let in what comes up where it leaves.
    bench.came_by = LOOPBACK;
    let leaves = bench.come_up(Direction::Out, "10.0.0.7", 200);
    assert_eq!(leaves, 129);
    assert_eq!(bench.come_up(Direction::Out, "10.0.0.8", 100), 100);
    bench.bound(0, 0);
    assert_eq!(bench.come_up(Direction::In, "10.0.0.5", 200), 200);
}

#[test]
fn many_sources_share_what_their_interface_has() {
    let Some(mut bench) = Bench::new("shares of interfaces") else {
        return;
    };
    bench.bound(1, 1);
    let sources = (0..20).map(|last| format!("10.0.1.{last}"));
    let come_up = sources.map(|from| bench.come_up(Direction::In, &from, 100));
    assert_eq!(come_up.sum::<usize>(), 513);
}
