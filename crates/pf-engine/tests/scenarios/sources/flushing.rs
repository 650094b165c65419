//! `overload … flush` of a source with very many states.

use pf_engine::engine::{FLOW_BEGINS_AT, FLUSHED_AT_ONCE};

use super::super::flows::Twins;
use super::*;

const BAD: &str = "10.0.0.9";
/// two pieces and a half.
const STATES: u16 = 1300;

fn question(host: &str, port: u16) -> Vec<u8> {
    udp((host, port), (SERVER.0, 53), 1)
}

/// A box where one source has very many states, and another has five.
fn crowded(flush: Flush) -> Lab {
    let mut lab = Lab::router(connections(None, Some((2, 10)), Some(flush)));
    for port in 1..=STATES {
        let _ = lab.packet(In, "em0", question(BAD, port)).passes();
    }
    for port in 1..=5 {
        let _ = lab.packet(In, "em0", question("10.0.0.8", port)).passes();
    }
    lab
}

/// The source connects too often.
fn overloads(lab: &mut Lab, host: &str, port: u16) {
    for port in port..=port + 1 {
        let _ = connect(lab, host, port).passes();
    }
    let _ = connect(lab, host, port + 2).drops(DropReason::SrcLimit);
}

fn forgive(lab: &mut Lab, host: &str) {
    let entry = pf_engine::ruleset::TableEntry {
        prefix: prefix(host),
        negated: false,
    };
    assert_eq!(lab.engine.table_delete("bad", &[entry]), Ok(1));
}

/// Goes on to the end; how many pieces it took.
fn finish(lab: &mut Lab) -> usize {
    let mut pieces = 0;
    while lab.engine.poll_timeout().is_some_and(|at| at <= lab.now) {
        let before = lab.engine.state_count();
        lab.engine.handle_timeout(lab.now);
        assert!(before - lab.engine.state_count() <= FLUSHED_AT_ONCE);
        pieces += 1;
    }
    pieces
}

#[test]
fn no_packet_ends_more_states_than_a_piece_and_those_of_others_stay() {
    for flush in [Flush::Rule, Flush::Global] {
        let mut lab = crowded(flush);
        let before = lab.engine.state_count();
        overloads(&mut lab, BAD, 5000);
        // Three connections more, one of which goes anyway.
        let ended = before + 3 - lab.engine.state_count();
        assert!(
            (FLUSHED_AT_ONCE..=FLUSHED_AT_ONCE + 1).contains(&ended),
            "{ended}"
        );
        assert_eq!(finish(&mut lab), 2);
        assert_eq!(lab.engine.state_count(), 5);
        let left = lab.engine.states(lab.now);
        assert!(
            left.into_iter()
                .all(|state| state.wire[0].address == ip("10.0.0.8"))
        );
        assert_eq!(
            lab.engine.sources(lab.now).filter(|n| n.states > 0).count(),
            1
        );
    }
}

#[test]
fn a_state_that_was_not_reached_yet_is_over_for_its_packets() {
    let mut lab = crowded(Flush::Rule);
    overloads(&mut lab, BAD, 5000);
    let before = lab.engine.state_count();
    let _ = lab
        .packet(In, "em0", question(BAD, STATES))
        .drops(DropReason::Match)
        .counts(
            "filter 0 evaluations 1
             filter 0 in 1/29
             filter 1 states -1
             reason match 1
             removals 1
             searches 1
             table bad in-block 1/29
             table bad match 1",
        );
    let answer = udp((SERVER.0, 53), (BAD, STATES - 1), 1);
    let made = lab.engine.status().inserts;
    let _ = lab.packet(Out, "em0", answer).passes();
    assert_eq!(lab.engine.status().inserts, made, "the implicit pass");
    assert_eq!(lab.engine.state_count(), before - 2);
    assert_eq!(finish(&mut lab), 2);
    assert_eq!(lab.engine.state_count(), 5);
}

#[test]
fn states_that_are_made_meanwhile_stay_and_another_ruleset_changes_nothing_for_those_before() {
    let mut lab = crowded(Flush::Rule);
    overloads(&mut lab, BAD, 5000);
    lab.load(filter(&[pass().keep().label("new")]));
    let first = lab.engine.states(lab.now).last().map(|state| state.id.0);
    // In the place of one that had ended, of one that had not, and one more.
    for port in [1, STATES, 3000] {
        let _ = lab.packet(In, "em0", question(BAD, port)).passes();
    }
    finish(&mut lab);
    let of_bad = lab.engine.states(lab.now);
    let of_bad = of_bad.filter(|state| state.wire[0].address == ip(BAD));
    let numbers: Vec<u64> = of_bad.map(|state| state.id.0).collect();
    assert_eq!(numbers.len(), 3);
    assert!(numbers.iter().all(|id| Some(*id) > first), "{numbers:?}");
    assert_eq!(lab.engine.state_count(), 8);
}

#[test]
fn a_source_that_overloads_again_and_another_one_have_their_turn_too() {
    let mut lab = crowded(Flush::Rule);
    for port in 1..=700 {
        let _ = lab.packet(In, "em0", question("10.0.0.7", port)).passes();
    }
    overloads(&mut lab, BAD, 5000);
    overloads(&mut lab, "10.0.0.7", 5000);
    forgive(&mut lab, BAD);
    lab.skip_time(11);
    for port in 4000..4003 {
        let _ = lab.packet(In, "em0", question(BAD, port)).passes();
    }
    overloads(&mut lab, BAD, 6000);
    lab.engine
        .kill_states(&KillStates::Id(StateId(1000), None).into());
    finish(&mut lab);
    assert_eq!(lab.engine.state_count(), 5);
}

#[test]
fn none_of_them_is_left_in_the_flow_cache() {
    let mut twins = Twins::new(&connections(None, Some((2, 10)), Some(Flush::Global)));
    for port in 1..=STATES {
        twins.packet(In, "em0", &question(BAD, port), 1);
    }
    let late = || STATES - 8..=STATES;
    for port in late() {
        for _ in 1..FLOW_BEGINS_AT {
            twins.packet(In, "em0", &question(BAD, port), 1);
        }
    }
    twins.cached.engine.fill_flow_cache();
    let passed = twins.passed();
    for port in late() {
        assert!(twins.packet(In, "em0", &question(BAD, port), 1).is_some());
    }
    assert_eq!(twins.passed(), passed + 9);
    for port in 5000..5003 {
        let client = (BAD, port);
        twins.packet(In, "em0", &syn(BAD, port), 1);
        twins.packet(Out, "em0", &tcp(SERVER, client, SA, 1000, 2, 0), 1);
        twins.packet(In, "em0", &tcp(client, SERVER, A, 2, 1001, 0), 1);
    }
    let passed = twins.passed();
    for port in late().rev() {
        assert!(twins.packet(In, "em0", &question(BAD, port), 1).is_none());
    }
    assert_eq!(twins.passed(), passed);
    twins.both(|lab| {
        finish(lab);
    });
    assert_eq!(twins.cached.engine.state_count(), 0);
    twins.compare();
}
