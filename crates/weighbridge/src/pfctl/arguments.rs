//! pfctl's command line, read as getopt(3) would: clustered letters, values attached or apart,
//! modifiers by any prefix.

use std::ffi::OsString;
use std::path::PathBuf;

use pf_conf::Optimization;
use pf_engine::anchor::{AnchorPath, AnchorPathError};
use pf_engine::ruleset::{DebugLevel, Dialect, Parts};

use super::show::{Scope, Section};
use crate::control::protocol::{FlushTarget, TableCommand};
use crate::text::parse_dialect;

/// Characters in a table name (PF's `PF_TABLE_NAME_SIZE` less the terminator).
const TABLE_NAME_MAX: usize = 31;
/// `-k` can be given this often: source and destination.
const KILLS_MAX: usize = 2;

/// What pfctl is to do, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one option letter")]
pub struct Arguments {
    /// `-e`.
    pub enable: bool,
    /// `-d`.
    pub disable: bool,
    /// `-n`.
    pub dry_run: bool,
    /// `-q`.
    pub quiet: bool,
    /// Number of `-v`.
    pub verbose: u8,
    /// `-P`.
    pub swap_service_names: bool,
    /// `-g`.
    pub debug: bool,
    /// `-o`.
    pub optimization: Option<Optimization>,
    /// `-z`.
    pub clear_counters: bool,
    /// `-s`.
    pub show: Option<Show>,
    /// `-F`.
    pub flush: Option<Flush>,
    /// `-f`: rules, or with `-T` addresses; `-` for standard input.
    pub file: Option<String>,
    /// `-a`.
    pub scope: Scope,
    /// `-N`.
    pub only_translation: bool,
    /// `-R`.
    pub only_filter: bool,
    /// `-O`.
    pub only_options: bool,
    /// `-A`: only what there is of queues.
    pub only_queues: bool,
    /// `-T load`.
    pub only_tables: bool,
    /// `-t` and `-T`.
    pub table: Option<(String, TableCommand)>,
    /// What follows the options: addresses of a table command.
    pub addresses: Vec<String>,
    /// `-k`, at most two.
    pub kill: Vec<String>,
    /// `-x`.
    pub debug_level: Option<&'static str>,
    /// `-M`.
    pub kill_matching: bool,
    /// `-i`.
    pub interface: Option<String>,
    /// `-r`.
    pub names: bool,
    /// `-S`: store states there.
    pub save_states: Option<String>,
    /// `-L`: load states from there.
    pub load_states: Option<String>,
    /// Seconds of `-T expire`.
    pub age: u64,
    /// `-K`, at most two.
    pub kill_sources: Vec<String>,
    /// `-I`: the number of a limiter.
    pub limiter: Option<u8>,
    /// `-D name=value`.
    pub defines: Vec<(String, String)>,
    /// `--dialect`.
    pub dialect: Option<Dialect>,
    /// `--socket`.
    pub socket: Option<PathBuf>,
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--plain`.
    pub plain: bool,
    /// `-h`, `--help`.
    pub help: bool,
}

impl Arguments {
    /// What of a file is to be loaded: everything, unless one part or several are named.
    #[must_use]
    pub const fn parts(&self) -> Parts {
        let parts = Parts {
            options: self.only_options,
            tables: self.only_tables,
            translation: self.only_translation,
            filter: self.only_filter,
        };
        let all = !(self.only_queues
            || self.only_options
            || self.only_tables
            || self.only_translation
            || self.only_filter);
        if all { Parts::ALL } else { parts }
    }

    /// Whether anything is to be changed.
    const fn changes(&self) -> bool {
        let commands = self.file.is_some() || self.flush.is_some();
        let table = match &self.table {
            Some((_, command)) => !matches!(command, TableCommand::Show | TableCommand::Test),
            None => false,
        };
        (commands || table) && !self.dry_run
    }
}

/// `-s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// One thing.
    Section(Section),
    /// `-s Running`.
    Running,
    /// `-s all`.
    All,
}

/// `-F`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// One thing.
    Target(FlushTarget),
    /// `-F all`.
    All,
}

/// Why a command line is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArgumentError {
    /// It makes no sense; the usage follows the message, if there is one.
    Usage(Option<String>),
    /// It makes sense to PF, but not yet to us, or a value is wrong.
    Refused(String),
}

