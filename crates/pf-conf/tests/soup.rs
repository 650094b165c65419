//! Random text: no panic, an answer, and what is accepted prints itself again.

use pf_conf::{LoadOptions, Loaded, MemoryFiles, PrintOptions, load, preview, print_rule};
use pf_engine::env::{IfIndex, Interface, InterfaceAddress};
use pf_engine::rule::Rule;
use pf_engine::ruleset::{Dialect, Ruleset};
use proptest::prelude::*;
use proptest::sample::select;

const DIALECTS: [Dialect; 3] = [Dialect::FreeBsd, Dialect::OpenBsd, Dialect::OpenBsd3];

fn interfaces() -> Vec<Interface> {
    let addresses = ["192.0.2.1", "fe80::1", "2001:db8::1"];
    vec![Interface {
        addresses: addresses
            .iter()
            .map(|address| InterfaceAddress::new(address.parse().expect("an address"), 24))
            .collect(),
        ..Interface::new(IfIndex(1), "em0")
    }]
}

fn printed(loaded: &Loaded) -> String {
    let echo = loaded.echo.iter().map(|line| line.text.clone());
    let rules = rules_of(&loaded.ruleset, loaded);
    let lines: Vec<String> = echo.chain(rules).collect();
    lines.join("\n") + "\n"
}

fn rules_of(ruleset: &Ruleset, loaded: &Loaded) -> Vec<String> {
    [&ruleset.nat, &ruleset.rdr, &ruleset.binat, &ruleset.filter]
        .into_iter()
        .flatten()
        .map(|rule| with_braces(rule, loaded))
        .collect()
}

/// A rule, and what stands in braces behind it.
fn with_braces(rule: &Rule, loaded: &Loaded) -> String {
    let options = PrintOptions {
        dialect: loaded.ruleset.dialect,
        ..PrintOptions::default()
    };
    let line = print_rule(rule, options);
    let Some(call) = rule.anchor.as_ref().filter(|call| call.inline) else {
        return line;
    };
    let inner = loaded.ruleset.anchors.get(&call.path);
    let inner = inner.map(|inner| rules_of(inner, loaded));
    let inner = inner.unwrap_or_default();
    if inner.is_empty() && !call.path.name().starts_with('_') {
        return line;
    }
    let inner = inner.iter().map(|lines| indented(lines));
    format!("{line} {{\n{}}}", inner.collect::<String>())
}

fn indented(lines: &str) -> String {
    format!("  {}\n", lines.replace('\n', "\n  "))
}

/// What is loaded has a digest in the names of automatic tables, what is only printed has none.
fn without_digests(text: &str) -> String {
    let mut parts = text.split("__automatic_");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let number = match part.split_once('_') {
            Some((digest, number)) if digest.len() == 8 => number,
            _ => part,
        };
        format!("{text}__automatic_{number}")
    })
}

/// Reads in all dialects and, where accepted, reads back what is printed.
fn check(text: &[u8]) {
    for dialect in DIALECTS {
        let options = LoadOptions {
            dialect,
            interfaces: interfaces(),
            ..LoadOptions::default()
        };
        let mut files = MemoryFiles::default();
        files.0.insert("self".to_owned(), text.to_vec());
        let print = PrintOptions {
            dialect,
            ..PrintOptions::default()
        };
        let previewed = preview("soup", text, &mut files, &options, print);
        if let Ok(lines) = &previewed {
            let once = lines.join("\n");
            let again = preview("previewed", once.as_bytes(), &mut files, &options, print)
                .unwrap_or_else(|errors| panic!("{dialect:?} refuses\n{once}\n{errors}"));
            assert_eq!(&again.join("\n"), &once);
        }
        match load("soup", text, &mut files, &options) {
            Err(errors) => {
                assert!(errors.count() > 0);
                assert!(errors.plain().contains(':'));
                assert!(errors.rendered(true).contains("error"));
            }
            Ok(first) => {
                let once = printed(&first);
                assert_eq!(
                    previewed.map(|lines| lines.join("\n") + "\n").ok(),
                    Some(without_digests(&once))
                );
                let again = load("printed", once.as_bytes(), &mut files, &options)
                    .unwrap_or_else(|errors| panic!("{dialect:?} refuses\n{once}\n{errors}"));
                assert_eq!(printed(&again), once);
            }
        }
    }
}

#[test]
fn what_stands_in_braces_prints_itself_again_with_them() {
    check(b"anchor x {\n}");
    check(b"anchor x {\npass\nanchor on em0 {\nblock in proto tcp to port { 1 2 }\n}\n}");
}

/// What a rule may begin with.
const ACTIONS: [&str; 16] = [
    "pass",
    "block",
    "match",
    "block return",
    "block return-icmp(3, 1)",
    "block return-rst",
    "nat",
    "rdr",
    "no nat",
    "binat",
    "nat pass",
    "pass in",
    "pass out",
    "block in",
    "match out",
    "match in",
];

/// Addresses behind `from` and `to`.
const HOSTS: [&str; 27] = [
    "any",
    "10.0.0.1",
    "10/8",
    "0/0",
    "! 0/0",
    "! 10.0.0.1",
    "{ 10.0.0.1 2001:db8::1 }",
    "em0",
    "em0:network",
    "em0:0",
    "em0/8",
    "(em0)",
    "(em0:0)",
    "(em0:network:0)",
    "(em0)/24",
    "<t>",
    "! <t>",
    "<5>",
    "no-route",
    "urpf-failed",
    "self",
    "10.0.0.1 - 10.0.0.9",
    "fe80::1%em0",
    "fe80::2%em1",
    "::/0",
    "(\"a b\")",
    "<\"x y\">",
];

