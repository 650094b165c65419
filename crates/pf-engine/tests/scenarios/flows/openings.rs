//! Connections that the cache opens itself.

use pf_engine::rule::{Log, PortMatch, Rule, SourceTrack};
use pf_engine::ruleset::Limit;

use super::*;

const SERVER_80: (&str, u16) = ("192.0.2.80", 80);
const WAYS: [(Direction, &str); 2] = [(In, "em0"), (Out, "em1")];
const BACK: [(Direction, &str); 2] = [(In, "em1"), (Out, "em0")];

impl Twins {
    /// A packet through both hooks.
    fn through(&mut self, ways: [(Direction, &str); 2], bytes: &[u8]) -> bool {
        let mut passes = ways.into_iter();
        passes.all(|(direction, name)| self.packet(direction, name, bytes, 1).is_some())
    }

    fn syn(&mut self, client: (&str, u16)) -> bool {
        let bytes = tcp_with(client, SERVER_80, SYN, 100, 0, 0, &[3, 3, 7, 1]);
        self.through(WAYS, &bytes)
    }

    /// All of a connection but its SYN.
    fn rest(&mut self, client: (&str, u16)) {
        let scale = [3, 3, 7, 1];
        let there = |flags, seq, ack, data| tcp(client, SERVER_80, flags, seq, ack, data);
        let back = |flags, seq, ack, data| tcp(SERVER_80, client, flags, seq, ack, data);
        let answer = tcp_with(SERVER_80, client, SYN | ACK, 9000, 101, 0, &scale);
        assert!(self.through(BACK, &answer));
        for (ways, bytes) in [
            (WAYS, there(ACK, 101, 9001, 0)),
            (WAYS, there(ACK, 101, 9001, 1)),
            (BACK, back(ACK | FIN, 9001, 102, 1)),
            (WAYS, there(ACK | FIN, 102, 9003, 0)),
            (BACK, back(ACK, 9003, 103, 0)),
        ] {
            assert!(self.through(ways, &bytes));
        }
    }

    fn opened(&mut self) -> u64 {
        self.cached.engine.follow_flows();
        self.cached.engine.flow_statistics().opened
    }
}

fn client(port: u16) -> (&'static str, u16) {
    ("10.0.0.5", port)
}

/// Twins that have seen two connections, so that a third is opened by the cache.
fn acquainted(ruleset: &Ruleset) -> Twins {
    let mut twins = Twins::new(ruleset);
    for port in 1..=2 {
        assert!(twins.syn(client(port)));
        twins.rest(client(port));
    }
    twins
}

#[test]
fn of_connections_that_differ_in_their_port_alone_the_third_is_opened_by_the_cache() {
    let mut twins = acquainted(&filter(&[pass().keep()]));
    let decided = twins.decided();
    for port in 3..=50 {
        assert!(twins.syn(client(port)));
        twins.rest(client(port));
        if port % 3 == 0 {
            twins.compare();
        }
        if port % 2 == 0 {
            twins.cached.engine.follow_flows();
        }
    }
    assert_eq!(twins.decided(), decided, "none has come up");
    assert_eq!(twins.opened(), 96, "at both hooks");
    twins.compare();
    assert_eq!(twins.cached.engine.flow_statistics().held, 0);
}

#[test]
fn a_port_is_used_again_when_its_connection_is_over() {
    let mut twins = acquainted(&filter(&[pass().keep()]));
    let decided = twins.decided();
    for _ in 0..20 {
        assert!(twins.syn(client(3)));
        twins.rest(client(3));
        twins.cached.engine.follow_flows();
    }
    assert_eq!(twins.decided(), decided);
    assert_eq!(twins.opened(), 40);
    twins.compare();
}

#[test]
fn whoever_asks_first_finds_what_was_opened() {
    let looks: [fn(&mut Lab); 4] = [
        |lab| lab.engine.read_flows(),
        |lab| lab.engine.settle_flows(),
        |lab| lab.wait(1),
        |lab| {
            lab.engine.follow_flows();
        },
    ];
    for look in looks {
        let mut twins = acquainted(&filter(&[pass().keep()]));
        assert!(twins.syn(client(3)));
        assert_eq!(twins.model.untold(), 2);
        twins.both(look);
        assert_eq!(twins.model.untold(), 0);
        twins.compare();
        twins.rest(client(3));
        twins.compare();
    }
}

