//! The pf.conf of "Stupid Bridge Tricks #1", as it was printed, in the dialect of its day.

use pf_conf::{LoadOptions, Loaded, MemoryFiles, PrintOptions, load, print_rule, told};
use pf_engine::env::{IfIndex, Interface, InterfaceAddress};
use pf_engine::rule::{Rule, StateMode};
use pf_engine::ruleset::{Dialect, Parts};

const ARTICLE: &str = include_str!("../../lab/article/pf.conf");

fn interface(index: u32, name: &str, addresses: &[(&str, u8)]) -> Interface {
    Interface {
        addresses: addresses
            .iter()
            .map(|(address, prefix_len)| {
                InterfaceAddress::new(address.parse().expect("an address"), *prefix_len)
            })
            .collect(),
        ..Interface::new(IfIndex(index), name)
    }
}

fn article(dsl_enable: &str, dialect: Dialect) -> Loaded {
    let text = ARTICLE.replace(
        "dsl_enable = \"#\"",
        &format!("dsl_enable = \"{dsl_enable}\""),
    );
    let options = LoadOptions {
        dialect,
        interfaces: vec![
            interface(1, "fxp0", &[("216.123.123.123", 22)]),
            interface(2, "em1", &[]),
            // An IPv6 link-local address must not disturb a rule that routes to an IPv4 gateway.
            interface(3, "em0", &[("192.168.1.64", 16), ("fe80::1", 64)]),
        ],
        ..LoadOptions::default()
    };
    load(
        "pf.conf",
        text.as_bytes(),
        &mut MemoryFiles::default(),
        &options,
    )
    .unwrap_or_else(|errors| panic!("{errors}"))
}

fn printed(rules: &[Rule], dialect: Dialect) -> Vec<String> {
    let options = PrintOptions {
        dialect,
        ..PrintOptions::default()
    };
    rules.iter().map(|rule| print_rule(rule, options)).collect()
}

#[test]
fn dsl_off_leaves_the_local_rules_and_modulation() {
    let loaded = article("#", Dialect::OpenBsd3);
    assert_eq!(loaded.ruleset.nat, []);
    assert_eq!(
        printed(&loaded.ruleset.filter, Dialect::OpenBsd3),
        [
            "pass quick on fxp0 from <localnet> to <localnet>",
            "pass quick on em1 from <localnet> to <localnet>",
            "pass on fxp0 all modulate state",
        ]
    );
}

#[test]
fn dsl_on_multiplies_hosts_and_ports() {
    let loaded = article("", Dialect::OpenBsd3);
    assert_eq!(loaded.ruleset.nat.len(), 5 * 5);
    assert_eq!(loaded.ruleset.filter.len(), 2 + 2 * 5 * 5 + 2 * 5 + 1);
    let nat = printed(&loaded.ruleset.nat, Dialect::OpenBsd3);
    assert_eq!(
        nat[0],
        "nat on em0 inet from 216.28.123.34 to any port = ssh -> (em0) round-robin"
    );
    let filter = printed(&loaded.ruleset.filter, Dialect::OpenBsd3);
    assert_eq!(
        filter[2],
        "pass in quick on em1 route-to (em0 192.168.0.1) inet proto tcp from 216.28.123.34 \
         to ! <localnet> port = ssh modulate state label \"DSL-1 216.28.123.34:22\""
    );
    assert_eq!(
        filter[2 + 50],
        "pass out quick on fxp0 route-to (em0 192.168.0.1) inet proto tcp from 192.168.1.64 \
         to any port = ssh modulate state label \"DSL-2 192.168.1.64:22\""
    );
}

#[test]
fn labels_name_the_machine_and_the_port() {
    let loaded = article("", Dialect::OpenBsd3);
    let labels: Vec<&str> = loaded
        .ruleset
        .filter
        .iter()
        .flat_map(|rule| rule.labels.iter().map(String::as_str))
        .collect();
    assert_eq!(labels.len(), 50 + 10);
    assert!(labels.contains(&"DSL-1 216.28.123.99:80"), "{labels:?}");
    assert!(labels.contains(&"DSL-2 192.168.1.64:443"), "{labels:?}");
}

#[test]
fn local_traffic_is_stateless_before_openbsd_4_1_and_stateful_since() {
    let old = article("#", Dialect::OpenBsd3);
    assert_eq!(old.ruleset.filter[0].state, StateMode::None);
    assert_eq!(old.ruleset.filter[0].flags, None);
    let new = article("#", Dialect::FreeBsd);
    assert_eq!(
        printed(&new.ruleset.filter, Dialect::FreeBsd)[0],
        "pass quick on fxp0 from <localnet> to <localnet> flags S/SA keep state"
    );
}

#[test]
fn nothing_is_printed_in_the_old_dialect_that_the_text_did_not_say() {
    let loaded = article("", Dialect::OpenBsd3);
    let text = printed(&loaded.ruleset.filter, Dialect::OpenBsd3).join("\n");
    assert!(!text.contains("flags"), "{text}");
    assert!(!text.contains("no state"), "{text}");
    // Modulation is for TCP; the UDP half of a rule keeps plain state.
    let udp = text.lines().find(|line| line.contains("proto udp"));
    assert!(
        udp.is_some_and(|line| line.contains("keep state")),
        "{text}"
    );
}

#[test]
fn the_macros_and_the_table_are_echoed() {
    let loaded = article("#", Dialect::OpenBsd3);
    let echo: Vec<&str> = told(&loaded.echo, Parts::ALL).collect();
    assert_eq!(echo[0], "ext_if1 = \"fxp0\"");
    assert_eq!(
        echo[4],
        "table <localnet> persist { 216.28.123.0/24 216.28.124.0/24 216.28.125.0/24 \
         216.29.126.0/24 }"
    );
    assert_eq!(echo[5], "dsl_enable = \"#\"");
}

#[test]
fn a_definition_on_the_command_line_wins() {
    let options = LoadOptions {
        dialect: Dialect::OpenBsd3,
        defines: vec![("dsl_enable".to_owned(), String::new())],
        interfaces: vec![interface(3, "em0", &[("192.168.1.64", 16)])],
        ..LoadOptions::default()
    };
    let loaded = load(
        "pf.conf",
        ARTICLE.as_bytes(),
        &mut MemoryFiles::default(),
        &options,
    )
    .unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.ruleset.nat.len(), 25);
}
