//! What is read together with a file, and how ports are printed.

use pf_conf::{
    Accounts, Code, LoadOptions, Loaded, MemoryFiles, PrintOptions, load, preview,
    preview_numbered, print_rule,
};
use pf_engine::anchor::AnchorPath;
use pf_engine::ruleset::Dialect;

const DIALECTS: [Dialect; 3] = [Dialect::FreeBsd, Dialect::OpenBsd, Dialect::OpenBsd3];

fn files(list: &[(&str, &str)]) -> MemoryFiles {
    let mut files = MemoryFiles::default();
    for (name, text) in list {
        files.0.insert((*name).into(), (*text).into());
    }
    files
}

fn loaded(text: &str, others: &[(&str, &str)], options: &LoadOptions) -> Loaded {
    load("pf.conf", text.as_bytes(), &mut files(others), options)
        .unwrap_or_else(|errors| panic!("{errors}"))
}

fn rules(loaded: &Loaded, swap_service_names: bool) -> Vec<String> {
    let options = PrintOptions {
        dialect: loaded.ruleset.dialect,
        swap_service_names,
    };
    let rules = loaded.ruleset.filter.iter();
    rules.map(|rule| print_rule(rule, options)).collect()
}

#[test]
fn an_include_on_a_last_line_without_newline_is_read() {
    for included in ["block in\npass out\n", "block in\npass out"] {
        let options = LoadOptions::default();
        let found = loaded("include \"more\"", &[("more", included)], &options);
        assert_eq!(
            rules(&found, false),
            ["block drop in all", "pass out all flags S/SA keep state"]
        );
    }
}

#[test]
fn includes_at_the_end_of_includes_are_read() {
    let others = [("a", "pass in\ninclude \"b\""), ("b", "pass out")];
    let options = LoadOptions::default();
    let found = loaded("block\ninclude \"a\"", &others, &options);
    assert_eq!(
        rules(&found, false),
        [
            "block drop all",
            "pass in all flags S/SA keep state",
            "pass out all flags S/SA keep state"
        ]
    );
}

#[test]
fn what_follows_an_include_is_read_after_it() {
    let others = [("a", "pass in")];
    let options = LoadOptions::default();
    let found = loaded("include \"a\"\nblock", &others, &options);
    assert_eq!(
        rules(&found, false),
        ["pass in all flags S/SA keep state", "block drop all"]
    );
}

#[test]
fn a_load_anchor_on_a_last_line_without_newline_is_read() {
    let lines = preview(
        "pf.conf",
        b"block\nload anchor x from \"a\"",
        &mut files(&[("a", "pass in")]),
        &LoadOptions::default(),
        PrintOptions::default(),
    )
    .unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(
        lines,
        ["block drop all", "pass in all flags S/SA keep state"]
    );
}

#[test]
fn the_switch_for_service_names_has_opposite_meanings() {
    for dialect in DIALECTS {
        let options = LoadOptions {
            dialect,
            ..LoadOptions::default()
        };
        let text = "pass in proto tcp from any port 25 to any port { 80, 44444 } flags S/SA\n";
        let found = loaded(text, &[], &options);
        let expected = |first: &str, second: &str| {
            let tail = match dialect {
                Dialect::FreeBsd => " flags S/SA keep state",
                Dialect::OpenBsd | Dialect::OpenBsd3 => " flags S/SA",
            };
            let family = "pass in proto tcp";
            [second, "44444"]
                .map(|to| format!("{family} from any port = {first} to any port = {to}{tail}"))
        };
        let web = match dialect {
            Dialect::FreeBsd => "http",
            Dialect::OpenBsd | Dialect::OpenBsd3 => "www",
        };
        let names = expected("smtp", web);
        let numbers = expected("25", "80");
        let (plain, swapped) = match dialect {
            Dialect::FreeBsd | Dialect::OpenBsd3 => (names, numbers),
            Dialect::OpenBsd => (numbers, names),
        };
        assert_eq!(rules(&found, false), plain, "{dialect:?}");
        assert_eq!(rules(&found, true), swapped, "{dialect:?}");
    }
}

#[test]
fn a_definition_of_the_command_line_wins_over_the_files() {
    let options = LoadOptions {
        defines: vec![
            ("who".into(), "10.0.0.1".into()),
            ("door".into(), "22".into()),
        ],
        ..LoadOptions::default()
    };
    let text = "who = \"192.0.2.1\"\ndoor = \"80\"\ninclude \"more\"\n\
                pass in proto tcp from $who to any port $door\n";
    let others = [("more", "who = \"192.0.2.2\"\nblock in from $who\n")];
    let found = loaded(text, &others, &options);
    assert_eq!(
        rules(&found, true),
        [
            "block drop in inet from 10.0.0.1 to any",
            "pass in inet proto tcp from 10.0.0.1 to any port = 22 flags S/SA keep state"
        ]
    );
}

#[test]
fn a_definition_of_the_command_line_reaches_loaded_anchors() {
    let options = LoadOptions {
        defines: vec![("who".into(), "10.0.0.1".into())],
        ..LoadOptions::default()
    };
    let read = |anchor: &str| {
        preview(
            "pf.conf",
            b"mine = \"192.0.2.1\"\nload anchor x from \"a\"\n",
            &mut files(&[("a", anchor)]),
            &options,
            PrintOptions::default(),
        )
    };
    let lines = read("who = \"192.0.2.2\"\nblock from $who\n").unwrap_or_else(|e| panic!("{e}"));
    assert!(
        lines.contains(&"block drop inet from 10.0.0.1 to any".to_owned()),
        "{lines:?}"
    );
    let Err(errors) = read("block from $mine\n") else {
        panic!("the file's own macros reach into the anchor")
    };
    let codes: Vec<Code> = errors.iter().map(|(_, error)| error.code).collect();
    assert_eq!(codes, [Code::UndefinedMacro]);
}

