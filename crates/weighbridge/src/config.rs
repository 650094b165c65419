//! The configuration directory: `weighbridge.toml`, `rc.conf`, `hostname.*`, `bridgename.*`, `mygate`,
//! `sysctl.conf` and `pf.conf`.
//!
//! Reading is all that happens here: nothing is changed, and every problem of every file is
//! collected before anything is said.

mod settings;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use links::{Device, WantedLinks};

pub(crate) use self::settings::toml_problem;
pub use self::settings::{
    DEFAULT_TAP, FLOW_CACHE_MIN, INTERFACE_NAME_MAX, LogLevel, Settings, parse_settings,
};
use crate::links::files::{Wanted, is_start_up_file, parse};
use crate::text::reason;

/// Where the configuration lives unless `--config` says otherwise.
pub const DEFAULT_CONFIG_DIR: &str = "/etc/weighbridge";
/// Where the daemon listens for pfctl unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/weighbridge/control.sock";
/// Where the daemon of [`DEFAULT_SOCKET`] tells how it is.
pub const DEFAULT_STATUS_SOCKET: &str = "/run/weighbridge/status.sock";
/// Where states are kept over a restart unless told otherwise.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/weighbridge";
/// Environment variable that names the control socket.
pub const SOCKET_VARIABLE: &str = "WEIGHBRIDGE_SOCKET";
/// Environment variable that names the socket for status.
pub const STATUS_VARIABLE: &str = "WEIGHBRIDGE_STATUS_SOCKET";
/// The daemon's own settings, in the configuration directory. It need not exist.
pub const SETTINGS_FILE: &str = "weighbridge.toml";
/// The rules, in the configuration directory. They need not exist.
pub const RULES_FILE: &str = "pf.conf";
/// Bytes in one configuration file. Two million addresses of a table fit; `/dev/zero` does not.
pub const FILE_SIZE_MAX: u64 = 64 << 20;
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

    /// With a hint, where there is none.
    pub(crate) fn or_hint(mut self, hint: &str) -> Self {
        self.hint.get_or_insert_with(|| hint.to_owned());
        self
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
    /// `rc.conf`, `hostname.*`, `bridgename.*`, `mygate` and `sysctl.conf`.
    pub links: WantedLinks,
    /// `pf` or `pf_enable` of `rc.conf`.
    pub filter: Option<bool>,
    /// `pf.conf`, if there is one.
    pub rules: Option<RulesFile>,
}

impl Configuration {
    /// Whether the filter is enabled from the start: as weighbridge.toml says, else `rc.conf`, else
    /// it is.
    #[must_use]
    pub fn enabled(&self) -> bool {
        self.settings.enabled.or(self.filter).unwrap_or(true)
    }

    /// The ports of the bridges that pass the loss of a carrier on.
    #[must_use]
    pub fn coupled(&self) -> Vec<[String; 2]> {
        let named = |name: &String| self.settings.carrier_pass_through.contains(name);
        let bridges = self.links.bridges.iter().filter(|b| named(&b.name));
        bridges
            .filter_map(|bridge| bridge.members.clone().try_into().ok())
            .collect()
    }

    /// Interfaces to be filtered: those of `weighbridge.toml`, else all that the start-up files
    /// name but for the bridges themselves, whose members are filtered instead, and the ports of
    /// laggs, which are.
    ///
    /// A packet to the box crosses a member port and then the bridge; filtered at both it would
    /// be counted and translated twice.
    #[must_use]
    pub fn managed(&self) -> Vec<String> {
        if let Some(names) = &self.settings.interfaces {
            return names.clone();
        }
        let laggs = self
            .links
            .interfaces
            .iter()
            .filter_map(|i| match &i.device {
                Device::Lagg(lagg) => Some(&lagg.ports),
                Device::Physical | Device::Bridge | Device::Vlan(_) => None,
            });
        let bridges = self.links.bridges.iter().map(|b| &b.name);
        let others: BTreeSet<_> = bridges.chain(laggs.flatten()).collect();
        let named = self.links.interfaces.iter().map(|i| &i.name);
        let members = self.links.bridges.iter().flat_map(|b| &b.members);
        let all: BTreeSet<_> = named.chain(members).collect();
        all.difference(&others)
            .map(|name| (*name).clone())
            .collect()
    }

    /// What rules may send packets by, or translate on: what is managed, and bridges, whose members are.
    #[must_use]
    pub fn filtered(&self) -> Vec<String> {
        let bridges = self.links.bridges.iter().map(|bridge| bridge.name.clone());
        self.managed().into_iter().chain(bridges).collect()
    }
}

