//! The states of a next hop that failed are looked at in pieces; for packets it is as if all had been
//! done at once.

use std::collections::BTreeSet;

use pf_engine::decision::{Decision, Packet};
use pf_engine::engine::KillFilter;
use pf_engine::view::StateView;

use super::super::talks::Dice;
use super::*;

const PIECE: usize = 16;
const STATES: u16 = 100;

fn two_lines() -> Ruleset {
    let mut ruleset = filter(&[
        balanced(PoolKind::RoundRobin, false, &[ONE, TWO]),
        pass().outbound().keep().to("203.0.113.0/24"),
    ]);
    ruleset.options.state_policy = StatePolicy::IfBound;
    ruleset
}

/// A box with states at both lines, of which the first has failed.
fn failing(policy: OnFailure) -> Lab {
    let mut lab = lab(two_lines());
    for number in 0..STATES {
        let _ = hop(&mut lab, client(number));
    }
    lab.dies(ONE);
    lab.begins(ONE, policy);
    lab
}

/// The states that are routed to a next hop.
fn routed_to(lab: &Lab, (_, address): (&str, &str)) -> BTreeSet<u64> {
    let is_there = |state: &StateView<'_>| state.route.is_some_and(|(_, to, _)| to == ip(address));
    let states = lab.engine.states(lab.now).filter(is_there);
    states.map(|state| state.id.0).collect()
}

impl Lab {
    fn begins(&mut self, (interface, address): (&str, &str), policy: OnFailure) {
        self.engine.begin_vacating(interface, ip(address), policy);
    }

    fn goes_on(&mut self) -> (Vec<Reset>, Option<Vacated>) {
        self.engine.go_on_vacating(PIECE, &mut self.env)
    }

    /// To the end of all that was begun.
    fn finishes(&mut self) -> Vec<Vacated> {
        let mut all = Vec::new();
        while self.engine.is_vacating() {
            all.extend(self.goes_on().1);
        }
        all
    }
}

#[test]
fn one_piece_looks_at_so_many_states_and_no_more() {
    let mut lab = failing(OnFailure::Move);
    assert_eq!(routed_to(&lab, ONE).len(), 50);
    let (mut pieces, mut done) = (0, None);
    while done.is_none() {
        let before = routed_to(&lab, ONE);
        done = lab.goes_on().1;
        pieces += 1;
        let moved: BTreeSet<u64> = &before - &routed_to(&lab, ONE);
        let last = moved.last().copied().unwrap_or_default();
        assert!(
            moved.len() <= PIECE && last <= (pieces * PIECE) as u64,
            "{moved:?}"
        );
    }
    // The last is the one that finds that there are no more.
    assert_eq!(pieces, usize::from(STATES) / PIECE + 1);
    assert_eq!(done, Some(vacated(50, 0, 0)));
    assert!(!lab.engine.is_vacating() && routed_to(&lab, ONE).is_empty());
    assert_eq!(lab.goes_on(), (vec![], None));
}

#[test]
fn a_state_that_was_not_reached_yet_moves_when_its_packet_comes() {
    let mut lab = failing(OnFailure::Move);
    assert_eq!(lab.goes_on().1, None);
    let reached = |number: u16| usize::from(number) < PIECE;
    for number in [0, 1, 60, 61, 98] {
        let is_of_one = number % 2 == 0;
        let before = routed_to(&lab, ONE).len();
        assert_eq!(hop(&mut lab, client(number)), TWO.1);
        let moves = usize::from(is_of_one && !reached(number));
        assert_eq!(before - routed_to(&lab, ONE).len(), moves, "{number}");
    }
    // What comes back over the line that failed meets the state as it is now.
    let answer = udp(SERVER, client(70), 1);
    let _ = lab.packet(In, "em1", answer);
    assert_eq!(hop(&mut lab, client(70)), TWO.1);
    assert_eq!(lab.finishes(), [vacated(50, 0, 0)], "each once");
}

