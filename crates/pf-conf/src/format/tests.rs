use std::path::{Path, PathBuf};

use super::*;
use crate::MemoryFiles;

fn formatted(text: &str) -> String {
    let made = format(
        "pf.conf",
        text.as_bytes(),
        &mut MemoryFiles::default(),
        &LoadOptions::default(),
    );
    match made {
        Ok(made) => String::from_utf8(made).expect("UTF-8 stays UTF-8"),
        Err(FormatError::Refused(errors)) => panic!("refused: {errors}"),
        Err(FormatError::BlanksMatter(place)) => panic!("blanks matter at {place}"),
    }
}

#[track_caller]
fn becomes(text: &str, expected: &str) {
    let once = formatted(text);
    assert_eq!(once, expected);
    assert_eq!(formatted(&once), once, "a second time");
}

#[test]
fn words_stand_one_blank_apart_and_lists_have_air() {
    becomes(
        "pass   in\ton em0 proto {tcp,udp}  from{ 10.0.0.1 ,10.0.0.2}to any port{22 80}\n",
        "pass in on em0 proto { tcp, udp } from { 10.0.0.1, 10.0.0.2 } to any port { 22 80 }\n",
    );
}

#[test]
fn macro_definitions_have_blanks_around_the_sign_and_values_stay() {
    becomes(
        "ext_if=\"em0\"\nports   =  \"{  22   80 }\"\npass in on $ext_if proto tcp to port $ports\n",
        "ext_if = \"em0\"\nports = \"{  22   80 }\"\npass in on $ext_if proto tcp to port $ports\n",
    );
}

#[test]
fn a_macro_that_opens_a_comment_changes_nothing() {
    becomes(
        "off = \"#\"\n$off   nat on   em0 from any to any -> (em0)   # it's off\npass all\n",
        "off = \"#\"\n$off nat on em0 from any to any -> (em0) # it's off\npass all\n",
    );
    becomes(
        "off = \"#\"\n$off  pass label \"it's\npass   all\n",
        "off = \"#\"\n$off pass label \"it's\npass all\n",
    );
}

#[test]
fn what_touches_a_macro_goes_on_touching_it() {
    becomes(
        "if = \"em0\"\nnet=\"10.0.0.0\"\npass on $if from $net/8 to ($if:network)\n",
        "if = \"em0\"\nnet = \"10.0.0.0\"\npass on $if from $net/8 to ($if:network)\n",
    );
    becomes(
        "net = \"10.0.0.0\"\npass from $net\\\n/8 \\\n   to $net/8\n",
        "net = \"10.0.0.0\"\npass from $net\\\n/8 \\\n    to $net/8\n",
    );
}

#[test]
fn comments_keep_their_lines_and_share_a_column() {
    becomes(
        "# first   line  \n\n\n\nset skip on lo0     # loopback\npass all # everything\n    # alone\n",
        "# first   line\n\nset skip on lo0 # loopback\npass all        # everything\n# alone\n",
    );
}

#[test]
fn a_continued_comment_is_one_comment() {
    becomes(
        "# nothing \\\n   pass  all\nblock   all\n",
        "# nothing \\\n   pass  all\nblock all\n",
    );
    becomes("# a path C:\\ \npass  all\n", "# a path C:\\ \npass all\n");
}

#[test]
fn long_rules_stay_broken_where_they_were() {
    becomes(
        "pass in on em0 \\\nproto tcp   \\\n\t\tfrom any to any port 22\npass out\n",
        "pass in on em0 \\\n    proto tcp \\\n    from any to any port 22\npass out\n",
    );
    becomes(
        "table <a> { 10.0.0.1,   # one\n10.0.0.2\n}\npass from <a>\n",
        "table <a> { 10.0.0.1, # one\n    10.0.0.2\n}\npass from <a>\n",
    );
    becomes(
        "pass from { \\\n10.0.0.1 \\\n} to any\n",
        "pass from { \\\n    10.0.0.1 \\\n} to any\n",
    );
}

#[test]
fn a_backslash_that_continues_nothing_does_not_begin_to() {
    becomes("pass in \\ \npass out\n", "pass in\npass out\n");
    becomes("pass in \\\n\npass out\n", "pass in\npass out\n");
    becomes("\\\npass out \\\n", "pass out\n");
}

#[test]
fn tables_and_comparisons_are_told_apart() {
    becomes(
        "table <t>{10.0.0.1}\npass proto tcp from ! < t > port >1024 to !<t> port 1><9\n",
        "table <t> { 10.0.0.1 }\npass proto tcp from !<t> port > 1024 to !<t> port 1 >< 9\n",
    );
}

#[test]
fn parentheses_and_operators() {
    becomes(
        "nat on em0 from 10.0.0.0/8 to any ->( em0 )\npass in proto tcp flags S / SA keep state( max 5,if-bound )\n",
        "nat on em0 from 10.0.0.0/8 to any -> (em0)\npass in proto tcp flags S / SA keep state (max 5, if-bound)\n",
    );
}

#[test]
fn carriage_returns_go_and_other_bytes_stay() {
    becomes("pass  in\r\nblock out\r\n", "pass in\nblock out\n");
    let latin = b"# caf\xe9\npass   all\n";
    let mut files = MemoryFiles::default();
    let made = format("x", latin, &mut files, &LoadOptions::default()).expect("laid out");
    assert_eq!(made, b"# caf\xe9\npass all\n");
}

#[test]
fn an_empty_file_stays_empty() {
    becomes("", "");
    becomes("\n\n  \n", "");
}

#[test]
fn errors_are_refused_with_their_places() {
    let mut files = MemoryFiles::default();
    let refused = format("x", b"pass frm any\n", &mut files, &LoadOptions::default());
    let Err(FormatError::Refused(errors)) = refused else {
        panic!("laid out");
    };
    assert!(errors.plain().starts_with("x:1: syntax error"), "{errors}");
}

#[test]
fn blanks_that_mean_something_are_left_to_the_author() {
    let text = b"a = 'label \"x'\npass $a   y\"\n";
    let mut files = MemoryFiles::default();
    let refused = format("x", text, &mut files, &LoadOptions::default());
    let Err(FormatError::BlanksMatter(place)) = refused else {
        panic!("laid out: {refused:?}");
    };
    assert_eq!(place.line, 2);
}

fn published() -> Vec<PathBuf> {
    let given = std::env::var_os("WEIGHBRIDGE_CONFORMANCE").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let root = given.into_iter().chain([beside]);
    let Some(root) = root
        .map(|root| root.join("conformance"))
        .find(|p| p.is_dir())
    else {
        return Vec::new();
    };
    ["realworld-pfconf", "freebsd-pfctl"]
        .into_iter()
        .filter_map(|part| std::fs::read_dir(root.join(part)).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

/// Even texts that are refused: the layout itself settles at once.
#[test]
fn every_published_text_is_laid_out_the_same_a_second_time() {
    let files = published();
    if files.is_empty() {
        println!("SKIPPED: no conformance suite (set WEIGHBRIDGE_CONFORMANCE)");
    }
    for path in files {
        let text = std::fs::read(&path).expect("readable");
        let once = layout::lay_out(&scan::pieces(&text));
        let twice = layout::lay_out(&scan::pieces(&once));
        assert!(once == twice, "{}", path.display());
    }
}
