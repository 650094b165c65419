//! The configuration directory: `weighbridge.toml`, `hostname.*`, `bridgename.*` and `pf.conf`.
//!
//! Reading is all that happens here: nothing is changed, and every problem of every file is
//! collected before anything is said.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use datapath::{FailPolicy, FastPath};
use links::WantedLinks;
use pf_engine::ruleset::Dialect;
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use crate::control::server::rights::TableSettings;
use crate::gateway::settings::{DefaultKeys, GatewayKeys, GatewaySettings, gateways};
use crate::pflog::writer::LogSettings;
use crate::text::{parse_dialect, reason};

/// Where the configuration lives unless `--config` says otherwise.
pub const DEFAULT_CONFIG_DIR: &str = "/etc/weighbridge";
/// Where the daemon listens for pfctl unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/weighbridge/control.sock";
/// Where states are kept over a restart unless told otherwise.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/weighbridge";
/// Environment variable that names the control socket.
pub const SOCKET_VARIABLE: &str = "WEIGHBRIDGE_SOCKET";
/// The daemon's own settings, in the configuration directory. It need not exist.
pub const SETTINGS_FILE: &str = "weighbridge.toml";
/// The rules, in the configuration directory. They need not exist.
pub const RULES_FILE: &str = "pf.conf";
/// Name of the TAP device unless `tap` says otherwise.
pub const DEFAULT_TAP: &str = "weighbridge0";
/// Bytes in an interface name (Linux' IFNAMSIZ less the terminator).
pub const INTERFACE_NAME_MAX: usize = 15;
/// Bytes in one configuration file. Two million addresses of a table fit; `/dev/zero` does not.
pub const FILE_SIZE_MAX: u64 = 64 << 20;
/// What `log-file-size` may be: a few packets of any size, and what pcap readers still take.
const LOG_FILE_SIZES: (u64, u64) = (256 << 10, 4 << 30);
/// What `log-files` may be.
const LOG_FILES: (u64, u64) = (1, 1_000);
/// What `log-snap-length` may be: pflogd(8) of FreeBSD reads 116, and no packet is larger.
const LOG_SNAP_LENGTHS: (u64, u64) = (116, 65_535);
/// Endings of files that editors and packagers leave behind; such files are passed over.
const LEFT_BEHIND: [&str; 8] = [
    "~",
    ".bak",
    ".orig",
    ".rej",
    ".swp",
    ".dpkg-old",
    ".dpkg-new",
    ".dpkg-dist",
];

/// Something wrong in a configuration file, with its place and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `file:line:column`, or the file alone.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// What to do, if there is more to say.
    pub hint: Option<String>,
}

impl Problem {
    pub(crate) fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// What is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What ends the daemon.
    Error,
    /// What someone should look at.
    Warn,
    /// Changes of rules, links and interfaces.
    #[default]
    Info,
    /// What led to them.
    Debug,
    /// Every packet.
    Trace,
}

impl LogLevel {
    /// The level called `name`.
    ///
    /// # Errors
    /// What is wrong and which names there are.
    pub fn parse(name: &str) -> Result<Self, String> {
        Ok(match name {
            "error" => Self::Error,
            "warn" => Self::Warn,
            "info" => Self::Info,
            "debug" => Self::Debug,
            "trace" => Self::Trace,
            _ => {
                return Err(format!(
                    "unknown log level \"{name}\": use error, warn, info, debug or trace"
                ));
            }
        })
    }
}

