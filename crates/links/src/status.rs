//! How the devices of this program stand, as their keeper publishes it for whoever asks.

use serde::{Deserialize, Serialize};

use crate::{HashLayers, Protocol, WantedLagg};

/// Version of the format; a reader refuses others.
pub const VERSION: u32 = 1;
/// How often it is written at least, in seconds.
pub const PERIOD_SECS: f64 = 1.0;

/// All devices of a keeper.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// [`VERSION`].
    pub version: u32,
    /// The keeper's process.
    pub pid: u32,
    /// When it was written, in seconds since 1970.
    pub time: f64,
    /// Laggs.
    pub laggs: Vec<LaggStatus>,
    /// VLANs.
    pub vlans: Vec<VlanStatus>,
}

/// A lagg.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own"
)]
pub struct LaggStatus {
    /// Its name.
    pub name: String,
    /// Its protocol, as ifconfig(8) names it.
    pub protocol: String,
    /// `l2,l3,l4`.
    pub hash: String,
    /// As in `rc.conf`.
    pub strict: bool,
    /// As in `rc.conf`.
    pub fast: bool,
    /// LACPDUs are sent without being asked.
    pub active: bool,
    /// `rr_limit`.
    pub round_robin_frames: u32,
    /// Whether frames can be sent.
    pub up: bool,
    /// Whether nothing passes, because who filters it has no hooks on it yet.
    #[serde(default)]
    pub shut: bool,
    /// Times that traffic moved, or that fewer links carried it.
    pub failovers: u64,
    /// The same in the last hour.
    pub failovers_last_hour: u64,
    /// When that was last, in seconds since 1970.
    pub last_failover: Option<f64>,
    /// Frames that came by a port that is not in use.
    pub refused: u64,
    /// Frames that no port could send.
    pub unsent: u64,
    /// Whom the ports ask whether they work.
    pub probe: Option<String>,
    /// Its ports; the master first.
    pub ports: Vec<PortStatus>,
}

/// A port of a lagg.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PortStatus {
    /// Its name.
    pub name: String,
    /// The address that it has without the lagg.
    pub own_mac: String,
    /// Whether it has a carrier.
    pub link: bool,
    /// Whether it has one and passes nothing.
    pub silent: bool,
    /// `flags=` of ifconfig(8).
    pub flags: u8,
    /// Times that it lost its carrier.
    pub flaps: u64,
    /// LACP, if it runs.
    pub lacp: Option<LacpStatus>,
}

/// LACP on a port.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LacpStatus {
    /// This side's state octet.
    pub state: u8,
    /// The partner's.
    pub partner_state: u8,
    /// This side: `(priority,system,key,port priority,port)`, as ifconfig(8) prints it.
    pub actor: String,
    /// The other side.
    pub partner: String,
    /// Whether a partner is heard.
    pub has_partner: bool,
    /// Receive machine.
    pub receive: String,
    /// Mux machine.
    pub mux: String,
    /// Whether one side has been out of step for a minute.
    pub churned: bool,
    /// LACPDUs received.
    pub received: u64,
    /// LACPDUs sent.
    pub sent: u64,
    /// Frames that were no PDU.
    pub malformed: u64,
    /// PDUs of this very system.
    pub loops: u64,
}

/// A VLAN.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VlanStatus {
    /// Its name.
    pub name: String,
    /// The interface that carries it.
    pub parent: String,
    /// Its number.
    pub id: u16,
    /// Priority of what is sent.
    pub priority: u8,
    /// As that of a lagg.
    #[serde(default)]
    pub shut: bool,
}

/// Why a text is no status.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// It is no JSON of this form.
    #[error("not a status of links: {0}")]
    Form(#[from] serde_json::Error),
    /// Another version of this program wrote it.
    #[error("a status of version {0}; this program reads version {VERSION}")]
    Version(u32),
}

impl Status {
    /// Reads it.
    ///
    /// # Errors
    /// [`StatusError`].
    pub fn parse(text: &str) -> Result<Self, StatusError> {
        let status: Self = serde_json::from_str(text)?;
        if status.version != VERSION {
            return Err(StatusError::Version(status.version));
        }
        Ok(status)
    }
}

impl LaggStatus {
    /// The settings that a plan compares.
    #[must_use]
    pub fn settings(&self) -> WantedLagg {
        let layer = |name: &str| self.hash.split(',').any(|layer| layer == name);
        let hash = if self.hash.is_empty() {
            HashLayers::default()
        } else {
            HashLayers {
                l2: layer("l2"),
                l3: layer("l3"),
                l4: layer("l4"),
            }
        };
        WantedLagg {
            protocol: Protocol::named(&self.protocol).unwrap_or(Protocol::None),
            ports: self.ports.iter().map(|port| port.name.clone()).collect(),
            hash,
            strict: self.strict,
            fast: self.fast,
            active: self.active,
            round_robin_frames: self.round_robin_frames,
        }
    }
}
