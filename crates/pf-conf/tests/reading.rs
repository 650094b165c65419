//! What is read together with a file, what is told of it, and how ports are printed.

use std::net::IpAddr;

use pf_conf::{
    Accounts, Code, LoadOptions, Loaded, MemoryFiles, Optimization, PrintOptions, Telling, Told,
    load, preview, preview_files, print_rule, told,
};
use pf_engine::anchor::AnchorPath;
use pf_engine::env::{IfIndex, Interface, InterfaceAddress};
use pf_engine::rule::Timeout;
use pf_engine::ruleset::{Dialect, Limit, Parts};

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
    let telling = Telling {
        numbered: true,
        ..Telling::default()
    };
    let files = || files(&[("x", "b = \"block\"\n$b\nblock out\n")]);
    let read = LoadOptions::default();
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
";
    let loaded_file = "b = \"block\"\n@0 block drop all\n@1 block drop out all\n";
    let all = |main: &str| {
        let told = |load: Option<(&str, &str)>, text: &str| Told {
            load: load.map(|(anchor, file)| (anchor.to_owned(), file.to_owned())),
            text: text.to_owned(),
        };
        vec![told(None, main), told(Some(("x", "x")), loaded_file)]
    };
    let previewed = preview_files("pf.conf", text.as_bytes(), &mut files(), &read, &telling);
    let previewed = previewed.unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(previewed, all(expected));
    let loaded = load("pf.conf", text.as_bytes(), &mut files(), &read);
    let loaded = loaded.unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.told(&telling), all(expected));
}

#[test]
fn rules_of_all_kinds_but_binat_are_counted_together_until_they_are_optimized() {
    let text = "set require-order no\nblock in\nscrub in\nnat on em0 inet from any to any -> 192.0.2.1\n\
                binat on em0 from 192.0.2.3 to any -> 192.0.2.4\nnat-anchor a\npass out\n";
    let telling = Telling {
        numbered: true,
        parts: Parts {
            options: false,
            ..Parts::ALL
        },
        ..Telling::default()
    };
    let translation = "\
set require-order no
@1 scrub in all fragment reassemble
@2 nat on em0 inet all -> 192.0.2.1
@3 nat-anchor \"a\" all
@0 binat on em0 inet from 192.0.2.3 to any -> 192.0.2.4
";
    let read = LoadOptions::default();
    let previewed = preview_files("pf.conf", text.as_bytes(), &mut files(&[]), &read, &telling);
    let previewed = previewed.unwrap_or_else(|errors| panic!("{errors}"));
    let written = "@0 block drop in all\n@4 pass out all flags S/SA keep state\n";
    assert_eq!(previewed[0].text, translation.to_owned() + written);
    let loaded = load("pf.conf", text.as_bytes(), &mut files(&[]), &read);
    let mut loaded = loaded.unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(
        loaded.told(&telling)[0].text,
        translation.to_owned() + written
    );
    loaded.optimize(Optimization::Basic, &[]);
    let optimized = "@0 block drop in all\n@1 pass out all flags S/SA keep state\n";
    assert_eq!(
        loaded.told(&telling)[0].text,
        translation.to_owned() + optimized
    );
}

/// As pfctl's: no address has been counted yet. Those of a pool never are.
#[test]
fn numbered_rules_tell_how_little_is_in_their_tables_and_interfaces() {
    let text = "table <t> { 10.0.0.1 }\nnat on em0 inet from (em1:network) to any -> (em0:0)\n\
                pass in from <t> to (em0:peer:0)/24\npass out route-to (em0 <t>)\n";
    let expected = "table <t> { 10.0.0.1 }\n\
                    @0 nat on em0 inet from (em1:network:*) to any -> (em0:0)\n\
                    @1 pass in from <t:0> to (em0:peer:0:*)/24 flags S/SA keep state\n\
                    @2 pass out route-to (em0 <t>) round-robin all flags S/SA keep state\n";
    let telling = Telling {
        numbered: true,
        ..Telling::default()
    };
    let read = LoadOptions::default();
    let told = preview_files("pf.conf", text.as_bytes(), &mut files(&[]), &read, &telling);
    let told = told.unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(told[0].text, expected);
    assert_eq!(loaded(text, &[], &read).told(&telling)[0].text, expected);
}