/// `weighbridge.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Settings {
    /// Whose meaning pf.conf has.
    #[serde(deserialize_with = "dialect")]
    pub dialect: Dialect,
    /// Interfaces that are filtered; without it those that the start-up files name.
    #[serde(deserialize_with = "interface_names")]
    pub interfaces: Option<Vec<String>>,
    /// Name of the TAP device that carries packets to the daemon.
    #[serde(deserialize_with = "interface_name")]
    pub tap: String,
    /// Where the daemon listens for pfctl.
    pub socket: Option<PathBuf>,
    /// Where states are kept over a restart.
    #[serde(rename = "state-dir")]
    pub state_dir: Option<PathBuf>,
    /// What becomes of packets when the daemon has died.
    #[serde(rename = "fail-policy", deserialize_with = "fail_policy")]
    pub fail_policy: FailPolicy,
    /// Whether the kernel repeats decisions about packets of states.
    #[serde(rename = "fast-path", deserialize_with = "fast_path")]
    pub fast_path: FastPath,
    /// What is logged to standard error.
    pub log: LogLevel,
    /// Whether the filter is enabled from the start.
    pub enabled: bool,
    /// Where logged packets are kept.
    pub log_directory: PathBuf,
    /// Bytes of a file of logged packets before it is rotated.
    #[serde(deserialize_with = "log_file_size")]
    pub log_file_size: u64,
    /// Files of each `pflogN`.
    #[serde(deserialize_with = "log_files")]
    pub log_files: u32,
    /// Bytes of each logged packet with the 64 of pflog's header.
    #[serde(deserialize_with = "log_snap_length")]
    pub log_snap_length: u32,
    /// How gateways are probed that say nothing else.
    pub gateway_defaults: DefaultKeys,
    /// Who else may change which tables.
    pub tables: Option<TableSettings>,
    #[serde(rename = "gateway")]
    gateway_keys: Vec<Spanned<GatewayKeys>>,
    /// Gateways that are probed.
    #[serde(skip)]
    pub gateways: Vec<GatewaySettings>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            dialect: Dialect::default(),
            interfaces: None,
            tap: DEFAULT_TAP.to_owned(),
            socket: None,
            state_dir: None,
            fail_policy: FailPolicy::default(),
            fast_path: FastPath::default(),
            log: LogLevel::default(),
            enabled: true,
            log_directory: LogSettings::default().directory,
            log_file_size: LogSettings::default().file_size,
            log_files: LogSettings::default().files,
            log_snap_length: LogSettings::default().snap_length,
            gateway_defaults: DefaultKeys::default(),
            tables: None,
            gateway_keys: Vec::new(),
            gateways: Vec::new(),
        }
    }
}

impl Settings {
    /// Where and how packets are logged.
    #[must_use]
    pub fn packet_log(&self) -> LogSettings {
        LogSettings {
            directory: self.log_directory.clone(),
            file_size: self.log_file_size,
            files: self.log_files,
            snap_length: self.log_snap_length,
        }
    }
}

/// A number in `range`.
fn in_range<'de, D: Deserializer<'de>>(input: D, range: (u64, u64)) -> Result<u64, D::Error> {
    let number = u64::deserialize(input)?;
    if number < range.0 || number > range.1 {
        let message = format!("{number} is not between {} and {}", range.0, range.1);
        return Err(serde::de::Error::custom(message));
    }
    Ok(number)
}

fn log_file_size<'de, D: Deserializer<'de>>(input: D) -> Result<u64, D::Error> {
    in_range(input, LOG_FILE_SIZES)
}

fn log_files<'de, D: Deserializer<'de>>(input: D) -> Result<u32, D::Error> {
    let number = in_range(input, LOG_FILES)?;
    u32::try_from(number).map_err(serde::de::Error::custom)
}

fn log_snap_length<'de, D: Deserializer<'de>>(input: D) -> Result<u32, D::Error> {
    let number = in_range(input, LOG_SNAP_LENGTHS)?;
    u32::try_from(number).map_err(serde::de::Error::custom)
}

fn dialect<'de, D: Deserializer<'de>>(input: D) -> Result<Dialect, D::Error> {
    parse_dialect(&String::deserialize(input)?).map_err(serde::de::Error::custom)
}

fn fail_policy<'de, D: Deserializer<'de>>(input: D) -> Result<FailPolicy, D::Error> {
    match String::deserialize(input)?.as_str() {
        "block" => Ok(FailPolicy::Block),
        "pass" => Ok(FailPolicy::Pass),
        other => Err(serde::de::Error::custom(format!(
            "unknown fail-policy \"{other}\": use block or pass"
        ))),
    }
}

