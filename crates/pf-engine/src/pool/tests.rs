use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn pool(kind: PoolKind, targets: &[&str]) -> CompiledPool {
    let target = |text: &&str| {
        let (address, len) = text.split_once('/').unwrap_or((text, ""));
        let address = ip(address);
        let len = len.parse().unwrap_or(Family::of(address).bits());
        Target {
            interface: None,
            address: TargetAddress::prefix(Prefix::new(address, len).unwrap()),
            weight: 1,
        }
    };
    CompiledPool {
        targets: targets.iter().map(target).collect(),
        kind,
        sticky: false,
        static_port: false,
        endpoint_independent: false,
        port_set: None,
        prefer_ipv6_nexthop: false,
        ports: None,
    }
}

fn take(pool: &CompiledPool, cursor: &mut Cursor, source: &str) -> Option<String> {
    take_by(pool, cursor, source, &Loads::default())
}

fn owner() -> (RuleId, PoolUse) {
    (RuleId::from_number(0), PoolUse::Route)
}

fn take_by(
    pool: &CompiledPool,
    cursor: &mut Cursor,
    source: &str,
    loads: &Loads,
) -> Option<String> {
    let source = ip(source);
    let chooser = Chooser {
        pool,
        tables: &Tables::default(),
        net: &Net::default(),
        dead: &crate::hops::NO_DEAD_HOPS,
        loads,
        owner: owner(),
        family: Family::of(source),
        source,
        host_part: source,
    };
    let mut seed = u32::from(source.is_ipv6());
    let mut random = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        seed
    };
    let choice = chooser.choose(cursor, &mut random)?;
    assert!(chooser.offers(&choice), "{choice:?} is of the pool");
    choice.address.map(|address| address.to_string())
}

#[test]
fn round_robin_takes_each_address_of_each_block_in_turn() {
    let pool = pool(
        PoolKind::RoundRobin,
        &["192.0.2.8/31", "2001:db8::1", "192.0.2.20"],
    );
    let mut cursor = Cursor::default();
    let taken: Vec<String> = (0..4)
        .filter_map(|_| take(&pool, &mut cursor, "10.0.0.1"))
        .collect();
    assert_eq!(taken, ["192.0.2.8", "192.0.2.9", "192.0.2.20", "192.0.2.8"]);
}

#[test]
fn round_robin_survives_a_pool_that_became_smaller() {
    let mut cursor = Cursor {
        has_begun: true,
        block: 7,
        offset: 99,
        taken: 0,
    };
    let pool = pool(PoolKind::RoundRobin, &["192.0.2.1", "192.0.2.2"]);
    assert_eq!(
        take(&pool, &mut cursor, "10.0.0.1").as_deref(),
        Some("192.0.2.1")
    );
    let mut cursor = Cursor {
        has_begun: true,
        block: 0,
        offset: 99,
        taken: 0,
    };
    assert_eq!(
        take(&pool, &mut cursor, "10.0.0.1").as_deref(),
        Some("192.0.2.2")
    );
}

#[test]
fn round_robin_takes_an_address_as_often_as_its_weight_says() {
    let mut pool = pool(PoolKind::RoundRobin, &["192.0.2.1", "192.0.2.2"]);
    pool.targets[0].weight = 3;
    let mut cursor = Cursor::default();
    let taken: Vec<String> = (0..8)
        .filter_map(|_| take(&pool, &mut cursor, "10.0.0.1"))
        .map(|address| address.trim_start_matches("192.0.2.").to_owned())
        .collect();
    assert_eq!(taken, ["1", "1", "1", "2", "1", "1", "1", "2"]);
}

#[test]
fn least_states_takes_the_address_with_the_fewest_states_for_its_weight() {
    let mut pool = pool(
        PoolKind::LeastStates,
        &["192.0.2.1", "192.0.2.2", "192.0.2.3"],
    );
    pool.targets[0].weight = 2;
    let mut loads = Loads::default();
    let mut cursor = Cursor::default();
    let (rule, pool_use) = owner();
    let key = |address: &str| LoadKey {
        rule,
        pool: pool_use,
        choice: Choice {
            address: Some(ip(address)),
            interface: None,
        },
    };
    let mut counts = BTreeMap::new();
    for _ in 0..8 {
        let taken = take_by(&pool, &mut cursor, "10.0.0.1", &loads).unwrap();
        loads.refer(key(&taken));
        *counts.entry(taken).or_insert(0) += 1;
    }
    let counts: Vec<u32> = counts.into_values().collect();
    assert_eq!(counts, [4, 2, 2]);
    loads.release(&key("192.0.2.3"));
    let taken = take_by(&pool, &mut cursor, "10.0.0.1", &loads).unwrap();
    assert_eq!(taken, "192.0.2.3");
}

#[test]
fn bitmask_keeps_the_host_part() {
    let pool = pool(PoolKind::Bitmask, &["192.0.2.0/24"]);
    let taken = take(&pool, &mut Cursor::default(), "10.9.8.77");
    assert_eq!(taken.as_deref(), Some("192.0.2.77"));
}

#[test]
fn source_hash_gives_a_source_the_same_address_and_sources_different_ones() {
    let pool = pool(
        PoolKind::SourceHash { key: [1, 2, 3, 4] },
        &["192.0.2.0/28", "198.51.100.0/28"],
    );
    let of = |source: &str| take(&pool, &mut Cursor::default(), source).unwrap();
    assert_eq!(of("10.0.0.1"), of("10.0.0.1"));
    let all: std::collections::BTreeSet<String> =
        (1..100).map(|n| of(&format!("10.0.0.{n}"))).collect();
    assert!(all.len() > 20, "{all:?}");
}

#[test]
fn random_stays_in_the_pool() {
    let pool = pool(PoolKind::Random, &["2001:db8::/64", "2001:db8:1::1"]);
    assert!(take(&pool, &mut Cursor::default(), "2001:db8:9::9").is_some());
}

#[test]
fn a_pool_without_an_address_of_the_family_gives_none() {
    for kind in [
        PoolKind::Single,
        PoolKind::Bitmask,
        PoolKind::Random,
        PoolKind::RoundRobin,
        PoolKind::LeastStates,
        PoolKind::SourceHash { key: [0; 4] },
    ] {
        let pool = pool(kind, &["192.0.2.1"]);
        assert_eq!(take(&pool, &mut Cursor::default(), "2001:db8::1"), None);
    }
}