/// A modifier of `-s`, `-F` or `-T`: what it means to us, or nothing while it is not supported.
type Modifier<T> = (&'static str, Option<T>);

/// In PF's order: the first that begins with what was typed is meant.
const SHOW: [Modifier<Show>; 19] = [
    ("ether", Some(Show::Section(Section::Ether))),
    ("nat", Some(Show::Section(Section::Nat))),
    ("queue", Some(Show::Section(Section::Queue))),
    ("rules", Some(Show::Section(Section::Rules))),
    ("Anchors", Some(Show::Section(Section::Anchors))),
    ("Sources", Some(Show::Section(Section::Sources))),
    ("states", Some(Show::Section(Section::States))),
    ("info", Some(Show::Section(Section::Info))),
    ("Interfaces", Some(Show::Section(Section::Interfaces))),
    ("labels", Some(Show::Section(Section::Labels))),
    ("timeouts", Some(Show::Section(Section::Timeouts))),
    ("memory", Some(Show::Section(Section::Memory))),
    ("Tables", Some(Show::Section(Section::Tables))),
    ("osfp", None),
    ("Running", Some(Show::Running)),
    ("all", Some(Show::All)),
    ("creatorids", Some(Show::Section(Section::CreatorIds))),
    ("LimiterStates", Some(Show::Section(Section::LimiterStates))),
    ("LimiterSrcs", Some(Show::Section(Section::LimiterSources))),
];

const FLUSH: [Modifier<Flush>; 11] = [
    ("nat", Some(Flush::Target(FlushTarget::Nat))),
    ("queue", Some(Flush::Target(FlushTarget::Queues))),
    ("rules", Some(Flush::Target(FlushTarget::Rules))),
    ("Sources", Some(Flush::Target(FlushTarget::Sources))),
    ("states", Some(Flush::Target(FlushTarget::States))),
    ("info", Some(Flush::Target(FlushTarget::Info))),
    ("Tables", Some(Flush::Target(FlushTarget::Tables))),
    ("osfp", None),
    ("Reset", Some(Flush::Target(FlushTarget::Options))),
    ("all", Some(Flush::All)),
    ("ethernet", None),
];

const TABLE: [Modifier<TableCommand>; 11] = [
    ("kill", Some(TableCommand::Kill)),
    ("flush", Some(TableCommand::Flush)),
    ("add", Some(TableCommand::Add)),
    ("delete", Some(TableCommand::Delete)),
    ("load", Some(TableCommand::Load)),
    ("replace", Some(TableCommand::Replace)),
    ("show", Some(TableCommand::Show)),
    ("test", Some(TableCommand::Test)),
    ("zero", Some(TableCommand::Zero)),
    ("expire", Some(TableCommand::Expire)),
    ("reset", Some(TableCommand::Reset)),
];

const OPTIMIZE: [Modifier<Optimization>; 3] = [
    ("none", Some(Optimization::None)),
    ("basic", Some(Optimization::Basic)),
    ("profile", Some(Optimization::Profile)),
];

/// Letters that take a value.
const WITH_VALUE: &str = "DFfkostTaiKpxSLIXV";
/// Letters that PF knows and we do not.
const NOT_YET: &str = "GmVX";

/// Reads the arguments after the program's name.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse(arguments: &[OsString]) -> Result<Arguments, ArgumentError> {
    let words = arguments.iter().map(|word| {
        word.clone().into_string().map_err(|word| {
            ArgumentError::Refused(format!("\"{}\" is not UTF-8", word.to_string_lossy()))
        })
    });
    let words = words.collect::<Result<Vec<_>, _>>()?;
    if words.is_empty() {
        return Err(ArgumentError::Usage(None));
    }
    let mut reading = Reading::default();
    reading.options(&words)?;
    reading.finish()
}

#[derive(Default)]
struct Reading {
    arguments: Arguments,
    table_name: Option<String>,
    table_command: Option<TableCommand>,
}

