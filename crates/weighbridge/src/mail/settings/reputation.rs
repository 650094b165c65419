//! `[reputation]`, `[throttle]` and `[dnsbl]` of mail.toml: what follows from outcomes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use mail::dnsbl::Zone;
use mail::dnsbl::service::Identity;
use mail::throttle::{THROTTLED_MAX, ThrottleRules};
use pf_engine::addr::Prefix;
use serde::{Deserialize, Deserializer};

use super::values::{messages, number, place, prefixes, share, time};

/// Where the packet filter takes addresses unless `socket` says otherwise.
pub const TABLES_SOCKET: &str = "/run/weighbridge/tables.sock";
/// Hosts that may be throttled at the same time: as many as a daemon lets into a table.
const MOST: std::ops::RangeInclusive<usize> = 1..=100_000;
/// Where the DNS list answers unless `address` says otherwise.
const DNSBL_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5300);
/// Questions a second.
const RATES: std::ops::RangeInclusive<u32> = 1..=1_000_000;
/// Connections of the DNS list at the same time.
const CONNECTIONS: std::ops::RangeInclusive<usize> = 1..=4096;

/// `[reputation]`: how outcomes are weighed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    rename_all = "kebab-case",
    expecting = "a table, as [NAME]"
)]
pub struct ReputationSettings {
    /// Time in which weights halve.
    #[serde(deserialize_with = "time")]
    pub half_life: Duration,
    /// Networks that are never listed nor throttled: our own, and those that are trusted.
    #[serde(deserialize_with = "prefixes")]
    pub never: Vec<Prefix>,
}

impl Default for ReputationSettings {
    fn default() -> Self {
        Self {
            half_life: ThrottleRules::default().half_life,
            never: Vec::new(),
        }
    }
}

/// `[throttle]`: who is put into a table of the packet filter.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table, as [NAME]"
)]
pub struct ThrottleSettings {
    /// The table.
    pub table: String,
    /// The daemon's socket for tables.
    #[serde(default = "tables_socket")]
    pub socket: PathBuf,
    /// Weight of rejected messages from which on it happens.
    #[serde(default = "least_rejected", deserialize_with = "messages")]
    pub least_rejected: f64,
    /// Share of them from which on it happens.
    #[serde(default = "ratio", deserialize_with = "share")]
    pub ratio: f64,
    /// How long a host stays in the table after its last rejected message.
    #[serde(default = "duration", deserialize_with = "time")]
    pub duration: Duration,
    /// Hosts in the table at the same time.
    #[serde(default = "most", deserialize_with = "entries")]
    pub entries: usize,
    /// Nothing is put into the table; `weighbridge spammers` tells what would be.
    #[serde(default)]
    pub dry_run: bool,
}

fn tables_socket() -> PathBuf {
    TABLES_SOCKET.into()
}

fn least_rejected() -> f64 {
    ThrottleRules::default().least_rejected
}

fn ratio() -> f64 {
    ThrottleRules::default().ratio
}

fn duration() -> Duration {
    ThrottleRules::default().duration
}

const fn most() -> usize {
    THROTTLED_MAX
}

fn entries<'de, D: Deserializer<'de>>(input: D) -> Result<usize, D::Error> {
    number(input, MOST)
}

/// `[dnsbl]`: the DNS list.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table, as [NAME]"
)]
pub struct DnsblSettings {
    /// Where it answers, by UDP and TCP.
    #[serde(default = "dnsbl_address", deserialize_with = "place")]
    pub address: SocketAddr,
    /// The zone of hosts whose mail is nearly all rejected.
    #[serde(default, deserialize_with = "zone")]
    pub zone: Option<Zone>,
    /// The zone of all hosts that were seen.
    #[serde(default, deserialize_with = "zone")]
    pub information_zone: Option<Zone>,
    /// Name of the name server, for SOA and NS records.
    #[serde(deserialize_with = "name_server")]
    pub name_server: String,
    /// Who may ask.
    #[serde(default = "loopback", deserialize_with = "prefixes")]
    pub allow: Vec<Prefix>,
    /// Questions a second of one network (a /24, of IPv6 a /56).
    #[serde(default = "per_second", deserialize_with = "rate")]
    pub per_second: u32,
    /// Questions at once.
    #[serde(default = "burst", deserialize_with = "rate")]
    pub burst: u32,
    /// TCP connections at the same time.
    #[serde(default = "clients", deserialize_with = "connections")]
    pub clients: usize,
    /// Weight of rejected messages from which on a host is listed.
    #[serde(default = "least_rejected", deserialize_with = "messages")]
    pub least_rejected: f64,
    /// Share of them from which on it is.
    #[serde(default = "ratio", deserialize_with = "share")]
    pub ratio: f64,
}

const fn dnsbl_address() -> SocketAddr {
    DNSBL_ADDRESS
}

const fn per_second() -> u32 {
    200
}

const fn burst() -> u32 {
    1_000
}

const fn clients() -> usize {
    64
}

fn loopback() -> Vec<Prefix> {
    let networks = [
        (Ipv4Addr::new(127, 0, 0, 0).into(), 8),
        (IpAddr::V6(std::net::Ipv6Addr::LOCALHOST), 128),
    ];
    let networks = networks.into_iter();
    networks
        .filter_map(|(address, length)| Prefix::new(address, length))
        .collect()
}

fn rate<'de, D: Deserializer<'de>>(input: D) -> Result<u32, D::Error> {
    number(input, RATES)
}

fn connections<'de, D: Deserializer<'de>>(input: D) -> Result<usize, D::Error> {
    number(input, CONNECTIONS)
}

fn zone<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Zone>, D::Error> {
    let name = String::deserialize(input)?;
    let zone = Zone::new(&name);
    zone.map(Some).ok_or_else(|| no_name(&name))
}

fn name_server<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    let name = String::deserialize(input)?;
    match Identity::new(&name) {
        Some(_) => Ok(name.trim_end_matches('.').to_owned()),
        None => Err(no_name(&name)),
    }
}

fn no_name<E: serde::de::Error>(name: &str) -> E {
    E::custom(format!(
        "\"{name}\" is no name for a zone: labels of letters, digits, - and _, 189 characters at \
         most, as \"bl.example.org\""
    ))
}
