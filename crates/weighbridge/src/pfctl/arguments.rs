//! pfctl's command line, read as getopt(3) would: clustered letters, values attached or apart,
//! modifiers by any prefix.

use std::ffi::OsString;
use std::path::PathBuf;

use pf_conf::Optimization;
use pf_engine::anchor::{AnchorPath, AnchorPathError};
use pf_engine::ruleset::{DebugLevel, Dialect, Parts};

use super::hosts::Lookup;
use super::options::{long_takes_value, takes_value};
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
    /// `-m`.
    pub merge: bool,
    /// `--no-dns`; in the openbsd dialect `-N` too.
    pub no_dns: bool,
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
            queues: self.only_queues,
            ether: false,
        };
        let all = !(self.only_queues
            || self.only_options
            || self.only_tables
            || self.only_translation
            || self.only_filter);
        if all { Parts::ALL } else { parts }
    }

    /// What `-v` tells of a file: what is loaded of it. Of a file for an anchor that is no options and no
    /// queues.
    #[must_use]
    pub fn told_parts(&self) -> Parts {
        let parts = self.parts();
        if self.scope.anchor.is_main() {
            return parts;
        }
        Parts {
            options: false,
            queues: false,
            ..parts
        }
    }

    /// How hosts are read.
    #[must_use]
    pub const fn lookup(&self) -> Lookup {
        if self.no_dns {
            Lookup::AddressesOnly
        } else {
            Lookup::Names
        }
    }

    /// Whether the filter is to be changed, but for its tables.
    const fn changes(&self) -> bool {
        self.file.is_some()
            || self.flush.is_some()
            || self.enable
            || self.disable
            || self.clear_counters
            || self.debug_level.is_some()
            || !self.kill.is_empty()
            || !self.kill_sources.is_empty()
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
    /// It makes sense to PF, but not to us, or a value is wrong.
    Refused(String),
}