impl Reading {
    /// Options end at `--` or at the first word that is none, as BSD's getopt has it.
    fn options(&mut self, words: &[String]) -> Result<(), ArgumentError> {
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--" {
                break;
            }
            if let Some(long) = word.strip_prefix("--") {
                self.long(long, &mut words)?;
            } else if let Some(cluster) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) {
                self.cluster(cluster, &mut words)?;
            } else {
                self.arguments.addresses.push(word.clone());
                break;
            }
        }
        self.arguments.addresses.extend(words.cloned());
        Ok(())
    }

    fn cluster<'a>(
        &mut self,
        cluster: &str,
        words: &mut impl Iterator<Item = &'a String>,
    ) -> Result<(), ArgumentError> {
        for (at, letter) in cluster.char_indices() {
            if !WITH_VALUE.contains(letter) {
                self.flag(letter)?;
                continue;
            }
            let attached = &cluster[at + letter.len_utf8()..];
            let value = match attached {
                "" => words
                    .next()
                    .cloned()
                    .ok_or_else(|| usage(format!("option requires an argument -- {letter}")))?,
                attached => attached.to_owned(),
            };
            return self.value(letter, value);
        }
        Ok(())
    }

    fn flag(&mut self, letter: char) -> Result<(), ArgumentError> {
        let arguments = &mut self.arguments;
        match letter {
            'A' => arguments.only_queues = true,
            'N' => arguments.only_translation = true,
            'O' => arguments.only_options = true,
            'R' => arguments.only_filter = true,
            'd' => arguments.disable = true,
            'e' => arguments.enable = true,
            'g' => arguments.debug = true,
            'h' => arguments.help = true,
            'M' => arguments.kill_matching = true,
            'n' => arguments.dry_run = true,
            'P' => arguments.swap_service_names = true,
            'q' => arguments.quiet = true,
            'r' => arguments.names = true,
            'v' => arguments.verbose = arguments.verbose.saturating_add(1),
            'z' => arguments.clear_counters = true,
            _ => return Err(unknown(letter)),
        }
        Ok(())
    }

    fn value(&mut self, letter: char, value: String) -> Result<(), ArgumentError> {
        let arguments = &mut self.arguments;
        match letter {
            'a' => arguments.scope = scope(&value)?,
            'D' => arguments.defines.push(definition(&value)?),
            'F' => arguments.flush = Some(modifier(&FLUSH, "flush modifier", &value)?),
            'f' => arguments.file = Some(value),
            'i' => arguments.interface = Some(value),
            'k' if arguments.kill.len() == KILLS_MAX => {
                return Err(usage("can only specify -k twice".into()));
            }
            'k' => arguments.kill.push(value),
            'L' => arguments.load_states = Some(value),
            'p' => {
                return Err(ArgumentError::Refused(
                    "-p device: there is no device on Linux; name the daemon's socket with \
                     --socket PATH"
                        .into(),
                ));
            }
            'S' => arguments.save_states = Some(value),
            'K' if arguments.kill_sources.len() == KILLS_MAX => {
                return Err(usage("can only specify -K twice".into()));
            }
            'K' => arguments.kill_sources.push(value),
            'I' => arguments.limiter = Some(limiter_id(&value)?),
            'o' => arguments.optimization = Some(modifier(&OPTIMIZE, "optimization", &value)?),
            's' => arguments.show = Some(modifier(&SHOW, "show modifier", &value)?),
            'x' => arguments.debug_level = Some(debug_level(&value)?),
            'T' => self.table_command = Some(modifier(&TABLE, "table command", &value)?),
            't' if value.is_empty() || value.len() > TABLE_NAME_MAX => {
                return Err(ArgumentError::Refused(format!(
                    "invalid table name '{value}': 1 to {TABLE_NAME_MAX} characters"
                )));
            }
            't' => self.table_name = Some(value),
            _ => return Err(unknown(letter)),
        }
        Ok(())
    }

    fn long<'a>(
        &mut self,
        option: &str,
        words: &mut impl Iterator<Item = &'a String>,
    ) -> Result<(), ArgumentError> {
        let (name, attached) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (option, None),
        };
        let arguments = &mut self.arguments;
        match (name, &attached) {
            ("help", None) => arguments.help = true,
            ("plain", None) => arguments.plain = true,
            ("config" | "dialect" | "socket", _) => {
                let value = attached
                    .or_else(|| words.next().cloned())
                    .ok_or_else(|| usage(format!("option requires an argument -- {name}")))?;
                match name {
                    "config" => arguments.config = Some(value.into()),
                    "socket" => arguments.socket = Some(value.into()),
                    _ => {
                        let dialect = parse_dialect(&value).map_err(ArgumentError::Refused)?;
                        arguments.dialect = Some(dialect);
                    }
                }
            }
            _ => return Err(usage(format!("illegal option -- {option}"))),
        }
        Ok(())
    }

    fn finish(self) -> Result<Arguments, ArgumentError> {
        let mut arguments = self.arguments;
        if arguments.help {
            return Ok(arguments);
        }
        arguments.table = match (self.table_name, self.table_command) {
            (Some(name), Some(command)) => Some((name, command)),
            (None, None) => None,
            (_, Some(TableCommand::Load)) if arguments.file.is_some() => {
                arguments.only_tables = true;
                None
            }
            (_, Some(TableCommand::Load)) => return Err(usage("-T load needs -f FILE".into())),
            (Some(_), None) => return Err(usage("-t TABLE needs -T COMMAND".into())),
            (None, Some(_)) => return Err(usage("-T COMMAND needs -t TABLE".into())),
        };
        let path = arguments.scope.anchor.as_str();
        if (path.starts_with('_') || path.contains("/_")) && arguments.changes() {
            let message =
                "anchor names beginning with '_' cannot be modified from the command line";
            return Err(ArgumentError::Refused(message.into()));
        }
        let given = !arguments.addresses.is_empty() || arguments.file.is_some();
        match &arguments.table {
            Some((
                _,
                TableCommand::Flush | TableCommand::Show | TableCommand::Kill | TableCommand::Reset,
            )) if given => Err(usage("this table command takes no addresses".into())),
            Some((_, TableCommand::Expire)) => match &arguments.addresses[..] {
                [seconds] if arguments.file.is_none() => {
                    let seconds = seconds.parse();
                    arguments.age = seconds.map_err(|_| {
                        ArgumentError::Refused("expiry time is not a number of seconds".into())
                    })?;
                    arguments.addresses.clear();
                    Ok(arguments)
                }
                _ => Err(usage("-T expire needs a number of seconds".into())),
            },
            None if !arguments.addresses.is_empty() => Err(usage(format!(
                "unknown command line argument: {} ...",
                arguments.addresses[0]
            ))),
            _ => Ok(arguments),
        }
    }
}

