//! `log` and what is in its parentheses.

use pf_conf::{LoadOptions, MemoryFiles, PrintOptions, load, print_rule};
use pf_engine::rule::Log;

#[test]
fn the_options_of_log_come_in_any_order_for_filter_and_translation_rules() {
    let text = "nat pass log (to pflog3, all) on em0 -> 192.0.2.1\n\
                match log (matches to pflog1)\n\
                block log\n";
    let options = LoadOptions::default();
    let loaded = load(
        "text",
        text.as_bytes(),
        &mut MemoryFiles::default(),
        &options,
    );
    let ruleset = loaded.unwrap_or_else(|errors| panic!("{errors}")).ruleset;
    let log = |all, matches, interface| Log {
        all,
        user: false,
        matches,
        interface,
    };
    assert_eq!(ruleset.nat[0].log, Some(log(true, false, 3)));
    assert_eq!(ruleset.filter[0].log, Some(log(false, true, 1)));
    assert_eq!(ruleset.filter[1].log, Some(log(false, false, 0)));
}

#[test]
fn log_of_the_sockets_owner_is_read_and_printed() {
    let text = "pass log (all, user) proto tcp\n";
    let options = LoadOptions::default();
    let loaded = load(
        "text",
        text.as_bytes(),
        &mut MemoryFiles::default(),
        &options,
    );
    let loaded = loaded.expect("no errors");
    let rule = &loaded.ruleset.filter[0];
    assert!(rule.log.is_some_and(|log| log.all && log.user));
    assert_eq!(
        print_rule(rule, PrintOptions::default()),
        "pass log (all, user) proto tcp all flags S/SA keep state"
    );
}
