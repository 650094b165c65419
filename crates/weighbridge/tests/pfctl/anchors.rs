//! `pfctl -a`, `-s Anchors`, and loads of parts.

use pf_engine::ruleset::Dialect;

use super::{Daemon, empty_engine, pfctl};

const NESTED: &str = r#"
table <foo> counters { 192.0.2.1 }
anchor "foo" {
	table <bar> persist
	anchor "bar" {
		pass in from <bar> label "passicmp"
	}
	pass out
}
anchor in on em0 {
	block
}
nat-anchor "jail/*"
pass from <foo>
"#;

fn daemon() -> Daemon {
    let daemon = Daemon::start(Dialect::FreeBsd, empty_engine());
    let file = daemon.file("nested.conf", NESTED);
    daemon.out(&format!("-f {file}"));
    daemon
}

fn load(daemon: &Daemon, options: &str, text: &str) {
    let file = daemon.file("part.conf", text);
    daemon.out(&format!("{options} -f {file}"));
}

#[test]
fn rules_in_braces_without_a_name_are_shown_always_and_all_with_a_star() {
    let daemon = daemon();
    assert_eq!(
        daemon.out("-sr"),
        "anchor \"foo\" all\n\
         anchor in on em0 all {\n\
         \x20 block drop all\n\
         }\n\
         pass from <foo> to any flags S/SA keep state\n"
    );
    assert_eq!(
        daemon.out("-sr -a *"),
        "anchor \"foo\" all {\n\
         \x20 anchor \"bar\" all {\n\
         \x20   pass in from <bar> to any flags S/SA keep state label \"passicmp\"\n\
         \x20 }\n\
         \x20 pass out all flags S/SA keep state\n\
         }\n\
         anchor in on em0 all {\n\
         \x20 block drop all\n\
         }\n\
         pass from <foo> to any flags S/SA keep state\n"
    );
    assert_eq!(
        daemon.out("-a foo -sr"),
        "anchor \"bar\" all\npass out all flags S/SA keep state\n"
    );
}

#[test]
fn anchors_are_listed_with_their_paths() {
    let daemon = daemon();
    assert_eq!(daemon.out("-sA"), "  foo\n  jail\n");
    assert_eq!(daemon.out("-a foo -sA"), "  foo/bar\n");
    assert_eq!(daemon.out("-vsA"), "  _3\n  foo\n  foo/bar\n  jail\n");
    let ran = daemon.pfctl("-a nowhere -sr");
    assert_eq!(
        (ran.status, ran.err.as_str()),
        (1, "pfctl: Anchor does not exist.\n")
    );
}

#[test]
fn labels_of_all_anchors_are_listed_with_a_star() {
    let daemon = daemon();
    assert_eq!(daemon.out("-sl"), "");
    assert_eq!(daemon.out("-sl -a*"), "passicmp 0 0 0 0 0 0 0 0\n");
}

#[test]
fn tables_are_listed_with_their_anchor_and_changed_there() {
    let daemon = daemon();
    assert_eq!(
        daemon.says("-a foo/bar -t bar -T add 192.0.2.7"),
        "1 table created.\n1/1 addresses added.\n"
    );
    assert_eq!(
        daemon.out("-v -a * -sT"),
        "--a-r-C\tfoo\n-pa----\tbar@foo\n-pa-r--\tbar@foo/bar\n"
    );
    assert_eq!(daemon.out("-sT"), "foo\n");
    assert_eq!(daemon.out("-a foo/bar -t bar -T show"), "   192.0.2.7\n");
    assert_eq!(daemon.out("-a foo -t bar -T show"), "");
    let ran = daemon.pfctl("-t bar -T show");
    assert_eq!(
        (ran.status, ran.err.as_str()),
        (1, "pfctl: Table does not exist.\n")
    );
}