/// Ports behind them; most have none.
const PORTS: [&str; 11] = [
    "",
    "",
    "port 80",
    "port { 22 domain }",
    "port 1:5",
    "port != 7",
    "port 1 >< 9",
    "port >= 514",
    "port 0",
    "port 65535",
    "port 1:65535",
];

/// What may follow.
const OPTIONS: [&str; 60] = [
    "flags S/SA",
    "flags any",
    "flags /F",
    "keep state",
    "no state",
    "modulate state",
    "keep state (max 5)",
    "keep state (max 4294967295)",
    "keep state (sloppy, if-bound)",
    "keep state (floating, udp.first 3)",
    "label \"a $srcaddr b $nr\"",
    "label \"\"",
    "label 'q\" \\ x \\\\ y'",
    "label \"$$if\"",
    "tag T",
    "tag \"$if\"",
    "tag \"in\"",
    "! tagged T",
    "tos 7",
    "allow-opts",
    "fragment",
    "icmp-type 8",
    "icmp-type { echoreq, 3 code 4 }",
    "icmp6-type 1 code 99",
    "route-to (em0 10.0.0.1)",
    "route-to em0",
    "user root",
    "group { 5 > 7 }",
    "probability 5%",
    "set prio (1, 2)",
    "once",
    "queue q",
    "synproxy state (max-src-conn-rate 3/9, overload <t> flush)",
    "af-to inet6 from ::1",
    "received-on em0",
    "divert-to 7",
    "dup-to (em0 10.0.0.1)",
    "reply-to { (em0 10.0.0.1) (em1 10.0.0.2) } sticky-address",
    "route-to 2001:db8::9",
    "route-to <t>",
    "route-to (em0)",
    "route-to (em0 (em1))",
    "nat-to em0",
    "nat-to 10.0.0.1 port 7",
    "nat-to (em0)",
    "nat-to <t> round-robin",
    "rdr-to 10.0.0.1 port 80:*",
    "rdr-to { 10.0.0.1 10.0.0.2 } port 65000:*",
    "rdr-to 10.0.0.0/8 bitmask",
    "binat-to 10.0.0.1",
    "binat-to 10.0.0.0/8",
    "nat-to 10.0.0.0/8 source-hash static-port",
    "-> 10.0.0.1",
    "-> (em0) static-port",
    "-> 10.0.0.1 port 5:9",
    "-> 10.0.0.1 port 50001:65535",
    "-> { 10.0.0.1 em0 } random",
    "-> em0",
    "-> 10/8 source-hash key",
    "-> <t> sticky-address",
];

/// Rules of pieces most of which fit together.
fn rule() -> impl Strategy<Value = String> {
    let interface = select(vec![
        "",
        "on em0",
        "on ! em1",
        "on { em0 em1 }",
        "on any",
        "log on em0",
    ]);
    let family = select(vec!["", "", "inet", "inet6"]);
    let proto = select(vec![
        "",
        "proto tcp",
        "proto { tcp udp }",
        "proto icmp",
        "proto icmp6",
        "proto 50",
    ]);
    (
        (select(&ACTIONS), interface, family, proto),
        (
            select(&HOSTS),
            select(&PORTS),
            select(&HOSTS),
            select(&PORTS),
        ),
        prop::collection::vec(select(&OPTIONS), 0..3),
    )
        .prop_map(
            |((action, interface, family, proto), (a, p, b, q), options)| {
                let options = options.join(" ");
                format!("{action} {interface} {family} {proto} from {a} {p} to {b} {q} {options}")
            },
        )
}

fn statement() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => rule(),
        1 => select(vec![
            "anchor x {", "}", "anchor on em0 { # c", "set hostid 1", "set loginterface em0",
            "table <t> { 10/8 ! em0 0/0 }", "set skip on { em0 \"x y\" }", "m = \"{ a\" 5 b",
            "antispoof quick for { em0 (em1) } label \"$srcaddr\"", "set optimization aggressive",
            "set limit states 5", "set block-policy return", "include \"self\"", "set state-policy if-bound",
            "x = $m", "pass $m", "antispoof for em9",
        ]).prop_map(str::to_owned),
    ]
}

/// What the lexer may see.
const WORDS: [&str; 51] = [
    "pass",
    "{",
    "}",
    "(",
    ")",
    "<",
    ">",
    "!",
    "=",
    "/",
    ",",
    "-",
    "->",
    "\"",
    "'",
    "\\",
    "\n",
    "#",
    "$",
    "$m",
    "m",
    "from",
    "to",
    "port",
    "any",
    "all",
    "10",
    "10.0.0.1",
    "::1",
    ":",
    "on",
    "em0",
    "table",
    "set",
    "include",
    "self",
    "\"self\"",
    "label",
    "\u{fffd}",
    "\0",
    "\r",
    "é",
    "99999999999999999999",
    "in",
    "state",
    "keep",
    "nat",
    "rdr",
    "no",
    "skip",
    "route-to",
];

fn words() -> impl Strategy<Value = String> {
    prop::collection::vec(select(&WORDS), 0..40).prop_map(|words| words.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rules_that_are_accepted_print_themselves_again(rule in rule()) {
        check(rule.as_bytes());
    }

    #[test]
    fn files_that_are_accepted_print_themselves_again(
        lines in prop::collection::vec(statement(), 1..6)
    ) {
        check(lines.join("\n").as_bytes());
    }

    #[test]
    fn words_in_any_order_get_an_answer(text in words()) {
        check(text.as_bytes());
    }

    #[test]
    fn bytes_in_any_order_get_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&bytes);
    }
}
