//! Rulesets whose packets a flow cache may pass or drop, and some whose packets it may not.

use pf_engine::addr::Protocol;
use pf_engine::rule::{Action, Log, Overload, Rate, RouteKind, Rule, SourceTrack, StateMode};
use pf_engine::ruleset::{Ruleset, TableDefinition};

use super::super::harness::*;

fn tracked() -> Rule {
    pass().keep().change(|rule| {
        rule.state_options.source.track = Some(SourceTrack::Rule);
    })
}

/// TCP has states, the rest has none, and of one host some is blocked.
fn by_protocol() -> Ruleset {
    let none = |rule: &mut Rule| rule.state = StateMode::None;
    let mut rules = filter(&[
        pass().change(none).label("rest"),
        Rule::new(Action::Match).from("<hosts>"),
        pass().keep().flags_s_sa().proto(Protocol::TCP),
        pass().change(none).from("!<hosts>").label("others"),
        pass().change(none).proto(Protocol::ICMP).label("pings"),
    ]);
    let hosts = TableDefinition {
        counters: true,
        ..table(true, &["10.0.0.0/24", "!10.0.0.6"])
    };
    rules.tables.insert("hosts".to_owned(), hosts);
    rules
}

/// Nothing but connections over IPv4 passes, and these from one side alone.
fn blocking() -> Ruleset {
    let none = |rule: &mut Rule| rule.state = StateMode::None;
    filter(&[
        block().label("all"),
        pass()
            .keep()
            .flags_s_sa()
            .from("10.0.0.5")
            .inbound()
            .on("em0")
            .label("one"),
        pass().change(none).from("10.0.0.9").label("nobody"),
        block().quick().outbound().label("out"),
    ])
}

/// Stretches of rules that are looked up.
fn long() -> Ruleset {
    let none = |rule: &mut Rule| rule.state = StateMode::None;
    let mut rules = vec![pass().change(none)];
    rules.extend((1..90).map(|last| block().quick().from(&format!("10.0.1.{last}"))));
    rules.push(block().from("10.0.0.5").inbound().on("em0").label("one"));
    let by_port = |port| block().quick().proto(Protocol::UDP).port(port);
    rules.extend((81..130).map(by_port));
    filter(&rules)
}

/// Who connects too often is put into a table, in which states count, and decisions ask for him.
pub(super) fn overloaded() -> Ruleset {
    let connected = pass().keep().inbound().on("em0").flags_s_sa();
    let connected = connected.proto(Protocol::TCP).from("!<bad>").label("tcp");
    let connected = connected.change(|rule| {
        let source = &mut rule.state_options.source;
        source.track = Some(SourceTrack::Rule);
        source.max_connection_rate = Some(Rate {
            count: 2,
            seconds: 60,
        });
        source.overload = Some(Overload {
            table: "bad".to_owned(),
            flush: None,
        });
    });
    let none = |rule: &mut Rule| rule.state = StateMode::None;
    let mut rules = filter(&[
        block(),
        pass().keep().label("rest"),
        connected,
        pass().keep().proto(Protocol::UDP).from("<known>"),
        pass().change(none).proto(Protocol::ICMP).from("!<bad>"),
        block().proto(Protocol::ICMP).from("<bad>").label("bad"),
    ]);
    let counting = |addresses: &[&str]| TableDefinition {
        counters: true,
        ..table(true, addresses)
    };
    rules.tables.insert("bad".to_owned(), counting(&[]));
    let known = counting(&["10.0.0.0/24", "!10.0.0.6"]);
    rules.tables.insert("known".to_owned(), known);
    rules
}

/// All passes, and what comes in by em0 has a route.
pub(super) fn routed(kind: RouteKind, hop: (&str, &str)) -> Ruleset {
    let inbound = pass().keep().inbound().on("em0").inet();
    filter(&[pass().keep(), inbound.route(kind, &[hop])])
}

/// Rules for addresses of a table, one of which is tracked.
fn with_tables() -> Ruleset {
    let mut rules = filter(&[
        block(),
        pass().keep().from("<inside>").label("inside"),
        pass()
            .keep()
            .proto(Protocol::UDP)
            .from("!<inside>")
            .label("rest"),
        Rule::new(Action::Match).to("<inside>"),
        tracked().outbound().on("em1").label("tracked"),
    ]);
    let inside = TableDefinition {
        counters: true,
        ..table(true, &["10.0.0.0/24", "!10.0.0.6", "2001:db8:a::/64"])
    };
    rules.tables.insert("inside".to_owned(), inside);
    rules
}

/// Both kinds of translation, in lists of their own.
pub(super) fn translated() -> Ruleset {
    let mut rules = filter(&[pass().keep().label("all")]);
    rules.nat.push(nat("em1", "192.0.2.1"));
    let web = rdr("em0", "192.0.2.90", Some(8080));
    rules.rdr.push(web.inet().proto(Protocol::UDP).port(80));
    rules
}

fn logged() -> Rule {
    pass().keep().change(|rule| {
        rule.log = Some(Log {
            all: true,
            ..Log::default()
        });
    })
}

/// With whether the cache is to pass packets, and to drop some.
pub(super) fn rulesets() -> Vec<(&'static str, Ruleset, [bool; 2])> {
    let stateful = filter(&[pass().keep().label("all")]);
    let bound = filter(&[pass().keep().inbound().on("em0"), pass().outbound()]);
    let none = pass().change(|rule| rule.state = StateMode::None);
    let answers = routed(RouteKind::ReplyTo, ("em0", "10.0.0.99"));
    let questions = routed(RouteKind::RouteTo, ("em1", "192.0.2.1"));
    let modulated = Ruleset {
        filter: vec![pass().modulate()],
        ..translated()
    };
    let mut of_v6 = filter(&[pass().keep()]);
    of_v6.nat.push(nat("em1", "2001:db8:f::1").inet6());
    let web = rdr("em0", "2001:db8:b::90", Some(8080)).inet6();
    of_v6.rdr.push(web.proto(Protocol::UDP).port(80));
    let tables = "tables, match rules and source tracking";
    vec![
        ("stateful", stateful, [true, false]),
        (tables, with_tables(), [true, true]),
        ("one stateful hook", bound, [true, false]),
        ("translation", translated(), [true, false]),
        ("modulated", filter(&[pass().modulate()]), [true, false]),
        ("translation, modulated", modulated, [true, false]),
        ("translation of IPv6", of_v6, [true, false]),
        ("everything logged", filter(&[logged()]), [false, false]),
        ("no state", filter(&[none]), [true, false]),
        ("no state and state", by_protocol(), [true, false]),
        ("block", blocking(), [true, true]),
        ("long lists", long(), [true, true]),
        ("overload", overloaded(), [true, false]),
        ("answers routed", answers, [true, false]),
        ("questions routed", questions, [true, false]),
    ]
}
