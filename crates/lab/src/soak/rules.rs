//! The rulesets of a soak, and what must come of them.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

use crate::daemon::TWO_GATEWAYS;
use crate::roles::DslLine;
use crate::{Configuration, FastPath, Role};

/// Ports of the line protocol, by what the rules do with them.
pub(super) mod ports {
    /// Closed for everybody inside (`block drop`).
    pub(in crate::soak) const CLOSED: u16 = 110;
    /// Refused to .10 (`block return`); .99's leave by the second DSL line.
    pub(in crate::soak) const SECOND: u16 = 443;
    /// .99's leave by the T1 with one ruleset, by DSL with the other; .10's are killed by label.
    pub(in crate::soak) const SWING: u16 = 143;
    /// .34 may have [`super::MAX_SOURCE_STATES`] of them at a time.
    pub(in crate::soak) const LIMITED: u16 = 22;
    /// Closed UDP.
    pub(in crate::soak) const CLOSED_UDP: u16 = 5353;
}

/// `max-src-states` of .34's connections to port 22.
pub(super) const MAX_SOURCE_STATES: usize = 4;
/// What `pfctl -k label` names.
pub(super) const KILLABLE: &str = "killable";
/// The anchor that is loaded and flushed.
pub(super) const ANCHOR: &str = "soak/door";
/// The table that a server's address goes into and out of.
pub(super) const TABLE: &str = "banned";
/// The longest time that a state of the soak lives without a packet; then all are gone.
pub(super) const LONGEST_TIMEOUT_SECONDS: u64 = 20;
/// First half of the sources of half-open connections and floods.
pub(super) const FLOOD_NETWORK: [u8; 2] = [10, 66];

/// Which of two rulesets, that say the same but for [`ports::SWING`], is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variant {
    /// The old grammar's `nat`; the port that swings leaves by the T1.
    Old,
    /// `nat-to`, `synproxy`, `modulate state` and more rules in front; it leaves by DSL.
    New,
}

/// Which way packets take, and so what a server sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Bridged to the Cisco, with the host's own address.
    T1,
    /// `route-to` the first modem.
    FirstLine,
    /// `route-to` the second modem.
    SecondLine,
    /// `route-to` both in turn.
    Pool,
    /// As the ruleset in force says.
    Swing,
    /// `af-to`, and out by the first modem.
    Nat64,
}

impl Way {
    /// Whether a connection may be lost with the second modem.
    pub(super) fn needs_second_line(self) -> bool {
        matches!(self, Self::SecondLine | Self::Pool)
    }

    /// The addresses of which a server may see one; `variants` are those that were in force.
    pub(super) fn addresses(self, own: Option<IpAddr>, variants: &[Variant]) -> Vec<IpAddr> {
        let line = |number: usize| Some(IpAddr::V4(DslLine::ALL[number].outside_v4));
        let swings = |variant: &Variant| match variant {
            Variant::Old => own,
            Variant::New => line(0),
        };
        match self {
            Self::T1 => own.into_iter().collect(),
            Self::FirstLine | Self::Nat64 => line(0).into_iter().collect(),
            Self::SecondLine => line(1).into_iter().collect(),
            Self::Pool => line(0).into_iter().chain(line(1)).collect(),
            Self::Swing => variants.iter().filter_map(swings).collect(),
        }
    }
}

/// What both rulesets begin with. Timeouts are short, so that the end of a soak is soon there.
const OPTIONS: &str = "\
set debug misc
set limit { states 6000, src-nodes 1000, frags 500 }
set syncookies adaptive (start 10%, end 5%)
set reassemble yes
set timeout { interval 2, frag 5, src.track 5 }
set timeout { tcp.first 10, tcp.opening 10, tcp.established 20, tcp.closing 10 }
set timeout { tcp.finwait 5, tcp.closed 2, udp.first 10, udp.single 10, udp.multiple 10 }
set timeout { icmp.first 5, icmp.error 5, other.first 10, other.single 10, other.multiple 10 }
table <inside> const { 216.28.123.0/24 }
table <banned> persist
";

const OLD_NAT: &str = "\
nat on em0 inet from <inside> to any -> (em0)
nat on em3 inet from <inside> to any -> (em3)
";

const NEW_NAT: &str = "\
match out on em0 inet from <inside> nat-to (em0)
match out on em3 inet from <inside> nat-to (em3)
match in all scrub (no-df random-id max-mss 1400)
";