#[test]
fn a_packet_of_a_state_that_is_to_be_killed_meets_the_rules_and_its_opener_is_told() {
    let mut lab = lab(filter(&[
        balanced(PoolKind::RoundRobin, false, &[ONE, TWO]).flags_s_sa(),
        block()
            .proto(pf_engine::addr::Protocol::TCP)
            .inbound()
            .on("em0"),
        balanced(PoolKind::RoundRobin, false, &[ONE, TWO]).flags_s_sa(),
    ]));
    let frame = Some(ether(9, 1));
    for number in 0..STATES {
        let _ = lab.frame(In, "em0", tcp(client(number), SERVER, S, 1, 0, 0), frame);
    }
    let of_one = routed_to(&lab, ONE).len();
    lab.dies(ONE);
    lab.begins(ONE, OnFailure::Kill);
    let (resets, _) = lab.goes_on();
    assert_eq!(resets.len(), of_one - routed_to(&lab, ONE).len());
    let met = client(98);
    let _ = lab
        .frame(In, "em0", tcp(met, SERVER, A, 2, 1, 0), frame)
        .drops(DropReason::Match);
    let (resets, _) = lab.goes_on();
    let told = resets.iter().filter(|reset| {
        tuple(&reset.bytes) == format!("{}:{} > {}:{}", SERVER.0, SERVER.1, met.0, met.1)
    });
    assert_eq!(told.count(), 1);
    let all = lab.finishes();
    assert_eq!(all, [vacated(0, of_one, 0)]);
    assert!(routed_to(&lab, ONE).is_empty());
}

#[test]
fn a_state_that_went_meanwhile_is_not_looked_at_and_one_in_its_place_is_left_alone() {
    let mut lab = failing(OnFailure::Move);
    let _ = lab.goes_on();
    let filter = KillFilter::from(KillStates::Hosts(prefix("10.0.0.9"), None));
    let mut killing = lab.engine.begin_killing(filter);
    assert!(lab.engine.go_on_killing(&mut killing, 60), "there are more");
    // Its slot is another's now.
    assert_eq!(hop(&mut lab, client(200)), TWO.1);
    assert_eq!(lab.finishes(), [vacated(8 + 20, 0, 0)]);
    assert_eq!(lab.engine.state_count(), 41);
}

#[test]
fn another_that_fails_meanwhile_has_its_turn_behind_the_first() {
    let mut lab = lab(filter(&[balanced(
        PoolKind::RoundRobin,
        false,
        &[ONE, TWO, THREE],
    )]));
    for number in 0..99 {
        let _ = hop(&mut lab, client(number));
    }
    lab.dies(ONE);
    lab.begins(ONE, OnFailure::Move);
    let _ = lab.goes_on();
    lab.dies(TWO);
    lab.begins(TWO, OnFailure::Move);
    // Of the first line, of the second, and of the third.
    for number in [60, 61, 62] {
        assert_eq!(hop(&mut lab, client(number)), THREE.1);
    }
    let all = lab.finishes();
    let [first, second] = &all[..] else {
        panic!("{all:?}");
    };
    assert_eq!((first.moved, first.killed, first.kept), (33, 0, 0));
    assert!(second.moved >= 33 && second.kept == 0, "{second:?}");
    assert_eq!(routed_to(&lab, THREE).len(), 99);
}

#[test]
fn what_is_left_stays_where_it_is_when_the_next_hop_works_again() {
    let mut lab = failing(OnFailure::Kill);
    let _ = lab.goes_on();
    lab.returns(ONE);
    assert_eq!(hop(&mut lab, client(60)), ONE.1);
    assert_eq!(lab.finishes(), [vacated(0, 8, 0)]);
    assert_eq!(lab.engine.state_count(), usize::from(STATES) - 8);
    // It fails once more.
    lab.dies(ONE);
    lab.begins(ONE, OnFailure::Kill);
    lab.begins(ONE, OnFailure::Kill);
    assert_eq!(lab.finishes(), [vacated(0, 42, 0), vacated(0, 0, 0)]);
}

