use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::addr::Protocol;
use crate::engine::Cacheable;
use crate::names::Names;
use crate::view::HostPort;

fn key(source: u16, destination: u16) -> StateKey {
    let end = |port| HostPort {
        address: IpAddr::from([192, 0, 2, 1]),
        port,
    };
    StateKey {
        ends: [end(source), end(destination)],
        protocol: Protocol::UDP,
    }
}

fn state(id: u64, direction: Direction, bound: Option<NameId>) -> State {
    State {
        id: StateId(id),
        wire: key(1, 2),
        stack: key(1, 2),
        direction,
        bound,
        origin: bound.unwrap_or(NameId::UNKNOWN),
        rule: None,
        anchor: None,
        translation_rule: None,
        match_rules: Vec::new(),
        timeout: Timeout::UdpFirst,
        created: Instant::default(),
        refreshed: Instant::default(),
        source: Peer::default(),
        destination: Peer::default(),
        traffic: <[Count; 2]>::default(),
        sloppy: false,
        allow_options: false,
        logged: false,
        route: None,
        ether: None,
        way: None,
        tag: None,
        treatment: Treatment::NONE,
        owner: None,
        endpoint_independent: false,
        scrub: Scrub::NONE,
        norm: None,
        sources: Vec::new(),
        connected: false,
        limiters: Vec::new(),
        loads: Vec::new(),
        max_packet_size: None,
        membership: None,
        flow: Cacheable::default(),
    }
}

fn found(table: &StateTable, interface: NameId) -> Option<u64> {
    let slot = table.find(Direction::In, &key(1, 2), |state| state.covers(interface))?;
    table.get(slot).map(|state| state.id.0)
}

#[test]
fn states_with_one_key_are_found_by_interface_and_bound_ones_first() {
    let mut names = Names::default();
    let [em0, em1, em2] = ["em0", "em1", "em2"].map(|name| names.intern(name));
    let mut table = StateTable::new([1, 2]);
    let on_em0 = table.insert(state(2, Direction::In, Some(em0))).unwrap();
    let floating = table.insert(state(1, Direction::In, None)).unwrap();
    let on_em1 = table.insert(state(3, Direction::In, Some(em1))).unwrap();
    assert_eq!(
        [em0, em1, em2].map(|name| found(&table, name)),
        [Some(2), Some(3), Some(1)]
    );
    // From the middle, the end and the start of the chain.
    table.remove(on_em0);
    assert_eq!(
        [em0, em1].map(|name| found(&table, name)),
        [Some(1), Some(3)]
    );
    table.remove(floating);
    assert_eq!([em0, em1].map(|name| found(&table, name)), [None, Some(3)]);
    table.remove(on_em1);
    assert_eq!(found(&table, em1), None);
    assert!(table.first.iter().all(Index::is_empty));
    assert!(table.by_id.is_empty());
}

#[test]
fn the_same_key_direction_and_interface_stand_in_the_way() {
    let mut table = StateTable::new([1, 2]);
    let slot = table.insert(state(1, Direction::In, None)).unwrap();
    let new = state(2, Direction::In, None);
    assert_eq!(table.obstacles(&new, |_| false), Err(KeyTaken));
    assert_eq!(table.obstacles(&new, |_| true), Ok(vec![slot]));
    assert_eq!(
        table.obstacles(&state(2, Direction::Out, None), |_| false),
        Ok(vec![])
    );
    let elsewhere = Names::default().intern("em0");
    assert_eq!(
        table.obstacles(&state(2, Direction::In, Some(elsewhere)), |_| false),
        Ok(vec![])
    );
}

#[test]
fn states_are_walked_by_number_whatever_their_slots() {
    let mut table = StateTable::new([1, 2]);
    let first = table.insert(state(1, Direction::In, None)).unwrap();
    table.insert(state(2, Direction::In, None)).unwrap();
    table.remove(first);
    table.insert(state(3, Direction::In, None)).unwrap();
    let ids = |from| {
        table
            .iter_from(StateId(from))
            .map(|(_, s)| s.id.0)
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(0), [2, 3]);
    assert_eq!(ids(3), [3]);
}

#[test]
fn the_states_of_a_source_are_found_without_those_of_others() {
    let mut table = StateTable::new([1, 2]);
    let address = |last| IpAddr::from([10, 0, 0, last]);
    let mut slots = Vec::new();
    for (number, last) in (0u16..).zip([7, 8, 7]) {
        let mut state = state(u64::from(number), Direction::In, None);
        state.wire.ends[0] = HostPort {
            address: address(last),
            port: number,
        };
        slots.push(table.insert(state).unwrap());
    }
    let of = |table: &StateTable, source| -> Vec<u64> {
        let states = table.of_source(source, 0);
        states.map(|(_, state)| state.id.0).collect()
    };
    assert_eq!(of(&table, address(7)), [0, 2]);
    assert_eq!(of(&table, address(9)), []);
    let behind = IpAddr::from([192, 0, 2, 1]);
    assert_eq!(of(&table, behind), [0, 1, 2], "behind translation");
    table.remove(slots[0]);
    assert_eq!(
        (of(&table, address(7)), of(&table, behind)),
        (vec![2], vec![1, 2])
    );
}

/// The states of each interface by a walk over all.
fn walked(table: &StateTable) -> BTreeMap<Option<NameId>, usize> {
    let mut states = BTreeMap::<_, usize>::new();
    for (_, state) in table.iter_from(StateId(0)) {
        let count = states.entry(state.bound).or_default();
        *count = count.saturating_add(1);
    }
    states
}

proptest! {
    #[test]
    fn the_states_of_each_interface_are_counted_as_a_walk_would(
        steps in vec((0_u8..3, 0_usize..4, 0_u32..12), 0..120),
    ) {
        let mut names = Names::default();
        let names = [None, Some("em0"), Some("em1"), Some("em2")]
            .map(|name| name.map(|name| names.intern(name)));
        let mut table = StateTable::new([1, 2]);
        for (number, (step, name, slot)) in (1..).zip(steps) {
            let name = names[name];
            match (step, name) {
                (1, _) => drop(table.remove(slot)),
                (2, Some(name)) => table.bind(slot, name),
                _ => drop(table.insert(state(number, Direction::In, name))),
            }
            prop_assert_eq!(table.bound().collect::<BTreeMap<_, _>>(), walked(&table));
        }
    }
}
