use super::*;
use crate::files::MemoryFiles;

fn read(text: &str, grammar: Grammar) -> Profile {
    let files = MemoryFiles::of(&[("/etc/krb5.conf", text)]);
    Profile::read("/etc/krb5.conf", grammar, &files)
}

fn problems(text: &str, grammar: Grammar) -> Vec<(u32, String, bool)> {
    let profile = read(text, grammar);
    let problem = |p: ProfileProblem| (p.place.line, p.message, p.fatal);
    profile.problems.into_iter().map(problem).collect()
}

const SOUND: &str = "\
# comment
[libdefaults]
\tdefault_realm = MYREALM
\trdns = off
[realms]
\tMYREALM = {
\t\tkdc = kdc1.example.org
\t\tkdc = [2001:db8::1]:750
\t\tkdc = https://proxy/KdcProxy
\t}
[domain_realm]
\t.example.org = MYREALM
\tother.example.org = OTHER
\texample.net = NET
[gssapi]
\tcorrect_des3_mic = host/*@MYREALM HTTP/*@MYREALM
";

#[test]
fn both_grammars_read_an_ordinary_file() {
    for grammar in [Grammar::Mit, Grammar::Heimdal] {
        let profile = read(SOUND, grammar);
        assert_eq!(profile.problems, []);
        assert_eq!(profile.default_realm(), Some("MYREALM"));
        assert_eq!(profile.realm_of("a.example.org"), Some("MYREALM"));
        assert_eq!(profile.realm_of("Other.example.org"), Some("OTHER"));
        assert_eq!(profile.realm_of("a.b.example.net"), Some("NET"));
        assert_eq!(profile.realm_of("a.example.com"), Some("MYREALM"));
        assert!(!profile.switch("rdns").unwrap().0);
        let kdcs = profile.kdcs("MYREALM");
        assert_eq!(kdcs[0].as_ref().unwrap().port, 88);
        assert_eq!(
            kdcs[1],
            Ok(Kdc {
                host: "2001:db8::1".into(),
                port: 750
            })
        );
        assert!(kdcs[2].is_err());
        let patterns: Vec<&str> = profile
            .patterns("correct_des3_mic")
            .iter()
            .map(|p| p.0)
            .collect();
        assert_eq!(patterns, ["host/*@MYREALM", "HTTP/*@MYREALM"]);
        assert_eq!(profile.patterns("correct_des3_mic")[0].1.place.line, 16);
    }
}

#[test]
fn mit_takes_a_brace_on_the_next_line_and_quotes_and_heimdal_neither() {
    let text = "[realms]\nR =\n{\nkdc = \"a\\tb\"\n}\n";
    assert_eq!(read(text, Grammar::Mit).relations[0].value, "a\tb");
    let (line, _, fatal) = &problems(text, Grammar::Heimdal)[0];
    assert_eq!((*line, *fatal), (3, true));
}

#[test]
fn faults_are_told_with_their_lines() {
    for (text, line, words) in [
        ("[libdefaults\n", 1, "`]` is missing"),
        ("[realms]\nR = {\nkdc = a\n", 3, "`}` is missing at the end"),
        (
            "[realms]\nR = {\nkdc = a\n[libdefaults]\n",
            4,
            "`}` is missing before",
        ),
        ("[realms]\n}\n", 2, "closes nothing"),
        (
            "[libdefaults]\ndefault_realm MYREALM\n",
            2,
            "`=` is missing",
        ),
        ("[libdefaults]\ndefault realm = X\n", 2, "is no tag"),
        ("a = b\n[libdefaults]\n", 1, "before the first section"),
        ("[libdefault]\n", 1, "libdefaults is meant"),
        (
            "[libdefaults]\nclockskew = 300 # s\n",
            2,
            "part of the value",
        ),
        (
            "[gssapi]\ncorrect_des_mic = host/*@R\n",
            2,
            "correct_des3_mic is meant",
        ),
        ("include krb5.d/a\n", 1, "must begin with /"),
        ("include /none\n", 1, "cannot read"),
    ] {
        for grammar in [Grammar::Mit, Grammar::Heimdal] {
            let found = problems(text, grammar);
            assert!(
                found
                    .iter()
                    .any(|(l, m, _)| *l == line && m.contains(words)),
                "{text} {found:?}"
            );
        }
    }
    assert!(problems("", Grammar::Mit).is_empty());
    assert!(problems("[a]\nb = \"c #d\"\n", Grammar::Mit).is_empty());
    let none = Profile::read("/a:/b", Grammar::Mit, &MemoryFiles::default());
    assert_eq!(none.problems.len(), 2);
}

#[test]
fn directories_are_included_by_the_names_that_mit_takes_and_cycles_end() {
    let files = MemoryFiles::of(&[
        (
            "/etc/krb5.conf",
            "includedir /etc/krb5.d\n[libdefaults]\nx = main\n",
        ),
        ("/etc/krb5.d/a", "[libdefaults]\nx = a\n"),
        ("/etc/krb5.d/b.conf", "[libdefaults]\nx = b\n"),
        ("/etc/krb5.d/c.rpmsave", "[libdefaults]\nx = c\n"),
        ("/loop", "include /loop\ninclude /loop\n"),
    ]);
    let profile = Profile::read("/etc/krb5.conf", Grammar::Mit, &files);
    let values: Vec<&str> = profile
        .values(&["libdefaults", "x"])
        .map(|r| r.value.as_str())
        .collect();
    assert_eq!(values, ["a", "b", "main"]);
    let looped = Profile::read("/loop", Grammar::Mit, &files);
    assert!(
        looped
            .problems
            .iter()
            .any(|p| p.message.contains("includes itself"))
    );
}

#[test]
fn a_section_closed_for_good_takes_nothing_from_later_files() {
    let files = MemoryFiles::of(&[
        ("/a", "[libdefaults]*\nx = a\n"),
        ("/b", "[libdefaults]\nx = b\n"),
    ]);
    let profile = Profile::read("/a:/b", Grammar::Mit, &files);
    assert_eq!(profile.values(&["libdefaults", "x"]).count(), 1);
    assert_eq!(profile.problems[0].place.file, "/b");
}

#[test]
fn groups_deeper_than_anybody_nests_are_told() {
    let text = "[a]\n".to_owned() + &"x = {\n".repeat(100);
    assert!(read(&text, Grammar::Mit).cut);
}