#[test]
fn what_has_passed_counts_although_it_is_told_too_late_for_its_flow_to_stay() {
    let mut twins = acquainted(&filter(&[pass().keep().label("all")]));
    twins.cached.engine.follow_flows();
    assert_eq!(twins.cached.engine.flow_statistics().held, 0);
    twins.model.tell_late(true);
    assert!(twins.syn(client(3)));
    twins.rest(client(3));
    twins.cached.engine.pause_flows();
    twins.model.tell_late(false);
    let decided = twins.decided();
    let again = tcp(client(3), SERVER_80, ACK, 103, 9003, 0);
    assert!(twins.through(WAYS, &again));
    assert_eq!(
        twins.decided(),
        decided + 2,
        "nothing passes by what it had"
    );
    twins.compare();
    twins.cached.engine.resume_flows();
    twins.compare();
}

#[test]
fn a_syn_that_meets_a_connection_comes_up() {
    let mut twins = acquainted(&filter(&[pass().keep()]));
    assert!(twins.syn(client(3)));
    twins.rest(client(3));
    let decided = twins.decided();
    // Of a connection that is over and known to be, none.
    twins.cached.engine.follow_flows();
    assert!(twins.syn(client(3)));
    assert_eq!(twins.decided(), decided);
    // Of one that begins, the same packet again.
    let again = tcp_with(client(3), SERVER_80, SYN, 100, 0, 0, &[3, 3, 7, 1]);
    twins.packet(In, "em0", &again, 1);
    assert!(twins.decided() > decided);
    twins.compare();
    // Now the engine alone knows it: the next ones come up too, for they might be its own.
    assert_eq!(twins.model.offers(), 1, "where it leaves");
    let decided = twins.decided();
    assert!(twins.syn(client(7)));
    assert_eq!(twins.decided(), decided + 1);
    twins.compare();
}

#[test]
fn connections_the_other_way_come_up() {
    let mut twins = acquainted(&filter(&[pass().keep()]));
    assert_eq!(twins.model.offers(), 2);
    let back = tcp(("192.0.2.80", 999), ("10.0.0.5", 25), SYN, 5, 0, 0);
    for _ in 0..3 {
        assert!(twins.through(BACK, &back));
    }
    assert_eq!(twins.model.offers(), 0);
    assert!(twins.syn(client(999)));
    twins.compare();
}

#[test]
fn rules_that_tell_openers_apart_have_each_syn_come_up() {
    let kept = |change: fn(&mut Rule)| filter(&[pass().keep().change(change)]);
    let beside = |change: fn(&mut Rule)| filter(&[block().change(change), pass().keep()]);
    for (name, ruleset) in [
        ("max", kept(|rule| rule.state_options.max = Some(1000))),
        (
            "source-track",
            kept(|rule| rule.state_options.source.track = Some(SourceTrack::Rule)),
        ),
        ("log", kept(|rule| rule.log = Some(Log::default()))),
        (
            "port",
            beside(|rule| rule.source.port = Some(PortMatch::Eq(4000))),
        ),
        (
            "tagged",
            beside(|rule| rule.tagged = Some((false, "seen".to_owned()))),
        ),
    ] {
        let mut twins = acquainted(&ruleset);
        let decided = twins.decided();
        assert!(twins.syn(client(3)));
        assert_eq!(twins.decided(), decided + 2, "{name}");
        assert_eq!(twins.model.offers(), 0, "{name}");
        twins.compare();
    }
}

#[test]
fn near_the_limit_of_states_none_are_opened() {
    let ruleset = filter(&[pass().keep()]);
    let mut twins = acquainted(&limit(ruleset, Limit::States, 60));
    let mut offered = false;
    for port in 3..=80 {
        twins.syn(client(port));
        twins.cached.engine.fill_flow_cache();
        offered |= twins.model.offers() > 0;
    }
    assert!(offered);
    assert_eq!(twins.model.offers(), 0);
    twins.compare();
}

#[test]
fn what_nobody_uses_is_not_offered_for_ever() {
    let mut twins = acquainted(&filter(&[pass().keep()]));
    twins.both(|lab| lab.wait(40));
    for port in 1..=2 {
        for (direction, name) in WAYS {
            let bytes = tcp(("10.0.0.6", port), SERVER_80, SYN, 5, 0, 0);
            twins.packet(direction, name, &bytes, 1);
        }
    }
    assert_eq!(twins.model.offers(), 2, "two went, two came");
    twins.compare();
}
