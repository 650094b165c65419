//! The options of pfctl in one table: what the reader of the command line takes, and what
//! completion scripts offer.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, Command, ValueHint};

use super::arguments;
use crate::text::DIALECT_NAMES;

/// An option of one letter.
#[derive(Clone, Copy, Debug)]
pub struct OptionLetter {
    /// The letter.
    pub letter: char,
    /// What follows it, if anything does.
    pub value: Option<&'static str>,
    /// What it does, in a few words.
    pub help: &'static str,
}

const fn flag(letter: char, help: &'static str) -> OptionLetter {
    OptionLetter {
        letter,
        value: None,
        help,
    }
}

const fn with(letter: char, value: &'static str, help: &'static str) -> OptionLetter {
    OptionLetter {
        letter,
        value: Some(value),
        help,
    }
}

/// All options of one letter.
pub const LETTERS: [OptionLetter; 33] = [
    flag('A', "load only queues"),
    with('a', "ANCHOR", "act on an anchor"),
    with('D', "NAME=VALUE", "define a macro"),
    flag('d', "disable the filter"),
    flag('e', "enable the filter"),
    with('F', "MODIFIER", "flush"),
    with('f', "FILE", "load rules, or addresses of a table"),
    flag('g', "show skip steps of rules"),
    flag('h', "explain the options"),
    with('I', "ID", "a limiter, for -k source"),
    with('i', "INTERFACE", "only of this interface"),
    with('K', "HOST", "kill source nodes"),
    with('k', "HOST", "kill states"),
    with('L', "FILE", "load states"),
    flag('M', "kill states of the other side too"),
    flag('m', "merge options into those in force"),
    flag('N', "load only translation rules"),
    flag('n', "check, and change nothing"),
    flag('O', "load only options"),
    with('o', "LEVEL", "how much to optimize"),
    flag('P', "service names the other way round"),
    with('p', "DEVICE", "a device: see --socket"),
    flag('q', "say nothing but errors"),
    flag('R', "load only filter rules"),
    flag('r', "names of addresses"),
    with('S', "FILE", "store states"),
    with('s', "MODIFIER", "show"),
    with('T', "COMMAND", "do something with a table"),
    with('t', "TABLE", "name a table"),
    with('V', "RDOMAIN", "the routing domain of states to kill"),
    flag('v', "show more; twice for still more"),
    with('x', "LEVEL", "how much the filter says"),
    flag('z', "zero the counters of rules"),
];

/// Options with a long name: it, what follows, what they do.
pub const LONG: [(&str, Option<&str>, &str); 6] = [
    ("config", Some("DIR"), "configuration directory"),
    ("dialect", Some("NAME"), "whose meaning and printing"),
    ("help", None, "explain them too"),
    ("no-dns", None, "do not look names up in the DNS"),
    ("plain", None, "one line for each error"),
    ("socket", Some("PATH"), "the daemon's control socket"),
];

/// Whether something follows the option; nothing for a letter that is none.
#[must_use]
pub fn takes_value(letter: char) -> Option<bool> {
    let known = LETTERS.iter().find(|option| option.letter == letter);
    known.map(|option| option.value.is_some())
}

/// Whether something follows the long option; nothing for a name that is none.
#[must_use]
pub fn long_takes_value(name: &str) -> Option<bool> {
    let known = LONG.iter().find(|(known, _, _)| *known == name);
    known.map(|(_, value, _)| value.is_some())
}

/// pfctl as completion scripts see it.
#[must_use]
pub fn command(name: &'static str) -> Command {
    LETTERS
        .iter()
        .map(letter_argument)
        .chain(LONG.iter().map(long_argument))
        .fold(Command::new(name), Command::arg)
        .about("Control the packet filter")
        .disable_help_flag(true)
        .disable_version_flag(true)
        .arg(
            Arg::new("address")
                .num_args(0..)
                .help("Addresses of a table"),
        )
}

fn letter_argument(option: &OptionLetter) -> Arg {
    // Any name will do that is not used twice.
    let own = Arg::new(option.help).short(option.letter).help(option.help);
    let Some(value) = option.value else {
        return own.action(ArgAction::Count);
    };
    let own = own.value_name(value).action(ArgAction::Append);
    match (arguments::words(option.letter), value) {
        (Some(words), _) => own.value_parser(PossibleValuesParser::new(words)),
        (None, "FILE" | "DEVICE") => own.value_hint(ValueHint::FilePath),
        (None, _) => own,
    }
}

fn long_argument((name, value, help): &(&'static str, Option<&'static str>, &'static str)) -> Arg {
    let own = Arg::new(*name).long(*name).help(*help);
    let Some(value) = value else {
        return own.action(ArgAction::SetTrue);
    };
    let own = own.value_name(*value);
    match *value {
        "DIR" => own.value_hint(ValueHint::DirPath),
        "PATH" => own.value_hint(ValueHint::FilePath),
        _ => own.value_parser(PossibleValuesParser::new(
            DIALECT_NAMES.map(|(name, _)| name),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::help::{HELP, USAGE};
    use super::*;

    /// The pages that have to name every option.
    const MANUAL: &str = include_str!("../../../../docs/man/pfctl.8");

    #[test]
    fn the_command_line_is_consistent() {
        command("pfctl").debug_assert();
    }

    #[test]
    fn usage_help_and_manual_name_every_option() {
        let clustered = USAGE
            .split_once("[-")
            .and_then(|(_, rest)| rest.split_once(']'));
        let (flags, rest) = clustered.expect("a cluster of flags");
        for OptionLetter { letter, value, .. } in LETTERS {
            assert!(
                MANUAL.contains(&format!("\\-{letter}")),
                "manual: -{letter}"
            );
            // -p is refused, -h is what prints the help.
            if "ph".contains(letter) {
                continue;
            }
            assert!(HELP.contains(&format!("-{letter}")), "help: -{letter}");
            match value {
                None => assert!(flags.contains(letter), "usage: -{letter}"),
                Some(_) => assert!(rest.contains(&format!("-{letter} ")), "usage: -{letter}"),
            }
        }
        for (name, ..) in LONG {
            assert!(USAGE.contains(&format!("--{name}")), "usage: --{name}");
            let manual = name.replace('-', "\\-");
            assert!(MANUAL.contains(&manual), "manual: --{name}");
        }
    }

    #[test]
    fn letters_stand_in_the_order_of_the_manual() {
        let key = |option: &OptionLetter| (option.letter.to_ascii_lowercase(), option.letter);
        assert!(LETTERS.is_sorted_by_key(key));
    }
}