/// What pfctl looks at before it tells is told with its part alone; the rest always.
#[test]
fn each_part_of_a_file_is_told_alone() {
    let text = "m = \"em0\"\nset limit states 7\nset timeout interval 8\nset block-policy drop\n\
                set skip on lo0\nset loginterface em0\ntable <t> { 192.0.2.9 }\n\
                altq on em0 priq bandwidth 1Mb queue { a }\nqueue a priq(default)\nether pass\n\
                scrub in\nnat on $m inet from any to any -> 192.0.2.1\npass from <t>\n";
    let always = "m = \"em0\"\nset limit states 7\n";
    let middle = "set block-policy drop\nset skip on { lo0 }\n";
    let scrub = "scrub in all fragment reassemble\n";
    let nat = "nat on em0 inet all -> 192.0.2.1\n";
    let pass = "pass from <t> to any flags S/SA keep state\n";
    let queues =
        "altq on em0 priq bandwidth 1Mb tbrsize 1500 queue { a }\nqueue a priq( default ) \n";
    for (parts, expected) in [
        (
            Parts {
                filter: true,
                ..Parts::NONE
            },
            format!("{always}{middle}{scrub}{pass}"),
        ),
        (
            Parts {
                translation: true,
                ..Parts::NONE
            },
            format!("{always}{middle}{nat}"),
        ),
        (
            Parts {
                tables: true,
                ..Parts::NONE
            },
            format!("{always}{middle}table <t> {{ 192.0.2.9 }}\n"),
        ),
        (
            Parts {
                options: true,
                ..Parts::NONE
            },
            format!("{always}set timeout interval 8\n{middle}set loginterface em0\n"),
        ),
        (
            Parts {
                ether: true,
                ..Parts::NONE
            },
            format!("{always}{middle}ether pass l3 all\n"),
        ),
        (
            Parts {
                queues: true,
                ..Parts::NONE
            },
            format!("{always}{middle}{queues}"),
        ),
        (
            Parts {
                queues: false,
                ..Parts::ALL
            },
            format!(
                "{always}set timeout interval 8\n{middle}set loginterface em0\n\
                 table <t> {{ 192.0.2.9 }}\n{scrub}ether pass l3 all\n{nat}{pass}"
            ),
        ),
    ] {
        let telling = Telling {
            parts,
            ..Telling::default()
        };
        let read = LoadOptions::default();
        let loaded = load("pf.conf", text.as_bytes(), &mut files(&[]), &read);
        let loaded = loaded.unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(loaded.told(&telling)[0].text, expected, "{parts:?}");
        let told = preview_files("pf.conf", text.as_bytes(), &mut files(&[]), &read, &telling);
        let told = told.unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(told[0].text, expected, "{parts:?}");
    }
}

#[test]
fn files_of_load_anchor_are_told_in_the_order_of_pfctl() {
    let text = "anchor z\nload anchor z from \"z\"\nload anchor a from \"a\"\npass\n";
    let known = [
        ("z", "load anchor inner from \"i\"\nblock\n"),
        ("a", "pass in\n"),
        ("i", "pass out\n"),
    ];
    let read = LoadOptions::default();
    let loaded = load("pf.conf", text.as_bytes(), &mut files(&known), &read);
    let loaded = loaded.unwrap_or_else(|errors| panic!("{errors}"));
    let told = loaded.told(&Telling::default());
    let loads: Vec<_> = told.iter().filter_map(|told| told.load.clone()).collect();
    let pair = |anchor: &str, file: &str| (anchor.to_owned(), file.to_owned());
    assert_eq!(
        loads,
        [pair("z", "z"), pair("a", "a"), pair("z/inner", "i")]
    );
    assert_eq!(told[1].text, "block drop all\n");
    assert_eq!(told[3].text, "pass out all flags S/SA keep state\n");
}