fn fast_path<'de, D: Deserializer<'de>>(input: D) -> Result<FastPath, D::Error> {
    match String::deserialize(input)?.as_str() {
        "off" => Ok(FastPath::Off),
        "on" => Ok(FastPath::On),
        other => Err(serde::de::Error::custom(format!(
            "unknown fast-path \"{other}\": use off or on"
        ))),
    }
}

fn interface_name<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    let name = String::deserialize(input)?;
    check_interface_name(&name).map_err(serde::de::Error::custom)?;
    Ok(name)
}

fn interface_names<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Vec<String>>, D::Error> {
    let names = Vec::<String>::deserialize(input)?;
    let mut seen = BTreeSet::new();
    for name in &names {
        check_interface_name(name).map_err(serde::de::Error::custom)?;
        if !seen.insert(name) {
            return Err(serde::de::Error::custom(format!(
                "interface \"{name}\" is named twice"
            )));
        }
    }
    Ok(Some(names))
}

/// Whether Linux would take `name` for an interface.
fn check_interface_name(name: &str) -> Result<(), String> {
    let bad = |byte: u8| byte == b'/' || byte == b':' || !byte.is_ascii_graphic();
    if name.is_empty() || name.len() > INTERFACE_NAME_MAX || name.bytes().any(bad) {
        return Err(format!(
            "\"{name}\" cannot be an interface name: 1 to {INTERFACE_NAME_MAX} characters, \
             no blanks, slashes or colons"
        ));
    }
    Ok(())
}

/// A pf.conf as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesFile {
    /// Where it was.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A whole configuration directory without one problem (pf.conf is read but not yet parsed: that
/// needs the interfaces of the box).
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    /// `weighbridge.toml`.
    pub settings: Settings,
    /// `hostname.*` and `bridgename.*`.
    pub links: WantedLinks,
    /// `pf.conf`, if there is one.
    pub rules: Option<RulesFile>,
}

impl Configuration {
    /// Interfaces to be filtered: those of `weighbridge.toml`, else all that the start-up files
    /// name but for the bridges themselves, whose members are filtered instead.
    ///
    /// A packet to the box crosses a member port and then the bridge; filtered at both it would
    /// be counted and translated twice.
    #[must_use]
    pub fn managed(&self) -> Vec<String> {
        if let Some(names) = &self.settings.interfaces {
            return names.clone();
        }
        let bridges: BTreeSet<_> = self.links.bridges.iter().map(|b| &b.name).collect();
        let named = self.links.interfaces.iter().map(|i| &i.name);
        let members = self.links.bridges.iter().flat_map(|b| &b.members);
        let all: BTreeSet<_> = named.chain(members).collect();
        all.difference(&bridges)
            .map(|name| (*name).clone())
            .collect()
    }
}

/// Reads the directory `dir`; `rules` in place of its `pf.conf`.
///
/// # Errors
/// Every problem of every file.
pub fn read(dir: &Path, rules: Option<&Path>) -> Result<Configuration, Vec<Problem>> {
    let mut problems = Vec::new();
    let names = file_names(dir).map_err(|problem| vec![problem])?;
    let settings = read_settings(dir).unwrap_or_else(|problem| {
        problems.push(problem);
        Settings::default()
    });
    let links = read_links(dir, &names, &mut problems);
    let rules = read_rules(dir, rules).unwrap_or_else(|problem| {
        problems.push(problem);
        None
    });
    let configuration = Configuration {
        settings,
        links,
        rules,
    };
    check_managed(dir, &configuration, &mut problems);
    check_gateways(dir, &configuration, &mut problems);
    if problems.is_empty() {
        Ok(configuration)
    } else {
        Err(problems)
    }
}

