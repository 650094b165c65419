//! `[[gateway]]` and `[gateway-defaults]` of weighbridge.toml.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use pf_engine::engine::OnFailure;
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::health::Thresholds;
use super::probe::ProbeKind;

/// Gateways that are probed at most: each takes a few packets a second.
pub const GATEWAYS_MAX: usize = 256;
/// Targets of one gateway.
pub const TARGETS_MAX: usize = 16;
/// What `interval` and `timeout` may be, in milliseconds.
const TIMES: (u64, u64) = (100, 60_000);
/// What `down-after` and `up-after` may be.
const COUNTS: (u32, u32) = (1, 1_000);
/// What `window` may be.
const WINDOWS: (usize, usize) = (5, 1_000);

/// A gateway that is probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewaySettings {
    /// The interface it is on.
    pub interface: String,
    /// Its address: the next hop of rules.
    pub address: IpAddr,
    /// Whether connections that come in by it are answered by it.
    pub auto_reply_to: bool,
    /// Who is asked, behind it or itself.
    pub targets: Vec<Target>,
    /// How many of the targets have to work.
    pub quorum: usize,
    /// How it is probed.
    pub probing: Probing,
}

/// How gateways are probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probing {
    /// What is sent.
    pub kind: ProbeKind,
    /// Time from one probe of a target to the next.
    pub interval: Duration,
    /// A probe without an answer after this time is lost.
    pub timeout: Duration,
    /// When a target is down, and up again.
    pub thresholds: Thresholds,
    /// What becomes of states.
    pub on_failure: OnFailure,
}

impl Default for Probing {
    /// Dead is known in 1.5 to 2.5 seconds: three probes, half a second apart, each lost after one.
    fn default() -> Self {
        Self {
            kind: ProbeKind::Icmp,
            interval: Duration::from_millis(500),
            timeout: Duration::from_secs(1),
            thresholds: Thresholds {
                down_after: 3,
                up_after: 5,
                loss: None,
                latency: None,
                window: 20,
            },
            on_failure: OnFailure::Move,
        }
    }
}

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Its address.
    pub address: IpAddr,
    /// Its port, for TCP.
    pub port: Option<u16>,
}

/// A struct of `weighbridge.toml` with the keys that rule how a gateway is probed: serde cannot
/// flatten one into another and still refuse keys that it does not know, with their place.
macro_rules! with_probing_keys {
    ($(#[$attribute:meta])* pub struct $name:ident { $($own:tt)* }) => {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case")]
        $(#[$attribute])*
        pub struct $name {
            $($own)*
            kind: Option<ProbeKind>,
            interval: Option<Time>,
            timeout: Option<Time>,
            down_after: Option<Count>,
            up_after: Option<Count>,
            loss: Option<Percent>,
            latency: Option<Time>,
            window: Option<Window>,
            on_failure: Option<Policy>,
            auto_reply_to: Option<bool>,
        }

        impl $name {
            fn probing_or(&self, defaults: Probing) -> Probing {
                let thresholds = defaults.thresholds;
                Probing {
                    kind: self.kind.unwrap_or(defaults.kind),
                    interval: self.interval.map_or(defaults.interval, |time| time.0),
                    timeout: self.timeout.map_or(defaults.timeout, |time| time.0),
                    thresholds: Thresholds {
                        down_after: self.down_after.map_or(thresholds.down_after, |n| n.0),
                        up_after: self.up_after.map_or(thresholds.up_after, |n| n.0),
                        loss: self.loss.map(|loss| loss.0).or(thresholds.loss),
                        latency: self.latency.map(|time| time.0).or(thresholds.latency),
                        window: self.window.map_or(thresholds.window, |window| window.0),
                    },
                    on_failure: self.on_failure.map_or(defaults.on_failure, |policy| policy.0),
                }
            }
        }
    };
}

with_probing_keys! {
    /// `[gateway-defaults]`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[serde(default)]
    pub struct DefaultKeys {
        /// Whether every next hop that rules name is probed, not only those of `[[gateway]]`.
        pub probe_next_hops: bool,
    }
}

with_probing_keys! {
    /// `[[gateway]]`.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct GatewayKeys {
        interface: String,
        address: IpAddr,
        targets: Option<Vec<TargetText>>,
        quorum: Option<usize>,
    }
}

/// What is wrong with a gateway, and where: the byte at which it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayProblem {
    /// Byte in the file.
    pub offset: usize,
    /// What is wrong.
    pub message: String,
}

impl DefaultKeys {
    /// How gateways are probed that say nothing else.
    #[must_use]
    pub fn probing(&self) -> Probing {
        self.probing_or(Probing::default())
    }

    /// The settings of a next hop that rules name.
    #[must_use]
    pub fn next_hop(&self, interface: &str, address: IpAddr) -> GatewaySettings {
        GatewaySettings {
            interface: interface.to_owned(),
            address,
            auto_reply_to: false,
            targets: vec![Target {
                address,
                port: None,
            }],
            quorum: 1,
            probing: self.probing(),
        }
    }
}

impl GatewayKeys {
    fn settings(&self, defaults: &DefaultKeys) -> Result<GatewaySettings, String> {
        let probing = self.probing_or(defaults.probing());
        let targets = self.checked_targets(probing.kind)?;
        let quorum = self.quorum.unwrap_or(1);
        if quorum == 0 || quorum > targets.len() {
            return Err(format!(
                "quorum is {quorum}, but there are {} targets",
                targets.len()
            ));
        }
        Ok(GatewaySettings {
            interface: self.interface.clone(),
            address: self.address,
            auto_reply_to: self
                .auto_reply_to
                .or(defaults.auto_reply_to)
                .unwrap_or(true),
            targets,
            quorum,
            probing,
        })
    }

