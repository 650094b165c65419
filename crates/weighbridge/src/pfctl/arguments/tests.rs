use super::*;
use crate::pfctl::help::HELP;

fn read(words: &str) -> Result<Arguments, ArgumentError> {
    let words: Vec<OsString> = words.split_whitespace().map(OsString::from).collect();
    parse(&words)
}

fn good(words: &str) -> Arguments {
    read(words).unwrap_or_else(|error| panic!("{words}: {error:?}"))
}

#[test]
fn clusters_mean_what_their_letters_mean_apart() {
    let labels = Some(Show::Section(Section::Labels));
    for words in ["-vvsl", "-v -v -s labels", "-vv -sla", "-s l -vv"] {
        let arguments = good(words);
        assert_eq!((arguments.show, arguments.verbose), (labels, 2), "{words}");
    }
    let arguments = good("-nvf /etc/pf.conf");
    assert!(arguments.dry_run);
    assert_eq!(arguments.verbose, 1);
    assert_eq!(arguments.file.as_deref(), Some("/etc/pf.conf"));
    assert_eq!(good("-nf-").file.as_deref(), Some("-"));
    assert_eq!(good("-nf -").file.as_deref(), Some("-"));
    assert_eq!(good("-o none -nv -f x").file.as_deref(), Some("x"));
    let level = |words| good(words).optimization;
    assert_eq!(level("-o none -nv -f x"), Some(Optimization::None));
    assert_eq!(level("-ob -nf x"), Some(Optimization::Basic));
    assert_eq!(level("-oprofile -f x"), Some(Optimization::Profile));
    assert_eq!(level("-nf x"), None);
    assert!(good("-gvvsr").debug && !good("-vvsr").debug);
}

#[test]
fn modifiers_are_found_by_prefix_in_pfs_order() {
    for (typed, expected) in [
        ("r", Show::Section(Section::Rules)),
        ("R", Show::Running),
        ("s", Show::Section(Section::States)),
        ("i", Show::Section(Section::Info)),
        ("I", Show::Section(Section::Interfaces)),
        ("t", Show::Section(Section::Timeouts)),
        ("T", Show::Section(Section::Tables)),
        ("Tab", Show::Section(Section::Tables)),
        ("m", Show::Section(Section::Memory)),
        ("n", Show::Section(Section::Nat)),
        ("a", Show::All),
    ] {
        assert_eq!(good(&format!("-s {typed}")).show, Some(expected), "{typed}");
    }
    assert_eq!(good("-Fa").flush, Some(Flush::All));
    let rules = Flush::Target(FlushTarget::Rules);
    assert_eq!(good("-F rul").flush, Some(rules));
}

#[test]
fn table_commands_take_addresses_or_a_file() {
    let arguments = good("-t bad -T add 192.0.2.1 !192.0.2.2");
    assert_eq!(arguments.table, Some(("bad".into(), TableCommand::Add)));
    assert_eq!(arguments.addresses, ["192.0.2.1", "!192.0.2.2"]);
    let arguments = good("-vTr -tbad -f list");
    assert_eq!(arguments.table, Some(("bad".into(), TableCommand::Replace)));
    assert_eq!(arguments.file.as_deref(), Some("list"));
    assert!(matches!(read("-t bad"), Err(ArgumentError::Usage(_))));
    assert!(matches!(read("-T show"), Err(ArgumentError::Usage(_))));
    assert!(matches!(
        read("-t bad -Tf 192.0.2.1"),
        Err(ArgumentError::Usage(_))
    ));
}

#[test]
fn words_after_the_first_plain_one_are_no_options() {
    assert_eq!(
        good("-t b -T add 192.0.2.1 -v").addresses,
        ["192.0.2.1", "-v"]
    );
    assert_eq!(good("-t b -T add -- -v").addresses, ["-v"]);
    let error = read("-e extra").unwrap_err();
    let expected = "unknown command line argument: extra ...";
    assert_eq!(error, ArgumentError::Usage(Some(expected.into())));
}

#[test]
fn nonsense_gets_the_usage() {
    for (words, message) in [
        ("-y", "illegal option -- y"),
        ("--frob", "illegal option -- frob"),
        ("-f", "option requires an argument -- f"),
        ("-s x", "Unknown show modifier 'x'"),
        ("-F zzz", "Unknown flush modifier 'zzz'"),
        ("-t a -T zap", "Unknown table command 'zap'"),
        ("-o best", "Unknown optimization 'best'"),
        ("-k a -k b -k c", "can only specify -k twice"),
        ("-K a -K b -K c", "can only specify -K twice"),
    ] {
        assert_eq!(
            read(words),
            Err(ArgumentError::Usage(Some(message.into()))),
            "{words}"
        );
    }
    assert_eq!(parse(&[]), Err(ArgumentError::Usage(None)));
}

#[test]
fn definitions_and_long_options_are_read() {
    let arguments = good("-D ext=em0 -Dempty= --dialect openbsd3 --socket=/s --plain -nf x");
    let define = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        arguments.defines,
        [define("ext", "em0"), define("empty", "")]
    );
    assert_eq!(arguments.dialect, Some(Dialect::OpenBsd3));
    assert_eq!(arguments.socket, Some("/s".into()));
    assert!(arguments.plain);
    assert!(matches!(read("-D novalue"), Err(ArgumentError::Refused(_))));
    assert!(matches!(
        read("--dialect x"),
        Err(ArgumentError::Refused(_))
    ));
    assert!(good("-vh").help && good("--help").help);
}

#[test]
fn the_help_and_the_manual_name_every_word() {
    const MANUAL: &str = include_str!("../../../../../docs/man/pfctl.8");
    let is_named = |text: &str, word: &str| {
        let mut found = text.split(|c: char| !c.is_alphanumeric());
        found.any(|other| other == word)
    };
    for letter in ['F', 's', 'T'] {
        for word in words(letter).expect("it has words") {
            assert!(is_named(HELP, word), "help: -{letter} {word}");
            assert!(is_named(MANUAL, word), "manual: -{letter} {word}");
        }
    }
}