fn check_managed(dir: &Path, configuration: &Configuration, problems: &mut Vec<Problem>) {
    if problems.is_empty() && configuration.managed().is_empty() {
        problems.push(
            Problem::new(dir.display().to_string(), "no interface to filter is named").hint(
                "add a hostname.IF or bridgename.IF file, or interfaces = [\"...\"] to \
                 weighbridge.toml",
            ),
        );
    }
}

/// Answers to probes are seen where packets are filtered.
fn check_gateways(dir: &Path, configuration: &Configuration, problems: &mut Vec<Problem>) {
    if !problems.is_empty() {
        return;
    }
    let managed = configuration.managed();
    let place = dir.join(SETTINGS_FILE).display().to_string();
    for gateway in &configuration.settings.gateways {
        let (interface, address) = (&gateway.interface, gateway.address);
        if !managed.contains(interface) {
            let message = format!("gateway {address}: interface \"{interface}\" is not filtered");
            problems.push(Problem::new(&place, message).hint(format!(
                "filtered are {}; add it to interfaces, or correct the name",
                managed.join(", ")
            )));
        }
    }
}

/// Names of the files in `dir`, sorted, without what editors leave behind.
fn file_names(dir: &Path) -> Result<Vec<String>, Problem> {
    let place = dir.display().to_string();
    let failed = |error: io::Error| {
        let problem = Problem::new(
            place.clone(),
            format!("cannot read the directory: {}", reason(&error)),
        );
        if error.kind() == io::ErrorKind::NotFound {
            problem.hint("make it, or name another with --config DIR")
        } else {
            problem
        }
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(&failed)? {
        if let Ok(name) = entry.map_err(&failed)?.file_name().into_string()
            && !LEFT_BEHIND.iter().any(|ending| name.ends_with(ending))
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Reads `weighbridge.toml` of `dir`; without one everything has its default.
///
/// # Errors
/// The first problem in it.
pub fn read_settings(dir: &Path) -> Result<Settings, Problem> {
    let path = dir.join(SETTINGS_FILE);
    match read_text(&path) {
        Ok(text) => parse_settings(&path.display().to_string(), &text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Settings::default()),
        Err(error) => Err(unreadable(&path, &error)),
    }
}

/// Parses the text of a `weighbridge.toml`; `name` stands for the file in messages.
///
/// # Errors
/// The first problem in it.
pub fn parse_settings(name: &str, text: &str) -> Result<Settings, Problem> {
    let mut settings: Settings = toml::from_str(text).map_err(|error| {
        toml_problem(name, text, &error).hint(
            "known keys: dialect, interfaces, tap, socket, state-dir, fail-policy, fast-path, log, enabled, \
             log-directory, log-file-size, log-files, log-snap-length, [gateway-defaults], \
             [[gateway]], [tables]; for example dialect = \"openbsd3\"",
        )
    })?;
    settings.gateways = gateways(&settings.gateway_defaults, &settings.gateway_keys)
        .map_err(|problem| Problem::new(place(name, text, problem.offset), problem.message))?;
    Ok(settings)
}

/// What the TOML reader found wrong in `text`, with its place in the file called `name`.
pub(crate) fn toml_problem(name: &str, text: &str, error: &toml::de::Error) -> Problem {
    let offset = error.span().map_or(0, |span| span.start);
    Problem::new(place(name, text, offset), error.message().trim_end())
}

/// `name:line:column` of the byte at `offset`.
fn place(name: &str, text: &str, offset: usize) -> String {
    let (line, column) = place_of(text, offset);
    format!("{name}:{line}:{column}")
}

/// Line and column, from 1, of the byte at `offset`.
fn place_of(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before.matches('\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}

fn read_links(dir: &Path, names: &[String], problems: &mut Vec<Problem>) -> WantedLinks {
    let mut wanted = WantedLinks::default();
    for file in names {
        if let Some(name) = file.strip_prefix("hostname.") {
            let parse = |text: &str| links::hostname_if::parse(name, text);
            wanted
                .interfaces
                .extend(read_link(dir, file, parse, problems));
        } else if let Some(name) = file.strip_prefix("bridgename.") {
            let parse = |text: &str| links::bridgename::parse(name, text);
            wanted.bridges.extend(read_link(dir, file, parse, problems));
        }
    }
    if problems.is_empty() {
        let place = dir.display().to_string();
        let found = links::check(&wanted);
        problems.extend(
            found
                .into_iter()
                .map(|text| Problem::new(place.clone(), text)),
        );
    }
    wanted
}

/// Reads and parses one start-up file; its problems are added to `problems`.
fn read_link<T>(
    dir: &Path,
    file: &str,
    parse: impl FnOnce(&str) -> Result<T, Vec<links::ParseError>>,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    let path = dir.join(file);
    let text = match read_text(&path) {
        Ok(text) => text,
        Err(error) => {
            problems.push(unreadable(&path, &error));
            return None;
        }
    };
    match parse(&text) {
        Ok(link) => Some(link),
        Err(errors) => {
            problems.extend(errors.into_iter().map(|error| link_problem(&path, error)));
            None
        }
    }
}

fn link_problem(path: &Path, error: links::ParseError) -> Problem {
    let place = format!("{}:{}:{}", path.display(), error.line, error.column);
    Problem {
        place,
        message: error.message,
        hint: error.hint,
    }
}

fn read_rules(dir: &Path, other: Option<&Path>) -> Result<Option<RulesFile>, Problem> {
    let path = other.map_or_else(|| dir.join(RULES_FILE), Path::to_path_buf);
    match read_bytes(&path) {
        Ok(bytes) => Ok(Some(RulesFile { path, bytes })),
        Err(error) if other.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(&path, &error)),
    }
}

pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Problem {
    Problem::new(
        path.display().to_string(),
        format!("cannot read it: {}", reason(error)),
    )
}

pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read_bytes(path)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not text (UTF-8)"))
}

/// Reads a file of at most [`FILE_SIZE_MAX`] bytes.
///
/// # Errors
/// What the system said, or that it is larger.
pub fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    read_bounded(fs::File::open(path)?)
}

/// Reads all of `input`, at most [`FILE_SIZE_MAX`] bytes.
///
/// # Errors
/// What the system said, or that there is more.
pub fn read_bounded(input: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut bounded = input.take(FILE_SIZE_MAX + 1);
    bounded.read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_SIZE_MAX {
        let message = format!("larger than {} MiB", FILE_SIZE_MAX >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("temporary directory");
        for (name, text) in files {
            fs::write(dir.path().join(name), text).expect("write");
        }
        dir
    }

    const ARTICLE: [(&str, &str); 4] = [
        ("hostname.fxp0", "inet 216.123.123.123 255.255.252.0 NONE\n"),
        ("hostname.em1", "up media auto\n"),
        ("hostname.em0", "inet 192.168.1.64 255.255.0.0 NONE\n"),
        ("bridgename.bridge0", "add em1\nadd fxp0\nup\n"),
    ];

    #[test]
    fn the_articles_files_make_a_configuration() {
        let dir = directory(&ARTICLE);
        let configuration = read(dir.path(), None).expect("no problem");
        assert_eq!(configuration.managed(), ["em0", "em1", "fxp0"]);
        assert_eq!(configuration.links.bridges[0].members, ["em1", "fxp0"]);
        assert_eq!(configuration.settings, Settings::default());
        assert!(configuration.settings.enabled);
        assert_eq!(configuration.rules, None);
    }

    #[test]
    fn files_that_editors_leave_behind_are_passed_over() {
        let dir = directory(&ARTICLE);
        fs::write(dir.path().join("hostname.em9~"), "nonsense").expect("write");
        fs::write(dir.path().join("bridgename.bridge0.orig"), "nonsense").expect("write");
        let configuration = read(dir.path(), None).expect("no problem");
        assert_eq!(configuration.managed(), ["em0", "em1", "fxp0"]);
    }

    #[test]
    fn the_settings_win_over_the_files_names() {
        let dir = directory(&ARTICLE);
        let text = "dialect = \"openbsd3\"\ninterfaces = [\"em1\"]\nenabled = false\nlog = \"debug\"\n\
             fail-policy = \"pass\"\nstate-dir = \"/nowhere\"\n";
        fs::write(dir.path().join(SETTINGS_FILE), text).expect("write");
        let configuration = read(dir.path(), None).expect("no problem");
        assert_eq!(configuration.managed(), ["em1"]);
        assert_eq!(configuration.settings.dialect, Dialect::OpenBsd3);
        assert_eq!(configuration.settings.log, LogLevel::Debug);
        assert_eq!(configuration.settings.fail_policy, FailPolicy::Pass);
        assert_eq!(configuration.settings.state_dir, Some("/nowhere".into()));
        assert!(!configuration.settings.enabled);
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_place() {
        let problem = parse_settings("w.toml", "enabled = true\n\n  dialct = \"x\"\n").unwrap_err();
        assert_eq!(problem.place, "w.toml:3:3");
        assert!(problem.message.contains("dialct"), "{problem}");
        assert!(problem.to_string().contains("hint: known keys: dialect"));
    }

    #[test]
    fn wrong_values_are_refused_with_what_would_be_right() {
        for (text, expected) in [
            ("dialect = \"netbsd\"", "use freebsd, openbsd or openbsd3"),
            ("interfaces = [\"em0\", \"em0\"]", "\"em0\" is named twice"),
            ("interfaces = [\"\"]", "cannot be an interface name"),
            (
                "tap = \"averyveryverylongname\"",
                "cannot be an interface name",
            ),
            ("log = \"loud\"", "loud"),
            ("fail-policy = \"open\"", "use block or pass"),
            ("fast-path = \"maybe\"", "use off or on"),
            ("enabled = \"yes\"", "boolean"),
            ("log-files = 0", "0 is not between 1 and 1000"),
            ("log-file-size = 9", "between 262144 and"),
            ("log-snap-length = 70000", "between 116 and 65535"),
        ] {
            let problem = parse_settings("w.toml", text).unwrap_err();
            assert!(problem.message.contains(expected), "{text}: {problem}");
            assert!(problem.place.starts_with("w.toml:1:"), "{problem}");
        }
    }

    #[test]
    fn gateways_take_what_they_do_not_say_from_the_defaults() {
        let text = "[gateway-defaults]\ninterval = \"250ms\"\nloss = 40\non-failure = \"kill\"\n\
             [[gateway]]\ninterface = \"em0\"\naddress = \"192.0.2.254\"\n\
             targets = [\"198.51.100.1:443\", \"203.0.113.1:80\"]\nkind = \"tcp\"\nquorum = 2\n\
             [[gateway]]\ninterface = \"em1\"\naddress = \"2001:db8::1\"\n\
             interval = \"2s\"\nlatency = \"300ms\"\nauto-reply-to = false\non-failure = \"keep\"\n";
        let settings = parse_settings("w.toml", text).expect("no problem");
        let [one, two] = &settings.gateways[..] else {
            panic!("{settings:?}");
        };
        let milliseconds = std::time::Duration::from_millis;
        assert_eq!(
            (one.quorum, one.targets.len(), one.auto_reply_to),
            (2, 2, true)
        );
        assert_eq!(one.targets[0].port, Some(443));
        assert_eq!(one.probing.interval, milliseconds(250));
        assert_eq!(one.probing.thresholds.loss, Some(40));
        assert_eq!(one.probing.on_failure, pf_engine::engine::OnFailure::Kill);
        assert_eq!((two.quorum, two.auto_reply_to), (1, false));
        assert_eq!(two.targets[0].address, two.address);
        assert_eq!(two.probing.interval, milliseconds(2000));
        assert_eq!(two.probing.thresholds.latency, Some(milliseconds(300)));
        assert_eq!(two.probing.thresholds.loss, Some(40));
        assert_eq!(two.probing.on_failure, pf_engine::engine::OnFailure::Keep);
    }

    #[test]
    fn wrong_gateways_are_refused_with_their_place() {
        let head = "tap = \"w0\"\n[[gateway]]\ninterface = \"em0\"\naddress = \"192.0.2.254\"\n";
        for (text, place, expected) in [
            ("quorum = 2", "2:1", "quorum is 2, but there are 1 targets"),
            ("kind = \"tcp\"", "2:1", "needs targets with a port"),
            (
                "targets = [\"198.51.100.1:443\"]",
                "2:1",
                "did you mean kind = \"tcp\"?",
            ),
            (
                "targets = [\"2001:db8::1\"]",
                "2:1",
                "not of the gateway's address family",
            ),
            ("targets = []", "2:1", "1 to 16 targets"),
            (
                "targets = [\"198.51.100.1\", \"198.51.100.1\"]",
                "2:1",
                "named twice",
            ),
            (
                "kind = \"neighbor\"\ntargets = [\"192.0.2.254\"]",
                "2:1",
                "it has no targets",
            ),
            (
                "interval = \"5ms\"",
                "5:12",
                "no time from \"100ms\" to \"60s\"",
            ),
            ("loss = 100", "5:8", "100 is not between 1 and 99"),
            (
                "targets = [\"nowhere\"]",
                "5:11",
                "\"nowhere\" is no target",
            ),
            ("on-failure = \"panic\"", "5:14", "use move, kill or keep"),
            ("kind = \"http\"", "5:8", "unknown variant `http`"),
            ("frequency = 3", "5:1", "frequency"),
            (
                "[[gateway]]\ninterface = \"em0\"\naddress = \"192.0.2.254\"",
                "5:1",
                "is there twice",
            ),
        ] {
            let problem = parse_settings("w.toml", &format!("{head}{text}\n")).unwrap_err();
            assert!(problem.message.contains(expected), "{text}: {problem}");
            assert_eq!(
                problem.place,
                format!("w.toml:{place}"),
                "{text}: {problem}"
            );
        }
    }

    #[test]
    fn a_gateway_on_an_interface_that_is_not_filtered_is_refused() {
        let dir = directory(&ARTICLE);
        let text = "[[gateway]]\ninterface = \"em7\"\naddress = \"192.0.2.254\"\n";
        fs::write(dir.path().join(SETTINGS_FILE), text).expect("write");
        let problems = read(dir.path(), None).unwrap_err();
        let text = problems[0].to_string();
        assert!(text.contains("interface \"em7\" is not filtered"), "{text}");
        assert!(text.contains("filtered are em0, em1, fxp0"), "{text}");
    }

    #[test]
    fn problems_of_all_files_are_reported_together() {
        let dir = directory(&[
            ("weighbridge.toml", "tap = 3\n"),
            ("hostname.em0", "inet 300.0.0.1\n"),
            ("bridgename.bridge0", "frobnicate em1\n"),
        ]);
        let problems = read(dir.path(), Some(Path::new("/nonexistent/pf.conf"))).unwrap_err();
        let all: Vec<_> = problems.iter().map(ToString::to_string).collect();
        for name in [
            "weighbridge.toml:1:",
            "hostname.em0:1:",
            "bridge0:1:",
            "pf.conf: cannot",
        ] {
            assert!(
                all.iter().any(|text| text.contains(name)),
                "{name} in {all:#?}"
            );
        }
    }

    #[test]
    fn a_missing_or_empty_directory_is_one_clear_problem() {
        let problems = read(Path::new("/nonexistent/weighbridge"), None).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].to_string().contains("--config DIR"));
        let dir = directory(&[]);
        let problems = read(dir.path(), None).unwrap_err();
        assert!(problems[0].to_string().contains("no interface to filter"));
    }

    #[test]
    fn a_file_without_end_is_refused() {
        let error = read_bounded(io::repeat(b'x')).unwrap_err();
        assert!(error.to_string().contains("larger than 64 MiB"));
    }
}
