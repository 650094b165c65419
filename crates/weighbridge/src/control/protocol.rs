//! Requests and responses: one JSON value in a line, typed.
//!
//! A request gets any number of [`Response::Text`] and then one `Done` or `Error`. Requests that
//! are not understood are answered with an error; the connection stays.

use crate::flows::FlowCounters;
use crate::limits::LimitLine;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::AddAssign;

use pf_conf::Optimization;
use pf_engine::addr::Prefix;
use pf_engine::anchor::AnchorPath;
use pf_engine::env::{IfIndex, Interface, InterfaceAddress};
use pf_engine::ruleset::{Dialect, Parts, TableEntry};
use pf_engine::view::HostPort;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::health::Health;
use crate::gateway::monitor::GatewayView;
use crate::pfctl::show::{Scope, Section, Style};
use crate::pflog::record::Record;
use crate::text::{dialect_name, parse_dialect, parse_prefix, parse_table_entry, table_entry_text};

/// Bytes in one request. A pf.conf with a million addresses in its tables fits.
pub const REQUEST_BYTES_MAX: usize = 96 << 20;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// What a client must know to read a pf.conf as the daemon would.
    Describe,
    /// `-f`: read these files and install the ruleset.
    Load(LoadRequest),
    /// `-s`.
    Show(ShowRequest),
    /// `-e` (true) and `-d` (false).
    SetEnabled(bool),
    /// `-F`.
    Flush(FlushRequest),
    /// `-z`.
    ClearRuleCounters,
    /// `-k`, and `-F states` with `-i`.
    Kill(KillRequest),
    /// `-F info` with `-i`: zero the counters of this interface.
    ClearInterface(String),
    /// `-x`: name of a level.
    SetDebug(String),
    /// `-S`: all states, as text.
    SaveStates,
    /// `-L`: states that `-S` has written.
    LoadStates(FileBytes),
    /// `-K`: source nodes, by their source and by what was chosen for it.
    KillSources(Vec<KillSourcesRequest>),
    /// `-I id -k source`: sources of a source limiter.
    KillLimited(KillLimitedRequest),
    /// `-t … -T …`.
    Table(TableRequest),
    /// `weighbridge gateways`.
    Gateways,
    /// The limits, how far they are used and how often they were hit.
    Limits,
    /// `weighbridge flows`.
    Flows,
    /// How the daemon is.
    Health,
    /// `weighbridge log -f`: tell of logged packets until the connection ends.
    Watch(WatchRequest),
}

/// Which logged packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchRequest {
    /// N of `pflogN`; all without it.
    pub log: Option<u8>,
}

/// Files and settings of a `-f`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadRequest {
    /// Name of the main file in messages.
    pub name: String,
    /// The main file.
    pub main: FileBytes,
    /// Files that it names, by the name it uses.
    pub files: BTreeMap<String, FileBytes>,
    /// `-D name=value`.
    pub defines: Vec<(String, String)>,
    /// `--dialect`, over the daemon's.
    pub dialect: Option<DialectName>,
    /// `-o`, over the file's `set ruleset-optimization`.
    pub optimization: Option<OptimizationName>,
    /// `-a`.
    #[serde(default)]
    pub anchor: AnchorPath,
    /// `-A`, `-N`, `-O`, `-R`, `-T load`: only these.
    #[serde(default)]
    pub parts: Parts,
    /// `-m`: options that the file does not name stay.
    #[serde(default)]
    pub merge: bool,
}

/// `-s` with its options.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShowRequest {
    /// What, in this order.
    pub sections: Vec<Section>,
    /// Whether each has a heading (`-s all`).
    pub titles: bool,
    /// How.
    pub style: Style,
    /// Whose printing, over that of the ruleset.
    pub dialect: Option<DialectName>,
    /// `-a`.
    #[serde(default)]
    pub scope: Scope,
    /// `-i`.
    #[serde(default)]
    pub interface: Option<String>,
}

/// `-F`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlushRequest {
    /// What.
    pub target: FlushTarget,
    /// `-a`.
    #[serde(default)]
    pub scope: Scope,
}

