//! `log` and what is in its parentheses.

use pf_conf::{Code, LoadOptions, MemoryFiles, load};
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
fn log_of_the_socket_s_owner_is_refused_at_its_place() {
    let text = "pass log (all, user) proto tcp\n";
    let options = LoadOptions::default();
    let Err(errors) = load(
        "text",
        text.as_bytes(),
        &mut MemoryFiles::default(),
        &options,
    ) else {
        panic!("accepted");
    };
    let codes: Vec<Code> = errors.iter().map(|(_, error)| error.code).collect();
    assert_eq!(codes, [Code::NotSupported]);
    let plain = errors.plain();
    assert!(
        plain.contains("text:1: not supported yet: log (user)"),
        "{plain}"
    );
    assert!(plain.contains("text:1:16:"), "{plain}");
}
