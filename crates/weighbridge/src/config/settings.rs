//! `weighbridge.toml`: its keys, their defaults, and what they may be.

use std::collections::BTreeSet;
use std::path::PathBuf;

use datapath::{FLOW_STATES_LIMIT, FailPolicy, FastPath, XdpConfig};
use pf_conf::did_you_mean;
use pf_engine::ruleset::Dialect;
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use crate::config::Problem;
use crate::control::server::rights::TableSettings;
use crate::control::server::status::StatusSettings;
use crate::gateway::settings::{DefaultKeys, GatewayKeys, GatewaySettings, gateways};
use crate::pflog::writer::LogSettings;
use crate::text::parse_dialect;

/// Name of the TAP device unless `tap` says otherwise.
pub const DEFAULT_TAP: &str = "weighbridge0";
/// Bytes in an interface name (Linux' IFNAMSIZ less the terminator).
pub const INTERFACE_NAME_MAX: usize = 15;
/// What `log-file-size` may be: a few packets of any size, and what pcap readers still take.
const LOG_FILE_SIZES: (u64, u64) = (256 << 10, 4 << 30);
/// What `log-files` may be.
const LOG_FILES: (u64, u64) = (1, 1_000);
/// What `log-snap-length` may be: pflogd(8) of FreeBSD reads 116, and no packet is larger.
const LOG_SNAP_LENGTHS: (u64, u64) = (116, 65_535);
/// The least that `flow-cache` may be: what a home has.
pub const FLOW_CACHE_MIN: u32 = 1_024;
/// What it may be: at most what the kernel's maps can have.
const FLOW_CACHES: (u64, u64) = (FLOW_CACHE_MIN as u64, FLOW_STATES_LIMIT as u64);

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
    /// Whether the kernel repeats decisions about packets of states; if nothing is said it does where it
    /// can.
    #[serde(rename = "fast-path", deserialize_with = "fast_path")]
    pub fast_path: Option<FastPath>,
    /// States that it has room for; if nothing is said as many as the machine's memory is good for.
    #[serde(rename = "flow-cache", deserialize_with = "flow_cache")]
    pub flow_cache: Option<u32>,
    /// Bridges of two ports that pass the loss of a carrier on, like a cable.
    pub carrier_pass_through: Vec<String>,
    xdp: Option<Spanned<XdpKeys>>,
    /// What is logged to standard error.
    pub log: LogLevel,
    /// Whether the filter is enabled from the start, if it is said here.
    pub enabled: Option<bool>,
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
    /// Who may ask how the daemon is.
    pub status: StatusSettings,
    #[serde(rename = "gateway")]
    gateway_keys: Vec<Spanned<GatewayKeys>>,
    /// Gateways that are probed.
    #[serde(skip)]
    pub gateways: Vec<GatewaySettings>,
}

/// `[xdp]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct XdpKeys {
    /// Where; everywhere that it can be if it is not there.
    #[serde(deserialize_with = "interface_names")]
    interfaces: Option<Vec<String>>,
    /// Whether virtual pairs are as good as wires.
    on_veth: bool,
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
            fast_path: None,
            flow_cache: None,
            carrier_pass_through: Vec::new(),
            xdp: None,
            log: LogLevel::default(),
            enabled: None,
            log_directory: LogSettings::default().directory,
            log_file_size: LogSettings::default().file_size,
            log_files: LogSettings::default().files,
            log_snap_length: LogSettings::default().snap_length,
            gateway_defaults: DefaultKeys::default(),
            tables: None,
            status: StatusSettings::default(),
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

fn fast_path<'de, D: Deserializer<'de>>(input: D) -> Result<Option<FastPath>, D::Error> {
    match String::deserialize(input)?.as_str() {
        "off" => Ok(Some(FastPath::Off)),
        "on" => Ok(Some(FastPath::On)),
        "xdp" => Ok(Some(FastPath::Xdp(XdpConfig::default()))),
        other => Err(serde::de::Error::custom(format!(
            "unknown fast-path \"{other}\": use off, on or xdp"
        ))),
    }
}

