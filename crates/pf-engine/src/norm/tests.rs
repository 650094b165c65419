use std::net::IpAddr;
use std::time::Duration;

use super::{Outcome, Reassembler, ReassemblyOptions, fragment};
use crate::decision::Hook;
use crate::env::IfIndex;
use crate::rule::Direction;
use crate::time::Instant;
use crate::wire::Meta;
use crate::wire::build::{self, Ip};

const OPTIONS: ReassemblyOptions = ReassemblyOptions {
    limit: 5000,
    timeout: Duration::from_secs(30),
    no_df: false,
};

const HOOK: Hook = Hook {
    interface: IfIndex(1),
    direction: Direction::In,
};

fn ip(source: &str, destination: &str) -> Ip {
    let address = |s: &str| s.parse::<IpAddr>().unwrap();
    Ip::new(address(source), address(destination))
}

fn take(cache: &mut Reassembler, packet: &[u8]) -> Outcome {
    let meta = Meta::parse(packet).unwrap();
    assert!(meta.is_fragment());
    cache.handle_fragment(Instant::from_secs(1), HOOK, packet, &meta, &OPTIONS)
}

#[test]
fn a_cut_packet_is_put_together_again() {
    for ip in [ip("10.0.0.1", "10.0.0.2"), ip("2001:db8::1", "2001:db8::2")] {
        let packet = build::udp(&ip, 1, 2, &[7; 4000]);
        let meta = Meta::parse(&packet).unwrap();
        let mut cache = Reassembler::new();
        let pieces = fragment(&packet, &meta, 1280, 99).unwrap();
        assert_eq!(pieces.len(), 4);
        let mut outcomes = pieces.iter().rev().map(|piece| take(&mut cache, piece));
        assert_eq!(outcomes.next(), Some(Outcome::Held));
        let Some(Outcome::Complete(whole)) = outcomes.last() else {
            panic!("not complete");
        };
        assert_eq!(whole.bytes, packet);
        assert_eq!(cache.fragments(), 0);
    }
}