/// `path`, `path/*` or `*`.
fn scope(text: &str) -> Result<Scope, ArgumentError> {
    let (path, recurse) = match text.strip_suffix('*') {
        Some(path) => (path.strip_suffix('/').unwrap_or(path), true),
        None => (text, false),
    };
    let refused = |error: AnchorPathError| match error {
        AnchorPathError::TooLong => format!("anchor name '{path}' too long"),
        AnchorPathError::Empty | AnchorPathError::AboveMain => error.to_string(),
    };
    if text.is_empty() {
        return Err(ArgumentError::Refused(
            "anchor name must not be empty".into(),
        ));
    }
    match AnchorPath::new(path) {
        Ok(anchor) => Ok(Scope { anchor, recurse }),
        Err(error) => Err(ArgumentError::Refused(refused(error))),
    }
}

fn usage(message: String) -> ArgumentError {
    ArgumentError::Usage(Some(message))
}

fn unknown(letter: char) -> ArgumentError {
    if NOT_YET.contains(letter) {
        ArgumentError::Refused(format!("option -{letter} is not supported yet"))
    } else {
        usage(format!("illegal option -- {letter}"))
    }
}

fn modifier<T: Copy>(list: &[Modifier<T>], what: &str, typed: &str) -> Result<T, ArgumentError> {
    match list.iter().find(|(name, _)| name.starts_with(typed)) {
        Some((_, Some(meaning))) => Ok(*meaning),
        Some((name, None)) => Err(ArgumentError::Refused(format!(
            "{what} '{name}' is not supported yet"
        ))),
        None => Err(usage(format!("Unknown {what} '{typed}'"))),
    }
}

fn debug_level(typed: &str) -> Result<&'static str, ArgumentError> {
    let mut names = DebugLevel::NAMES.into_iter();
    names
        .find(|name| name.starts_with(typed))
        .ok_or_else(|| usage(format!("Unknown debug level '{typed}'")))
}

fn limiter_id(text: &str) -> Result<u8, ArgumentError> {
    text.parse().ok().filter(|id| *id > 0).ok_or_else(|| {
        ArgumentError::Refused(format!("invalid limiter id '{text}': 1 to {}", u8::MAX))
    })
}

fn definition(text: &str) -> Result<(String, String), ArgumentError> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(ArgumentError::Refused(format!(
            "could not parse macro definition {text}: write -D name=value"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn what_is_not_supported_yet_says_so() {
        for (words, named) in [("-s osfp", "'osfp'"), ("-s o", "'osfp'")] {
            let Err(ArgumentError::Refused(message)) = read(words) else {
                panic!("{words} was not refused");
            };
            assert!(
                message.contains("not supported yet") && message.contains(named),
                "{message}"
            );
        }
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
}