#[test]
fn what_was_understood_is_told_beside_the_errors_and_whose_file_they_are_in() {
    let refused = |text: &str| {
        let mut files = files(&[("bad", "c = \"d\"\nfrobnicate\n")]);
        load(
            "pf.conf",
            text.as_bytes(),
            &mut files,
            &LoadOptions::default(),
        )
        .expect_err("it has an error")
    };
    let errors = refused("m = \"em0\"\npass frobnicate\nset block-policy return\n");
    let echo: Vec<&str> = told(errors.echo(), Parts::ALL).collect();
    assert_eq!(echo, ["m = \"em0\"", "set block-policy return"]);
    assert!(!errors.only_of_loads());
    let errors = refused("anchor a\nload anchor a from \"bad\"\nm = \"em0\"\n");
    assert!(errors.only_of_loads());
    let echo: Vec<&str> = told(errors.echo(), Parts::ALL).collect();
    assert_eq!(echo, ["m = \"em0\""]);
    assert!(!refused("load anchor a from \"bad\"\nload anchor a from \"none\"\n").only_of_loads());
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

/// The dual-stack box of the tests below.
fn dual_stack() -> LoadOptions {
    let addresses = ["192.0.2.1", "2001:db8::1"].map(|address| {
        let address: IpAddr = address.parse().expect("an address");
        let len = if address.is_ipv4() { 24 } else { 64 };
        InterfaceAddress::new(address, len)
    });
    LoadOptions {
        interfaces: vec![Interface {
            addresses: addresses.to_vec(),
            ..Interface::new(IfIndex(2), "em0")
        }],
        ..LoadOptions::default()
    }
}

/// What is printed of `text`, or the first line of what is wrong with it.
fn outcome(text: &str, options: &LoadOptions) -> String {
    match load("pf.conf", text.as_bytes(), &mut files(&[]), options) {
        Ok(loaded) => loaded.told(&Telling::default())[0].text.clone(),
        Err(errors) => errors.plain().lines().next().unwrap_or_default().to_owned(),
    }
}

#[test]
fn a_translation_rule_takes_the_family_of_the_first_address_that_it_names() {
    let cases = [
        // Of the source,
        (
            "nat on em1 from { 10.0.0.1 2001:db8::9 10.0.0.2 } to any -> (em0)\n",
            "nat on em1 inet from 10.0.0.1 to any -> (em0) round-robin\n\
             nat on em1 inet from 10.0.0.2 to any -> (em0) round-robin\n",
        ),
        (
            "nat on em1 from em0:network to any -> (em0)\n",
            "nat on em1 inet from 192.0.2.0/24 to any -> (em0) round-robin\n",
        ),
        (
            "nat on em1 from 2001:db8::9 to any -> em0\n",
            "nat on em1 inet6 from 2001:db8::9 to any -> 2001:db8::1\n",
        ),
        // which the pool does not change,
        (
            "nat on em1 from { 2001:db8::9 10.0.0.1 } to any -> 192.0.2.7\n",
            "pf.conf:1: no translation address with matching address family found.",
        ),
        // else of the destination, else of the pool.
        (
            "nat on em1 from <t> to { 2001:db8::/32 10.0.0.0/8 } -> em0\n",
            "nat on em1 inet6 from <t> to 2001:db8::/32 -> 2001:db8::1\n",
        ),
        (
            "rdr on em1 proto tcp to port 80 -> { <t> 192.0.2.7 2001:db8::9 }\n",
            "rdr on em1 inet proto tcp from any to any port = http -> { <t>, 192.0.2.7 } round-robin\n",
        ),
        // What is given stands.
        (
            "nat on em1 inet6 from { 10.0.0.1 2001:db8::9 } to any -> em0\n",
            "nat on em1 inet6 from 2001:db8::9 to any -> 2001:db8::1\n",
        ),
        // Other rules are multiplied for both.
        (
            "pass out from em0\n",
            "pass out inet from 192.0.2.1 to any flags S/SA keep state\n\
             pass out inet6 from 2001:db8::1 to any flags S/SA keep state\n",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(outcome(text, &dual_stack()), expected, "{text}");
    }
}

#[test]
fn a_length_that_no_ipv4_address_has_is_refused_where_there_is_one() {
    let cases = [
        (
            "pass in from em0/33\n",
            "pf.conf:1: netmask 33 invalid for IPv4 address",
        ),
        (
            "pass in inet6 from em0/64\n",
            "pass in inet6 from 2001:db8::/64 to any flags S/SA keep state\n",
        ),
        (
            "table <t> { em0/64 }\n",
            "pf.conf:1: netmask 64 invalid for IPv4 address",
        ),
        (
            "nat on em1 inet from any to any -> em0/64\n",
            "pf.conf:1: netmask 64 invalid for IPv4 address",
        ),
        // Of an interface's address to come it is what it can be, and a whole one is not printed.
        (
            "pass in inet from (em0)/33\npass in inet from (em0)/24\npass in from (em0)/33\n\
             pass in inet6 from (em0)/128\npass in from (em0)/129\n",
            "pf.conf:5: invalid netmask '/129'",
        ),
        (
            "pass in inet from (em0)/33\npass in inet from (em0)/24\npass in from (em0)/33\n\
             pass in inet6 from (em0)/128\npass in proto tcp from (em0)/32 to (em0)/32\n",
            "pass in inet from (em0) to any flags S/SA keep state\n\
             pass in inet from (em0)/24 to any flags S/SA keep state\n\
             pass in from (em0)/33 to any flags S/SA keep state\n\
             pass in inet6 from (em0) to any flags S/SA keep state\n\
             pass in proto tcp from (em0)/32 to (em0)/32 flags S/SA keep state\n",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(outcome(text, &dual_stack()), expected, "{text}");
    }
}

/// pfctl compares these without regard to case, and tells them as they are written.
#[test]
fn names_of_timeouts_limits_and_optimizations_may_be_written_in_any_case() {
    let text = "set timeout { TCP.First 7, Interval 8 }\nset limit { STATES 9 Src-Nodes 10 }\n\
                set optimization Aggressive\nset loginterface all\nscrub reassemble TCP\n\
                pass tos LowDelay ridentifier 0x10\n\
                pass from 10.0.0.1 - 10.0.0.9 label \"$srcaddr\" ridentifier 010\n";
    let expected = "set timeout TCP.First 7\nset timeout Interval 8\nset limit STATES 9\n\
                    set limit Src-Nodes 10\nset optimization Aggressive\nset loginterface all\n";
    let all = outcome(text, &LoadOptions::default());
    assert!(all.starts_with(expected), "{all}");
    assert!(all.contains("reassemble tcp"), "{all}");
    assert!(
        all.contains("pass all flags S/SA tos 0x10 keep state ridentifier 16\n"),
        "{all}"
    );
    assert!(all.contains("label \"?\" ridentifier 10\n"), "{all}");
    let loaded = loaded(text, &[], &LoadOptions::default());
    let options = &loaded.ruleset.options;
    assert!(
        options.timeouts.contains(&(Timeout::TcpFirst, 30)),
        "{options:?}"
    );
    assert!(
        options.timeouts.contains(&(Timeout::Interval, 8)),
        "{options:?}"
    );
    assert!(options.limits.contains(&(Limit::States, 9)), "{options:?}");
    for (refused, message) in [
        (
            "pass keep state (TCP.first 7)\n",
            "unknown timeout TCP.first",
        ),
        (
            "pass proto tcp user 4294967295\n",
            "illegal uid value 4294967295",
        ),
        ("pass ridentifier 0xg\n", "0xg is not a number"),
        (
            "pass ridentifier 0x1ffffffff\n",
            "number 0x1ffffffff is too large",
        ),
        (
            "nat on em0 inet from any to any -> 192.0.2.1 round-robin map-e-portset 6/8/0x34\n",
            "map-e-portset cannot be used with address pools",
        ),
    ] {
        let said = outcome(refused, &LoadOptions::default());
        assert_eq!(said, format!("pf.conf:1: {message}"));
    }
}

/// pfctl's own checks of `binat` and of queues of ALTQ.
#[test]
fn binat_needs_a_family_and_priq_shares_nothing() {
    let altq = "altq on em0 priq bandwidth 1Mb queue { a b }\n";
    let cases = [
        (
            "binat on em0 from (em1:0) to any -> (em0:0)\n".to_owned(),
            "pf.conf:1: address family (inet/inet6) undefined",
        ),
        (
            "no binat on em0 from any to any\n".to_owned(),
            "pf.conf:1: address family (inet/inet6) undefined",
        ),
        (
            "binat on em0 inet6 from (em1:0) to any -> (em0:0)\n".to_owned(),
            "binat on em0 inet6 from (em1:0) to any -> (em0:0)\n",
        ),
        (
            "binat on em0 from (em1:0) to 10.0.0.0/8 -> (em0:0)\n".to_owned(),
            "binat on em0 inet from (em1:0) to 10.0.0.0/8 -> (em0:0)\n",
        ),
        (
            format!("{altq}queue a bandwidth 10%\n"),
            "pf.conf:2: priq doesn't take bandwidth",
        ),
        (
            format!("{altq}queue a {{ c }}\n"),
            "pf.conf:2: priq queues cannot have child queues",
        ),
        (
            "altq on em0 cbq bandwidth 1Mb queue { a }\nqueue a cbq(default) { a }\n".to_owned(),
            "pf.conf:2: queue cannot have itself as child",
        ),
        (
            "altq on em0 codelq(target 5 ecn) bandwidth 10Mb\n".to_owned(),
            "altq on em0 codel( target 5 ecn ) bandwidth 10Mb tbrsize 6000 \n",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(outcome(&text, &LoadOptions::default()), expected, "{text}");
    }
}