fn flow_cache<'de, D: Deserializer<'de>>(input: D) -> Result<Option<u32>, D::Error> {
    let number = in_range(input, FLOW_CACHES)?;
    u32::try_from(number)
        .map(Some)
        .map_err(serde::de::Error::custom)
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

/// Parses the text of a `weighbridge.toml`; `name` stands for the file in messages.
///
/// # Errors
/// The first problem in it.
pub fn parse_settings(name: &str, text: &str) -> Result<Settings, Problem> {
    let mut settings: Settings =
        toml::from_str(text).map_err(|error| toml_problem(name, text, &error))?;
    if let Some(keys) = settings.xdp.take() {
        let Some(FastPath::Xdp(config)) = &mut settings.fast_path else {
            let place = place(name, text, keys.span().start);
            let message = "[xdp] says nothing without fast-path = \"xdp\"";
            return Err(Problem::new(place, message));
        };
        let keys = keys.into_inner();
        config.interfaces = keys.interfaces;
        config.on_veth = keys.on_veth;
    }
    settings.gateways = gateways(&settings.gateway_defaults, &settings.gateway_keys)
        .map_err(|problem| Problem::new(place(name, text, problem.offset), problem.message))?;
    Ok(settings)
}

/// What the TOML reader found wrong in `text`, with its place in the file called `name`.
pub(crate) fn toml_problem(name: &str, text: &str, error: &toml::de::Error) -> Problem {
    let offset = error.span().map_or(0, |span| span.start);
    let message = error.message().trim_end();
    let Some((unknown, known)) = unknown_key(message) else {
        return Problem::new(place(name, text, offset), message);
    };
    let nearest = did_you_mean(unknown, known.iter().copied());
    let nearest = nearest
        .map(|nearest| format!("{nearest} "))
        .unwrap_or_default();
    Problem::new(
        place(name, text, offset),
        format!("unknown key `{unknown}`"),
    )
    .hint(format!("{nearest}known here: {}", known.join(", ")))
}

/// The key, and those that there are, of what serde says of an unknown one:
/// "unknown field `a`, expected one of `b`, `c`".
fn unknown_key(message: &str) -> Option<(&str, Vec<&str>)> {
    let rest = message.strip_prefix("unknown field `")?;
    let mut quoted = rest.split('`').step_by(2);
    Some((quoted.next()?, quoted.collect()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_refused_with_its_place() {
        let problem = parse_settings("w.toml", "enabled = true\n\n  dialct = \"x\"\n").unwrap_err();
        assert_eq!(problem.place, "w.toml:3:3");
        assert!(problem.message.contains("dialct"), "{problem}");
        let text = problem.to_string();
        assert!(
            text.contains("hint: did you mean 'dialect'? known here: dialect, interfaces, "),
            "{text}"
        );
    }

    #[test]
    fn keys_of_a_table_are_those_that_are_known_in_it() {
        let problem = parse_settings("w.toml", "[status]\nsockt = \"x\"\n").unwrap_err();
        assert_eq!(
            problem.to_string(),
            "w.toml:2:1: unknown key `sockt`\n  \
             hint: did you mean 'socket'? known here: enabled, socket, group"
        );
    }

    #[test]
    fn a_wrong_value_is_no_question_of_keys() {
        let problem = parse_settings("w.toml", "dialect = \"openbsd9\"\n").unwrap_err();
        assert_eq!(
            problem.to_string(),
            "w.toml:1:11: unknown dialect \"openbsd9\": use freebsd, openbsd or openbsd3"
        );
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
            ("fast-path = \"maybe\"", "use off, on or xdp"),
            ("[xdp]\non-veth = true", "without fast-path = \"xdp\""),
            (
                "xdp = { interfaces = [\"a/b\"] }",
                "cannot be an interface name",
            ),
            ("flow-cache = 5", "5 is not between 1024 and 2097152"),
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
}