/// What `-F` flushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlushTarget {
    /// Filter rules.
    Rules,
    /// Rules for frames.
    Ether,
    /// Translation rules of the old grammar.
    Nat,
    /// Queues.
    Queues,
    /// States.
    States,
    /// Source nodes.
    Sources,
    /// Counters that belong to no rule.
    Info,
    /// Tables.
    Tables,
    /// Fingerprints of operating systems.
    Fingerprints,
    /// `set …`: everything as in a fresh PF.
    Options,
}

/// Which states to kill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KillRequest {
    /// Those that any of these means.
    pub targets: Vec<KillTarget>,
    /// `-i`.
    pub interface: Option<String>,
    /// `-M`.
    pub matching: bool,
}

/// What `-k` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KillTarget {
    /// All.
    All,
    /// `-k source -k destination`.
    Hosts(PrefixText, Option<PrefixText>),
    /// `-k nat -k source`.
    Nat(PrefixText),
    /// `-k label -k LABEL`.
    Label(String),
    /// `-k gateway -k ADDRESS`.
    Gateway(PrefixText),
    /// `-k id -k ID/CREATOR`.
    Id(u64, Option<u32>),
    /// `-k key -k KEY`: number of the protocol, the ends from left to right, whether the arrow
    /// points to the left.
    Key(u8, [HostPort; 2], bool),
}

/// Source nodes that `-K` removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KillSourcesRequest {
    /// First `-K`: where the sources lie.
    pub source: PrefixText,
    /// Second `-K`: where what was chosen for them lies.
    pub target: Option<PrefixText>,
}

/// Sources that a limiter forgets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KillLimitedRequest {
    /// `-I`.
    pub limiter: u8,
    /// The second `-k`.
    pub sources: Vec<PrefixText>,
}

/// A table command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableRequest {
    /// `-t`.
    pub name: String,
    /// `-a`.
    #[serde(default)]
    pub anchor: AnchorPath,
    /// `-T`.
    pub command: TableCommand,
    /// Addresses on the command line and from its file.
    pub entries: Vec<EntryText>,
    /// `-n`: tell what would be done.
    pub dry_run: bool,
    /// Number of `-v`.
    pub verbose: u8,
    /// Seconds of `-T expire`.
    #[serde(default)]
    pub age: u64,
}

/// `-T`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableCommand {
    /// Add addresses, and the table if there is none.
    Add,
    /// Delete addresses.
    Delete,
    /// Empty the table.
    Flush,
    /// Make these its addresses.
    Replace,
    /// List addresses.
    Show,
    /// Look addresses up.
    Test,
    /// Read the tables of a pf.conf: a load, not a command to a table.
    Load,
    /// Remove the table.
    Kill,
    /// Zero the counters of these addresses; without any, those of the table and of all.
    Zero,
    /// Zero the counters of the addresses that have counted.
    Reset,
    /// Delete the addresses that are older than so many seconds.
    Expire,
}

/// What the daemon answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// Text for standard output; more follows.
    Text(String),
    /// It is done. Nothing follows.
    Done(Outcome),
    /// It was not done. Nothing follows. The message has no program name.
    Error(String),
    /// A logged packet; more follow.
    Packet(Box<Record>),
    /// That many logged packets were left out: the reader was too slow. More follow.
    Lost(u64),
}

/// Result of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing to say.
    Ok,
    /// Answer to [`Request::Describe`].
    Description(Description),
    /// Answer to [`Request::SetEnabled`]: whether it made a difference.
    Changed(bool),
    /// How many were flushed or killed.
    Count(usize),
    /// What a table command did.
    Table(TableOutcome),
    /// What became of states that were loaded.
    Loaded(LoadedStates),
    /// Answer to [`Request::Gateways`].
    Gateways(Vec<GatewayView>),
    /// Answer to [`Request::Limits`].
    Limits(Vec<LimitLine>),
    /// Answer to [`Request::Flows`].
    Flows(FlowCounters),
    /// Answer to [`Request::Health`].
    Health(Health),
}