/// The file of the directory `dir` that is about an interface (`kind` is `hostname`) or a bridge
/// (`bridgename`): its own, else rc.conf.
#[must_use]
pub fn start_up_file(dir: &Path, kind: &str, name: &str) -> PathBuf {
    let own = dir.join(format!("{kind}.{name}"));
    if own.exists() {
        own
    } else {
        dir.join("rc.conf")
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
    let Wanted { links, filter, .. } = read_links(dir, &names, &mut problems);
    let rules = read_rules(dir, rules).unwrap_or_else(|problem| {
        problems.push(problem);
        None
    });
    let configuration = Configuration {
        settings,
        links,
        filter,
        rules,
    };
    check_managed(dir, &configuration, &mut problems);
    check_gateways(dir, &configuration, &mut problems);
    check_pass_through(dir, &configuration, &mut problems);
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

/// A carrier is passed on from one port to the one other.
fn check_pass_through(dir: &Path, configuration: &Configuration, problems: &mut Vec<Problem>) {
    if !problems.is_empty() {
        return;
    }
    let place = dir.join(SETTINGS_FILE).display().to_string();
    for name in &configuration.settings.carrier_pass_through {
        let mut bridges = configuration.links.bridges.iter();
        let what = match bridges.find(|bridge| bridge.name == *name) {
            Some(bridge) if bridge.members.len() == 2 => continue,
            Some(bridge) => format!("has {} ports, not two", bridge.members.len()),
            None => "is no bridge that a file describes".to_owned(),
        };
        let message = format!("carrier-pass-through: {name} {what}");
        let hint = "name bridges of exactly two ports: carrier-pass-through = [\"bridge0\"]";
        problems.push(Problem::new(&place, message).hint(hint));
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

/// Where a command finds the daemon.
#[derive(Clone, Debug, Default, Args)]
pub struct SocketArgument {
    /// Control socket of the daemon [default: that of weighbridge.toml, else /run/weighbridge/control.sock]
    #[arg(long, value_name = "PATH", env = SOCKET_VARIABLE)]
    pub socket: Option<PathBuf>,
}

impl SocketArgument {
    /// Where that is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        control_socket(self.socket.clone(), Path::new(DEFAULT_CONFIG_DIR))
    }
}

/// Where the daemon of `dir` listens: as named, as its weighbridge.toml says, or in the usual place.
#[must_use]
pub fn control_socket(named: Option<PathBuf>, dir: &Path) -> PathBuf {
    named
        .or_else(|| read_settings(dir).ok()?.socket)
        .unwrap_or_else(|| DEFAULT_SOCKET.into())
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

fn read_links(dir: &Path, names: &[String], problems: &mut Vec<Problem>) -> Wanted {
    let mut wanted = Wanted::default();
    for name in names.iter().filter(|name| is_start_up_file(name)) {
        let path = dir.join(name);
        match read_text(&path) {
            Ok(text) => {
                let errors = parse(&path, &text, &mut wanted).err().unwrap_or_default();
                problems.extend(errors.into_iter().map(|error| link_problem(&path, error)));
            }
            Err(error) => problems.push(unreadable(&path, &error)),
        }
    }
    if problems.is_empty() {
        let place = dir.display().to_string();
        let found = links::check(&wanted.links);
        problems.extend(
            found
                .into_iter()
                .map(|text| Problem::new(place.clone(), text)),
        );
    }
    wanted
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
    use datapath::FailPolicy;
    use pf_engine::ruleset::Dialect;

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
        assert!(configuration.enabled());
        assert_eq!(configuration.rules, None);
    }

    #[test]
    fn a_lagg_is_filtered_and_not_its_ports_and_rc_conf_is_read() {
        let rc_conf = "cloned_interfaces=\"lagg0 vlan22\"\nifconfig_em0=\"up\"\nifconfig_em1=\"up\"\n\
             ifconfig_lagg0=\"laggproto failover laggport em0 laggport em1 10.0.0.2/24\"\n\
             ifconfig_vlan22=\"inet 10.0.22.2/24 vlan 22 vlandev lagg0\"\n\
             defaultrouter=\"10.0.0.1\"\n";
        let dir = directory(&[("rc.conf", rc_conf)]);
        let configuration = read(dir.path(), None).expect("no problem");
        assert_eq!(configuration.managed(), ["lagg0", "vlan22"]);
        assert_eq!(configuration.links.routes.len(), 1);
        let dir = directory(&[("rc.conf", "ifconfig_em0=\"DHCP\"\n")]);
        let problems = read(dir.path(), None).unwrap_err();
        assert!(problems[0].place.contains("rc.conf:1:"), "{problems:?}");
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
        assert!(!configuration.enabled());
    }

    #[test]
    fn rc_conf_says_whether_the_filter_is_enabled_unless_the_settings_do() {
        for (rc_conf, settings, enabled) in [
            ("pf=YES                  # Packet filter / NAT\n", "", true),
            ("pf=NO\n", "", false),
            ("pf_enable=\"NO\"\n", "", false),
            ("pf=NO\n", "enabled = true\n", true),
            ("pf=YES\n", "enabled = false\n", false),
        ] {
            let dir = directory(&ARTICLE);
            fs::write(dir.path().join("rc.conf"), rc_conf).expect("write");
            fs::write(dir.path().join(SETTINGS_FILE), settings).expect("write");
            let configuration = read(dir.path(), None).expect("no problem");
            assert_eq!(configuration.enabled(), enabled, "{rc_conf}{settings}");
        }
        let dir = directory(&[("rc.conf", "pf=perhaps\n")]);
        let problems = read(dir.path(), None).unwrap_err();
        assert!(
            problems[0]
                .to_string()
                .ends_with("rc.conf:1:4: expected YES or NO, found 'perhaps'"),
            "{problems:?}"
        );
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
    fn a_carrier_is_passed_on_by_bridges_of_two_ports_only() {
        let dir = directory(&ARTICLE);
        let settings = |text: &str| fs::write(dir.path().join(SETTINGS_FILE), text).expect("write");
        settings("carrier-pass-through = [\"bridge0\"]\n");
        let configuration = read(dir.path(), None).expect("no problem");
        assert_eq!(configuration.coupled(), [["em1", "fxp0"]]);
        settings("carrier-pass-through = [\"bridge7\"]\n");
        let problems = read(dir.path(), None).unwrap_err();
        let text = problems[0].to_string();
        assert!(
            text.contains("bridge7 is no bridge that a file describes"),
            "{text}"
        );
        settings("carrier-pass-through = [\"bridge0\"]\n");
        fs::write(dir.path().join("bridgename.bridge0"), "add em1\n").expect("write");
        let problems = read(dir.path(), None).unwrap_err();
        assert!(
            problems[0]
                .to_string()
                .contains("bridge0 has 1 ports, not two")
        );
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