/// What both rulesets say, with a few words of their own.
const FILTER: &str = "\
block log label default
pass out
pass quick inet6 proto ipv6-icmp icmp6-type { routersol routeradv neighbrsol neighbradv }
anchor \"soak/*\"
block drop in quick on em1 proto tcp to port 110 label closed
block drop in quick on em1 proto udp to port 5353 label closed
block drop in quick on em1 inet proto tcp from 216.28.123.50 to <banned> port 22 label banned
block return in quick on em1 inet proto tcp from 216.28.123.10 to any port 443 label refused
block drop in log quick on fxp0 inet proto tcp from any to 216.28.123.34 label closed
pass in quick on em1 route-to (em0 192.168.0.1) inet6 from 2001:db8:28:123::/64 \\
    to 64:ff9b::/96 af-to inet from (em0) label nat64
pass in on em1 from <inside> label t1
pass in on em1 inet6 from 2001:db8:28:123::/64 label t1
pass in on em1 inet proto tcp from 10.66.0.0/16 to any port 80 label flood
pass in on em1 route-to (em0 192.168.0.1) inet proto tcp from 216.28.123.99 to any port 80 \\
    KEEP label first
pass in on em1 route-to (em3 172.16.0.1) inet proto tcp from 216.28.123.99 to any port 443 \\
    label second
pass in on em1 route-to { (em0 192.168.0.1), (em3 172.16.0.1) } round-robin sticky-address \\
    inet proto tcp from 216.28.123.34 to any port 8080 label pool
pass in log on em1 SWING inet proto tcp from 216.28.123.99 to any port 143 label swing
pass in on em1 inet proto tcp from 216.28.123.10 to any port 143 label killable
pass in on em1 inet proto tcp from 216.28.123.34 to any port 22 \\
    keep state (source-track global, max-src-states 4) label limited
pass in on fxp0 inet proto tcp from any to 216.28.123.50 port { 80 8080 } PROXY label inbound
pass in on fxp0 inet proto icmp icmp-type echoreq label inbound
";

/// Rules that shift the numbers of those behind them.
const FILLERS: u8 = 50;

/// Texts that must not load.
pub(super) const BROKEN: [&str; 4] = [
    "pass in on em1 route-to\n",
    "block all\npass in proto tcp from $nowhere to any\n",
    "table <banned> persist\nblock in quick from <banned\n",
    "pass in on em1 inet from 2001:db8::1 to 192.0.2.1\n",
];

impl Variant {
    /// The other one.
    pub(super) fn other(self) -> Self {
        match self {
            Self::Old => Self::New,
            Self::New => Self::Old,
        }
    }

    /// Its pf.conf.
    pub(super) fn pf_conf(self) -> String {
        let words = |keep, swing, proxy| {
            let filter = FILTER.replace("KEEP", keep).replace("SWING", swing);
            filter.replace("PROXY", proxy)
        };
        match self {
            Self::Old => [OPTIONS, OLD_NAT, &words("keep state", "", "keep state")].concat(),
            Self::New => {
                let filter = words(
                    "modulate state",
                    "route-to (em0 192.168.0.1)",
                    "synproxy state",
                );
                [OPTIONS, NEW_NAT, &fillers(), &filter].concat()
            }
        }
    }

    /// The files of a daemon that starts with it.
    pub(super) fn files(self, fast_path: Option<FastPath>) -> Configuration {
        Configuration::modern(&self.pf_conf())
            .on_path(fast_path)
            .with("weighbridge.toml", TWO_GATEWAYS)
            .with("hostname.em3", "inet 172.16.1.64 255.255.0.0 NONE\n")
    }
}

fn fillers() -> String {
    (0..FILLERS).fold(String::new(), |mut text, number| {
        let _ = writeln!(text, "block in quick from 198.18.{number}.0/24");
        text
    })
}

/// What the anchor holds while its door is closed: .50 does not reach this server's port.
pub(super) fn closed_door(server: Ipv4Addr) -> String {
    let from = Role::H50.inside_v4().unwrap_or(Ipv4Addr::UNSPECIFIED);
    format!(
        "block drop in quick on em1 inet proto tcp from {from} to {server} port {}\n",
        ports::SECOND
    )
}