#[test]
fn rules_that_are_loaded_meanwhile_leave_the_rest_within_their_own_pools() {
    let mut ruleset = filter(&[balanced(
        PoolKind::RoundRobin,
        false,
        &[("em1", "<lines>"), THREE],
    )]);
    ruleset
        .tables
        .insert("lines".to_owned(), table(true, &[ONE.1]));
    let mut lab = lab(ruleset);
    for number in 0..STATES {
        let _ = hop(&mut lab, client(number));
    }
    lab.dies(ONE);
    lab.begins(ONE, OnFailure::Move);
    let _ = lab.goes_on();
    lab.load(filter(&[balanced(
        PoolKind::RoundRobin,
        false,
        &[ONE, TWO],
    )]));
    assert_eq!(hop(&mut lab, client(60)), THREE.1);
    assert_eq!(hop(&mut lab, client(300)), TWO.1);
    assert_eq!(lab.finishes(), [vacated(50, 0, 0)]);
    assert_eq!(routed_to(&lab, THREE).len(), 100);
}

/// A packet of one of the connections, either way.
fn drawn(dice: &mut Dice) -> (pf_engine::rule::Direction, &'static str, Vec<u8>) {
    let number = u16::try_from(dice.below(u64::from(STATES) + 20)).unwrap();
    let to = client(number);
    let is_tcp = number % 3 == 0;
    match dice.below(4) {
        0 if is_tcp => (In, "em1", tcp(SERVER, to, SA, 900, 2, 0)),
        0 => (In, "em1", udp(SERVER, to, 3)),
        1 if is_tcp => (In, "em0", tcp(to, SERVER, A, 2, 901, 0)),
        _ if is_tcp => (In, "em0", tcp(to, SERVER, S, 1, 0, 0)),
        _ => (In, "em0", udp(to, SERVER, 4)),
    }
}

fn decided(
    lab: &mut Lab,
    (direction, name, bytes): &(pf_engine::rule::Direction, &str, Vec<u8>),
) -> (Decision, Vec<u8>) {
    let packet = Packet {
        bytes: bytes.clone(),
        ether: Some(ether(9, 1)),
        ..Packet::default()
    };
    let seen = lab.whole_packet(*direction, name, packet);
    (seen.decision.clone(), seen.bytes.clone())
}

fn everything(lab: &Lab) -> Vec<String> {
    let states = lab.engine.states(lab.now);
    states.map(|state| format!("{state:?}")).collect()
}

#[test]
fn packets_see_no_difference_between_all_at_once_and_pieces() {
    let (mut moved, mut killed) = (0, 0);
    for seed in 1..=12 {
        let mut dice = Dice(seed);
        let mut ruleset = two_lines();
        if seed % 3 == 0 {
            ruleset.nat = vec![nat("em1", "192.0.2.1")];
        }
        if seed % 4 == 0 {
            ruleset.options.state_policy = StatePolicy::Floating;
        }
        let policy = [OnFailure::Move, OnFailure::Kill][usize::from(seed % 5 == 0)];
        let mut labs = [lab(ruleset.clone()), lab(ruleset)];
        for _ in 0..250 {
            let packet = drawn(&mut dice);
            let [one, other] = labs.each_mut().map(|lab| decided(lab, &packet));
            assert_eq!(one, other);
        }
        let [at_once, pieces] = &mut labs;
        at_once.dies(ONE);
        pieces.dies(ONE);
        let mut wanted = at_once.vacate(ONE, policy);
        pieces.begins(ONE, policy);
        let (mut resets, mut done) = (Vec::new(), None);
        while done.is_none() {
            let (sent, finished) = pieces.engine.go_on_vacating(7, &mut pieces.env);
            (resets, done) = ([resets, sent].concat(), finished);
            for _ in 0..dice.below(12) {
                let packet = drawn(&mut dice);
                assert_eq!(
                    decided(at_once, &packet),
                    decided(pieces, &packet),
                    "{seed}: {packet:?}"
                );
            }
        }
        let by_bytes = |resets: &mut Vec<Reset>| resets.sort_by(|a, b| a.bytes.cmp(&b.bytes));
        by_bytes(&mut resets);
        by_bytes(&mut wanted.resets);
        assert_eq!(
            done.map(|done| Vacated { resets, ..done }).as_ref(),
            Some(&wanted)
        );
        assert_eq!(everything(at_once), everything(pieces));
        moved += wanted.moved;
        killed += wanted.killed;
    }
    assert!(moved > 100 && killed > 100, "{moved} and {killed}");
}