/// A modifier of `-s`, `-F` or `-T`, and what it means.
type Modifier<T> = (&'static str, T);

/// In PF's order: the first that begins with what was typed is meant.
const SHOW: [Modifier<Show>; 19] = [
    ("ether", Show::Section(Section::Ether)),
    ("nat", Show::Section(Section::Nat)),
    ("queue", Show::Section(Section::Queue)),
    ("rules", Show::Section(Section::Rules)),
    ("Anchors", Show::Section(Section::Anchors)),
    ("Sources", Show::Section(Section::Sources)),
    ("states", Show::Section(Section::States)),
    ("info", Show::Section(Section::Info)),
    ("Interfaces", Show::Section(Section::Interfaces)),
    ("labels", Show::Section(Section::Labels)),
    ("timeouts", Show::Section(Section::Timeouts)),
    ("memory", Show::Section(Section::Memory)),
    ("Tables", Show::Section(Section::Tables)),
    ("osfp", Show::Section(Section::Fingerprints)),
    ("Running", Show::Running),
    ("all", Show::All),
    ("creatorids", Show::Section(Section::CreatorIds)),
    ("LimiterStates", Show::Section(Section::LimiterStates)),
    ("LimiterSrcs", Show::Section(Section::LimiterSources)),
];

const FLUSH: [Modifier<Flush>; 11] = [
    ("nat", Flush::Target(FlushTarget::Nat)),
    ("queue", Flush::Target(FlushTarget::Queues)),
    ("rules", Flush::Target(FlushTarget::Rules)),
    ("Sources", Flush::Target(FlushTarget::Sources)),
    ("states", Flush::Target(FlushTarget::States)),
    ("info", Flush::Target(FlushTarget::Info)),
    ("Tables", Flush::Target(FlushTarget::Tables)),
    ("osfp", Flush::Target(FlushTarget::Fingerprints)),
    ("Reset", Flush::Target(FlushTarget::Options)),
    ("all", Flush::All),
    ("ethernet", Flush::Target(FlushTarget::Ether)),
];

const TABLE: [Modifier<TableCommand>; 11] = [
    ("kill", TableCommand::Kill),
    ("flush", TableCommand::Flush),
    ("add", TableCommand::Add),
    ("delete", TableCommand::Delete),
    ("load", TableCommand::Load),
    ("replace", TableCommand::Replace),
    ("show", TableCommand::Show),
    ("test", TableCommand::Test),
    ("zero", TableCommand::Zero),
    ("expire", TableCommand::Expire),
    ("reset", TableCommand::Reset),
];

const OPTIMIZE: [Modifier<Optimization>; 3] = [
    ("none", Optimization::None),
    ("basic", Optimization::Basic),
    ("profile", Optimization::Profile),
];

/// The words that may follow an option of that letter, where these are few.
#[must_use]
pub fn words(letter: char) -> Option<Vec<&'static str>> {
    fn names<T>(list: &[Modifier<T>]) -> Vec<&'static str> {
        list.iter().map(|(name, _)| *name).collect()
    }
    Some(match letter {
        'F' => names(&FLUSH),
        'o' => names(&OPTIMIZE),
        's' => names(&SHOW),
        'T' => names(&TABLE),
        'x' => DebugLevel::NAMES.to_vec(),
        _ => return None,
    })
}

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
            if takes_value(letter) != Some(true) {
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
            'm' => arguments.merge = true,
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
            'V' => routing_domain(&value)?,
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
        match (long_takes_value(name), attached) {
            (Some(true), attached) => {
                let value = attached
                    .or_else(|| words.next().cloned())
                    .ok_or_else(|| usage(format!("option requires an argument -- {name}")))?;
                self.long_value(name, value)
            }
            (Some(false), None) => {
                match name {
                    "help" => self.arguments.help = true,
                    "no-dns" => self.arguments.no_dns = true,
                    _ => self.arguments.plain = true,
                }
                Ok(())
            }
            _ => Err(usage(format!("illegal option -- {option}"))),
        }
    }

    fn long_value(&mut self, name: &str, value: String) -> Result<(), ArgumentError> {
        let arguments = &mut self.arguments;
        match name {
            "config" => arguments.config = Some(value.into()),
            "socket" => arguments.socket = Some(value.into()),
            _ => {
                let dialect = parse_dialect(&value).map_err(ArgumentError::Refused)?;
                arguments.dialect = Some(dialect);
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Arguments, ArgumentError> {
        let mut arguments = self.arguments;
        if arguments.help {
            return Ok(arguments);
        }
        arguments.table = match (self.table_name, self.table_command) {
            // As in PF, `-t` says nothing to it: all tables of the file are loaded.
            (_, Some(TableCommand::Load)) if arguments.file.is_some() => {
                arguments.only_tables = true;
                None
            }
            (_, Some(TableCommand::Load)) => return Err(usage("-T load needs -f FILE".into())),
            (Some(name), Some(command)) => Some((name, command)),
            (None, None) => None,
            (Some(_), None) => return Err(usage("-t TABLE needs -T COMMAND".into())),
            (None, Some(_)) => return Err(usage("-T COMMAND needs -t TABLE".into())),
        };
        let asks = arguments.show.is_some() || arguments.table.is_some();
        if arguments.scope != Scope::default() && !asks && !arguments.changes() {
            return Err(usage("anchors apply to -f, -F, -s, and -T only".into()));
        }
        if arguments.no_dns && arguments.names {
            return Err(both_dns());
        }
        let path = arguments.scope.anchor.as_str();
        let tables_alone = arguments.table.is_some();
        if !tables_alone && (path.starts_with('_') || path.contains("/_")) && arguments.changes() {
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

/// Two options that ask for the opposite.
#[must_use]
pub fn both_dns() -> ArgumentError {
    ArgumentError::Refused("-N and -r are mutually exclusive".into())
}

/// `-V`: every state is in routing domain 0.
fn routing_domain(text: &str) -> Result<(), ArgumentError> {
    match text.parse::<u8>() {
        Ok(0) => Ok(()),
        Ok(number) => Err(ArgumentError::Refused(format!(
            "-V {number}: there is no routing domain but 0; on Linux they are VRF devices: \
             name one with -i"
        ))),
        Err(_) => Err(usage(format!("Invalid rdomain: '{text}'"))),
    }
}

fn usage(message: String) -> ArgumentError {
    ArgumentError::Usage(Some(message))
}

fn unknown(letter: char) -> ArgumentError {
    usage(format!("illegal option -- {letter}"))
}

fn modifier<T: Copy>(list: &[Modifier<T>], what: &str, typed: &str) -> Result<T, ArgumentError> {
    match list.iter().find(|(name, _)| name.starts_with(typed)) {
        Some((_, meaning)) => Ok(*meaning),
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
mod tests;