#[test]
fn translation_of_wildcards_is_shown_with_braces() {
    let daemon = daemon();
    load(
        &daemon,
        "-a jail/one",
        "nat on em0 inet from 10.0.0.1 to any -> 198.51.100.9\n",
    );
    assert_eq!(daemon.out("-sn"), "nat-anchor \"jail/*\" all\n");
    assert_eq!(
        daemon.out("-sn -a *"),
        "nat-anchor \"jail/*\" all {\n\
         \x20 nat-anchor \"one\" all {\n\
         \x20   nat on em0 inet from 10.0.0.1 to any -> 198.51.100.9\n\
         \x20 }\n\
         }\n"
    );
    // The case `nat` of FreeBSD's `anchor.sh`: nothing calls it for `rdr`.
    let redirection = "rdr on em0 inet proto tcp from any to any port = echo -> 127.0.0.1 port 7\n";
    load(&daemon, "-a jail/two", redirection);
    assert_eq!(
        daemon.out("-sn -a *"),
        format!(
            "nat-anchor \"jail/*\" all {{\n\
             \x20 nat-anchor \"one\" all {{\n\
             \x20   nat on em0 inet from 10.0.0.1 to any -> 198.51.100.9\n\
             \x20 }}\n\
             \x20 nat-anchor \"two\" all {{\n\
             \x20   {redirection}\
             \x20 }}\n\
             }}\n"
        )
    );
    assert_eq!(daemon.out("-sn -a jail/two"), redirection);
}

#[test]
fn a_reload_of_main_keeps_what_was_loaded_and_a_flush_recurses() {
    let daemon = daemon();
    load(
        &daemon,
        "-a jail/one",
        "pass in proto tcp\nanchor x {\n block\n}\n",
    );
    let file = daemon.file("main.conf", "pass\n");
    daemon.out(&format!("-f {file}"));
    assert_eq!(
        daemon.out("-vsA"),
        "  foo\n  jail\n  jail/one\n  jail/one/x\n"
    );
    let rule = "pass in proto tcp all flags S/SA keep state\n";
    assert!(daemon.out("-a jail/one -sr").starts_with(rule));
    let ran = daemon.pfctl("-a * -Fr");
    assert_eq!((ran.status, ran.err.as_str()), (0, "rules cleared\n"));
    assert!(ran.out.starts_with("Removing:\n  /\n"), "{ran:?}");
    assert_eq!(daemon.out("-sr -a *"), "");
    assert_eq!(
        daemon.out("-vsA"),
        "  foo\n",
        "it has a table that persists"
    );
}

#[test]
fn parts_of_a_file_are_loaded_alone() {
    let daemon = daemon();
    let text = "table <new> persist { 192.0.2.9 }\nset limit states 7\nnat on em0 inet from any to any -> 198.51.100.9\nblock\n";
    load(&daemon, "-N", text);
    assert!(daemon.out("-sn").starts_with("nat on em0"));
    assert!(daemon.out("-sr").starts_with("anchor \"foo\""));
    assert_eq!(daemon.out("-sT"), "foo\n");
    load(&daemon, "-T load", text);
    assert_eq!(daemon.out("-sT"), "foo\nnew\n");
    load(&daemon, "-R", text);
    assert_eq!(daemon.out("-sr"), "block drop all\n");
    assert!(!daemon.out("-sm").contains("hard limit        7\n"));
    load(&daemon, "-O", text);
    assert!(
        daemon
            .out("-sm")
            .contains("states        hard limit        7\n")
    );
    assert_eq!(daemon.out("-sr"), "block drop all\n");
    load(&daemon, "-A", "pass\n");
    assert_eq!(daemon.out("-sr"), "block drop all\n");
}

#[test]
fn reserved_and_impossible_names_are_refused() {
    let daemon = daemon();
    for (words, message) in [
        (
            "-a _3 -Fr",
            "anchor names beginning with '_' cannot be modified from the command line",
        ),
        ("-a a//b -sr", "an anchor's name must not be empty"),
    ] {
        let ran = pfctl(&daemon.socket(), words);
        assert_eq!(
            (ran.status, ran.err),
            (1, format!("pfctl: {message}\n")),
            "{words}"
        );
    }
    assert_eq!(daemon.out("-a _3 -sr"), "block drop all\n");
}