/// What became of states that were loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadedStates {
    /// Taken over.
    pub states: usize,
    /// Their time was over.
    pub expired: usize,
    /// An interface of theirs is not here.
    pub without_interface: usize,
    /// No room: the limit, or a state with the same key.
    pub without_room: usize,
}

impl AddAssign for LoadedStates {
    fn add_assign(&mut self, other: Self) {
        self.states = self.states.saturating_add(other.states);
        self.expired = self.expired.saturating_add(other.expired);
        self.without_interface = self
            .without_interface
            .saturating_add(other.without_interface);
        self.without_room = self.without_room.saturating_add(other.without_room);
    }
}

/// The daemon's view of the box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// The daemon's version.
    pub version: String,
    /// The dialect it was configured with.
    pub dialect: DialectName,
    /// Whether the filter is enabled.
    pub enabled: bool,
    /// Its interfaces.
    pub interfaces: Vec<InterfaceText>,
}

/// What a table command did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TableOutcome {
    /// Addresses in the request.
    pub requested: usize,
    /// Whether the table was made.
    pub created: bool,
    /// Addresses added.
    pub added: usize,
    /// Addresses deleted.
    pub deleted: usize,
    /// Addresses whose sign changed.
    pub changed: usize,
    /// Addresses that match.
    pub matched: usize,
    /// Addresses whose counters were zeroed.
    pub zeroed: usize,
}

/// [`Dialect`] by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct DialectName(pub Dialect);

impl Serialize for DialectName {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(dialect_name(self.0))
    }
}

impl<'de> Deserialize<'de> for DialectName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        parse_dialect(&name)
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

/// [`Optimization`] by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptimizationName(pub Optimization);

impl Serialize for OptimizationName {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.0.name())
    }
}

impl<'de> Deserialize<'de> for OptimizationName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        let level = Optimization::named(&name).map(Self);
        level.ok_or_else(|| serde::de::Error::custom(format!("\"{name}\" is no optimization")))
    }
}

/// [`Prefix`] as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixText(pub Prefix);

impl Serialize for PrefixText {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PrefixText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        parse_prefix(&text)
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom(format!("\"{text}\" is no address")))
    }
}

/// [`TableEntry`] as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryText(pub TableEntry);

impl Serialize for EntryText {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&table_entry_text(&self.0))
    }
}

impl<'de> Deserialize<'de> for EntryText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        parse_table_entry(&text)
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom(format!("\"{text}\" is no address")))
    }
}

/// The bytes of a file: a string where they are UTF-8, else numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileBytes(pub Vec<u8>);

impl Serialize for FileBytes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => to.serialize_str(text),
            Err(_) => self.0.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for FileBytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Text(String),
            Bytes(Vec<u8>),
        }
        Ok(Self(match Either::deserialize(from)? {
            Either::Text(text) => text.into_bytes(),
            Either::Bytes(bytes) => bytes,
        }))
    }
}

/// [`Interface`] as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InterfaceText {
    index: u32,
    name: String,
    groups: Vec<String>,
    mtu: u32,
    loopback: bool,
    addresses: Vec<AddressText>,
}

/// [`InterfaceAddress`] as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddressText {
    address: IpAddr,
    prefix_len: u8,
    broadcast: Option<IpAddr>,
    peer: Option<IpAddr>,
}

impl From<&Interface> for InterfaceText {
    fn from(interface: &Interface) -> Self {
        let addresses = interface.addresses.iter().map(|a| AddressText {
            address: a.address,
            prefix_len: a.prefix_len,
            broadcast: a.broadcast,
            peer: a.peer,
        });
        Self {
            index: interface.index.0,
            name: interface.name.clone(),
            groups: interface.groups.clone(),
            mtu: interface.mtu,
            loopback: interface.loopback,
            addresses: addresses.collect(),
        }
    }
}