    /// Without `targets` the gateway itself.
    fn checked_targets(&self, kind: ProbeKind) -> Result<Vec<Target>, String> {
        let Some(given) = &self.targets else {
            if kind == ProbeKind::Tcp {
                return Err("kind \"tcp\" needs targets with a port: \
                            targets = [\"198.51.100.1:443\"]"
                    .into());
            }
            return Ok(vec![Target {
                address: self.address,
                port: None,
            }]);
        };
        if kind == ProbeKind::Neighbor {
            return Err("kind \"neighbor\" asks the gateway itself: it has no targets".into());
        }
        let targets: Vec<Target> = given.iter().map(|target| target.0).collect();
        if targets.is_empty() || targets.len() > TARGETS_MAX {
            return Err(format!("a gateway has 1 to {TARGETS_MAX} targets"));
        }
        let distinct: BTreeSet<_> = targets.iter().collect();
        if distinct.len() < targets.len() {
            return Err("a target is named twice".into());
        }
        targets
            .iter()
            .try_for_each(|target| self.check_target(target, kind))?;
        Ok(targets)
    }

    fn check_target(&self, target: &Target, kind: ProbeKind) -> Result<(), String> {
        let address = target.address;
        if address.is_ipv4() != self.address.is_ipv4() {
            return Err(format!(
                "target {address} is not of the gateway's address family"
            ));
        }
        match (kind, target.port) {
            (ProbeKind::Tcp, None) => {
                Err(format!("target {address} needs a port: \"{address}:443\""))
            }
            (ProbeKind::Icmp, Some(port)) => Err(format!(
                "target {address} has port {port}, but kind \"icmp\" has no ports: \
                 did you mean kind = \"tcp\"?"
            )),
            _ => Ok(()),
        }
    }
}

/// The gateways of a file.
///
/// # Errors
/// The first thing that is wrong.
pub fn gateways(
    defaults: &DefaultKeys,
    keys: &[Spanned<GatewayKeys>],
) -> Result<Vec<GatewaySettings>, GatewayProblem> {
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for keys in keys {
        let problem = |message| GatewayProblem {
            offset: keys.span().start,
            message,
        };
        let settings = keys.get_ref().settings(defaults).map_err(problem)?;
        if !seen.insert((settings.interface.clone(), settings.address)) {
            let (interface, address) = (settings.interface, settings.address);
            let message = format!("gateway {address} on {interface} is there twice");
            return Err(problem(message));
        }
        if all.len() == GATEWAYS_MAX {
            return Err(problem(format!("more than {GATEWAYS_MAX} gateways")));
        }
        all.push(settings);
    }
    if defaults.probe_next_hops && defaults.kind == Some(ProbeKind::Tcp) {
        return Err(GatewayProblem {
            offset: 0,
            message: "probe-next-hops needs kind \"icmp\" or \"neighbor\": \
                      rules name no ports of next hops"
                .into(),
        });
    }
    Ok(all)
}

/// `"500ms"` or `"2s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Time(Duration);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count(u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window(usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Percent(u8);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Policy(OnFailure);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TargetText(Target);

fn milliseconds(text: &str) -> Option<u64> {
    if let Some(number) = text.strip_suffix("ms") {
        return number.trim_end().parse().ok();
    }
    let seconds: u64 = text.strip_suffix('s')?.trim_end().parse().ok()?;
    seconds.checked_mul(1000)
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        let time = milliseconds(&text).filter(|ms| (TIMES.0..=TIMES.1).contains(ms));
        time.map(|ms| Self(Duration::from_millis(ms)))
            .ok_or_else(|| {
                serde::de::Error::custom(format!("\"{text}\" is no time from \"100ms\" to \"60s\""))
            })
    }
}

/// A number from `least` to `most`.
fn bounded<'de, D: Deserializer<'de>>(input: D, least: u64, most: u64) -> Result<u64, D::Error> {
    let number = u64::deserialize(input)?;
    if number < least || number > most {
        let message = format!("{number} is not between {least} and {most}");
        return Err(serde::de::Error::custom(message));
    }
    Ok(number)
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let number = bounded(input, COUNTS.0.into(), COUNTS.1.into())?;
        u32::try_from(number)
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let number = bounded(input, WINDOWS.0 as u64, WINDOWS.1 as u64)?;
        usize::try_from(number)
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let number = bounded(input, 1, 99)?;
        u8::try_from(number)
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        match String::deserialize(input)?.as_str() {
            "move" => Ok(Self(OnFailure::Move)),
            "kill" => Ok(Self(OnFailure::Kill)),
            "keep" => Ok(Self(OnFailure::Keep)),
            other => Err(serde::de::Error::custom(format!(
                "unknown on-failure \"{other}\": use move, kill or keep"
            ))),
        }
    }
}

impl<'de> Deserialize<'de> for TargetText {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        let host = text.parse().map(|address| Target {
            address,
            port: None,
        });
        let with_port = |text: &str| {
            let socket: SocketAddr = text.parse().ok()?;
            let port = Some(socket.port()).filter(|port| *port != 0);
            port.map(|port| Target {
                address: socket.ip(),
                port: Some(port),
            })
        };
        let target = host.ok().or_else(|| with_port(&text));
        target.map(Self).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "\"{text}\" is no target: an address, for tcp with a port (198.51.100.1:443, \
                 [2001:db8::1]:443)"
            ))
        })
    }
}
