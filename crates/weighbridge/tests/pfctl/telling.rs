//! What `pfctl -v` tells of a file, and how pfctl ends when there are errors in it.

use std::fs;

use pf_engine::ruleset::Dialect;

use super::{Daemon, empty_engine, pfctl};

const TEXT: &str = "m = \"em0\"\nset timeout interval 8\ntable <t> { 192.0.2.9 }\nscrub in\n\
                    nat on $m inet from any to any -> 192.0.2.1\npass from <t>\n";

#[test]
fn of_a_part_that_is_loaded_alone_it_alone_is_told() {
    let daemon = Daemon::start(Dialect::FreeBsd, empty_engine());
    let file = daemon.file("pf.conf", TEXT);
    let scrub = "scrub in all fragment reassemble\n";
    let nat = "nat on em0 inet all -> 192.0.2.1\n";
    let pass = "pass from <t> to any flags S/SA keep state\n";
    let cases = [
        ("-N", nat.to_owned()),
        ("-R", format!("{scrub}{pass}")),
        ("-O", "set timeout interval 8\n".to_owned()),
        ("-A", String::new()),
        ("-N -R", format!("{scrub}{nat}{pass}")),
        ("-T load", "table <t> { 192.0.2.9 }\n".to_owned()),
        (
            "-a x",
            format!("table <t> {{ 192.0.2.9 }}\n{scrub}{nat}{pass}"),
        ),
    ];
    for (parts, expected) in cases {
        let expected = format!("m = \"em0\"\n{expected}");
        for dry in ["-n", "", "-n -o none"] {
            let ran = daemon.pfctl(&format!("--dialect freebsd {dry} {parts} -v -f {file}"));
            let said = (ran.status, ran.out.as_str(), ran.err.as_str());
            assert_eq!(said, (0, expected.as_str(), ""), "{dry} {parts}");
        }
    }
}

#[test]
fn a_file_that_load_anchor_names_is_announced_on_standard_error() {
    let daemon = Daemon::start(Dialect::FreeBsd, empty_engine());
    let inner = daemon.file("inner.conf", "m = \"em1\"\nblock on $m\n");
    let text = format!("anchor a\nload anchor a from \"{inner}\"\npass\n");
    let file = daemon.file("pf.conf", &text);
    let out =
        "anchor \"a\" all\npass all flags S/SA keep state\nm = \"em1\"\nblock drop on em1 all\n";
    for dry in ["-n", "", "-n -o none"] {
        let ran = daemon.pfctl(&format!("--dialect freebsd {dry} -v -f {file}"));
        let err = format!("\nLoading anchor a from {inner}\n");
        assert_eq!((ran.out.as_str(), ran.err), (out, err), "{dry}");
    }
    assert_eq!(daemon.says(&format!("-f {file}")), "");
}

/// pfctl's words: `-n` has no rules to load, and anchors are read once the main file was understood.
#[test]
fn the_last_line_says_what_was_not_loaded() {
    let daemon = Daemon::start(Dialect::FreeBsd, empty_engine());
    let bad = daemon.file(
        "bad.conf",
        "m = \"em0\"\nblock frobnicate\nset skip on lo0\n",
    );
    let loads = daemon.file(
        "loads.conf",
        &format!("anchor a\nload anchor a from \"{bad}\"\n"),
    );
    let syntax = "pfctl: Syntax error in config file: pf rules not loaded\n";
    let anchors = "pfctl: load anchors\n";
    for (words, file, end) in [
        ("", &bad, syntax.to_owned()),
        ("-n", &bad, String::new()),
        ("", &loads, format!("{syntax}{anchors}")),
        ("-n", &loads, anchors.to_owned()),
    ] {
        let ran = daemon.pfctl(&format!("--dialect freebsd --plain {words} -f {file}"));
        let (errors, last) = ran.err.split_at(ran.err.len() - end.len());
        assert_eq!(
            (ran.status, ran.out.as_str(), last),
            (1, "", end.as_str()),
            "{words}"
        );
        let errors: Vec<&str> = errors.lines().collect();
        assert_eq!(errors.len(), 2, "{words} {errors:?}");
        assert!(
            errors[0].ends_with("bad.conf:2: syntax error"),
            "{errors:?}"
        );
    }
    let ran = daemon.pfctl(&format!("--dialect freebsd --plain -nv -f {bad}"));
    assert_eq!(
        ran.out, "m = \"em0\"\nset skip on { lo0 }\n",
        "what was understood is told"
    );
}

#[test]
fn rules_that_are_loaded_without_tables_get_none_from_the_optimizer() {
    let daemon = Daemon::start(Dialect::FreeBsd, empty_engine());
    let rules: Vec<String> = (1..=8)
        .map(|n| format!("pass in from 10.0.0.{n}\n"))
        .collect();
    let file = daemon.file("pf.conf", &rules.concat());
    daemon.says(&format!("-f {file}"));
    assert!(daemon.out("-sr").contains("<__automatic_"));
    daemon.says(&format!("-R -f {file}"));
    let loaded = daemon.out("-sr");
    assert_eq!(loaded.lines().count(), 8, "{loaded}");
    assert!(
        loaded.starts_with("pass in inet from 10.0.0.1 to any"),
        "{loaded}"
    );
}

#[test]
fn what_closes_an_anchor_stands_where_its_rule_would_without_a_number() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let file = dir.path().join("pf.conf");
    let blocks: Vec<String> = (1..=7)
        .map(|n| format!("block from 10.0.0.{n}\n"))
        .collect();
    let text = "anchor a {\npass in\nanchor b {\n".to_owned() + &blocks.concat();
    fs::write(&file, text + "}\nanchor c {\n}\npass out\n}\npass\n").expect("write");
    let told = |words: &str| {
        let nowhere = dir.path().join("none.sock");
        let file = file.display();
        pfctl(&nowhere, &format!("--dialect freebsd {words} -f {file}")).out
    };
    let plain = told("-nv");
    let digits = |text: &str| {
        let at = text.find("<__automatic_").expect("a table of its own") + "<__automatic_".len();
        text[at..at + 8].to_owned()
    };
    let table = format!("__automatic_{}_0", digits(&plain));
    let expected = format!(
        "anchor \"a\" all {{\n  pass in all flags S/SA keep state\n  anchor \"b\" all {{\n\
         table <{table}> const {{ 10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6 10.0.0.7 }}\n    \
         block drop inet from <{table}> to any\n  }}\n  anchor \"c\" all\n  \
         pass out all flags S/SA keep state\n}}\npass all flags S/SA keep state\n"
    );
    assert_eq!(plain, expected);
    let numbered = format!(
        "@0 anchor \"a\" all {{\n@0 pass in all flags S/SA keep state\n@1 anchor \"b\" all {{\n\
         table <{table}> const {{ 10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6 10.0.0.7 }}\n\
         @0 block drop inet from <{table}:0> to any\n  }}\n@2 anchor \"c\" all\n\
         @3 pass out all flags S/SA keep state\n}}\n@1 pass all flags S/SA keep state\n"
    );
    assert_eq!(told("-nvv"), numbered);
}