impl From<InterfaceText> for Interface {
    fn from(text: InterfaceText) -> Self {
        let addresses = text.addresses.iter().map(|a| InterfaceAddress {
            address: a.address,
            prefix_len: a.prefix_len,
            broadcast: a.broadcast,
            peer: a.peer,
        });
        Self {
            index: IfIndex(text.index),
            addresses: addresses.collect(),
            name: text.name,
            groups: text.groups,
            mtu: text.mtu,
            loopback: text.loopback,
            mac: None,
        }
    }
}

/// `value` in a line of its own.
///
/// # Errors
/// Never for the types of this module; the serialiser wants it so.
pub fn encode<T: Serialize>(value: &T) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

/// The value in `line`, with or without its newline.
///
/// # Errors
/// What does not fit, and where.
pub fn decode<'a, T: Deserialize<'a>>(line: &'a [u8]) -> serde_json::Result<T> {
    serde_json::from_slice(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survives(request: &Request) {
        let line = encode(request).expect("encodes");
        assert_eq!(
            line.iter().position(|byte| *byte == b'\n'),
            Some(line.len() - 1)
        );
        assert_eq!(&decode::<Request>(&line).expect("decodes"), request);
    }

    #[test]
    fn requests_survive_the_wire_in_one_line() {
        survives(&Request::Describe);
        survives(&Request::SetEnabled(true));
        survives(&Request::Load(LoadRequest {
            name: "/etc/pf.conf".into(),
            main: FileBytes(b"pass\nblock \xff\n".to_vec()),
            files: BTreeMap::from([("spam.txt".into(), FileBytes(b"192.0.2.1\n".to_vec()))]),
            defines: vec![("ext_if".into(), "\"em0\"".into())],
            dialect: Some(DialectName(Dialect::OpenBsd3)),
            optimization: Some(OptimizationName(Optimization::Profile)),
            anchor: AnchorPath::new("ftp-proxy/1.2").expect("a path"),
            parts: Parts::NONE,
            merge: true,
        }));
        let network = PrefixText(parse_prefix("192.0.2.0/24").expect("valid"));
        let end = HostPort {
            address: "192.0.2.1".parse().expect("address"),
            port: 80,
        };
        survives(&Request::Kill(KillRequest {
            targets: vec![
                KillTarget::All,
                KillTarget::Hosts(network, Some(network)),
                KillTarget::Nat(network),
                KillTarget::Label("a label".into()),
                KillTarget::Gateway(network),
                KillTarget::Id(u64::MAX, Some(7)),
                KillTarget::Key(6, [end; 2], true),
            ],
            interface: Some("em0".into()),
            matching: true,
        }));
        survives(&Request::LoadStates(FileBytes(b"{}".to_vec())));
        survives(&Request::Table(TableRequest {
            name: "localnet".into(),
            anchor: AnchorPath::main(),
            command: TableCommand::Replace,
            entries: vec![EntryText(
                parse_table_entry("!2001:db8::/32").expect("valid"),
            )],
            dry_run: false,
            verbose: 2,
            age: 86_400,
        }));
    }

    #[test]
    fn interfaces_survive_the_wire() {
        let address: IpAddr = "192.0.2.1".parse().expect("address");
        let interface = Interface {
            addresses: vec![InterfaceAddress {
                peer: Some(address),
                ..InterfaceAddress::new(address, 24)
            }],
            ..Interface::new(IfIndex(7), "em0")
        };
        let line = encode(&InterfaceText::from(&interface)).expect("encodes");
        let back: InterfaceText = decode(&line).expect("decodes");
        assert_eq!(Interface::from(back), interface);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for line in [
            "",
            "{",
            "\"reboot\"",
            "{\"kill\":[{\"source\":\"host\",\"destination\":null}]}",
            "{\"table\":{\"name\":\"t\",\"command\":\"add\",\"entries\":[\"x\"],\"dry_run\":false,\
             \"verbose\":0}}",
            "{\"load\":{\"name\":\"x\",\"mian\":\"\"}}",
        ] {
            assert!(decode::<Request>(line.as_bytes()).is_err(), "{line}");
        }
    }
}