#[test]
fn rules_in_anchors_are_numbered_in_their_own_ruleset() {
    let text = "pass in\nanchor a {\nblock\nanchor {\npass out\n}\npass in\n}\npass out\n\
                load anchor x from \"x\"\n";
    let lines = preview_numbered(
        "pf.conf",
        text.as_bytes(),
        &mut files(&[("x", "block\nblock out\n")]),
        &LoadOptions::default(),
        PrintOptions::default(),
    )
    .unwrap_or_else(|errors| panic!("{errors}"));
    let expected = "\
@0 pass in all flags S/SA keep state
@1 anchor \"a\" all {
@0 block drop all
@1 anchor all {
@0 pass out all flags S/SA keep state
}
@2 pass in all flags S/SA keep state
}
@2 pass out all flags S/SA keep state
@0 block drop all
@1 block drop out all";
    assert_eq!(lines.join("\n"), expected);
}

fn box_with_accounts() -> LoadOptions {
    LoadOptions {
        accounts: Accounts {
            user: |name| Ok((name == "tor").then_some(43)),
            group: |name| match name {
                "tor" => Ok(Some(44)),
                _ => Err(std::io::ErrorKind::TimedOut.into()),
            },
        },
        ..LoadOptions::default()
    }
}

#[test]
fn users_and_groups_are_those_of_the_box_and_no_others() {
    let read = |text: &str| {
        let (options, print) = (box_with_accounts(), PrintOptions::default());
        preview("pf.conf", text.as_bytes(), &mut files(&[]), &options, print)
    };
    let lines = read("pass out proto tcp user { tor, != 7, unknown } group tor\n");
    assert_eq!(
        lines.unwrap_or_else(|errors| panic!("{errors}")),
        [
            "pass out proto tcp all user = 43 group = 44 flags S/SA keep state",
            "pass out proto tcp all user != 7 group = 44 flags S/SA keep state",
            "pass out proto tcp all user = unknown group = 44 flags S/SA keep state",
        ]
    );
    let errors = read("pass proto tcp user root\npass proto tcp group wheel\n");
    assert_eq!(
        errors.expect_err("accounts of FreeBSD").plain(),
        "pf.conf:1: unknown user root\n    \
         pf.conf:1:21: at `root`\n    \
         hint: no process here can be of that user: leave the rule out, make the account (useradd --system root), or write its number\n\
         pf.conf:2: unknown group wheel\n    \
         pf.conf:2:22: timed out\n"
    );
}

#[test]
fn laying_out_needs_no_accounts() {
    let text = b"pass  out proto tcp user nobody-has-it\n";
    let text = pf_conf::format("pf.conf", text, &mut files(&[]), &box_with_accounts());
    let text = text.unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(text, b"pass out proto tcp user nobody-has-it\n");
}

/// What is said of a file on a machine with a gibibyte.
fn refused_on_a_small_machine(text: &str, anchor: &str) -> String {
    let options = LoadOptions {
        memory: Some(1 << 30),
        anchor: AnchorPath::new(anchor).expect("a path"),
        ..LoadOptions::default()
    };
    match load("pf.conf", text.as_bytes(), &mut files(&[]), &options) {
        Ok(_) => String::new(),
        Err(diagnostics) => diagnostics.plain(),
    }
}

#[test]
fn a_limit_that_the_memory_cannot_hold_is_refused_with_what_there_is_and_what_fits() {
    let said = refused_on_a_small_machine("pass\nset limit { frags 100, states 300000 }\n", "");
    assert_eq!(
        said,
        "pf.conf:2: cannot set limit states 300000: not enough memory\n    \
         pf.conf:2:31: `300000` states may need 585.9 MiB; this machine has 1.0 GiB, of which \
         limits may use 512.0 MiB\n    \
         hint: at most 262044 fit beside the other limits that are set\n"
    );
    // What fits alone does not fit beside the others.
    let both = "set limit { states 200000, table-entries 2000000 }\n";
    let said = refused_on_a_small_machine(both, "");
    assert!(said.contains("table-entries 2000000: not enough"), "{said}");
    for fits in ["set limit states 262144\n", "set limit states 0\n"] {
        assert_eq!(refused_on_a_small_machine(fits, ""), "");
    }
    // Without knowing the machine, as `pfctl -n`, nothing is refused.
    let _ = loaded(both, &[], &LoadOptions::default());
}

#[test]
fn tables_that_do_not_fit_are_refused_with_their_place_and_how_to_make_room() {
    let text = "set limit table-entries 3\ntable <a> { 10.0.0.1, 10.0.0.2 }\n\
         table <b> { 10.0.0.3, 10.0.0.4 }\npass from <a> to <b>\n";
    let said = refused_on_a_small_machine(text, "");
    assert_eq!(
        said,
        "pf.conf:3: cannot define table b: too many addresses\n    \
         pf.conf:3:7: at `b` there are 4 addresses in tables, which may need 0.0 MiB; the limit \
         of table-entries is 3, and this machine has 1.0 GiB\n    \
         hint: `set limit table-entries 4` raises the limit\n"
    );
    // The limits of an anchor's file are not those in force.
    assert_eq!(refused_on_a_small_machine(text, "inner"), "");
}
